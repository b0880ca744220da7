"""The ops of normalization, for large_cases.py: of rows, each for itself, and by given statistics."""

from __future__ import annotations

from gpunet.backend.arrays import Array
from gpunet.ops.normalization import Statistic, normalize, normalize_gradient, standardize
from gpunet.ops.normalization_groups import by_axes, over_axes

STATISTIC = Statistic(1e-3)


def forward(x: Array) -> tuple[Array, ...]:
    return normalize(x, over_axes("large", x.shape, (1,)), STATISTIC)


def back(dy: Array, x: Array, mean: Array, scale: Array) -> Array:
    return normalize_gradient(dy, x, mean, scale, over_axes("large", x.shape, (1,)), STATISTIC)


def by_given(x: Array, factor: Array) -> Array:
    return standardize(x, by_axes("large", x.shape, (0,)), gamma=factor)
