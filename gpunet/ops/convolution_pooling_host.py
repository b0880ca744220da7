"""Convolution and max-pooling by 2 x 2 in NumPy, for ops/convolution_pooling.py: what is done with z of a block.

Windows are taken apart into four arrays, their elements, so that NumPy's calls run along memory.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np

from gpunet.backend.arrays import HostArray, Shape, empty_like
from gpunet.backend.launch import ceil_div
from gpunet.backend.memory import empty_host
from gpunet.ops.activation import Activation, activate_host, gradient_host
from gpunet.ops.convolution_host import BlockOfDz, convolve
from gpunet.ops.convolution_sizes import Sizes
from gpunet.ops.im2col import Block, runs
from gpunet.ops.windows import POOL

WINDOW = POOL * POOL
_NUMBERS = np.arange(WINDOW, dtype=np.uint8).reshape(-1, 1, 1, 1, 1)  # of the elements of a window


def convolution_pooling_host(
    x: HostArray,
    w: HostArray,
    b: HostArray | None,
    y: HostArray,
    saved: HostArray | None,
    winner: HostArray | None,
    activation: Activation,
    sizes: Sizes,
) -> None:
    """Fill y, and winner and saved if they are wanted, block by block of z."""

    def finish(block: Block, z: HostArray) -> None:
        part = block.images, _windows_in(block, y)
        if not y[part].size:  # one last row, which no window takes
            return
        values = z
        if activation not in (Activation.LINEAR, Activation.RELU):
            values = empty_like(z)
            activate_host(z, activation, out=values)
        elements = _elements(values, y[part].shape)
        _maxima(elements, y[part], activation)
        if winner is None:
            return
        _winners(elements, y[part], winner[part], activation)
        if saved is not None:
            elements = _elements(z, y[part].shape)
            saved[part] = np.take_along_axis(elements, winner[part][np.newaxis], axis=0)[0]

    convolve(x, w, b, sizes, finish)


def _windows_in(block: Block, y: HostArray) -> slice:
    """Return the windows over the rows of `block`, the first of which is even."""
    return slice(block.rows.start // POOL, min(ceil_div(block.rows.stop, POOL), y.shape[1]))


def _elements(z: HostArray, shape: Shape) -> HostArray:
    """Return the elements of the windows of `z` (N, P, Q, F), as (4, *shape); those outside are -infinity."""
    elements = empty_host((WINDOW, *shape), z.dtype)
    if shape[1] * POOL > z.shape[1] or shape[2] * POOL > z.shape[2]:
        elements[...] = -np.inf
    for pixels, element in _pixels_and_elements(z, elements):
        element[...] = pixels
    return elements


def _pixels_and_elements(z: HostArray, elements: HostArray) -> Iterator[tuple[HostArray, HostArray]]:
    """Yield views of `z` (N, P, Q, F) and of `elements` (4, N, U, V, F) that go together; of each pixel, one run."""
    (n, p, q, f), (_, _, u, v, _) = z.shape, elements.shape
    pixels = runs(z, (n, p, q), (p * q * f, q * f, f), f)
    by_number = runs(elements, (WINDOW, n, u, v), (n * u * v * f, u * v * f, v * f, f), f)
    for number in range(WINDOW):
        r, s = divmod(number, POOL)
        inside = pixels[:, r : POOL * u : POOL, s : POOL * v : POOL]
        yield inside, by_number[number, :, : inside.shape[1], : inside.shape[2]]


def _maxima(elements: HostArray, y: HostArray, activation: Activation) -> None:
    """Fill y from the elements of windows, (4, *shape of y): f(z), or z itself if f is ReLU."""
    np.maximum.reduce(elements, axis=0, out=y)
    if activation is Activation.RELU:  # the greatest f(z) is f of the greatest z
        activate_host(y, activation, out=y)


def _winners(elements: HostArray, y: HostArray, winner: HostArray, activation: Activation) -> None:
    """Fill winner from the elements and their maxima y."""
    if np.isnan(y.max()):
        if activation is Activation.RELU:
            activate_host(elements, activation, out=elements)
        winner[...] = elements.argmax(axis=0)  # the first NaN, if there is one; three times slower
        return
    # The number of the first maximum is how many elements come before it: those that are smaller, as are all before.
    smaller = empty_host((WINDOW - 1, *y.shape), np.bool_)
    np.less(elements[:-1], y, out=smaller)
    if activation is Activation.RELU:  # of nothing but zeros the first is the maximum
        smaller[0] &= np.greater(y, 0, out=empty_host(y.shape, np.bool_))
    for before, after in itertools.pairwise(smaller):
        after &= before
    np.add.reduce(smaller.view(np.uint8), axis=0, dtype=np.uint8, out=winner)


def pooled_dz_host(
    dy: HostArray, saved: HostArray, winner: HostArray, activation: Activation, sizes: Sizes
) -> BlockOfDz:
    """Return the function that computes dz for a block: dy f'(z) at the winners, 0 elsewhere."""
    bits = np.dtype(f"i{dy.itemsize}")

    def dz_of(block: Block) -> HostArray:
        part = block.images, _windows_in(block, dy)
        winners, dmaxima = winner[part], dy[part]
        won = np.equal(winners, _NUMBERS, out=empty_host((WINDOW, *winners.shape), np.bool_))
        if activation is Activation.RELU:
            won &= np.greater(saved[part], 0, out=empty_host(winners.shape, np.bool_))
        else:
            dmaxima = gradient_host(dmaxima, saved[part], activation)
        # Bits times 0 or 1: exact for infinities, and much faster than numpy.where, which branches.
        elements = empty_host(won.shape, dy.dtype)
        np.multiply(dmaxima.view(bits), won, out=elements.view(bits))
        dz = empty_host((*block.size, *sizes.y[2:]), dy.dtype)
        dz[:, POOL * winners.shape[1] :] = 0
        dz[:, :, POOL * winners.shape[2] :] = 0
        for pixels, element in _pixels_and_elements(dz, elements):
            pixels[...] = element
        return dz

    return dz_of
