"""Depthwise convolution in NumPy, for ops/convolution_host.py: groups of one channel are no matrix products.

Everything is one sum over taps of images times weights, channel by channel, by `numpy.einsum`: its innermost loop runs
along memory, over the channels, or, where windows are neighbours, over channels and columns as if they were one axis.
With several filters a channel the images' channels are repeated, so that each filter has one.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from functools import partial
from typing import NamedTuple

import numpy as np

from gpunet.backend.arrays import HostArray
from gpunet.backend.memory import empty_host, full_host
from gpunet.backend.threads import Part
from gpunet.ops.convolution_sizes import Sizes
from gpunet.ops.im2col import Block, places_seen, rows_seen

_LONGEST_RUN = 4096  # elements that the innermost loop takes as one: the weights of a run's taps stay in the cache


def serves(sizes: Sizes) -> bool:
    """Return whether every channel is a group of its own."""
    return sizes.geometry.groups > 1 and sizes.group_channels == 1


def row_bytes(sizes: Sizes) -> int:
    """Return the bytes of a row of the output, and of the images' rows for it, which is what a block's sums take."""
    (_, _, q, filters), (step, across) = sizes.y, sizes.geometry.strides
    return 4 * q * filters * (1 + step * across)


class _Taps(NamedTuple):
    """How windows lie on a source, as `_frame` makes it: from one to the next and from tap to tap, down and across."""

    shape: tuple[int, int]
    strides: tuple[int, int]
    apart: tuple[int, int]

    def runs(self, columns: int, channels: int) -> Iterator[tuple[int, int, int]]:
        """Yield (first column, runs, columns of a run), which together are all `columns` of windows."""
        run = min(columns, max(_LONGEST_RUN // channels, 1)) if self.strides[1] == 1 else 1
        yield 0, columns // run, run
        if columns % run:
            yield columns // run * run, 1, columns % run

    def windows(self, source: HostArray, rows: int, first: int, runs: int, run: int) -> HostArray:
        """Return the view (n, row, run of windows, r, s, element of the run) of source (n, ., ., C)."""
        n, h, w, c = source.strides
        shape = (len(source), rows, runs, *self.shape, run * source.shape[3])
        across = w * self.strides[1]
        strides = (n, h * self.strides[0], across * run, h * self.apart[0], w * self.apart[1], c)
        return np.lib.stride_tricks.as_strided(source[:, :, first * self.strides[1] :], shape, strides)


def multiply(x: HostArray, w: HostArray, b: HostArray | None, sizes: Sizes, block: Block, z: HostArray) -> None:
    """Fill z (images, rows, Q, F) of a block."""
    _convolve(_windowed(x, sizes, block), _filters(w), _taps_of(sizes), z)
    if b is not None:
        z += b


def filter_sums(x: HostArray, dz: HostArray, sizes: Sizes, block: Block, sums: HostArray) -> None:
    """Fill sums (C, taps, F / C), and, if it has one tap more, that with the bias's, with a block's products."""
    taps, source = _taps_of(sizes), _windowed(x, sizes, block)
    _, rows, columns, filters = dz.shape
    total = full_host((*taps.shape, filters), 0, dz.dtype)
    for first, runs, run in taps.runs(columns, filters):
        windows = taps.windows(source, rows, first, runs, run)
        products = np.einsum("nptrsk,nptk->rsk", windows, _in_runs(dz, first, runs, run))
        total += products.reshape(*taps.shape, run, filters).sum(axis=2)
    by_channel = sums.shape[0], sums.shape[2]
    sums[:, : sizes.taps] = total.reshape(sizes.taps, *by_channel).transpose(1, 0, 2)
    if sums.shape[1] > sizes.taps:
        pixels = dz.reshape(-1, filters)
        sums[:, sizes.taps] = (full_host((len(pixels),), 1, dz.dtype) @ pixels).reshape(by_channel)


def adding(w: HostArray, sizes: Sizes, block: Block, dz: HostArray, dx: HostArray) -> Part:
    """Add what dz of a block gives to dx (images, H, W, C) of its images; the first block of each clears it."""
    return (_adding_windows if sizes.geometry.strides == (1, 1) else _adding_taps)(w, sizes, block, dz, dx)


def _adding_windows(w: HostArray, sizes: Sizes, block: Block, dz: HostArray, dx: HostArray) -> Part:
    """dx is dz convolved with the filters turned round: rows that the block has seen, one sum for each pixel."""
    (_, height, width, channels), (kernel_h, kernel_w) = sizes.x, sizes.w[:2]
    apart_h, apart_w = sizes.geometry.dilation
    (top, _), (left, _) = sizes.geometry.pads
    reach_h, reach_w = (kernel_h - 1) * apart_h, (kernel_w - 1) * apart_w
    start = min(max(block.rows.start - top, 0), height)
    stop = max(min(block.rows.stop + reach_h - top, height), start)
    first = start + top - reach_h - block.rows.start
    source = _frame(dz, first, stop - start + reach_h, left - reach_w, width + reach_w)
    taps = _Taps((kernel_h, kernel_w), (1, 1), sizes.geometry.dilation)
    seen = empty_host((len(dz), stop - start, width, dz.shape[3]), dz.dtype)
    yield partial(_convolve, source, _filters(w)[::-1, ::-1], taps, seen)
    if block.rows.start == 0:
        dx[...] = 0
    dx[:, start:stop] += _of_channels(seen, channels)


def _adding_taps(w: HostArray, sizes: Sizes, block: Block, dz: HostArray, dx: HostArray) -> Part:
    """The product of each tap is added to the pixels that it saw."""
    (_, height, width, channels), filters = sizes.x, _filters(w)
    step, apart, left = sizes.geometry.strides[1], sizes.geometry.dilation[1], sizes.geometry.pads[1][0]
    terms = empty_host((*filters.shape[:2], *dz.shape), dz.dtype)
    yield partial(np.multiply, dz, filters[:, :, np.newaxis, np.newaxis, np.newaxis], out=terms)
    if block.rows.start == 0:
        dx[...] = 0
    for i, j in itertools.product(*map(range, filters.shape[:2])):
        pixels, windows = rows_seen(block, height, sizes, i)
        columns, across = places_seen(width, sizes.y[2], step, j * apart - left)
        dx[:, pixels, columns] += _of_channels(terms[i, j, :, windows, across], channels)


def _convolve(source: HostArray, filters: HostArray, taps: _Taps, z: HostArray) -> None:
    """z[n, p, q, c] = sum over r, s of source under tap (r, s) of window (p, q) times filters[r, s, c]."""
    _, rows, columns, channels = z.shape
    for first, runs, run in taps.runs(columns, channels):
        weights = np.tile(filters, (1, 1, run))
        np.einsum(
            "nptrsk,rsk->nptk",
            taps.windows(source, rows, first, runs, run),
            weights,
            out=_in_runs(z, first, runs, run),
        )


def _in_runs(z: HostArray, first: int, runs: int, run: int) -> HostArray:
    """Return the view (n, row, run of columns, element of the run) of z (n, rows, columns, C), C-contiguous in rows."""
    n, p, q, c = z.strides
    shape = (*z.shape[:2], runs, run * z.shape[3])
    return np.lib.stride_tricks.as_strided(z[:, :, first:], shape, (n, p, q * run, c))


def _windowed(x: HostArray, sizes: Sizes, block: Block) -> HostArray:
    """Return the part of the images that the windows of a block see, with a channel for each filter."""
    geometry, (rows, columns) = sizes.geometry, (block.size[1], sizes.y[2])
    (top, _), (left, _) = geometry.pads
    spans = [(kernel - 1) * apart + 1 for kernel, apart in zip(sizes.w[:2], geometry.dilation, strict=True)]
    (step_h, step_w), images = geometry.strides, x[block.images]
    size = (rows - 1) * step_h + spans[0], (columns - 1) * step_w + spans[1]
    source = _frame(images, block.rows.start * step_h - top, size[0], -left, size[1])
    return source if sizes.group_filters == 1 else source.repeat(sizes.group_filters, axis=3)


def _frame(images: HostArray, row: int, rows: int, column: int, columns: int) -> HostArray:
    """Return `rows` and `columns` of images (n, H, W, C) from `row` and `column` on; zeros where they lie outside."""
    n, height, width, channels = images.shape
    if row >= 0 and column >= 0 and row + rows <= height and column + columns <= width:
        return images[:, row : row + rows, column : column + columns]
    framed = full_host((n, rows, columns, channels), 0, images.dtype)
    top, left = min(max(row, 0), height), min(max(column, 0), width)
    bottom, right = max(min(row + rows, height), top), max(min(column + columns, width), left)
    framed[:, top - row : bottom - row, left - column : right - column] = images[:, top:bottom, left:right]
    return framed


def _of_channels(values: HostArray, channels: int) -> HostArray:
    """Return values (..., F) added up over the filters of each channel."""
    if values.shape[-1] == channels:
        return values
    sums: HostArray = values.reshape(*values.shape[:-1], channels, values.shape[-1] // channels).sum(axis=-1)
    return sums


def _filters(w: HostArray) -> HostArray:
    """Return w (R, S, 1, F) as (R, S, F)."""
    return w[:, :, 0]


def _taps_of(sizes: Sizes) -> _Taps:
    return _Taps((sizes.w[0], sizes.w[1]), sizes.geometry.strides, sizes.geometry.dilation)
