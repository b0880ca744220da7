"""Winograd's convolution F(2 x 2, 3 x 3) in NumPy, for ops/convolution.py; what it is, ops/winograd.py says.

A block is some rows of tiles. Its transforms are many short calls of NumPy, made in the thread that runs the op; the
products between them are one long call (backend/threads.py).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from gpunet.backend.arrays import HostArray, Shape
from gpunet.backend.launch import ceil_div
from gpunet.backend.memory import empty_host, full_host
from gpunet.backend.threads import Part, run
from gpunet.ops import products
from gpunet.ops.activation import Activation, activate_host
from gpunet.ops.convolution_host import BlockOfDz
from gpunet.ops.convolution_sizes import Sizes
from gpunet.ops.im2col import Block, blocks
from gpunet.ops.winograd import PLACES, TILE, WINDOW

_SIDE = TILE + WINDOW - 1  # of a tile's window


def convolution_host(
    x: HostArray,
    w: HostArray,
    b: HostArray | None,
    y: HostArray,
    z: HostArray | None,
    activation: Activation,
    sizes: Sizes,
) -> None:
    """Fill y, and z if it is wanted."""
    (top, _), (left, _) = sizes.geometry.pads

    def finish(block: Block, sums: HostArray) -> None:
        if b is not None:
            sums += b
        if z is not None:
            z[block] = sums
        activate_host(sums, activation, out=y[block])

    _convolve(lambda block: x[block], x.shape, _transformed_filters(w), (top, left), y.shape, finish)


def input_gradient_host(dz: BlockOfDz, w: HostArray, sizes: Sizes) -> HostArray:
    """Return dx: dz convolved with the filters turned by half a turn."""
    (top, _), (left, _) = sizes.geometry.pads
    dx = empty_host(sizes.x, w.dtype)
    turned = _transformed_filters(w[::-1, ::-1].transpose(0, 1, 3, 2))

    def finish(block: Block, sums: HostArray) -> None:
        dx[block] = sums

    _convolve(dz, sizes.y, turned, (2 - top, 2 - left), sizes.x, finish)
    return dx


def _convolve(
    rows: Callable[[Block], HostArray],
    source: Shape,
    u: HostArray,
    pads: tuple[int, int],
    target: Shape,
    finish: Callable[[Block, HostArray], None],
) -> None:
    """Convolve images of shape `source`, of which rows(block) are some rows, with filters that are transformed.

    `finish` takes each block of the result, of shape `target`, with its sums.
    """
    (_, height, width, channels), (images, out_height, out_width, filters) = source, target
    down, across = ceil_div(out_height, 2), ceil_div(out_width, 2)

    def part(tiles: Block) -> Part:
        count, lines = tiles.size
        first, end = 2 * tiles.rows.start - pads[0], 2 * tiles.rows.stop - pads[0] + 2
        seen = slice(max(first, 0), min(end, height))
        padded = full_host((count, end - first, 2 * across + 2, channels), 0, u.dtype)
        columns = slice(pads[1], min(pads[1] + width, 2 * across + 2))
        padded[:, seen.start - first : seen.stop - first, columns] = rows(Block(tiles.images, seen))[
            :, :, : columns.stop - columns.start
        ]
        v = _transformed_windows(padded)
        m = empty_host((*v.shape[:-1], filters), u.dtype)
        yield partial(products.multiply, v.reshape(PLACES, -1, channels), u, out=m.reshape(PLACES, -1, filters))
        sums = empty_host((count, lines, 2, across, 2, filters), u.dtype)
        _add_up(m, sums)
        block = Block(tiles.images, slice(2 * tiles.rows.start, min(2 * tiles.rows.stop, out_height)))
        pixels = sums.reshape(count, 2 * lines, 2 * across, filters)
        finish(block, pixels[:, : block.size[1], :out_width])

    run(part(tiles) for tiles in blocks(images, down, across * PLACES * max(channels, filters) * u.itemsize))


def _transformed_filters(w: HostArray) -> HostArray:
    """Return G w G' for each channel and filter, (16, C, F)."""
    rows = empty_host((_SIDE, *w.shape[1:]), w.dtype)
    _transform_filters(w, rows)
    u = empty_host((_SIDE, _SIDE, *w.shape[2:]), w.dtype)
    _transform_filters(rows.swapaxes(0, 1), u.swapaxes(0, 1))
    return u.reshape(PLACES, *w.shape[2:])


def _transform_filters(w: HostArray, u: HostArray) -> None:
    """u = G w along the first axis."""
    u[0], u[3] = w[0], w[2]
    outer = w[0] + w[2]
    for out, sign in ((u[1], np.add), (u[2], np.subtract)):
        sign(outer, w[1], out=out)
        out *= out.dtype.type(0.5)


def _transformed_windows(padded: HostArray) -> HostArray:
    """Return B' d B for the window d of each tile, (4, 4, images, rows, columns, C)."""
    images, height, width, channels = padded.shape
    down, across = height // 2 - 1, width // 2 - 1
    rows = empty_host((_SIDE, images, down, width, channels), padded.dtype)
    _transform([padded[:, i : i + 2 * down : 2] for i in range(_SIDE)], list(rows))
    v = empty_host((_SIDE, _SIDE, images, down, across, channels), padded.dtype)
    for row, out in zip(rows, v, strict=True):
        _transform([row[:, :, j : j + 2 * across : 2] for j in range(_SIDE)], list(out))
    return v


def _transform(d: list[HostArray], out: list[HostArray]) -> None:
    """out = B' d."""
    np.subtract(d[0], d[2], out=out[0])
    np.add(d[1], d[2], out=out[1])
    np.subtract(d[2], d[1], out=out[2])
    np.subtract(d[1], d[3], out=out[3])


def _add_up(m: HostArray, sums: HostArray) -> None:
    """Fill sums, (images, rows, 2, columns, 2, F), with A' m A, m (4, 4, images, rows, columns, F)."""
    rows = empty_host((2, *m.shape[1:]), m.dtype)
    _inverse(m, rows)
    _inverse(rows.swapaxes(0, 1), sums.transpose(4, 2, 0, 1, 3, 5))


def _inverse(m: HostArray, out: HostArray) -> None:
    """out = A' m along the first axis."""
    np.add(m[0], m[1], out=out[0])
    out[0] += m[2]
    np.subtract(m[1], m[2], out=out[1])
    out[1] -= m[3]
