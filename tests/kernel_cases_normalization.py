"""Random valid calls of the ops of normalization, for kernel_cases.py."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from draws import Draw, present

from gpunet.backend.arrays import Array
from gpunet.ops import normalization as ops
from gpunet.ops import normalization_groups as groups
from gpunet.ops.normalization import Moving, Statistic


def normalized(d: Draw) -> Sequence[Array]:
    return _normalized(d, *_grouping(d))


def normalized_by_several_blocks(d: Draw) -> Sequence[Array]:
    shape = (d.size(2000, 3000), d.size(1, 3), d.size(1, 9))
    return _normalized(d, groups.by_axes("case", shape, (2,)), shape)


def _normalized(d: Draw, grouping: groups.Grouping, shape: tuple[int, ...]) -> Sequence[Array]:
    x, dy, n = d.array(*shape), d.array(*shape), grouping.parameters.groups
    gamma, beta, dgamma, dbeta = d.maybe(d.array(n)), d.maybe(d.array(n)), d.output(n), d.output(n)
    moving = None
    if grouping.kind is groups.Parameters.BY_GROUP:
        moving = d.one_of(None, Moving(d.array(n), d.probabilities(n), d.real()))
    statistic = d.one_of(Statistic(1e-3), Statistic(1e-6, False), Statistic(0.0, False, True, 1e12))
    y, mean, scale = ops.normalize(x, grouping, statistic, gamma, beta, moving)
    dx = ops.normalize_gradient(dy, x, mean, scale, grouping, statistic, gamma, dgamma, dbeta)
    alone = d.output(n)
    ops.parameter_gradients(dy, x, mean, scale, grouping, alone, None)
    return *(y, mean, scale, dx, dgamma, dbeta, alone), *(moving[:2] if moving else ())


def _grouping(d: Draw) -> tuple[groups.Grouping, tuple[int, ...]]:
    kind = d.one_of("batch", "samples", "groups")
    if kind == "groups":
        count = d.size(1, 5)
        shape = (d.size(1, 4), d.size(1, 20), count * d.size(1, 5), d.size(1, 5))
        return groups.of_channels(shape, 2, count), shape
    shape = (
        (d.size(1, 300), d.size(1, 9), d.size(1, 33))
        if kind == "batch"
        else (d.size(1, 9), d.size(1, 3), d.size(1, 1025))
    )
    axis = d.size(0, 2)
    return (groups.by_axes if kind == "batch" else groups.over_axes)("case", shape, (axis,)), shape


def standardized(d: Draw) -> Sequence[Array]:
    shape = tuple(d.size(1, 40) for _ in range(d.size(1, 3)))
    kept = tuple(axis for axis in range(len(shape)) if d.rng.integers(2))
    grouping = groups.by_axes("case", shape, kept)
    n = grouping.groups.groups
    mean, variance, gamma, beta = d.array(n), d.probabilities(n), d.array(n), d.array(n)
    given: Any = (d.maybe(mean), d.maybe(variance), d.maybe(gamma), d.maybe(beta), 1e-3, 1e-7, d.one_of(True, False))
    return present(ops.standardize(d.array(*shape), grouping, *given))
