"""How windows lie on images, and the sizes of a convolution, checked against each other."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy.typing as npt

from gpunet import arguments
from gpunet.backend.arrays import Shape
from gpunet.backend.launch import ceil_div
from gpunet.ops import tiles
from gpunet.ops.tiles import Plan
from gpunet.ops.windows import padded_output_size

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
