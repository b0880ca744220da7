"""Dropout: masks with NumPy's bits on every device."""

from __future__ import annotations

import checks
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpunet.backend.arrays import Device
from gpunet.ops.dropout import BLOCK_DRAWS, THREADS, dropout, dropout_gradient

BLOCK = THREADS * BLOCK_DRAWS  # elements of one block of threads
SIZES = [1, BLOCK_DRAWS - 1, BLOCK_DRAWS, BLOCK_DRAWS + 1, BLOCK - 1, BLOCK, BLOCK + 1, 5 * BLOCK + 13]


def _uniform(n: int, key: tuple[int, int, int]) -> np.ndarray:
    """What the documentation promises: NumPy's draws for (seed, purpose, step)."""
    seed, purpose, step = key
    bits = np.random.Philox(key=[seed, purpose], counter=[0, 0, 0, step])
    return np.random.Generator(bits).random(n, dtype=np.float32)


def _check(device: Device, x: np.ndarray, rate: float, key: tuple[int, int, int]) -> None:
    """Check dropout and its gradient against their definition, bit for bit."""
    kept = (_uniform(x.size, key) >= np.float32(rate)).reshape(x.shape)
    factor = x.dtype.type(1 / (1 - rate))
    y, mask = dropout(checks.on(device, x), rate, key)
    checks.assert_same_bits(mask, kept.astype(np.uint8))
    checks.assert_same_bits(y, np.where(kept, x * factor, x.dtype.type(0)))
    dy = checks.normal(*x.shape, seed=9, dtype=x.dtype)
    dx = dropout_gradient(checks.on(device, dy), mask, rate)
    checks.assert_same_bits(dx, np.where(kept, dy * factor, x.dtype.type(0)))


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_masks_are_those_of_numpy(device: Device, n: int, dtype: type) -> None:
    _check(device, checks.normal(n, dtype=dtype), 0.4, key=(12, 3, 4))


@pytest.mark.parametrize(
    "key", [(0, 0, 0), (2**63 - 1, 3, 0), (5, 3 + 256 * 1000, 2**40 + 7), (2**63 - 1, 2**63 - 1, 2**63 - 1)]
)
def test_any_seed_purpose_and_step(device: Device, key: tuple[int, int, int]) -> None:
    _check(device, checks.normal(61), 0.5, key)


def test_the_step_may_lie_on_the_device(device: Device) -> None:
    x, step = checks.on(device, checks.normal(61), np.array([2**40 + 7]))
    for actual, expected in zip(dropout(x, 0.5, (5, 3, step)), dropout(x, 0.5, (5, 3, 2**40 + 7)), strict=True):
        checks.assert_same_bits(actual, expected)
    with pytest.raises(TypeError, match="dropout: step must be int64; got float32"):
        dropout(x, 0.5, (5, 3, checks.on(device, np.zeros(1, np.float32))))


@given(
    n=st.integers(1, 200),
    rate=st.floats(0, 1, exclude_max=True),
    key=st.tuples(*[st.integers(0, 2**63 - 1)] * 3),
)
def test_any_rate_and_key(device: Device, n: int, rate: float, key: tuple[int, int, int]) -> None:
    _check(device, checks.normal(n), rate, key)


@pytest.mark.parametrize("rate", [0, 2**-25, 0.1, 0.5, 1 - 2**-24, 1 - 2**-30])
def test_rates_at_the_ends(device: Device, rate: float) -> None:
    _check(device, checks.normal(1000), rate, key=(1, 2, 3))


@pytest.mark.parametrize("draw", [0, 5, 17])
def test_a_draw_equal_to_the_rate_is_kept(device: Device, draw: int) -> None:
    key, ones = (1, 2, 3), checks.on(device, np.ones(20, np.float32))
    rate = float(_uniform(20, key)[draw])

    def kept(rate: float) -> bool:
        _, mask = dropout(ones, rate, key)
        return bool(checks.host(mask)[draw])

    assert kept(rate)
    assert kept(rate + 1e-12)  # rounded to float32, which is the draw
    assert not kept(float(np.nextafter(np.float32(rate), np.float32(1))))


def test_rate_zero_changes_nothing(device: Device) -> None:
    x = checks.normal(3, 5, 7)
    y, mask = dropout(checks.on(device, x), 0.0, key=(1, 2, 3))
    checks.assert_same_bits(y, x)
    assert checks.host(mask).all()


def test_dropped_elements_are_zero_whatever_they_were(device: Device) -> None:
    x = np.full(100, np.nan, np.float32)
    x[::2] = -np.inf
    y, mask = dropout(checks.on(device, x), 0.5, key=(1, 2, 3))
    dropped = checks.host(mask) == 0
    assert 20 < dropped.sum() < 80
    checks.assert_same_bits(checks.host(y)[dropped], np.zeros(dropped.sum(), np.float32))
    dx = dropout_gradient(checks.on(device, x), mask, 0.5)
    checks.assert_same_bits(checks.host(dx)[dropped], np.zeros(dropped.sum(), np.float32))


def test_the_share_and_the_mean_stay(device: Device) -> None:
    """40,000 draws at rate 0.3 stray by 0.0023 from it, one sigma."""
    y, mask = dropout(checks.on(device, np.ones(40_000, np.float32)), 0.3, key=(0, 3, 0))
    assert abs(1 - checks.host(mask).mean() - 0.3) < 0.01
    assert abs(checks.host(y).mean() - 1) < 0.015


def test_elements_count_in_c_order(device: Device) -> None:
    """A transposed view gets the mask of its own shape, not that of the memory beneath."""
    x = checks.normal(9, 5)
    y, mask = dropout(checks.on(device, x).T, 0.5, key=(1, 2, 3))
    expected, _ = dropout(checks.on(device, np.ascontiguousarray(x.T)), 0.5, key=(1, 2, 3))
    assert mask.shape == (5, 9)
    checks.assert_same_bits(y, expected)


def test_the_input_is_not_changed(device: Device) -> None:
    x = checks.normal(50)
    on_device = checks.on(device, x)
    _, mask = dropout(on_device, 0.5, key=(1, 2, 3))
    before = checks.host(mask).copy()
    dropout_gradient(on_device, mask, 0.5)
    checks.assert_same_bits(on_device, x)
    checks.assert_same_bits(mask, before)


@pytest.mark.parametrize("rate", [1, 1.5, -0.1])
def test_rates_out_of_range_are_refused(device: Device, rate: float) -> None:
    x = checks.on(device, checks.normal(3))
    with pytest.raises(ValueError, match=rf"dropout: rate must be at least 0 and below 1; got {rate}"):
        dropout(x, rate, key=(1, 2, 3))


def test_bad_input_is_refused(device: Device) -> None:
    x, mask = checks.on(device, checks.normal(3), np.ones(3, np.uint8))
    with pytest.raises(TypeError, match="dropout: rate must be a number; got 'half'"):
        dropout(x, "half", key=(1, 2, 3))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="dropout: rate must be finite; got nan"):
        dropout(x, float("nan"), key=(1, 2, 3))
    with pytest.raises(ValueError, match=r"dropout: x must have at least one element; got shape \(0,\)"):
        dropout(checks.on(device, np.zeros(0, np.float32)), 0.5, key=(1, 2, 3))
    with pytest.raises(ValueError, match=r"dropout_gradient: mask must have shape \(2,\); got \(3,\)"):
        dropout_gradient(checks.on(device, checks.normal(2)), mask, 0.5)
    with pytest.raises(TypeError, match="dropout_gradient: mask must be uint8; got float32"):
        dropout_gradient(x, x, 0.5)
