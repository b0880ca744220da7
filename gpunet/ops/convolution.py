"""Two-dimensional convolution (cross-correlation, as in Keras) and its gradients, NHWC (kernels/convolution.cu)."""

from __future__ import annotations

import math

from gpunet.backend.arrays import Array, Kind, Shape, contiguous, empty
from gpunet.ops import contract, convolution_direct, dense, tiles, winograd, winograd_host
from gpunet.ops.activation import Activation, unread_by_gradients
from gpunet.ops.convolution_host import (
    convolution_host,
    dz_host,
    gradients_host,
    input_gradient_host,
    kernel_gradient_host,
)
from gpunet.ops.convolution_sizes import Geometry, Sizes, sizes_of
from gpunet.ops.dropping import Dropping, drop_host, kernel_arguments
from gpunet.ops.tiles import Run
from gpunet.ops.trace import op

_FILE = "convolution.cu"


def _flops(x: Array, w: Array, b: Array | None, activation: Activation, geometry: Geometry, *_: object) -> int:
    y = math.prod(sizes_of("convolution", x.shape, w.shape, geometry).y)
    return y * (2 * math.prod(w.shape[:3]) + (b is not None) + activation.flops)


def _input_gradient_flops(dy: Array, saved: Array, w: Array, activation: Activation, *_: object) -> int:
    return dy.size * (2 * math.prod(w.shape[:3]) + activation.flops)


def _kernel_gradient_flops(
    x: Array,
    dy: Array,
    saved: Array,
    activation: Activation,
    geometry: Geometry,
    dw: Array,
    db: Array | None,
    *_: object,
) -> int:
    return dy.size * (2 * math.prod(dw.shape[:3]) + activation.flops + (db is not None))


def _gradients_flops(
    x: Array,
    dy: Array,
    saved: Array,
    w: Array,
    activation: Activation,
    geometry: Geometry,
    dw: Array,
    db: Array | None,
    *_: object,
) -> int:
    return dy.size * (4 * math.prod(w.shape[:3]) + activation.flops + (db is not None))


@op(_flops)
def convolution(
    x: Array, w: Array, b: Array | None, activation: Activation, geometry: Geometry, dropping: Dropping | None = None
) -> tuple[Array, Array]:
    """y[n,p,q,f] = f(b[f] + sum over r,s,c of x[n, p stride + r dilation - pad, ..., c] w[r,s,c,f]).

    x (N, H, W, C), w (R, S, C / groups, F), b (F,) or None; returns (y, saved), both (N, P, Q, F). `saved` is what the
    gradients need: y itself, or the argument of f for activations with `saves_input`. With `dropping`, after ReLU only,
    some elements of y are dropped as by `dropout`; the gradients then take its `scale`. ValueError for shapes that do
    not fit, groups that do not divide C and F, and windows bigger than the padded image.

    >>> y, _ = convolution(np.ones((1, 3, 3, 1)), np.ones((2, 2, 1, 1)), None, Activation.LINEAR, Geometry())
    >>> y[0, :, :, 0]
    array([[4., 4.],
           [4., 4.]])
    """
    device = contract.floats("convolution", x=x, w=w, b=b)
    contract.has_rank("convolution", "x", x, 4, "(N, H, W, C)")
    sizes = sizes_of("convolution", x.shape, w.shape, geometry)
    if b is not None:
        contract.has_shape("convolution", "b", b, (w.shape[3],))
    y = empty(sizes.y, x.dtype, device)
    z = empty(sizes.y, x.dtype, device) if activation.saves_input else None
    dropped = kernel_arguments("convolution", dropping, activation, device)
    by_winograd = winograd.serves(sizes, device.kind)
    if device.kind is Kind.CPU:
        compute = winograd_host.convolution_host if by_winograd else convolution_host
        compute(x, w, b, y, z, activation, sizes)
        drop_host(y, dropping)
        return y, y if z is None else z
    if by_winograd:
        winograd.forward(x, w, b, y, z, activation, sizes, dropped, dropping is not None)
        return y, y if z is None else z
    if sizes.is_dense:
        dense.launch_dense(x, w, b, y, z, activation, dropping, dropped)
        return y, y if z is None else z
    if convolution_direct.serves(sizes):
        convolution_direct.forward(x, w, b, y, z, activation, sizes, dropped, dropping is not None)
        return y, y if z is None else z
    plan = tiles.plan(y.size // w.shape[3], sizes.group_filters, sizes.taps, x.dtype, geometry.groups)
    partial = plan.workspace(y.size, x.dtype, device)
    b = None if b is None else contiguous(b)
    outputs = (y, z, None) if partial is None else (None, None, partial)
    x, w = contiguous(x), contiguous(w)
    args = (x, w, b, *outputs, *sizes.kernel_arguments(), *dropped)
    runs = Run(sizes.group_channels, (x,)), Run(sizes.group_filters, (w,))
    tiles.run(_FILE, "convolution", plan, args, x.dtype, activation, runs, dropping is not None, sizes.defines)
    if partial is not None:
        tiles.finish(partial, y, b, z, activation, dropping=dropping)
    return y, y if z is None else z


@op(_input_gradient_flops, unread=unread_by_gradients)
def convolution_input_gradient(
    dy: Array,
    saved: Array,
    w: Array,
    activation: Activation,
    geometry: Geometry,
    input_shape: Shape,
    scale: float = 1.0,
) -> Array:
    """dx[n,h,w,c] = sum of dz w over all windows and taps that saw the pixel, dz = scale dy f'(z).

    dx has `input_shape`; `scale` is that of a dropping.
    """
    where = "convolution_input_gradient"
    device = contract.floats(where, dy=dy, saved=saved, w=w)
    sizes = sizes_of(where, input_shape, w.shape, geometry)
    contract.has_shape(where, "dy", dy, sizes.y)
    contract.has_shape(where, "saved", saved, sizes.y)
    by_winograd = winograd.serves(sizes, device.kind)
    if device.kind is Kind.CPU:
        compute = winograd_host.input_gradient_host if by_winograd else input_gradient_host
        return compute(dz_host(dy, saved, activation, scale), w, sizes)
    dx = empty(sizes.x, dy.dtype, device)
    if by_winograd:
        winograd.input_gradient(dy, saved, w, dx, activation, sizes, scale)
        return dx
    if sizes.is_dense:
        dense.launch_input_gradient(dy, saved, w, activation, dx, scale)
        return dx
    if convolution_direct.has_small_groups(sizes):
        convolution_direct.input_gradient(dy, saved, w, dx, activation, sizes, scale)
        return dx
    plan = sizes.input_gradient_plan(dy.dtype)
    partial = plan.workspace(dx.size, dy.dtype, device)
    inputs = (contiguous(dy), contiguous(saved), contiguous(w))
    outputs = (dx, None) if partial is None else (None, partial)
    args = (*inputs, *outputs, *sizes.kernel_arguments(), scale)
    runs = Run(sizes.group_filters, inputs[:2]), Run(sizes.group_filters, inputs[2:])
    tiles.run(_FILE, where, plan, args, dy.dtype, activation, runs, scale != 1, sizes.defines)
    if partial is not None:
        tiles.finish(partial, dx)
    return dx


@op(_kernel_gradient_flops, unread=unread_by_gradients)
def convolution_kernel_gradient(
    x: Array,
    dy: Array,
    saved: Array,
    activation: Activation,
    geometry: Geometry,
    dw: Array,
    db: Array | None,
    scale: float = 1.0,
) -> None:
    """dw[r,s,c,f] = sum of x dz over all windows, db[f] = sum of dz, with dz = scale dy f'(z).

    Written into the C-contiguous arrays dw (R, S, C / groups, F) and db (F,); without a bias db is None.
    """
    where = "convolution_kernel_gradient"
    device = contract.floats(where, x=x, dy=dy, saved=saved, dw=dw, db=db)
    sizes = _checked_sizes(where, x, dy, saved, dw.shape, geometry, dw, db)
    if device.kind is Kind.CPU:
        kernel_gradient_host(x, dz_host(dy, saved, activation, scale), sizes, dw, db)
        return
    if sizes.is_dense:
        dense.launch_kernel_gradient(x, dy, saved, activation, dw, db, scale)
        return
    if convolution_direct.serves(sizes):
        convolution_direct.kernel_gradient(x, dy, saved, None, activation, sizes, dw, db, scale)
        return
    filters, with_bias = dw.shape[3], db is not None
    plan = tiles.plan(sizes.taps, sizes.group_filters, dy.size // filters, x.dtype, geometry.groups)
    # A split holds dw and db behind each other, so that one kernel adds both up.
    partial = plan.workspace(sizes.taps * filters + filters * with_bias, x.dtype, device)
    inputs = (contiguous(x), contiguous(dy), contiguous(saved))
    outputs = (dw, db, None) if partial is None else (None, None, partial)
    args = (*inputs, *outputs, int(with_bias), *sizes.kernel_arguments(), scale)
    runs = Run(sizes.group_channels, inputs[:1]), Run(sizes.group_filters, inputs[1:])
    tiles.run(_FILE, where, plan, args, x.dtype, activation, runs, scale != 1, sizes.defines)
    if partial is not None:
        tiles.finish(partial, dw, tail=db)


@op(_gradients_flops, unread=unread_by_gradients)
def convolution_gradients(
    x: Array,
    dy: Array,
    saved: Array,
    w: Array,
    activation: Activation,
    geometry: Geometry,
    dw: Array,
    db: Array | None,
    scale: float = 1.0,
) -> Array:
    """Write dw and db as `convolution_kernel_gradient` does, and return dx as `convolution_input_gradient` does.

    On the CPU dz is computed once for both, unless one of them goes by Winograd's products.
    """
    where = "convolution_gradients"
    device = contract.floats(where, x=x, dy=dy, saved=saved, w=w, dw=dw, db=db)
    sizes = _checked_sizes(where, x, dy, saved, w.shape, geometry, dw, db)
    if device.kind is Kind.CPU and not winograd.serves(sizes, device.kind):
        return gradients_host(x, dz_host(dy, saved, activation, scale), w, sizes, dw, db)
    convolution_kernel_gradient(x, dy, saved, activation, geometry, dw, db, scale)
    return convolution_input_gradient(dy, saved, w, activation, geometry, x.shape, scale)


def _checked_sizes(
    where: str, x: Array, dy: Array, saved: Array, w: Shape, geometry: Geometry, dw: Array, db: Array | None
) -> Sizes:
    """Return the sizes for filters of shape `w`; ValueError if what a convolution's gradients take does not fit."""
    contract.has_rank(where, "x", x, 4, "(N, H, W, C)")
    sizes = sizes_of(where, x.shape, w, geometry)
    contract.has_shape(where, "dy", dy, sizes.y)
    contract.has_shape(where, "saved", saved, sizes.y)
    contract.is_output(where, w, dw=dw)
    contract.is_output(where, w[3:], db=db)
    return sizes
