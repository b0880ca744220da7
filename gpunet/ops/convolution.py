"""Two-dimensional convolution (cross-correlation, as in Keras) and its gradients, NHWC (kernels/convolution.cu)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy.typing as npt

from gpunet import arguments
from gpunet.backend.arrays import Array, Kind, Shape, contiguous, empty
from gpunet.backend.launch import ceil_div
from gpunet.ops import contract, convolution_direct, dense, tiles, winograd, winograd_host
from gpunet.ops.activation import Activation, unread_by_gradients
from gpunet.ops.convolution_host import (
    convolution_host,
    dz_host,
    gradients_host,
    input_gradient_host,
    kernel_gradient_host,
)
from gpunet.ops.dropping import Dropping, drop_host, kernel_arguments
from gpunet.ops.tiles import Plan, Run
from gpunet.ops.trace import op
from gpunet.ops.windows import padded_output_size

_FILE = "convolution.cu"
_LARGEST_EXTENT = 2**30 - 1  # of padded images, dilated filters, strides: kernels add two of them in an int
_END_OF_INT = 2**31
_MOST_GROUPS = 2**16 - 1  # CUDA's limit for the second axis of a grid


@dataclass(frozen=True)
class Geometry:
    """How windows lie on an image: pixels from one to the next, between taps, and of zeros around the image."""

    strides: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    pads: tuple[tuple[int, int], tuple[int, int]] = ((0, 0), (0, 0))  # (top, bottom), (left, right)
    groups: int = 1

    def __post_init__(self) -> None:
        arguments.pair("convolution", "strides", self.strides)
        arguments.pair("convolution", "dilation", self.dilation)
        arguments.integer("convolution", "groups", self.groups)
        for pads in self.pads:
            arguments.pair("convolution", "pads", pads, minimum=0)


@dataclass(frozen=True)
class Sizes:
    """The shapes of one convolution, checked against each other."""

    x: Shape
    w: Shape
    y: Shape
    geometry: Geometry

    @property
    def out_size(self) -> tuple[int, int]:
        return self.y[1], self.y[2]

    @property
    def taps(self) -> int:
        """Elements of a window that one filter sees."""
        return self.w[0] * self.w[1] * self.w[2]

    @property
    def group_channels(self) -> int:
        return self.w[2]

    @property
    def group_filters(self) -> int:
        return self.w[3] // self.geometry.groups

    @property
    def is_dense(self) -> bool:
        """Whether y is x w, pixel by pixel."""
        return self.w[:2] == (1, 1) and self.geometry == Geometry()

    @property
    def defines(self) -> dict[str, int | str]:
        """What the compiler of kernels/phases.cuh is told beside the tile."""
        return {"STRIDED": int(self.geometry.strides != (1, 1)), **self.offsets}

    @property
    def offsets(self) -> dict[str, str]:
        """What the compiler of kernels/windows.cuh is told beside the tile."""
        return {"TAP_OFFSET": "int" if self._farthest_tap < _END_OF_INT else "Index"}

    @property
    def _farthest_tap(self) -> int:
        """A bound, in elements, on offsets from tap to tap in x, y and w, some tiles past the last tap included."""
        rows = (self.w[0] * self.w[1] + 4 * tiles.UNIT) * max(*self.geometry.strides, *self.geometry.dilation)
        return rows * max(math.prod(self.x[2:]), math.prod(self.y[2:]), math.prod(self.w[1:]))

    def input_gradient_plan(self, dtype: npt.DTypeLike) -> Plan:
        """Return the plan of kernels/phases.cuh, in which every phase has as many blocks as the largest."""
        axes = list(zip(self.x[1:3], self.w[:2], self.geometry.strides, self.geometry.dilation, strict=True))
        phases = math.prod(min(size, stride) for size, _, stride, _ in axes)
        pixels = self.x[0] * math.prod(ceil_div(size, stride) for size, _, stride, _ in axes)
        taps = math.prod(ceil_div(kernel, stride // math.gcd(stride, dilation)) for _, kernel, stride, dilation in axes)
        groups = self.geometry.groups
        return tiles.plan(pixels, self.group_channels, taps * self.group_filters, dtype, groups, phases)

    def kernel_arguments(self) -> tuple[int, ...]:
        """Return the sizes in the order of GEOMETRY in kernels/convolution.cu, the number of images first."""
        (top, _), (left, _) = self.geometry.pads
        sizes = (*self.x, *self.y[1:], *self.w[:2], *self.geometry.strides, *self.geometry.dilation, top, left)
        return (*sizes, self.geometry.groups)


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


@lru_cache  # a step asks at every op, for the same few
def sizes_of(where: str, x: Shape, w: Shape, geometry: Geometry) -> Sizes:
    """Return the sizes of a convolution of images `x` with filters `w`; ValueError if they do not fit."""
    if len(x) != 4:
        raise ValueError(f"{where}: input_shape must have 4 axes, (N, H, W, C); got {x}")
    if len(w) != 4:
        raise ValueError(f"{where}: w must have 4 axes, (R, S, C / groups, F); got shape {w}")
    (n, *size, c), (r, s, group_channels, f), groups = x, w, geometry.groups
    if c % groups or f % groups:
        raise ValueError(f"{where}: groups must divide the {c} channels of x and the {f} filters of w; got {groups}")
    if group_channels != c // groups:
        rule = f"({r}, {s}, {c // groups}, {f}), as x has {c} channels in {groups} groups"
        raise ValueError(f"{where}: w must have shape {rule}; got {w}")
    if groups > _MOST_GROUPS:
        raise ValueError(f"{where}: groups must be at most {_MOST_GROUPS}; got {groups}")
    out, extents = [], [n, c, f, *geometry.strides, *geometry.dilation]
    for i, kernel in enumerate((r, s)):
        stride, dilation, pads = geometry.strides[i], geometry.dilation[i], geometry.pads[i]
        out.append(padded_output_size(size[i], kernel, stride, dilation, pads, where))
        extents.append(size[i] + sum(pads))
    if max(extents) > _LARGEST_EXTENT:
        raise ValueError(f"{where}: every size must be at most {_LARGEST_EXTENT}; got x {x}, w {w}, {geometry}")
    return Sizes(x, w, (n, out[0], out[1], f), geometry)
