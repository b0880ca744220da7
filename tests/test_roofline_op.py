"""The copy and the multiply-adds that the roofline is measured with (roofline.cu)."""

from __future__ import annotations

import checks
import numpy as np
import oracle
import pytest

from gpunet.backend.arrays import Device
from gpunet.ops.roofline import CHAINS, PER_THREAD, THREADS, copy, multiply_adds
from gpunet.ops.trace import flops_of

BLOCK = THREADS * PER_THREAD
SIZES = [1, THREADS - 1, THREADS, THREADS + 1, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK + 3]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n", SIZES)
def test_copy(device: Device, n: int, dtype: type) -> None:
    x = checks.normal(n, dtype=dtype)
    y = checks.on(device, np.zeros_like(x))
    copy(checks.on(device, x), y)
    checks.assert_same_bits(y, x)


@pytest.mark.parametrize("turns", [1, 15, 16, 17, 40])
@pytest.mark.parametrize("n", [1, THREADS - 1, THREADS + 1])
def test_multiply_adds(device: Device, n: int, turns: int) -> None:
    x = checks.normal(n)
    y = checks.on(device, np.zeros_like(x))
    multiply_adds(checks.on(device, x), y, turns)
    exact = oracle.multiply_adds(x.astype(np.float64), CHAINS, turns)
    checks.assert_as_exact_as_plain(y, exact, oracle.multiply_adds(x, CHAINS, turns))
    on_cpu = np.zeros_like(x)
    multiply_adds(x, on_cpu, turns)
    checks.assert_same_bits(y, on_cpu)


def test_flops_are_those_of_the_chains() -> None:
    x = np.zeros((3, 5))
    assert flops_of(multiply_adds, x, x, 7) == sum(2 for _ in range(15) for _ in range(CHAINS) for _ in range(7))
    assert flops_of(copy, x, x) == 0


def test_bad_input_is_refused(device: Device) -> None:
    x = checks.on(device, checks.normal(4, 4))
    for work, more in ((copy, ()), (multiply_adds, (3,))):
        name = work.__name__
        with pytest.raises(ValueError, match=rf"{name}: y must have shape \(4, 4\); got \(3,\)"):
            work(x, checks.on(device, checks.normal(3)), *more)
        with pytest.raises(ValueError, match=f"{name}: y must be C-contiguous"):
            work(x, x.T, *more)
    with pytest.raises(ValueError, match="multiply_adds: turns must be at least 1; got 0"):
        multiply_adds(x, x, 0)
    with pytest.raises(ValueError, match="multiply_adds: turns must be at most 2147483647; got 2147483648"):
        multiply_adds(x, x, 2**31)


def test_the_arguments_are_not_changed() -> None:
    x = checks.normal(9)
    before = x.copy()
    multiply_adds(x, np.zeros_like(x), 3)
    checks.assert_same_bits(x, before)
