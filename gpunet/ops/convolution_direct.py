"""Convolutions that are no matrix product: few channels (a first layer) and small groups (depthwise).

Their sums are so short, or groups so small, that a tile of kernels/gemm.cuh would mostly be zeros, and what counts is
how often images are read and written. Their kernels are kernels/convolution_few_channels.cu and _grouped.cu.

Every choice but that of WIDTH goes by the shape alone, so that bits do not depend on the device or on alignment.
Results of the forward pass and of the gradient of the images have the bits of kernels/convolution.cu, and with pooling
of kernels/convolution_pooling.cu.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from gpunet.backend.arrays import Array, contiguous, device_of, empty
from gpunet.backend.launch import Argument, ceil_div, launch
from gpunet.ops import tiles
from gpunet.ops.activation import Activation
from gpunet.ops.convolution_sizes import Sizes
from gpunet.ops.dropping import KernelArguments
from gpunet.ops.tiles import Run

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
_STRIP = 4  # pixels of a thread; if it pools, those of a window
_TAPS = 9  # of a thread that computes a gradient: 36 sums if it has 4 filters

_ENOUGH_BLOCKS = 256  # about two per multiprocessor of a large GPU
_LONGEST_SUM = 512  # terms of a chain of fma, as CHUNK of kernels/gemm.cuh
_SHORTEST_SUM = 8  # below, the workspace costs more than further blocks gain


def has_few_channels(sizes: Sizes) -> bool:
    """Return whether the kernels for few channels take a convolution, with pooling too, and its filters' gradient."""
    few = sizes.x[3] <= _MOST_CHANNELS and sizes.taps <= _MOST_TAPS
    return sizes.geometry.groups == 1 and few and not sizes.is_dense and _fits(sizes)


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
    (images, rows, columns, filters), given = sizes.y, (*sizes.kernel_arguments(), *dropped)
    threads, elements = forward_block(sizes)
    if _is_grouped(sizes):
        work = images * rows * ceil_div(columns, _STRIP) * ceil_div(filters, _own_filters(sizes))
        how = _How(sizes, activation, drops, filters, (x, w, b, y, z))
        _run("", (ceil_div(work, threads), threads), (x, w, b, y, z, *given), y, how, elements)
        return
    how = _How(sizes, activation, drops, filters, (b, y, z))
    blocks = _blocks_of_pixels(sizes, images * rows * columns)
    _run("", (blocks, threads), (x, w, b, y, z, _filter_lanes(sizes), *given), y, how, elements)


def forward_pooled(
    x: Array,
    w: Array,
    b: Array | None,
    y: Array,
    z: Array | None,
    winner: Array | None,
    activation: Activation,
    sizes: Sizes,
) -> None:
    """Fill y, and z of the maxima and winner if they are wanted, of few channels, as ops/convolution_pooling.py."""
    x, w, b = contiguous(x), contiguous(w), None if b is None else contiguous(b)
    images, rows, columns, filters = y.shape
    how = _How(sizes, activation, False, filters, (b, y, z, winner), is_pooled=True)
    threads, elements = forward_block(sizes)
    blocks = _blocks_of_pixels(sizes, images * rows * columns * _STRIP)
    args = (x, w, b, y, z, winner, _filter_lanes(sizes), rows, columns, *sizes.kernel_arguments())
    _run("_pooling", (blocks, threads), args, y, how, elements)


def forward_block(sizes: Sizes) -> tuple[int, int]:
    """Return the threads of a block of the forward kernels, and how many elements of dynamic shared memory it takes."""
    if _is_grouped(sizes):
        return _THREADS, 0
    lanes = _filter_lanes(sizes)
    return lanes * _PIXELS // _STRIP, sizes.taps * (_PIXELS + lanes * _own_filters(sizes))


def _blocks_of_pixels(sizes: Sizes, pixels: int) -> int:
    """Return how many blocks compute `pixels` of few channels."""
    return ceil_div(pixels, _PIXELS) * ceil_div(sizes.w[3], _filter_lanes(sizes) * _own_filters(sizes))


def input_gradient(
    dy: Array, saved: Array, w: Array, dx: Array, activation: Activation, sizes: Sizes, scale: float
) -> None:
    """Fill dx, of a convolution with small groups, as `convolution_input_gradient` in ops/convolution.py."""
    arrays = (contiguous(dy), contiguous(saved), contiguous(w), dx)
    (images, height, width, channels), (stride_h, stride_w) = sizes.x, sizes.geometry.strides
    dilation_h, dilation_w = sizes.geometry.dilation
    common_h, common_w = math.gcd(stride_h, dilation_h), math.gcd(stride_w, dilation_w)
    steps = (stride_h // common_h, stride_w // common_w, dilation_h // common_h, dilation_w // common_w)
    strips = min(stride_w, width) * ceil_div(ceil_div(width, stride_w), _STRIP)
    blocks = ceil_div(images * height * strips * ceil_div(channels, _own_filters(sizes)), _THREADS)
    args: tuple[Argument, ...] = (*arrays, *steps, *sizes.kernel_arguments(), scale)
    _run("_input_gradient", (blocks, _THREADS), args, dx, _How(sizes, activation, scale != 1, channels, arrays))


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
    x, dy, saved = contiguous(x), contiguous(dy), contiguous(saved)
    winner = None if winner is None else contiguous(winner)
    plan, filters, with_bias = gradient_plan(sizes), dw.shape[3], db is not None
    # A slab holds dw and db behind each other, so that one kernel adds both up.
    size = dw.size + filters * with_bias
    partial = empty((plan.slabs, size), x.dtype, device_of(x)) if plan.slabs > 1 else None
    outputs = (dw, db, None) if partial is None else (None, None, partial)
    packs = (x if _is_grouped(sizes) else None, dy, saved, winner, *outputs)
    how = _How(sizes, activation, scale != 1, filters, packs, winner is not None)
    args = (x, dy, saved, winner, *outputs, int(with_bias), *dy.shape[1:3], *plan.args)
    args = (*args, *sizes.kernel_arguments(), scale)
    _run("_kernel_gradient", (plan.blocks, plan.threads), args, dw, how, plan.elements)
    if partial is not None:
        tiles.finish(partial, dw, tail=db)


class GradientPlan(NamedTuple):
    """How the gradient of filters is cut: into slabs of pixels, whose sums `finish` adds up, and these into blocks."""

    slabs: int
    blocks: int
    pixel_lanes: int  # threads of a block that take different pixels, each of which adds up its own
    threads: int
    elements: int  # of dynamic shared memory
    args: tuple[int, ...]  # what the kernel takes of the plan


def gradient_plan(sizes: Sizes) -> GradientPlan:
    """Return the plan, which goes by the shape alone."""
    own, lanes = _own_filters(sizes), _filter_lanes(sizes)
    pixels, tap_groups = math.prod(sizes.y[:3]), ceil_div(sizes.taps, _TAPS)
    filter_blocks = ceil_div(sizes.w[3], lanes * own)
    if _is_grouped(sizes):
        blocks, pixel_lanes = filter_blocks * tap_groups, _THREADS // lanes
        slab = pixel_lanes * _share(ceil_div(pixels, pixel_lanes), 1, blocks)
        slabs = ceil_div(pixels, slab)
        return GradientPlan(slabs, slabs * blocks, pixel_lanes, _THREADS, 0, (lanes, slab))
    lane_threads = lanes * tap_groups
    pixel_lanes = min(_THREADS // lane_threads, _PIXELS // _STRIP)
    turns = max(_PIXELS // 2 // (_STRIP * pixel_lanes), 1)
    tile = turns * _STRIP * pixel_lanes
    slab_tiles = _share(ceil_div(pixels, tile), turns * _STRIP, filter_blocks)
    slabs = ceil_div(ceil_div(pixels, tile), slab_tiles)
    elements = max(tile * (tap_groups * _TAPS + lanes * own), (_TAPS + 1) * own * _THREADS // 2)  # staged; added up
    args = (lanes, tap_groups, tile, slab_tiles)
    return GradientPlan(slabs, slabs * filter_blocks, pixel_lanes, lane_threads * pixel_lanes, elements, args)


def _share(units: int, terms: int, blocks: int) -> int:
    """Return how many of `units` of pixels a slab has, if a thread adds `terms` of each and a slab makes `blocks`."""
    share = ceil_div(units, ceil_div(_ENOUGH_BLOCKS, blocks))
    return min(max(share, ceil_div(_SHORTEST_SUM, terms)), _LONGEST_SUM // terms)


def _is_grouped(sizes: Sizes) -> bool:
    return sizes.geometry.groups > 1


def _own_filters(sizes: Sizes) -> int:
    """Return the neighbouring filters of a thread: several where they share all channels, or each has its own."""
    several = not _is_grouped(sizes) or sizes.group_channels == sizes.group_filters == 1
    return _OWN_FILTERS if several else 1


def _filter_lanes(sizes: Sizes) -> int:
    """Return the threads of a block that take different filters: a power of two, for _LINE filters at most."""
    own = _own_filters(sizes)
    return min(1 << (ceil_div(sizes.w[3], own) - 1).bit_length(), _LINE // own)


def defines(
    sizes: Sizes, activation: Activation, widest: int, drops: bool = False, is_pooled: bool = False
) -> dict[str, int]:
    """Return what the kernels' compiler is told; `widest` neighbouring elements can move as one."""
    own = _own_filters(sizes)
    of_file = {"OWN": own} if _is_grouped(sizes) else {"PIXELS": _PIXELS, "MOST_TAPS": _MOST_TAPS}
    width = widest if own > 1 else 1
    common = {"THREADS": _THREADS, "TAPS": _TAPS, "WIDTH": width, "ACTIVATION": activation.code}
    return {**common, **of_file, "DROPS": int(drops), "POOLED": int(is_pooled)}


class _How(NamedTuple):
    """How a kernel is compiled; neighbours of `channels` elements of `packs` move together."""

    sizes: Sizes
    activation: Activation
    drops: bool
    channels: int
    packs: tuple[Array | None, ...]
    is_pooled: bool = False

    @property
    def defines(self) -> dict[str, int]:
        arrays = tuple(array for array in self.packs if array is not None)
        return defines(self.sizes, self.activation, Run(self.channels, arrays).width, self.drops, self.is_pooled)


def _run(
    entry: str, grid: tuple[int, int], args: tuple[Argument, ...], like: Array, how: _How, elements: int = 0
) -> None:
    """Launch the kernel whose name ends in `entry`, of the dtype of `like`, with `elements` of dynamic shared memory.

    `grid` is how many blocks there are, and threads of a block.
    """
    kernel = "convolution_grouped" if _is_grouped(how.sizes) else "convolution_few_channels"
    launch(
        f"{kernel}.cu",
        kernel + entry,
        grid=grid[0],
        block=grid[1],
        args=args,
        real=like.dtype,
        defines=how.defines,
        shared_bytes=elements * like.itemsize,
    )
