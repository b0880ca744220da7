"""Pooling: maxima and means of windows, and the gradients."""

from __future__ import annotations

import checks
import numpy as np
import oracle
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpunet.backend import emulator
from gpunet.backend.arrays import CPU, Device
from gpunet.ops.pooling import (
    THREADS,
    average_pooling,
    average_pooling_gradient,
    global_average_pooling,
    global_average_pooling_gradient,
    max_pooling,
    max_pooling_gradient,
)

Pair = tuple[int, int]
Case = tuple[tuple[int, ...], Pair, Pair, str]

# Shape of x, pool size, strides, padding.
CASES: list[Case] = [
    ((2, 6, 8, 3), (2, 2), (2, 2), "valid"),
    ((2, 5, 7, 3), (2, 2), (2, 2), "same"),  # one row and one column of padding, after
    ((1, 7, 6, 2), (3, 2), (1, 1), "same"),  # overlapping, padding on both sides or after
    ((2, 9, 8, 2), (3, 3), (2, 2), "valid"),  # overlapping, last column in no window
    ((1, 8, 9, 2), (2, 1), (3, 4), "valid"),  # gaps between windows
    ((1, 8, 9, 2), (2, 1), (3, 4), "same"),
    ((3, 4, 5, 2), (4, 5), (4, 5), "valid"),  # one window
    ((2, 3, 2, 2), (7, 9), (1, 2), "same"),  # windows bigger than the image
    ((1, 1, 1, 1), (1, 1), (1, 1), "valid"),
    ((1, 1, 1, 1), (3, 3), (2, 2), "same"),
    ((2, 2, 2, THREADS // 4 - 1), (2, 1), (2, 1), "valid"),  # one element fewer than a block, and one more
    ((1, 1, 1, THREADS), (1, 1), (1, 1), "valid"),
    ((2, 1, 1, THREADS + 1), (1, 1), (1, 1), "valid"),
]


@st.composite
def cases(draw: st.DrawFn) -> Case:
    padding = draw(st.sampled_from(["valid", "same"]))
    sizes = st.integers(1, 9)
    shape = draw(st.integers(1, 3)), draw(sizes), draw(sizes), draw(st.integers(1, 4))
    limits = shape[1:3] if padding == "valid" else (11, 11)
    pool = draw(st.integers(1, limits[0])), draw(st.integers(1, limits[1]))
    return shape, pool, (draw(st.integers(1, 5)), draw(st.integers(1, 5))), padding


def _ties(shape: tuple[int, ...], seed: int) -> np.ndarray:
    """Return numbers from -2 to 2, so that windows have several maxima."""
    return np.random.default_rng(seed).integers(-2, 3, shape).astype(np.float32)


def _check_max(device: Device, case: Case, x: np.ndarray) -> None:
    """Check values, winners and the gradient; all but sums of gradients must be exact."""
    shape, *geometry = case
    exact, winners = oracle.max_pooling(x, *geometry)
    x_device = checks.on(device, x)
    y, winner = max_pooling(x_device, *geometry)
    np.testing.assert_array_equal(checks.host(y), exact)
    checks.assert_same_bits(winner, winners)
    checks.assert_same_bits(x_device, x)
    dy = checks.normal(*exact.shape, seed=5)
    dx = max_pooling_gradient(checks.on(device, dy), winner, *geometry, shape)
    plain = oracle.max_pooling_gradient(dy, winners, *geometry, shape)
    exact = oracle.max_pooling_gradient(dy.astype(np.float64), winners, *geometry, shape)
    checks.assert_as_exact_as_plain(dx, exact, plain)
    checks.assert_same_bits(dx, max_pooling_gradient(dy, winners, *geometry, shape))  # every device adds in one order


def _check_average(device: Device, case: Case, x: np.ndarray) -> None:
    shape, *geometry = case
    exact = oracle.average_pooling(x.astype(np.float64), *geometry)
    y = average_pooling(checks.on(device, x), *geometry)
    checks.assert_as_exact_as_plain(y, exact, oracle.average_pooling(x, *geometry))
    checks.assert_same_bits(y, average_pooling(x, *geometry))
    dy = checks.normal(*exact.shape, seed=5)
    dx = average_pooling_gradient(checks.on(device, dy), *geometry, shape)
    plain = oracle.average_pooling_gradient(dy, *geometry, shape)
    exact = oracle.average_pooling_gradient(dy.astype(np.float64), *geometry, shape)
    checks.assert_as_exact_as_plain(dx, exact, plain)
    checks.assert_same_bits(dx, average_pooling_gradient(dy, *geometry, shape))


@pytest.mark.parametrize("case", CASES)
def test_max_pooling(device: Device, case: Case) -> None:
    _check_max(device, case, checks.normal(*case[0]))
    _check_max(device, case, _ties(case[0], seed=1))


@given(case=cases(), seed=st.integers(0, 1000))
def test_max_pooling_of_any_geometry(device: Device, case: Case, seed: int) -> None:
    _check_max(device, case, _ties(case[0], seed))


@pytest.mark.parametrize("case", CASES)
def test_average_pooling(device: Device, case: Case) -> None:
    _check_average(device, case, checks.normal(*case[0]))


@given(case=cases(), seed=st.integers(0, 1000))
def test_average_pooling_of_any_geometry(device: Device, case: Case, seed: int) -> None:
    _check_average(device, case, checks.normal(*case[0], seed=seed))


@pytest.mark.parametrize("case", CASES[:6])
def test_gradients_against_differences(device: Device, case: Case) -> None:
    shape, *geometry = case
    # Distinct numbers, further apart than the step of the differences: no maximum changes its place.
    x = np.random.default_rng(0).permutation(np.prod(shape)).reshape(shape) * 0.1
    x_device = checks.on(device, x)
    y, winner = max_pooling(x_device, *geometry)
    weights = checks.normal(*y.shape, dtype=np.float64)
    dy = checks.on(device, weights)

    def through_max(x: np.ndarray) -> float:
        return float((checks.host(max_pooling(checks.on(device, x), *geometry)[0]) * weights).sum())

    def through_average(x: np.ndarray) -> float:
        return float((checks.host(average_pooling(checks.on(device, x), *geometry)) * weights).sum())

    checks.assert_gradient(through_max, x, max_pooling_gradient(dy, winner, *geometry, shape))
    checks.assert_gradient(through_average, x, average_pooling_gradient(dy, *geometry, shape))


def test_double_precision(device: Device) -> None:
    shape, *geometry = CASES[2]
    x = checks.normal(*shape, dtype=np.float64)
    exact, winners = oracle.max_pooling(x, *geometry)
    y, winner = max_pooling(checks.on(device, x), *geometry)
    checks.assert_same_bits(y, exact)
    checks.assert_same_bits(winner, winners)
    mean = average_pooling(checks.on(device, x), *geometry)
    checks.assert_close_in_double(mean, oracle.average_pooling(x, *geometry))


@pytest.mark.parametrize("shape", [(2, 5, 7, 3), (1, 1, 1, 1), (1, 1, 9, 2), (3, 2, 2, THREADS + 1), (1, 40, 50, 2)])
def test_global_average_pooling(device: Device, shape: tuple[int, ...]) -> None:
    x = checks.normal(*shape) + np.float32(3)
    y = global_average_pooling(checks.on(device, x))
    checks.assert_as_exact_as_plain(y, x.astype(np.float64).mean(axis=(1, 2)), x.mean(axis=(1, 2)))
    dy = checks.normal(shape[0], shape[3])
    dx = global_average_pooling_gradient(checks.on(device, dy), shape)
    checks.assert_same_bits(dx, np.broadcast_to((dy / np.float32(shape[1] * shape[2]))[:, None, None], shape))


def test_global_average_pooling_against_differences(device: Device) -> None:
    x, weights = checks.normal(2, 3, 4, 2, dtype=np.float64), checks.normal(2, 2, dtype=np.float64)
    dx = global_average_pooling_gradient(checks.on(device, weights), x.shape)
    checks.assert_gradient(lambda x: (checks.host(global_average_pooling(checks.on(device, x))) * weights).sum(), x, dx)


def test_a_nan_is_greater_than_any_number(device: Device) -> None:
    x = np.float32([[1, np.nan, 3, np.inf], [np.nan, 2, -np.inf, -np.inf]]).reshape(1, 2, 4, 1)
    y, winner = max_pooling(checks.on(device, x), (2, 2), (2, 2), "valid")
    np.testing.assert_array_equal(checks.host(y).ravel(), [np.nan, np.inf])
    assert checks.host(winner).ravel().tolist() == [1, 1]


def test_minus_infinity_is_a_maximum_too(device: Device) -> None:
    """A window of nothing else has its first real element as winner, never one in the padding."""
    x = np.full((1, 3, 3, 1), -np.inf, np.float32)
    y, winner = max_pooling(checks.on(device, x), (3, 3), (1, 1), "same")
    assert (checks.host(y) == -np.inf).all()
    assert checks.host(winner).reshape(3, 3).tolist() == [[4, 3, 3], [1, 0, 0], [1, 0, 0]]


def test_gradients_of_infinity_stay_where_they_belong(device: Device) -> None:
    winner, dy = np.full((1, 1, 1, 1), 2, np.int32), np.full((1, 1, 1, 1), np.inf, np.float32)
    dx = max_pooling_gradient(*checks.on(device, dy, winner), (2, 2), (2, 2), "valid", (1, 2, 2, 1))
    assert checks.host(dx).ravel().tolist() == [0, 0, np.inf, 0]


def test_batches_bigger_than_the_cache(device: Device) -> None:
    """The CPU versions take a few images at a time; the last part is a smaller one."""
    shape = (11, 60, 60, 8)  # 115,200 bytes each
    x = checks.normal(*shape)
    y, winner = max_pooling(checks.on(device, x), 2, 2, "valid")
    blocks = x.reshape(11, 30, 2, 30, 2, 8)
    checks.assert_same_bits(y, blocks.max(axis=(2, 4)))
    dx = checks.host(max_pooling_gradient(y, winner, 2, 2, "valid", shape))
    checks.assert_same_bits(dx, np.where(x == np.repeat(np.repeat(blocks.max(axis=(2, 4)), 2, 1), 2, 2), x, 0))
    checks.assert_same_bits(average_pooling(checks.on(device, x), 2, 2, "valid"), average_pooling(x, 2, 2, "valid"))


def test_other_layouts_are_taken(device: Device) -> None:
    x = checks.normal(2, 3, 4, 5)
    expected, _ = max_pooling(np.ascontiguousarray(x.transpose(0, 2, 3, 1)), 2, 1, "same")
    y, _ = max_pooling(checks.on(device, x).transpose(0, 2, 3, 1), 2, 1, "same")
    checks.assert_same_bits(y, expected)


@pytest.mark.parametrize("order", ["forward", "reverse", 5])
def test_same_bits_at_every_run_and_in_any_order(device: Device, order: str | int) -> None:
    shape, *geometry = CASES[2]
    x = checks.on(device, checks.normal(*shape))

    def results() -> list[np.ndarray]:
        y, winner = max_pooling(x, *geometry)
        mean = average_pooling(x, *geometry)
        dx = max_pooling_gradient(y, winner, *geometry, shape), average_pooling_gradient(mean, *geometry, shape)
        return [y, winner, mean, *dx]

    first = results()
    with emulator.configured(order=order):
        for again, before in zip(results(), first, strict=True):
            checks.assert_same_bits(again, before)


@pytest.mark.parametrize("op", [max_pooling, average_pooling])
def test_bad_geometry_is_refused(device: Device, op) -> None:
    x, name = checks.on(device, checks.normal(1, 3, 4, 2)), op.__name__
    with pytest.raises(ValueError, match=rf"{name}: pool_size must be at most \(3, 4\).*; got \(4, 4\); use a smaller"):
        op(x, (4, 4), (1, 1), "valid")
    with pytest.raises(ValueError, match=f"{name}: padding must be one of 'valid', 'same'; got 'full'"):
        op(x, 2, 2, "full")
    with pytest.raises(ValueError, match=f"{name}: pool_size must be at least 1; got 0"):
        op(x, 0, 2, "same")
    with pytest.raises(ValueError, match=f"{name}: strides must be at least 1; got -1"):
        op(x, 2, (1, -1), "same")
    with pytest.raises(ValueError, match=f"{name}: an image, a window and a stride must be below 1073741824 elements"):
        op(x, 2**15, 2, "same")


@pytest.mark.parametrize("op", [max_pooling, average_pooling])
def test_bad_arrays_are_refused(device: Device, op) -> None:
    name = op.__name__
    with pytest.raises(ValueError, match=rf"{name}: x must have 4 axes, \(N, H, W, C\); got shape \(3, 4\)"):
        op(checks.on(device, checks.normal(3, 4)), 2, 2, "valid")
    with pytest.raises(ValueError, match=rf"{name}: x must have at least one element; got shape \(0, 3, 3, 1\)"):
        op(checks.on(device, np.zeros((0, 3, 3, 1), np.float32)), 2, 2, "valid")
    with pytest.raises(TypeError, match=f"{name}: x must be float32 or float64; got int32"):
        op(checks.on(device, np.zeros((1, 3, 3, 1), np.int32)), 2, 2, "valid")


def test_bad_gradients_are_refused(device: Device) -> None:
    shape = (1, 4, 4, 2)
    y, winner = max_pooling(checks.on(device, checks.normal(*shape)), 2, 2, "valid")
    with pytest.raises(
        ValueError, match=r"max_pooling_gradient: dy must have shape \(1, 4, 4, 2\); got \(1, 2, 2, 2\)"
    ):
        max_pooling_gradient(y, winner, 2, 1, "same", shape)
    with pytest.raises(ValueError, match=r"max_pooling_gradient: winner must have shape \(1, 2, 2, 2\)"):
        max_pooling_gradient(y, winner[:, :1], 2, 2, "valid", shape)
    with pytest.raises(TypeError, match="max_pooling_gradient: winner must be int32; got float32"):
        max_pooling_gradient(y, y, 2, 2, "valid", shape)
    with pytest.raises(ValueError, match=r"average_pooling_gradient: dy must have shape \(1, 4, 4, 2\)"):
        average_pooling_gradient(y, 2, 1, "same", shape)
    with pytest.raises(ValueError, match=r"global_average_pooling_gradient: dy must have shape \(1, 2\)"):
        global_average_pooling_gradient(y, shape)
    with pytest.raises(
        ValueError, match=r"global_average_pooling: x must have 4 axes, \(N, H, W, C\); got shape \(2,\)"
    ):
        global_average_pooling(checks.on(device, checks.normal(2)))


def test_mixed_devices_are_refused(device: Device) -> None:
    if device == CPU:
        pytest.skip("needs a second device")
    y, winner = max_pooling(checks.on(device, checks.normal(1, 2, 2, 1)), 2, 2, "valid")
    with pytest.raises(TypeError, match="max_pooling_gradient: all arrays must be on one device"):
        max_pooling_gradient(y, checks.host(winner), 2, 2, "valid", (1, 2, 2, 1))
