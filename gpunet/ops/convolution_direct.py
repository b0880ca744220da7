"""Convolutions that are no matrix product: few channels (a first layer) and small groups (depthwise).

Their sums are so short, or groups so small, that a tile of kernels/gemm.cuh would mostly be zeros, and what counts is
how often images are read and written. Their kernels are kernels/convolution_few_channels.cu and _grouped.cu.

Every choice but that of WIDTH goes by the shape alone, so that bits do not depend on the device or on alignment.
Results of the forward pass and of the gradient of the images have the bits of kernels/convolution.cu.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from gpunet.backend.arrays import Array, contiguous, device_of, empty
from gpunet.backend.launch import Argument, ceil_div, launch
from gpunet.ops import tiles
from gpunet.ops.activation import Activation
from gpunet.ops.dropping import KernelArguments
from gpunet.ops.tiles import Run

if TYPE_CHECKING:
    from gpunet.ops.convolution import Sizes

_MOST_CHANNELS = 4
# Of one filter: 3 x 3 of 4 channels. That is 72 flop for the 4 bytes of an element of y, where an H100 can do about 20
# a byte; with more taps arithmetic decides, and a matrix product is the better form.
_MOST_TAPS = 36
# Channels, and filters, of a group. A tile of the GEMM computes 32 filters at least, of one group: with 8 a fourth of
# it is used.
_LARGEST_GROUP = 8
_MOST_ELEMENTS = 2**31 - 1  # of a padded image, whose elements kernels count in an int
_LARGEST_EXTENT = 2**28  # of strides and padded images: kernels add five of them in an int

_THREADS = 256  # of a block, at most
_OWN_FILTERS = 4  # of a thread: 16 bytes of float32
_LINE = 32  # neighbouring filters of a block: 128 bytes of float32
_PIXELS = 128  # of a block with few channels, at most
_STRIP = 4  # pixels of a thread
_TAPS = 9  # of a thread that computes a gradient: 36 sums if it has 4 filters
_WIDEST_LOAD = 16  # bytes

_ENOUGH_BLOCKS = 256  # about two per multiprocessor of a large GPU
_LONGEST_SUM = 512  # terms of a chain of fma, as CHUNK of kernels/gemm.cuh
_SHORTEST_SUM = 8  # below, the workspace costs more than further blocks gain


def has_few_channels(sizes: Sizes) -> bool:
    """Return whether the kernels for few channels take a convolution and the gradient of its filters."""
    return sizes.geometry.groups == 1 and sizes.x[3] <= _MOST_CHANNELS and sizes.taps <= _MOST_TAPS and _fits(sizes)


def has_small_groups(sizes: Sizes) -> bool:
    """Return whether the kernels for small groups take a convolution and its gradients.

    Sums that the GEMM may split are left to it, so that it would give the same bits.
    """
    channels, filters = sizes.group_channels, sizes.group_filters
    longest_sum = math.prod(sizes.w[:2]) * max(channels, filters)
    small = max(channels, filters) <= _LARGEST_GROUP and longest_sum <= tiles.LONGEST_UNSPLIT
    return sizes.geometry.groups > 1 and small and _fits(sizes)


def serves(sizes: Sizes) -> bool:
    """Return whether `forward` and `kernel_gradient` take the convolution."""
    return has_few_channels(sizes) or has_small_groups(sizes)


def _fits(sizes: Sizes) -> bool:
    """Return whether coordinates, and places in an image, are ints."""
    height, width = (size + sum(pads) for size, pads in zip(sizes.x[1:3], sizes.geometry.pads, strict=True))
    extents = (height, width, *sizes.geometry.strides)
    return height * width * sizes.x[3] <= _MOST_ELEMENTS and max(extents) <= _LARGEST_EXTENT


def forward(
    x: Array,
    w: Array,
    b: Array | None,
    y: Array,
    z: Array | None,
    activation: Activation,
    sizes: Sizes,
    dropped: KernelArguments,
    drops: bool,
) -> None:
    """Fill y, and z if it is wanted, as `convolution` in ops/convolution.py."""
    x, w, b = contiguous(x), contiguous(w), None if b is None else contiguous(b)
    how = _How(sizes, activation, drops)
    (images, rows, columns, filters), given = sizes.y, (*sizes.kernel_arguments(), *dropped)
    if how.is_grouped:
        work = images * rows * ceil_div(columns, _STRIP) * ceil_div(filters, how.own)
        blocks, packs = ceil_div(work, _THREADS), (x, w, b, y, z)
        _run("", blocks, _THREADS, (x, w, b, y, z, *given), how, filters, packs)
        return
    lanes = how.filter_lanes
    blocks = ceil_div(images * rows * columns, _PIXELS) * ceil_div(filters, lanes * how.own)
    elements = sizes.taps * (_PIXELS + lanes * how.own)
    _run("", blocks, lanes * _PIXELS // _STRIP, (x, w, b, y, z, lanes, *given), how, filters, (b, y, z), elements)


def input_gradient(
    dy: Array, saved: Array, w: Array, dx: Array, activation: Activation, sizes: Sizes, scale: float
) -> None:
    """Fill dx, of a convolution with small groups, as `convolution_input_gradient` in ops/convolution.py."""
    arrays = (contiguous(dy), contiguous(saved), contiguous(w), dx)
    how = _How(sizes, activation, scale != 1)
    (images, height, width, channels), (stride_h, stride) = sizes.x, sizes.geometry.strides
    dilation_h, dilation = sizes.geometry.dilation
    common_h, common = math.gcd(stride_h, dilation_h), math.gcd(stride, dilation)
    steps = (stride_h // common_h, stride // common, dilation_h // common_h, dilation // common)
    strips = min(stride, width) * ceil_div(ceil_div(width, stride), _STRIP)
    blocks = ceil_div(images * height * strips * ceil_div(channels, how.own), _THREADS)
    args: tuple[Argument, ...] = (*arrays, *steps, *sizes.kernel_arguments(), scale)
    _run("_input_gradient", blocks, _THREADS, args, how, channels, arrays)


def kernel_gradient(
    x: Array,
    dy: Array,
    saved: Array,
    winner: Array | None,
    activation: Activation,
    sizes: Sizes,
    dw: Array,
    db: Array | None,
    scale: float,
) -> None:
    """Write dw and db as `convolution_kernel_gradient` in ops/convolution.py, or, with `winner`, ..._pooling.py."""
    filters, with_bias = dw.shape[3], db is not None
    x, dy, saved = contiguous(x), contiguous(dy), contiguous(saved)
    winner = None if winner is None else contiguous(winner)
    how = _How(sizes, activation, scale != 1, winner is not None)
    plan = _plan(how)
    size = dw.size + filters * with_bias
    partial = empty((plan.slabs, size), x.dtype, device_of(x)) if plan.slabs > 1 else None
    outputs = (dw, db, None) if partial is None else (None, None, partial)
    args = (x, dy, saved, winner, *outputs, int(with_bias), *dy.shape[1:3], *plan.args)
    packs = (x if how.is_grouped else None, dy, saved, winner, *outputs)
    args = (*args, *sizes.kernel_arguments(), scale)
    _run("_kernel_gradient", plan.blocks, plan.threads, args, how, filters, packs, plan.elements)
    if partial is not None:
        tiles.finish(partial, dw, tail=db)


class _How(NamedTuple):
    """What decides which kernel runs, and how it is compiled."""

    sizes: Sizes
    activation: Activation
    drops: bool
    is_pooled: bool = False

    @property
    def is_grouped(self) -> bool:
        return self.sizes.geometry.groups > 1

    @property
    def own(self) -> int:
        """Neighbouring filters of a thread: several where they share all channels, or where each has its own."""
        several = not self.is_grouped or self.sizes.group_channels == self.sizes.group_filters == 1
        return _OWN_FILTERS if several else 1

    @property
    def filter_lanes(self) -> int:
        """Threads of a block that take neighbouring filters: a power of two, _LINE filters together at most."""
        threads = ceil_div(self.sizes.w[3], self.own)
        return min(1 << (threads - 1).bit_length(), _LINE // self.own)

    def defines(self, channels: int, packs: tuple[Array | None, ...], itemsize: int) -> dict[str, int]:
        """Return the defines; in `packs` neighbours of `channels` elements move together."""
        widest = min(self.own, _WIDEST_LOAD // itemsize)
        width = Run(channels, tuple(array for array in packs if array is not None)).width(widest)
        of_file = {"OWN": self.own} if self.is_grouped else {"PIXELS": _PIXELS, "MOST_TAPS": _MOST_TAPS}
        common = {"THREADS": _THREADS, "TAPS": _TAPS, "WIDTH": width, "ACTIVATION": self.activation.code}
        return {**common, **of_file, "DROPS": int(self.drops), "POOLED": int(self.is_pooled)}


class _Plan(NamedTuple):
    """How the gradient of filters is cut: into slabs of pixels, whose sums `finish` adds up, and these into blocks."""

    slabs: int
    blocks: int
    threads: int
    elements: int  # of dynamic shared memory
    args: tuple[int, ...]  # what the kernel takes of the plan


def _plan(how: _How) -> _Plan:
    """Return the plan; it goes by the shape alone."""
    sizes, lanes = how.sizes, how.filter_lanes
    pixels, tap_groups = math.prod(sizes.y[:3]), ceil_div(sizes.taps, _TAPS)
    filter_blocks = ceil_div(sizes.w[3], lanes * how.own)
    if how.is_grouped:
        blocks, pixel_lanes = filter_blocks * tap_groups, _THREADS // lanes
        slab = pixel_lanes * _share(ceil_div(pixels, pixel_lanes), 1, blocks)
        slabs = ceil_div(pixels, slab)
        return _Plan(slabs, slabs * blocks, _THREADS, 0, (lanes, slab))
    lane_threads = lanes * tap_groups
    pixel_lanes = min(_THREADS // lane_threads, _PIXELS // _STRIP)
    turns = max(_PIXELS // 2 // (_STRIP * pixel_lanes), 1)
    tile = turns * _STRIP * pixel_lanes
    slab_tiles = _share(ceil_div(pixels, tile), turns * _STRIP, filter_blocks)
    slabs = ceil_div(ceil_div(pixels, tile), slab_tiles)
    staged = tile * (tap_groups * _TAPS + lanes * how.own)
    elements = max(staged, (_TAPS + 1) * how.own * _THREADS // 2)
    args = (lanes, tap_groups, tile, slab_tiles)
    return _Plan(slabs, slabs * filter_blocks, lane_threads * pixel_lanes, elements, args)


def _share(units: int, terms: int, blocks: int) -> int:
    """Return how many of `units` of pixels a slab has, if a thread adds `terms` of each and a slab makes `blocks`."""
    share = ceil_div(units, ceil_div(_ENOUGH_BLOCKS, blocks))
    return min(max(share, ceil_div(_SHORTEST_SUM, terms)), _LONGEST_SUM // terms)


def _run(
    entry: str,
    blocks: int,
    threads: int,
    args: tuple[Argument, ...],
    how: _How,
    channels: int,
    packs: tuple[Array | None, ...],
    elements: int = 0,
) -> None:
    """Launch a kernel with `elements` of dynamic shared memory; `entry` is the end of its name."""
    kernel = "convolution_grouped" if how.is_grouped else "convolution_few_channels"
    dtype = next(array for array in packs[::-1] if array is not None).dtype  # the outputs are last
    launch(
        f"{kernel}.cu",
        kernel + entry,
        grid=blocks,
        block=threads,
        args=args,
        real=dtype,
        defines=how.defines(channels, packs, dtype.itemsize),
        shared_bytes=elements * dtype.itemsize,
    )
