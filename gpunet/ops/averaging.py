"""Averages of an optimizer, in place: of gradients over several batches, and of weights over all steps."""

from __future__ import annotations

import numpy as np

from gpunet.backend.arrays import Array, Device, HostArray, Kind, common_device
from gpunet.ops import contract
from gpunet.ops.trace import op
from gpunet.ops.update import each_piece, launch_update

_FILE = "averaging.cu"


@op(lambda gradient, *_: 2 * gradient.size, changes=("gradient", "total"))
def mean_gradient(gradient: Array, total: Array, count: int) -> None:
    """gradient = (gradient + total) / count, total = 0, both in place and of one shape.

    >>> g, total = np.array([1.0]), np.array([5.0])
    >>> mean_gradient(g, total, 3)
    >>> g, total
    (array([2.]), array([0.]))
    """
    device = _check("mean_gradient", gradient=gradient, total=total)
    if device.kind is not Kind.CPU:
        launch_update(_FILE, "mean_gradient", gradient, (gradient, total, float(count)))
        return

    def work(g: HostArray, total: HostArray) -> None:
        g += total
        g /= g.dtype.type(count)
        total[...] = 0

    each_piece(work, gradient, total)


@op(lambda w, *_: 3 * w.size, changes=("w", "average"))
def average(w: Array, average: Array, iterations: Array, momentum: float, every: int = 1, period: int = 0) -> None:
    """average = f average + (1 - f) w, in place; f is `momentum`, but 0 at the first update. Then w may become it.

    `iterations`, int64 (1,), counts the calls of the optimizer, this one included, of which one in `every` is an
    update; w becomes the average at every update whose number `period` divides, never if that is 0. Polyak & Juditsky
    1992, "Acceleration of stochastic approximation by averaging", with Keras's weights.
    """
    device = _check("average", w=w, average=average)
    common_device("average", w=w, iterations=iterations)
    contract.has_dtype("average", "iterations", iterations, np.int64)
    contract.has_shape("average", "iterations", iterations, (1,))
    if device.kind is not Kind.CPU:
        launch_update(_FILE, "average", w, (w, average, iterations, float(momentum), every, period))
        return
    updates = (int(iterations[0]) - 1) // every
    kept = w.dtype.type(momentum if updates else 0)
    rest, ends = w.dtype.type(1) - kept, period > 0 and (updates + 1) % period == 0

    def work(w: HostArray, a: HostArray) -> None:
        a *= kept
        a += w * rest
        if ends:
            w[...] = a

    each_piece(work, w, average)


@op(lambda *_: 0, changes=("w", "other"))
def swap(w: Array, other: Array) -> None:
    """w, other = other, w: each gets the other's elements, in place."""
    device = _check("swap", w=w, other=other)
    if device.kind is not Kind.CPU:
        launch_update(_FILE, "swap", w, (w, other))
        return

    def work(a: HostArray, b: HostArray) -> None:
        kept = a.copy()
        a[...] = b
        b[...] = kept

    each_piece(work, w, other)


def _check(where: str, **arrays: Array) -> Device:
    device = contract.floats(where, **arrays)
    (first, *_) = arrays.values()
    contract.is_output(where, first.shape, **arrays)
    return device
