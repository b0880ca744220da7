"""Element-wise activations with a kernel of their own (pointwise.cu), and their gradients."""

from __future__ import annotations

import math

import checks
import numpy as np
import oracle_pointwise as oracle
import pytest

from gpunet.backend.arrays import Device
from gpunet.backend.sources import source
from gpunet.ops.pointwise import Pointwise, pointwise, pointwise_gradient

THREADS = 256
KINDS = list(Pointwise)
SHAPES = [(1,), (THREADS + 1,), (3, 5, 2, 4)]
ARGUMENTS = {
    Pointwise.HARD_SHRINK: (0.5, 0.0),
    Pointwise.SOFT_SHRINK: (0.7, 0.0),
    Pointwise.SQUAREPLUS: (1.5, 0.0),
    Pointwise.CELU: (0.7, 0.0),
    Pointwise.THRESHOLD: (0.5, -3.0),
}
WITH_FUNCTIONS = {  # of the mathematical library, which differ from device to device
    *(Pointwise.SELU, Pointwise.TANH_SHRINK, Pointwise.MISH, Pointwise.CELU, Pointwise.LOG_SIGMOID),
    Pointwise.EXPONENTIAL,
}
# Numbers at which a formula may overflow, cancel, or lose a NaN.
EXTREMES = [0.0, -0.0, 1e-30, -1e-30, 1e-4, -1e-4, 20, -20, 85, -85, 800, -800, 1e20, -1e20]


def _arguments(kind: Pointwise) -> tuple[float, float]:
    return ARGUMENTS.get(kind, (0.0, 0.0))


@pytest.mark.parametrize("kind", KINDS)
def test_values_and_gradients(device: Device, kind: Pointwise) -> None:
    a, b = _arguments(kind)
    for number, shape in enumerate(SHAPES):
        x, dy = 2 * checks.normal(*shape, seed=number), checks.normal(*shape, seed=number + 100)
        wide = x.astype(np.float64)
        y, dx = pointwise(checks.on(device, x), kind, a, b), pointwise_gradient(*checks.on(device, dy, x), kind, a)
        exact = oracle.pointwise(kind.value, wide, a, b)
        checks.assert_as_exact_as_plain(y, exact, oracle.pointwise(kind.value, x, a, b))
        slopes = oracle.pointwise_derivative(kind.value, x, a), oracle.pointwise_derivative(kind.value, wide, a)
        checks.assert_as_exact_as_plain(dx, dy * slopes[1], dy * slopes[0])
        checks.assert_close_in_double(pointwise(checks.on(device, wide), kind, a, b), exact, tolerance=1e-14)
        if kind not in WITH_FUNCTIONS:
            checks.assert_same_bits(y, pointwise(x, kind, a, b))
            checks.assert_same_bits(dx, pointwise_gradient(dy, x, kind, a))


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_against_differences(device: Device, kind: Pointwise) -> None:
    a, b = _arguments(kind)
    x, dy = 2 * checks.normal(7, 6, dtype=np.float64), checks.normal(7, 6, seed=1, dtype=np.float64)
    dx = pointwise_gradient(*checks.on(device, dy, x), kind, a)
    checks.assert_gradient(lambda x: (dy * checks.host(pointwise(checks.on(device, x), kind, a, b))).sum(), x, dx)


@pytest.mark.parametrize("kind", KINDS)
def test_extreme_values(device: Device, kind: Pointwise) -> None:
    """In float32, beside float64; a NaN stays one."""
    a, b = _arguments(kind)
    x = np.float32([*EXTREMES, math.nan])
    wide = x[:-1].astype(np.float64)
    y = checks.host(pointwise(checks.on(device, x), kind, a, b))
    dx = checks.host(pointwise_gradient(*checks.on(device, np.ones_like(x), x), kind, a))
    with np.errstate(all="ignore"):
        exact = oracle.pointwise(kind.value, wide, a, b).astype(np.float32)
        slope = oracle.pointwise_derivative(kind.value, wide, a)
        slope = np.where(np.isnan(slope), 0, slope).astype(np.float32)  # the oracle's x exp(-x) is of infinity and 0
    np.testing.assert_allclose(y[:-1], exact, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(dx[:-1], slope, rtol=1e-5, atol=1e-6)
    assert np.isnan(y[-1])


def test_no_digits_cancel(device: Device) -> None:
    """Where a plain formula takes nearly equal numbers from each other, results are right to a few roundings."""
    x = np.array([1e-3, 0.03, -0.2, 0.9, -1.0, 1.0001], np.float32)
    small = x.astype(np.longdouble)
    exact = (small - np.tanh(small)).astype(np.float64)
    np.testing.assert_allclose(checks.host(pointwise(checks.on(device, x), Pointwise.TANH_SHRINK)), exact, rtol=1e-6)
    x = np.float32([-3, -300, -1e5, -1e18])
    exact = 2 / (np.sqrt(x.astype(np.float64) ** 2 + 4) - x)
    np.testing.assert_allclose(
        checks.host(pointwise(checks.on(device, x), Pointwise.SQUAREPLUS, 2.0)), exact, rtol=1e-6
    )
    still = checks.on(device, np.zeros(1, np.float32))
    assert checks.host(pointwise(still, Pointwise.SQUAREPLUS, 0.0))[0] == 0
    assert checks.host(pointwise_gradient(*checks.on(device, [1.0], [0.0]), Pointwise.SQUAREPLUS, 0.0))[0] == 0.5


def test_errors() -> None:
    x = np.ones((2, 3), np.float32)
    with pytest.raises(TypeError, match=r"pointwise: x must be float32 or float64; got int64"):
        pointwise(np.ones(3, np.int64), Pointwise.MISH)
    with pytest.raises(ValueError, match=r"pointwise_gradient: x must have shape \(2, 3\); got \(3, 2\)"):
        pointwise_gradient(x, x.reshape(3, 2), Pointwise.MISH)


def test_codes_are_those_of_the_kernels() -> None:
    for kind in KINDS:
        assert f"constexpr int {kind.name} = {kind.code};" in source("pointwise.cu")
