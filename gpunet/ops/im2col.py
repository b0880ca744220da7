"""Convolution as matrix products in NumPy: the windows of images as the rows of a matrix ("im2col").

The matrix is built for a few images at a time, so that memory stays bounded and in the processor's cache; after
Chellapilla et al. 2006, "High performance convolutional neural networks for document processing". The axes of windows
are called n p q (image and place of the window), r s (place in the window), g c (group, channel of the group).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from gpunet.backend.arrays import HostArray, Shape
from gpunet.backend.launch import ceil_div
from gpunet.backend.memory import empty_host, full_host
from gpunet.ops.convolution_sizes import Sizes

# Of the matrix. Smaller blocks would fit a core's second-level cache, but threads that call NumPy more often wait more
# often for Python's lock; and a product is nearly as fast from the third level.
_LARGEST_BLOCK = 2**21
_SMALLEST_BLOCK = 2**19  # another thread would hardly be awake in the time that less of it takes
_BLOCKS = 4  # cut for so many threads, if blocks do not get too small
_SHORT_RUN = 16  # elements that lie next to each other in x and in a window; shorter runs are slow to copy


class Block(NamedTuple):
    """A part of a convolution's output: several whole images, or rows of one image."""

    images: slice
    rows: slice

    @property
    def size(self) -> tuple[int, int]:
        return self.images.stop - self.images.start, self.rows.stop - self.rows.start


def blocks(images: int, rows: int, row_bytes: int) -> list[Block]:
    """Cut images of `rows` rows, for each of which the matrix has `row_bytes`, into blocks, in order.

    Blocks are of about the same size. Rows of one image come in pairs: no window of a pooling by 2 x 2 is cut.
    """
    size = rows * row_bytes
    if size > _LARGEST_BLOCK:
        pairs = ceil_div(rows, 2)
        cuts = [slice(2 * a, min(2 * b, rows)) for a, b in _evenly(pairs, min(ceil_div(size, _LARGEST_BLOCK), pairs))]
        return [Block(slice(image, image + 1), cut) for image in range(images) for cut in cuts]
    at_least = min(images * size // _SMALLEST_BLOCK, _BLOCKS)
    count = min(max(ceil_div(images * size, _LARGEST_BLOCK), at_least, 1), images)
    return [Block(slice(start, stop), slice(0, rows)) for start, stop in _evenly(images, count)]


def _evenly(length: int, count: int) -> Iterator[tuple[int, int]]:
    """Cut a range into `count` parts of about the same length, and yield their ends."""
    return itertools.pairwise(length * number // count for number in range(count + 1))


def runs(values: HostArray, shape: Shape, strides: Shape, length: int, offset: int = 0) -> HostArray:
    """Return a view of C-contiguous `values` as an array of runs, each of `length` elements.

    `strides` and `offset` count elements. An element of the view is a whole run, which NumPy copies at once: that is
    faster than a last axis, the more so the shorter it is. Only views whose runs do not overlap may be written to.
    """
    size = values.itemsize
    return np.ndarray(shape, _run_dtype(length * size), values, offset * size, [step * size for step in strides])


@lru_cache
def _run_dtype(size: int) -> np.dtype[np.void]:
    return np.dtype((np.void, size))


def window_matrix(x: HostArray, sizes: Sizes, block: Block, with_ones: bool) -> HostArray:
    """Return the windows of `block`, (groups, pixels, R * S * C / groups), of C-contiguous images `x`.

    `with_ones` adds a last column of ones, whose weight in a product is the bias.
    """
    (r, s, c, _), groups, q = sizes.w, sizes.geometry.groups, sizes.out_size[1]
    (images, rows), taps = block.size, sizes.taps
    pixels, depth = images * rows * q, taps + with_ones
    source, offset = _padded(x, sizes, block)
    if (r, s, groups) == (1, 1, 1) and sizes.geometry.strides == (1, 1) and source is x and not with_ones:
        return x[block].reshape(1, pixels, depth)  # the pixels as they are
    n, p, column, apart_h, apart_w = _steps(source.shape, sizes)
    # A row of the matrix is a window. Where runs are short the matrix lies in memory column by column, so that copies
    # run along rows of pixels; BLAS takes both.
    if s * c < _SHORT_RUN:
        columns = empty_host((groups, depth, pixels), x.dtype)
        columns[:, taps:] = 1
        windows = np.ndarray(
            (groups, r, s, c, images, rows, q),
            x.dtype,
            source,
            offset * x.itemsize,
            [step * x.itemsize for step in (c, apart_h, apart_w, 1, n, p, column)],
        )
        np.copyto(columns[:, :taps].reshape(windows.shape), windows)
        return columns.transpose(0, 2, 1)
    matrix = empty_host((groups, pixels, depth), x.dtype)
    matrix[..., taps:] = 1
    joined = s if groups == 1 and apart_w == c else 1  # taps that lie next to each other in x too
    shape = (groups, images, rows, q, r, s // joined)
    windows = runs(source, shape, (c, n, p, column, apart_h, apart_w), joined * c, offset)
    target = (pixels * depth, rows * q * depth, q * depth, depth, s * c, c)
    np.copyto(runs(matrix, shape, target, joined * c), windows)
    return matrix


def _steps(padded: Shape, sizes: Sizes) -> tuple[int, int, int, int, int]:
    """Return the elements from image to image, window to window and tap to tap, both down and across."""
    _, height, width, channels = padded
    (step_h, step_w), (apart_h, apart_w) = sizes.geometry.strides, sizes.geometry.dilation
    row = width * channels
    return height * row, step_h * row, step_w * channels, apart_h * row, apart_w * channels


def _padded(x: HostArray, sizes: Sizes, block: Block) -> tuple[HostArray, int]:
    """Return images with zeros around them, and the element in them where the first window of `block` begins.

    Without padding they are `x` itself, else the part of them that the block needs.
    """
    (top, bottom), (left, right) = sizes.geometry.pads
    _, height, width, channels = sizes.x
    step = sizes.geometry.strides[0]
    first = block.rows.start * step - top  # row of the image
    if not (top or bottom or left or right):
        return x, (block.images.start * height + first) * width * channels
    images, rows = block.size
    extent = (rows - 1) * step + (sizes.w[0] - 1) * sizes.geometry.dilation[0] + 1
    padded = full_host((images, extent, left + width + right, channels), 0, x.dtype)
    start = min(max(first, 0), height)
    stop = max(min(first + extent, height), start)
    padded[:, start - first : stop - first, left : left + width] = x[block.images, start:stop]
    return padded, 0


def rows_seen(block: Block, height: int, sizes: Sizes, tap: int) -> tuple[slice, slice]:
    """Return the rows of the image that the tap has seen from the rows of `block`, and these, from its first on."""
    geometry = sizes.geometry
    step = geometry.strides[0]
    first = block.rows.start * step + tap * geometry.dilation[0] - geometry.pads[0][0]
    return places_seen(height, block.size[1], step, first)


def places_seen(length: int, windows: int, step: int, first: int) -> tuple[slice, slice]:
    """Return the pixels first + i step that lie in an image of `length` pixels, for i < windows, and these i."""
    start = min(max(-(first // step), 0), windows)
    stop = max(min((length - 1 - first) // step + 1, windows), start)
    return slice(first + start * step, first + stop * step, step), slice(start, stop)
