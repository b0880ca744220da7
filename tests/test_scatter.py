"""Rows added by key, in order: scatter.cu and its CPU version."""

from __future__ import annotations

from typing import Any

import checks
import numpy as np
import oracle_moves as oracle
import pytest

from gpunet.backend.arrays import CPU, Device
from gpunet.ops.scatter import PER_THREAD, RADIX_BITS, THREADS, scatter_add

BLOCK = THREADS * PER_THREAD


def _keys(m: int, rows: int, skewed: bool, seed: int = 0) -> Any:
    rng = np.random.default_rng(seed)
    keys = rng.integers(0, rows + 1, m)  # `rows` is left out
    if skewed:
        keys[rng.random(m) < 0.7] = rows // 2
    return keys.astype(np.int32)


@pytest.mark.parametrize(
    "m, rows, width, per, skewed",
    [
        (1, 1, 1, 1, False),
        (40, 7, 3, 1, False),
        (60, 7, 5, 4, True),
        (BLOCK + 1, 2**RADIX_BITS, 1, 1, False),  # two digits: `rows` itself is a key
        (2 * BLOCK + 5, 3 * 2**RADIX_BITS, 2, 1, True),
        (33, 2 ** (2 * RADIX_BITS) + 3, 1, 1, False),  # three digits
    ],
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_sums_have_the_bits_of_a_loop(
    device: Device, m: int, rows: int, width: int, per: int, skewed: bool, dtype: Any
) -> None:
    keys, values = _keys(m, rows, skewed), checks.normal(m // per, width, dtype=dtype)
    out = checks.normal(rows, width, seed=1, dtype=dtype)
    weights = checks.normal(m, seed=2, dtype=dtype) if per > 1 else None
    placed = checks.on(device, out)
    scatter_add(placed, *checks.on(device, keys, values), None if weights is None else checks.on(device, weights))
    checks.assert_same_bits(placed, oracle.scatter_add(out, keys, values, weights))


def test_rows_without_keys_are_not_touched(device: Device) -> None:
    out = np.full((3, 2), -0.0, np.float32)
    placed = checks.on(device, out)
    scatter_add(placed, *checks.on(device, np.int32([1, 3]), np.ones((2, 2), np.float32)))
    expected = out.copy()
    expected[1] = 1
    checks.assert_same_bits(placed, expected)


def test_all_keys_may_be_left_out(device: Device) -> None:
    placed = checks.on(device, np.ones((3, 2), np.float32))
    scatter_add(placed, *checks.on(device, np.int32([3, 3]), np.ones((2, 2), np.float32)))
    checks.assert_same_bits(placed, np.ones((3, 2), np.float32))


def test_large_vocabularies_take_few_launches(device: Device) -> None:
    if device == CPU:
        pytest.skip("cpu: has no kernels")
    out = checks.on(device, np.zeros((2**16 - 1, 1), np.float32))
    with checks.recorded_launches() as launches:
        scatter_add(out, *checks.on(device, np.int32([5, 2**16 - 2]), np.ones((2, 1), np.float32)))
    assert len(launches) == 3 * 3 + 2  # 16 bits, six at a time
    assert np.flatnonzero(checks.host(out)).tolist() == [5, 2**16 - 2]


def test_bad_arguments(device: Device) -> None:
    out, keys, values = checks.on(device, np.zeros((3, 2), np.float32), np.int32([0, 1]), np.ones((2, 2), np.float32))
    with pytest.raises(TypeError, match="scatter_add: keys must be int32; got float32"):
        scatter_add(out, out.reshape(-1), values)
    with pytest.raises(ValueError, match=r"scatter_add: values must have shape \(2, 2\); got \(2, 1\)"):
        scatter_add(out, keys, checks.on(device, np.ones((2, 1), np.float32)))
    with pytest.raises(ValueError, match="scatter_add: keys must be a multiple of 3, the rows of values; got 2"):
        scatter_add(out, keys, checks.on(device, np.ones((3, 2), np.float32)))
    with pytest.raises(ValueError, match=r"scatter_add: weights must have shape \(2,\); got \(3,\)"):
        scatter_add(out, keys, values, checks.on(device, np.ones(3, np.float32)))
