"""Convolution, activation and max-pooling by 2 x 2 as one op (kernels/convolution_pooling.cu), and its gradients.

Images with few channels have a kernel of their own (convolution_direct.py).

Results are those of `convolution` and `max_pooling` one after the other, bit for bit, but what lies between the two is
never stored for the whole batch: on a device the maxima are taken where the sums end, on the CPU block by block, while
a block is in the cache. dz, the gradient of the convolution before its activation, is computed as it is needed.
"""

from __future__ import annotations

import math

import numpy as np

from gpunet import arguments
from gpunet.backend.arrays import (
    CPU,
    Array,
    Kind,
    Shape,
    common_device,
    contiguous,
    device_of,
    empty,
    empty_like,
)
from gpunet.backend.launch import ceil_div
from gpunet.ops import contract, convolution_direct, tiles
from gpunet.ops.activation import Activation, unread_by_gradients
from gpunet.ops.convolution_host import gradients_host, input_gradient_host, kernel_gradient_host
from gpunet.ops.convolution_pooling_host import WINDOW, convolution_pooling_host, pooled_dz_host
from gpunet.ops.convolution_sizes import Geometry, Sizes, sizes_of
from gpunet.ops.tiles import Run
from gpunet.ops.trace import op
from gpunet.ops.windows import PADDINGS, POOL

# Of taps. Longer sums may be split, and kernels keep parts of them in memory; they take so much arithmetic that the
# memory traffic saved would hardly show.
LONGEST_SUM = tiles.LONGEST_UNSPLIT

_FILE = "convolution_pooling.cu"
_GRADIENT_FILE = "convolution_pooling_gradient.cu"


def _flops(x: Array, w: Array, b: Array | None, activation: Activation, geometry: Geometry, padding: str) -> int:
    z = math.prod(sizes_of("convolution_pooling", x.shape, w.shape, geometry).y)
    return z * (2 * math.prod(w.shape[:3]) + (b is not None) + activation.flops + 1)


def _input_gradient_flops(
    dy: Array,
    saved: Array,
    winner: Array,
    w: Array,
    activation: Activation,
    geometry: Geometry,
    padding: str,
    input_shape: Shape,
) -> int:
    z = math.prod(sizes_of("convolution_pooling", input_shape, w.shape, geometry).y)
    return 2 * z * math.prod(w.shape[:3]) + dy.size * activation.flops


def _kernel_gradient_flops(
    x: Array,
    dy: Array,
    saved: Array,
    winner: Array,
    activation: Activation,
    geometry: Geometry,
    padding: str,
    dw: Array,
    db: Array | None,
) -> int:
    z = math.prod(sizes_of("convolution_pooling", x.shape, dw.shape, geometry).y)
    return 2 * z * math.prod(dw.shape[:3]) + dy.size * (activation.flops + (db is not None))


def _gradients_flops(
    x: Array,
    dy: Array,
    saved: Array,
    winner: Array,
    w: Array,
    activation: Activation,
    geometry: Geometry,
    padding: str,
    dw: Array,
    db: Array | None,
) -> int:
    z = math.prod(sizes_of("convolution_pooling", x.shape, w.shape, geometry).y)
    return 4 * z * math.prod(w.shape[:3]) + dy.size * (activation.flops + (db is not None))


@op(_flops)
def convolution_pooling(
    x: Array, w: Array, b: Array | None, activation: Activation, geometry: Geometry, padding: str
) -> tuple[Array, Array, Array]:
    """y[n,u,v,f] = the maximum over r, s in {0, 1} of f(z[n, 2u + r, 2v + s, f]), z the convolution of x, w and b.

    x (N, H, W, C), w (R, S, C / groups, F), b (F,) or None; z is (N, P, Q, F). Returns (y, saved, winner), all
    (N, U, V, F), where U is P / 2, rounded down for `padding` 'valid' and up for 'same'. `saved` is y, or z of the
    maximum for activations with `saves_input`; winner, uint8, is 2 r + s of the first maximum. NaN is greater than any
    number. ValueError as from `convolution`, for sums of more than LONGEST_SUM terms, R S C / groups, and for z without
    a window.

    >>> x, w = np.float32([1, 2, 4, 3]).reshape(1, 2, 2, 1), np.ones((1, 1, 1, 1), np.float32)
    >>> y, _, winner = convolution_pooling(x, w, None, Activation.RELU, Geometry(), "valid")
    >>> y.item(), winner.item()
    (4.0, 2)
    """
    sizes, y = _checked(x, w, b, geometry, padding)
    z = empty_like(y) if activation.saves_input else None
    winner = empty(y.shape, np.uint8, device_of(y))
    _compute(x, w, b, y, z, winner, activation, sizes)
    return y, y if z is None else z, winner


@op(_flops)
def convolution_pooling_value(
    x: Array, w: Array, b: Array | None, activation: Activation, geometry: Geometry, padding: str
) -> Array:
    """Return the y of `convolution_pooling`, without what only gradients need."""
    sizes, y = _checked(x, w, b, geometry, padding)
    _compute(x, w, b, y, None, None, activation, sizes)
    return y


def _checked(x: Array, w: Array, b: Array | None, geometry: Geometry, padding: str) -> tuple[Sizes, Array]:
    """Return the sizes, and memory for y."""
    where = "convolution_pooling"
    device = contract.floats(where, x=x, w=w, b=b)
    contract.has_rank(where, "x", x, 4, "(N, H, W, C)")
    sizes = sizes_of(where, x.shape, w.shape, geometry)
    shape = _pooled_shape(where, sizes, padding)
    if b is not None:
        contract.has_shape(where, "b", b, (w.shape[3],))
    return sizes, empty(shape, x.dtype, device)


def _compute(
    x: Array,
    w: Array,
    b: Array | None,
    y: Array,
    z: Array | None,
    winner: Array | None,
    activation: Activation,
    sizes: Sizes,
) -> None:
    """Fill y, and z of the maxima and winner if they are wanted."""
    if device_of(y) == CPU:
        convolution_pooling_host(x, w, b, y, z, winner, activation, sizes)
        return
    if convolution_direct.has_few_channels(sizes):
        convolution_direct.forward_pooled(x, w, b, y, z, winner, activation, sizes)
        return
    rows = WINDOW * y.size // y.shape[3]
    plan = tiles.plan(rows, sizes.group_filters, sizes.taps, x.dtype, sizes.geometry.groups)
    inputs = (contiguous(x), contiguous(w))
    args = (*inputs, None if b is None else contiguous(b), y, z, winner, *y.shape[1:3], *sizes.kernel_arguments())
    runs = Run(sizes.group_channels, inputs[:1]), Run(sizes.group_filters, inputs[1:])
    tiles.run(_FILE, "convolution_pooling", plan, args, x.dtype, activation, runs, further=sizes.offsets)


@op(_input_gradient_flops, unread=unread_by_gradients)
def convolution_pooling_input_gradient(
    dy: Array,
    saved: Array,
    winner: Array,
    w: Array,
    activation: Activation,
    geometry: Geometry,
    padding: str,
    input_shape: Shape,
) -> Array:
    """dx[n,h,w,c] = sum of dz w over all windows and taps that saw the pixel; dx has `input_shape`.

    dz, of the shape of z, is dy f'(z) at each window's winner and 0 elsewhere; dy, saved and winner are (N, U, V, F).
    """
    where = "convolution_pooling_input_gradient"
    device = contract.floats(where, dy=dy, saved=saved, w=w)
    sizes = sizes_of(where, input_shape, w.shape, geometry)
    shape = _pooled_shape(where, sizes, padding)
    _check_pooled(where, shape, dy, saved, winner)
    if device.kind is Kind.CPU:
        return input_gradient_host(pooled_dz_host(dy, saved, winner, activation, sizes), w, sizes)
    dx = empty(sizes.x, dy.dtype, device)
    plan = sizes.input_gradient_plan(dy.dtype)
    partial = plan.workspace(dx.size, dy.dtype, device)
    inputs = (contiguous(dy), contiguous(saved), contiguous(winner), contiguous(w))
    outputs = (dx, None) if partial is None else (None, partial)
    args = (*inputs, *outputs, *shape[1:3], *sizes.kernel_arguments())
    runs = Run(sizes.group_filters, inputs[:3]), Run(sizes.group_filters, inputs[3:])
    tiles.run(_GRADIENT_FILE, where, plan, args, dy.dtype, activation, runs, further=sizes.defines)
    if partial is not None:
        tiles.finish(partial, dx)
    return dx


@op(_kernel_gradient_flops, unread=unread_by_gradients)
def convolution_pooling_kernel_gradient(
    x: Array,
    dy: Array,
    saved: Array,
    winner: Array,
    activation: Activation,
    geometry: Geometry,
    padding: str,
    dw: Array,
    db: Array | None,
) -> None:
    """dw[r,s,c,f] = sum of x dz over all windows, db[f] = sum of dz, dz that of convolution_pooling_input_gradient.

    Written into the C-contiguous arrays dw (R, S, C / groups, F) and db (F,); without a bias db is None.
    """
    where = "convolution_pooling_kernel_gradient"
    device = contract.floats(where, x=x, dy=dy, saved=saved, dw=dw, db=db)
    contract.has_rank(where, "x", x, 4, "(N, H, W, C)")
    sizes = sizes_of(where, x.shape, dw.shape, geometry)
    shape = _pooled_shape(where, sizes, padding)
    _check_pooled(where, shape, dy, saved, winner)
    contract.is_output(where, dw.shape, dw=dw)
    contract.is_output(where, dw.shape[3:], db=db)
    if device.kind is Kind.CPU:
        kernel_gradient_host(x, pooled_dz_host(dy, saved, winner, activation, sizes), sizes, dw, db)
        return
    if convolution_direct.serves(sizes):
        convolution_direct.kernel_gradient(x, dy, saved, winner, activation, sizes, dw, db, 1.0)
        return
    (n, p, q, filters), with_bias = sizes.y, db is not None
    plan = tiles.plan(sizes.taps, sizes.group_filters, n * p * q, x.dtype, geometry.groups)
    # A split holds dw and db behind each other, so that one kernel adds both up.
    partial = plan.workspace(sizes.taps * filters + filters * with_bias, x.dtype, device)
    inputs = (contiguous(x), contiguous(dy), contiguous(saved), contiguous(winner))
    outputs = (dw, db, None) if partial is None else (None, None, partial)
    args = (*inputs, *outputs, int(with_bias), *shape[1:3], *sizes.kernel_arguments())
    runs = Run(sizes.group_channels, inputs[:1]), Run(sizes.group_filters, inputs[1:])
    tiles.run(_GRADIENT_FILE, where, plan, args, x.dtype, activation, runs, further=sizes.defines)
    if partial is not None:
        tiles.finish(partial, dw, tail=db)


@op(_gradients_flops, unread=unread_by_gradients)
def convolution_pooling_gradients(
    x: Array,
    dy: Array,
    saved: Array,
    winner: Array,
    w: Array,
    activation: Activation,
    geometry: Geometry,
    padding: str,
    dw: Array,
    db: Array | None,
) -> Array:
    """Write dw and db as convolution_pooling_kernel_gradient does, and return dx as ..._input_gradient does.

    On the CPU dz is computed once for both.
    """
    where = "convolution_pooling_gradients"
    device = contract.floats(where, x=x, dy=dy, saved=saved, w=w, dw=dw, db=db)
    contract.has_rank(where, "x", x, 4, "(N, H, W, C)")
    sizes = sizes_of(where, x.shape, w.shape, geometry)
    _check_pooled(where, _pooled_shape(where, sizes, padding), dy, saved, winner)
    contract.is_output(where, w.shape, dw=dw)
    contract.is_output(where, w.shape[3:], db=db)
    if device.kind is Kind.CPU:
        return gradients_host(x, pooled_dz_host(dy, saved, winner, activation, sizes), w, sizes, dw, db)
    convolution_pooling_kernel_gradient(x, dy, saved, winner, activation, geometry, padding, dw, db)
    return convolution_pooling_input_gradient(dy, saved, winner, w, activation, geometry, padding, x.shape)


def _pooled_shape(where: str, sizes: Sizes, padding: str) -> Shape:
    """Return the shape of y; ValueError if there is no window or if sums are too long."""
    arguments.choice(where, "padding", padding, PADDINGS)
    if sizes.taps > LONGEST_SUM:
        raise ValueError(
            f"{where}: w must have at most {LONGEST_SUM} taps, R S C / groups; got {sizes.taps}; "
            f"use convolution and max_pooling"
        )
    n, p, q, f = sizes.y
    if padding == "same":
        return n, ceil_div(p, POOL), ceil_div(q, POOL), f
    if min(p, q) < POOL:
        raise ValueError(
            f"{where}: the convolution's output must be at least {(POOL, POOL)} for padding 'valid'; got {(p, q)}; "
            f"use padding='same' or a bigger input"
        )
    return n, p // POOL, q // POOL, f


def _check_pooled(where: str, shape: Shape, dy: Array, saved: Array, winner: Array) -> None:
    """Check what the gradients take of the shape of y."""
    common_device(where, dy=dy, winner=winner)
    for name, array in (("dy", dy), ("saved", saved), ("winner", winner)):
        contract.has_shape(where, name, array, shape)
    contract.has_dtype(where, "winner", winner, np.uint8)
