"""Convolution and its gradients in NumPy, for ops/convolution.py.

A block is a few images, and one matrix product (ops/im2col.py), which another thread may compute (backend/threads.py).
Where every channel is a group of its own there are sums by ops/depthwise_host.py in its place.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from functools import partial
from typing import TypeAlias

import numpy as np

from gpunet.backend.arrays import HostArray, empty_like
from gpunet.backend.memory import empty_host
from gpunet.backend.threads import Part, run, run_alone
from gpunet.ops import depthwise_host, products
from gpunet.ops.activation import Activation, activate_host, gradient_host
from gpunet.ops.convolution_sizes import Sizes
from gpunet.ops.im2col import Block, blocks, places_seen, rows_seen, runs, window_matrix

# Of taps. A product of 9, as in a first layer, takes less time than the pooling of its result: below this the long call
# is all of a part.
_SHORT_SUM = 64

# Returns dz of a block, of shape (images, rows, Q, F).
BlockOfDz: TypeAlias = Callable[[Block], HostArray]


def convolve(
    x: HostArray,
    w: HostArray,
    b: HostArray | None,
    sizes: Sizes,
    finish: Callable[[Block, HostArray], None],
    target: HostArray | None = None,
) -> None:
    """Compute z, the convolution of x and w plus b, and let `finish` take (block, z of the block) at once.

    The z of a block is a part of `target`, (N, P, Q, F), if there is one, and is gone after `finish` else. `finish` may
    be called in any thread, for several blocks at the same time.
    """
    x, weights = np.ascontiguousarray(x), _weights(w, b, sizes)

    def multiply(block: Block, z: HostArray) -> None:  # the matrix is built where it is used, in one core's cache
        if depthwise_host.serves(sizes):
            depthwise_host.multiply(x, w, b, sizes, block, z)
            return
        matrix = window_matrix(x, sizes, block, with_ones=b is not None)
        products.multiply(matrix, weights, out=_by_group(z, sizes))

    def part(block: Block) -> Part:
        z = empty_host((*block.size, *sizes.y[2:]), x.dtype) if target is None else target[block]
        yield partial(multiply, block, z)
        finish(block, z)

    run(_with_long_call(part(block), sizes) for block in _blocks(sizes))


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

    def finish(block: Block, part: HostArray) -> None:
        activate_host(part, activation, out=y[block])

    convolve(x, w, b, sizes, finish, target=y if z is None else z)


def dz_host(dy: HostArray, saved: HostArray, activation: Activation, scale: float) -> BlockOfDz:
    """Return the function that computes dz = scale dy f'(z) for a block."""
    return lambda block: gradient_host(dy[block], saved[block], activation, scale)


def kernel_gradient_host(x: HostArray, dz: BlockOfDz, sizes: Sizes, dw: HostArray, db: HostArray | None) -> None:
    """Write the kernel's and the bias's gradient into dw and db."""
    kernel = _KernelGradient(x, sizes, db is not None)
    run(kernel.part(block, partial(dz, block)) for block in _blocks(sizes))
    kernel.write(dw, db)


def input_gradient_host(dz: BlockOfDz, w: HostArray, sizes: Sizes) -> HostArray:
    """Return dx: dz times the filters, added up where the taps lie."""
    dx, add = empty_host(sizes.x, w.dtype), _adding(w, sizes)
    run(add(block, np.ascontiguousarray(dz(block)), dx[block.images]) for block in _blocks(sizes))
    return dx


def gradients_host(
    x: HostArray, dz: BlockOfDz, w: HostArray, sizes: Sizes, dw: HostArray, db: HostArray | None
) -> HostArray:
    """Do both, with the same results: dz is computed once, and threads wait for each other half as often."""
    kernel, dx, add = _KernelGradient(x, sizes, db is not None), empty_host(sizes.x, w.dtype), _adding(w, sizes)

    def parts() -> Iterator[Part]:
        for block in _blocks(sizes):
            known = np.ascontiguousarray(dz(block))
            yield kernel.part(block, partial(np.asarray, known))
            yield add(block, known, dx[block.images])

    run(parts())
    kernel.write(dw, db)
    return dx


class _KernelGradient:
    """The sum of the products of windows with dz, block by block."""

    def __init__(self, x: HostArray, sizes: Sizes, with_bias: bool) -> None:
        self._x, self._sizes, self._with_bias = np.ascontiguousarray(x), sizes, with_bias
        shape = sizes.geometry.groups, sizes.taps + with_bias, sizes.group_filters
        self._sums, self._is_first = empty_host(shape, x.dtype), True

    def part(self, block: Block, dz: Callable[[], HostArray]) -> Part:
        """Add the products of a block."""
        is_first, self._is_first = self._is_first, False
        product = self._sums if is_first else empty_like(self._sums)
        yield from _with_long_call(self._multiply(block, dz, product), self._sizes)
        if not is_first:
            np.add(self._sums, product, out=self._sums)

    def _multiply(self, block: Block, dz: Callable[[], HostArray], product: HostArray) -> Part:
        if depthwise_host.serves(self._sizes):
            known = np.ascontiguousarray(dz())
            yield partial(depthwise_host.filter_sums, self._x, known, self._sizes, block, product)
            return
        right = _by_group(dz(), self._sizes)

        def multiply() -> None:
            products.multiply_transposed(
                window_matrix(self._x, self._sizes, block, self._with_bias), right, out=product
            )

        yield multiply

    def write(self, dw: HostArray, db: HostArray | None) -> None:
        """Write the sums into dw and db."""
        by_tap = self._sums.transpose(1, 0, 2).reshape(-1, self._sizes.w[3])  # (taps and, for the bias, one more, F)
        dw[...] = by_tap[: self._sizes.taps].reshape(self._sizes.w)
        if db is not None:
            db[...] = by_tap[self._sizes.taps]


# Makes the part that adds what dz of a block, its second argument, gives to dx of the block's images.
PixelsOfBlock: TypeAlias = Callable[[Block, HostArray, HostArray], Part]


def _adding(w: HostArray, sizes: Sizes) -> PixelsOfBlock:
    if depthwise_host.serves(sizes):
        return partial(depthwise_host.adding, w, sizes)
    neighbours = sizes.geometry.groups == sizes.geometry.strides[1] == 1
    return _adding_rows(w, sizes) if neighbours else _adding_taps(w, sizes)


def _adding_rows(w: HostArray, sizes: Sizes) -> PixelsOfBlock:
    """Return the part for neighbouring windows: the product adds up taps across, so that only R are left to add.

    A row of its matrix is what the S taps of a filter's row have seen a pixel with, dz of S windows, or 0 outside.
    """
    (r, s, c, f), (_, h, width, _), q, geometry = sizes.w, sizes.x, sizes.y[2], sizes.geometry
    weights = w.transpose(0, 1, 3, 2).reshape(r, s * f, c)
    places = [places_seen(width, q, 1, i * geometry.dilation[1] - geometry.pads[1][0]) for i in range(s)]

    def part(block: Block, dz: HostArray, dx: HostArray) -> Part:
        images, rows = block.size
        seen = empty_host((images, rows, width, s, f), w.dtype)
        lines = runs(seen, (images * rows, width, s), (width * s * f, s * f, f), f)
        source = runs(dz, (images * rows, q), (q * f, f), f)
        for i, (columns, windows) in enumerate(places):
            lines[:, columns, i] = source[:, windows]
            seen[:, :, : columns.start, i] = 0
            seen[:, :, columns.stop :, i] = 0
        terms = empty_host((r, images, rows, width, c), w.dtype)
        yield partial(products.multiply, seen.reshape(1, -1, s * f), weights, out=terms.reshape(r, -1, c))
        if block.rows.start == 0:
            dx[...] = 0
        for i in range(r):
            pixels, windows = rows_seen(block, h, sizes, i)
            place = dx[:, pixels]
            np.add(place, terms[i, :, windows], out=place)

    return part


def _adding_taps(w: HostArray, sizes: Sizes) -> PixelsOfBlock:
    """Return the part for any windows: the product of each tap is added to the pixels that it saw."""
    (r, s, group_channels, _), groups, geometry = sizes.w, sizes.geometry.groups, sizes.geometry
    (_, _, q, _), (_, h, width, _) = sizes.y, sizes.x
    # (G, F / G, taps C / G): one product for all taps, because those of few channels each are slow
    by_group = w.reshape(r * s, group_channels, groups, sizes.group_filters).transpose(2, 3, 0, 1)
    weights = np.ascontiguousarray(by_group).reshape(groups, sizes.group_filters, -1)
    step, apart, left = geometry.strides[1], geometry.dilation[1], geometry.pads[1][0]

    def part(block: Block, dz: HostArray, dx: HostArray) -> Part:
        images, rows = block.size
        terms = empty_host((groups, images, rows, q, r, s, group_channels), w.dtype)
        flat = terms.reshape(groups, images * rows * q, -1)
        yield partial(np.matmul, _by_group(dz, sizes), weights, out=flat)
        by_tap = terms.transpose(4, 5, 1, 2, 3, 0, 6)
        if block.rows.start == 0:
            dx[...] = 0
        for i, j in itertools.product(range(r), range(s)):
            pixels, windows = rows_seen(block, h, sizes, i)
            columns, across = places_seen(width, q, step, j * apart - left)
            place = dx[:, pixels, columns]
            place = place.reshape(*place.shape[:3], groups, group_channels)
            np.add(place, by_tap[i, j, :, windows, across], out=place)

    return part


def _with_long_call(part: Part, sizes: Sizes) -> Part:
    """Return a part whose call is long: `part`, or, where a product is short beside the rest, one call of all of it."""
    if sizes.taps >= _SHORT_SUM:
        yield from part
    else:
        yield partial(run_alone, part)


def _blocks(sizes: Sizes) -> list[Block]:
    """Return the blocks in which a convolution and its gradients are computed."""
    (n, p, q, f), (r, s, _, _) = sizes.y, sizes.w
    if depthwise_host.serves(sizes):
        return blocks(n, p, depthwise_host.row_bytes(sizes))
    return blocks(n, p, q * max(r * s * sizes.x[3], f) * 4)


def _by_group(y: HostArray, sizes: Sizes) -> HostArray:
    """Return contiguous `y` (..., F) as a view (groups, pixels, F / groups)."""
    return y.reshape(-1, sizes.geometry.groups, sizes.group_filters).transpose(1, 0, 2)


def _weights(w: HostArray, b: HostArray | None, sizes: Sizes) -> HostArray:
    """Return w as the right side of a product, (groups, taps, F / groups); b, if there is one, is one tap more."""
    weights = _by_group(np.ascontiguousarray(w), sizes)
    if b is None:
        return weights
    groups, taps, filters = weights.shape
    out = empty_host((groups, taps + 1, filters), w.dtype)
    return np.concatenate((weights, _by_group(b, sizes)), axis=1, out=out)
