"""Convolution as matrix products in NumPy: the windows of images as the rows of a matrix ("im2col"), and back.

The matrix is built for a few images at a time, so that it stays in the processor's cache and memory stays bounded;
after Chellapilla et al. 2006, "High performance convolutional neural networks for document processing". The axes of
windows are called n p q (image and place of the window), r s (place in the window), g c (group, channel of the group).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from numpy.lib.stride_tricks import as_strided

from gpunet.backend.arrays import HostArray, Shape

if TYPE_CHECKING:
    from gpunet.ops.convolution import Geometry

_BLOCK_BYTES = 512 * 1024  # of the matrix: with its product it fits the second-level cache of most processors
_SHORT_RUN = 16  # elements that lie next to each other in x and in a window; shorter runs are slow to copy


def blocks(images: int, rows: int, row_bytes: int) -> Iterator[tuple[slice, slice]]:
    """Cut images of `rows` rows into (images, rows), in order, of about _BLOCK_BYTES if a row has `row_bytes`.

    A block is several whole images, or pairs of rows of one image: no window of a pooling by 2 x 2 is cut.
    """
    rows_at_once = min(max(_BLOCK_BYTES // (2 * row_bytes), 1) * 2, rows)
    images_at_once = max(_BLOCK_BYTES // (row_bytes * rows), 1)
    for image in range(0, images, images_at_once):
        for row in range(0, rows, rows_at_once):
            yield slice(image, min(image + images_at_once, images)), slice(row, min(row + rows_at_once, rows))


def window_matrices(
    x: HostArray, kernel_shape: Shape, out_size: tuple[int, int], geometry: Geometry, with_ones: bool
) -> Iterator[tuple[tuple[slice, slice], HostArray]]:
    """Yield (block, matrix): `blocks` of the output and their windows, shape (groups, pixels, R * S * C / groups).

    `with_ones` adds a last column of ones, whose weight in a product is the bias.
    """
    (r, s, c, _), (p, q), groups = kernel_shape, out_size, geometry.groups
    taps = r * s * c
    depth = taps + with_ones
    for images, rows in blocks(len(x), p, q * depth * groups * x.itemsize):
        if rows.start == 0:
            padded = pad(x[images], geometry)
            strides = _window_strides(padded, c, geometry)
        windows = as_strided(padded, (len(padded), p, q, r, s, groups, c), strides)[:, rows]
        size = windows.shape[:3]
        # A row of the matrix is a window. Where runs are short the matrix lies in memory column by column, so that
        # copies run along rows of pixels; BLAS takes both.
        if s * c < _SHORT_RUN:
            memory = np.ones((groups, depth, *size), x.dtype)
            target = memory[:, :taps].reshape(groups, r, s, c, *size)
            np.copyto(target, windows.transpose(5, 3, 4, 6, 0, 1, 2))
            yield (images, rows), memory.reshape(groups, depth, -1).transpose(0, 2, 1)
        else:
            memory = np.empty((groups, *size, depth), x.dtype)
            memory[..., taps:] = 1
            target = memory[..., :taps].reshape(groups, *size, r, s, c)
            np.copyto(target, windows.transpose(5, 0, 1, 2, 3, 4, 6))
            yield (images, rows), memory.reshape(groups, -1, depth)


def _window_strides(padded: HostArray, group_channels: int, geometry: Geometry) -> Shape:
    """Return the strides that present `padded` as n p q r s g c."""
    n, h, w, c = padded.strides
    (step_h, step_w), (apart_h, apart_w) = geometry.strides, geometry.dilation
    return n, step_h * h, step_w * w, apart_h * h, apart_w * w, group_channels * c, c


def pad(x: HostArray, geometry: Geometry) -> HostArray:
    """Return x with zeros around its images; x itself if there is no padding."""
    (top, bottom), (left, right) = geometry.pads
    if not (top or bottom or left or right):
        return x
    n, h, w, c = x.shape
    padded = np.zeros((n, top + h + bottom, left + w + right, c), x.dtype)
    inside(padded, x.shape, geometry)[...] = x
    return padded


def inside(padded: HostArray, shape: Shape, geometry: Geometry) -> HostArray:
    """Return the images of `shape` without the zeros that `pad` put around them, as a view."""
    (top, _), (left, _) = geometry.pads
    return padded[:, top : top + shape[1], left : left + shape[2]]


def add_windows(padded: HostArray, windows: HostArray, first_row: int, geometry: Geometry) -> None:
    """Add windows (R, S, N, P, Q, C), whose first row is `first_row`, to where they lie in padded images, in place."""
    (step_h, step_w), (apart_h, apart_w) = geometry.strides, geometry.dilation
    r, s, _, p, q, _ = windows.shape
    for i in range(r):
        top = first_row * step_h + i * apart_h
        for j in range(s):
            left = j * apart_w
            place = padded[:, top : top + (p - 1) * step_h + 1 : step_h, left : left + (q - 1) * step_w + 1 : step_w]
            np.add(place, windows[i, j], out=place)
