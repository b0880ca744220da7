"""Random calls of the ops that merge several arrays, for kernel_cases.py."""

from __future__ import annotations

from collections.abc import Sequence

from draws import Draw

from gpunet.backend.arrays import Array
from gpunet.ops import merging
from gpunet.ops.batch_dot import batch_dot, batch_dot_gradient, normalize, normalize_gradient
from gpunet.ops.merging import Merge


def merge(d: Draw) -> Sequence[Array]:
    n = d.size(1, 2000)
    xs, chosen = [d.array(n) for _ in range(d.size(2, 9))], d.one_of(Merge.MAXIMUM, Merge.MINIMUM)
    return merging.merge(xs, d.one_of(*Merge)), *merging.choice_gradient(d.array(n), xs[0], xs[1], chosen)


def side_by_side(d: Draw) -> Sequence[Array]:
    axis, sizes = d.one_of(0, 1, 2), [d.size(1, 9) for _ in range(d.size(2, 9))]
    rest = [d.size(1, 12) for _ in range(2)]
    y = merging.concatenate([d.array(*rest[:axis], size, *rest[axis:]) for size in sizes], axis)
    return y, *merging.split(d.array(*y.shape), sizes, axis)


def repeated(d: Draw) -> Sequence[Array]:
    target = tuple(d.size(1, 12) for _ in range(d.size(1, 4)))
    shape = tuple(d.one_of(1, size) for size in target)
    return merging.spread(d.array(*shape), target), merging.spread_gradient(d.array(*target), shape)


def dot_products(d: Draw) -> Sequence[Array]:
    b, k = d.size(1, 4), d.size(1, 40)
    before, behind = (tuple(d.size(1, 6) for _ in range(d.size(0, 2))) for _ in range(2))
    x0, x1 = d.array(b, *before, k, *behind), d.array(b, k, d.size(1, 9))
    axes = (1 + len(before), 1)
    y = batch_dot(x0, x1, axes)
    return y, *batch_dot_gradient(d.array(*y.shape), x0, x1, axes)


def vectors_of_length_one(d: Draw) -> Sequence[Array]:
    x, axis = d.array(d.size(1, 40), d.size(1, 12), d.size(1, 9)), d.one_of(0, 1, 2)
    return normalize(x, axis), normalize_gradient(d.array(*x.shape), x, axis)


CASES = (merge, side_by_side, repeated, dot_products, vectors_of_length_one)
