"""Mean squared error over the last axis, and its gradient."""

from __future__ import annotations

import checks
import numpy as np
import oracle
import pytest

from gpunet.backend.arrays import Device, HostArray
from gpunet.ops.squared_error import ROWS, THREADS, squared_error, squared_error_gradient

SHAPES = [(1, 1), (ROWS - 1, 1), (ROWS, 31), (ROWS + 1, 32), (3, 33), (1, THREADS), (1, THREADS + 1), (2, 10_001)]
SCALE = np.float32([0.25])
WIDE = np.float64


@pytest.mark.parametrize("shape", SHAPES)
def test_squared_error(device: Device, shape: tuple[int, int]) -> None:
    y, t = checks.normal(*shape), checks.normal(*shape, seed=1)
    y_device, t_device, scale = checks.on(device, y, t, SCALE)
    exact = oracle.squared_error(y.astype(WIDE), t.astype(WIDE))
    checks.assert_as_exact_as_plain(squared_error(y_device, t_device), exact, oracle.squared_error(y, t))
    exact = oracle.squared_error_gradient(y.astype(WIDE), t.astype(WIDE)) * SCALE[0]
    dy = squared_error_gradient(y_device, t_device, scale)
    checks.assert_as_exact_as_plain(dy, exact, oracle.squared_error_gradient(y, t) * SCALE)


@pytest.mark.parametrize("shape", [(3, 1), (2, 40)])
def test_gradient_against_differences(device: Device, shape: tuple[int, int]) -> None:
    y, t = checks.normal(*shape, dtype=WIDE), checks.normal(*shape, seed=1, dtype=WIDE)

    def total(y: HostArray) -> float:
        return checks.host(squared_error(*checks.on(device, y, t))).sum()

    checks.assert_gradient(total, y, squared_error_gradient(*checks.on(device, y, t, np.array([1.0]))))


def test_same_bits_at_every_run(device: Device) -> None:
    args = checks.on(device, checks.normal(9, 77), checks.normal(9, 77, seed=1))
    checks.assert_same_bits(squared_error(*args), squared_error(*args))


def test_bad_input_is_refused(device: Device) -> None:
    y = checks.on(device, checks.normal(3, 4))
    with pytest.raises(ValueError, match=r"squared_error: targets must have shape \(3, 4\); got \(3, 1\)"):
        squared_error(y, checks.on(device, checks.normal(3, 1)))
    with pytest.raises(
        ValueError, match=r"squared_error_gradient: scale must have shape \(1,\) or \(3,\); got \(3, 4\)"
    ):
        squared_error_gradient(y, y, y)
    with pytest.raises(TypeError, match="squared_error: y must be float32 or float64; got int64"):
        squared_error(checks.on(device, np.ones((3, 4), np.int64)), y)
