"""Products along one axis of each of two arrays, and vectors of length 1 (kernels/batch_dot.cu)."""

from __future__ import annotations

from typing import Any

import checks
import numpy as np
import oracle_merging as oracle
import pytest

from gpunet.backend.arrays import Device
from gpunet.ops.batch_dot import batch_dot, batch_dot_gradient, normalize, normalize_gradient

CASES = [
    ((5, 7), (5, 7), (1, 1)),
    ((2, 3, 5), (2, 10, 3), (1, 2)),
    ((2, 3, 5), (2, 3, 4, 6), (1, 1)),
    ((3, 2, 4, 5), (3, 4, 6), (2, 1)),
    ((1, 40, 9), (1, 70, 9), (2, 2)),
]


@pytest.mark.parametrize(("shape0", "shape1", "axes"), CASES)
def test_products(device: Device, shape0: Any, shape1: Any, axes: Any) -> None:
    x0, x1 = checks.normal(*shape0), checks.normal(*shape1, seed=1)
    y = batch_dot(*checks.on(device, x0, x1), axes)
    exact = oracle.batch_dot(x0.astype(np.float64), x1.astype(np.float64), axes)
    checks.assert_as_exact_as_plain(y, exact, oracle.batch_dot(x0, x1, axes))


@pytest.mark.parametrize(("shape0", "shape1", "axes"), CASES[:4])
def test_gradients_of_products(device: Device, shape0: Any, shape1: Any, axes: Any) -> None:
    x0, x1 = checks.normal(*shape0, dtype=np.float64), checks.normal(*shape1, seed=1, dtype=np.float64)
    dy = checks.normal(*oracle.batch_dot(x0, x1, axes).shape, seed=2, dtype=np.float64)
    dx0, dx1 = batch_dot_gradient(*checks.on(device, dy, x0, x1), axes)
    checks.assert_gradient(lambda x: (oracle.batch_dot(x, x1, axes) * dy).sum(), x0, dx0)
    checks.assert_gradient(lambda x: (oracle.batch_dot(x0, x, axes) * dy).sum(), x1, dx1)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_length_one(device: Device, axis: int) -> None:
    x, dy = checks.normal(3, 4, 50), checks.normal(3, 4, 50, seed=1)
    placed = checks.on(device, x)
    exact, plain = oracle.normalize(x.astype(np.float64), axis), oracle.normalize(x, axis)
    checks.assert_as_exact_as_plain(normalize(placed, axis), exact, plain, times=3)  # a quotient becomes a product
    x, dy = x.astype(np.float64), dy.astype(np.float64)
    dx = normalize_gradient(*checks.on(device, dy, x), axis)
    checks.assert_gradient(lambda x: (oracle.normalize(x, axis) * dy).sum(), x, dx)


def test_short_vectors_stay_short(device: Device) -> None:
    x = np.float64([[0, 0], [3e-9, 4e-9]])
    dy = np.float64([[1, 2], [3, 4]])
    checks.assert_close_in_double(normalize(checks.on(device, x), 1), x * 1e7)
    checks.assert_close_in_double(normalize_gradient(*checks.on(device, dy, x), 1), dy * 1e7)


def test_bad_input_is_refused(device: Device) -> None:
    x0, x1 = checks.on(device, checks.normal(2, 3), checks.normal(2, 4))
    with pytest.raises(ValueError, match=r"batch_dot: axes must be from 1 to 1 for x0; got 0"):
        batch_dot(x0, x1, (0, 1))
    with pytest.raises(ValueError, match=r"sizes along axes \(1, 1\) must be the same; got \(2, 3\) and \(2, 4\)"):
        batch_dot(x0, x1, (1, 1))
    with pytest.raises(ValueError, match=r"batch_dot_gradient: dy must have shape \(2,\); got \(2, 3\)"):
        batch_dot_gradient(x0, x0, x0, (1, 1))
