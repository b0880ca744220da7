"""How often predictions match targets (kernels accuracy.cu), and running means (accumulation.cu)."""

from __future__ import annotations

from typing import Any

import checks
import numpy as np
import pytest

from gpunet.backend.arrays import Device, HostArray, device_of, zeros
from gpunet.ops.accumulation import accumulate_mean
from gpunet.ops.accuracy import (
    BLOCKS,
    ROWS,
    THREADS,
    binary_matches,
    dense_matches,
    equal_matches,
    sparse_matches,
)

SHAPES = [(1, 1), (ROWS - 1, 2), (ROWS, 10), (ROWS + 1, 31), (40, 32), (40, 33), (20, 1000), (ROWS * BLOCKS + 9, 2)]
SIZES = [1, THREADS - 1, THREADS, THREADS + 1, THREADS * BLOCKS + 9]


def _count(op: Any, *args: Any, positions: int = 1) -> list[float]:
    """Return (matches, rows) of one call of `op`, less what the state had before."""
    device = device_of(args[0])
    state = zeros((BLOCKS, 2), np.float64, device)
    state[0] += 1  # it is added to
    op(*args, state, positions)
    total = checks.host(state).sum(axis=0) - 1
    return [float(number) for number in total]


def _first_maximum(row: HostArray) -> int:
    best = 0
    for j in range(len(row)):
        if row[j] > row[best]:
            best = j
    return best


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", SHAPES)
def test_argmax_against_labels_and_distributions(device: Device, shape: tuple[int, int], dtype: type) -> None:
    """Few different values, so that most rows have ties, of which the first counts."""
    rng = np.random.default_rng(0)
    y, t = rng.integers(0, 4, shape).astype(dtype), rng.integers(0, 4, shape).astype(dtype)
    predicted = np.array([_first_maximum(row) for row in y])
    labels = np.where(rng.random(shape[0]) < 0.5, predicted, rng.integers(0, shape[1], shape[0])).astype(np.int32)
    assert _count(sparse_matches, *checks.on(device, y, labels)) == [(predicted == labels).sum(), len(y)]
    wanted = np.array([_first_maximum(row) for row in t])
    t[::2] = y[::2]
    wanted[::2] = predicted[::2]
    assert _count(dense_matches, *checks.on(device, y, t)) == [(predicted == wanted).sum(), len(y)]


def test_argmax_of_extreme_rows(device: Device) -> None:
    """As in numpy.argmax, the first NaN is the maximum."""
    y = np.zeros((6, 70), np.float32)
    y[0, 69] = np.nan
    y[1, [3, 40]] = np.nan
    y[2, 5] = np.inf
    y[3] = -np.inf
    y[4, 33] = 1e-30
    y[5] = -np.arange(70)
    expected = y.argmax(axis=1).astype(np.int32)
    np.testing.assert_array_equal(expected, [69, 3, 5, 0, 33, 0])
    assert _count(sparse_matches, *checks.on(device, y, expected)) == [6, 6]
    assert _count(sparse_matches, *checks.on(device, y, np.full(6, -1, np.int32))) == [0, 6]


@pytest.mark.parametrize("n", SIZES)
def test_elements(device: Device, n: int) -> None:
    y = np.random.default_rng(0).integers(0, 5, n).astype(np.float32) / 4
    labels = np.random.default_rng(1).integers(0, 2, n).astype(np.int32)
    expected = sum(int(a > 0.5) == b for a, b in zip(y, labels, strict=True))
    y_device, labels_device, targets = checks.on(device, y, labels, labels.astype(np.float32))
    assert _count(binary_matches, y_device, labels_device, 0.5) == [expected, n]
    assert _count(binary_matches, y_device, targets, 0.5) == [expected, n]
    equal = sum(a == b for a, b in zip(y, labels, strict=True))
    assert _count(equal_matches, y_device, targets) == [equal, n]


@pytest.mark.parametrize("op", [sparse_matches, dense_matches, equal_matches])
def test_every_sample_counts_as_one(device: Device, op: Any) -> None:
    y = np.random.default_rng(0).integers(0, 2, (12, 5)).astype(np.float32)
    other = y.argmax(axis=1).astype(np.int32) if op is sparse_matches else y
    matches, samples = _count(op, *checks.on(device, y, other), positions=4)
    assert (matches, samples) == ((15, 15) if op is equal_matches else (3, 3))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_means_accumulate_in_double(device: Device, dtype: type) -> None:
    """A float32 sum would stop growing at 2^24."""
    state = checks.on(device, np.array([[2.0**24, 0]]))
    for weight in (1, 7):
        accumulate_mean(state, checks.on(device, np.array([0.25], dtype)), weight, weight)
    accumulate_mean(state, checks.on(device, np.array([1], dtype)), 5, 0)
    np.testing.assert_array_equal(checks.host(state), [[2.0**24 + 7, 8]])


def test_bad_input_is_refused(device: Device) -> None:
    y, labels = checks.on(device, checks.normal(3, 4), np.int32([0, 1, 2]))
    state = zeros((BLOCKS, 2), np.float64, device)
    with pytest.raises(TypeError, match="sparse_matches: labels must be int32; got float32"):
        sparse_matches(y, checks.on(device, np.float32([0, 1, 2])), state)
    with pytest.raises(ValueError, match=r"dense_matches: targets must have shape \(3, 4\); got \(3, 5\)"):
        dense_matches(y, checks.on(device, checks.normal(3, 5)), state)
    with pytest.raises(ValueError, match=r"binary_matches: targets must have shape \(3, 4\); got \(3,\)"):
        binary_matches(y, labels, 0.5, state)
    with pytest.raises(TypeError, match="binary_matches: targets must be float32; got int64"):
        binary_matches(y, checks.on(device, np.ones((3, 4), np.int64)), 0.5, state)
    with pytest.raises(ValueError, match=r"equal_matches: targets must have shape \(3, 4\); got \(4, 3\)"):
        equal_matches(y, checks.on(device, checks.normal(4, 3)), state)
    with pytest.raises(ValueError, match=rf"sparse_matches: state must have shape \({BLOCKS}, 2\); got \(1, 2\)"):
        sparse_matches(y, labels, state[:1])
    value = checks.on(device, np.ones(1))
    with pytest.raises(TypeError, match="accumulate_mean: state must be float64; got float32"):
        accumulate_mean(checks.on(device, np.zeros((1, 2), np.float32)), value, 1, 1)
    with pytest.raises(ValueError, match=r"accumulate_mean: value must have shape \(1,\); got \(2,\)"):
        accumulate_mean(checks.on(device, np.zeros((1, 2))), checks.on(device, np.ones(2)), 1, 1)
