"""Global max-pooling: maxima, gradients that equal maxima share, NaNs and zeros of both signs."""

from __future__ import annotations

import checks
import numpy as np
import oracle_convolution
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpunet.backend import emulator
from gpunet.backend.arrays import CPU, Device
from gpunet.ops.global_max_pooling import global_max_pooling, global_max_pooling_gradient

# One number; fewer pixels than lanes and more; more channels than lanes; several blocks of dx.
SHAPES = [(1, 1, 1), (2, 3, 5), (3, 300, 2), (2, 9, 33), (1, 40, 20)]


def _run(device: Device, x: np.ndarray, dy: np.ndarray):
    """Return y and dx."""
    x, dy = checks.on(device, x, dy)
    y, count = global_max_pooling(x)
    return y, global_max_pooling_gradient(dy, x, y, count)


def _check(device: Device, x: np.ndarray) -> None:
    dy = checks.normal(x.shape[0], x.shape[-1], seed=3)
    flat = x.reshape(x.shape[0], -1, x.shape[-1])
    y, dx = oracle_convolution.global_maxima(flat, dy)
    actual_y, actual_dx = _run(device, x, dy)
    np.testing.assert_array_equal(checks.host(actual_y), y)
    np.testing.assert_array_equal(checks.host(actual_dx), dx.reshape(x.shape))
    for actual, expected in zip((actual_y, actual_dx), _run(CPU, x, dy), strict=True):
        checks.assert_same_bits(actual, expected)


@pytest.mark.parametrize("shape", SHAPES)
def test_values(device: Device, shape: tuple[int, ...]) -> None:
    _check(device, checks.normal(*shape))
    _check(device, np.random.default_rng(0).integers(-1, 2, shape).astype(np.float32))


@given(shape=st.tuples(*[st.integers(1, 5)] * 4), seed=st.integers(0, 1000))
def test_any_images(device: Device, shape: tuple[int, ...], seed: int) -> None:
    special = np.array([-np.inf, -1, -0.0, 0.0, 1, np.inf, np.nan], np.float32)
    _check(device, special[np.random.default_rng(seed).integers(0, len(special), shape)])


def test_equal_maxima_share_the_gradient(device: Device) -> None:
    x = np.float32([[2, 1], [2, -0.0], [1, 1]]).reshape(1, 3, 2)
    y, dx = _run(device, x, np.float32([[6, 5]]))
    assert checks.host(y).tolist() == [[2, 1]]
    assert checks.host(dx).tolist() == [[[3, 2.5], [3, 0], [0, 2.5]]]


def test_a_zero_has_no_sign(device: Device) -> None:
    for x in ([-0.0, 0.0], [0.0, -0.0], [-0.0, -0.0]):
        y, _ = _run(device, np.float32(x).reshape(1, 2, 1), np.ones((1, 1), np.float32))
        checks.assert_same_bits(y, np.zeros((1, 1), np.float32))


def test_against_differences(device: Device) -> None:
    x = np.random.default_rng(0).permutation(2 * 3 * 4 * 3).reshape(2, 3, 4, 3) * 0.1
    weights = checks.normal(2, 3, dtype=np.float64)
    _, dx = _run(device, x, weights)
    checks.assert_gradient(lambda x: (x.max(axis=(1, 2)) * weights).sum(), x, dx)
    y, _ = global_max_pooling(checks.on(device, x))
    checks.assert_same_bits(y, x.max(axis=(1, 2)))


@pytest.mark.parametrize("order", ["reverse", 5])
def test_same_bits_in_any_order_of_threads(device: Device, order: str | int) -> None:
    x, dy = np.random.default_rng(0).integers(-1, 2, (3, 300, 2)).astype(np.float32), checks.normal(3, 2)
    expected = _run(device, x, dy)
    with emulator.configured(order=order):
        for again, before in zip(_run(device, x, dy), expected, strict=True):
            checks.assert_same_bits(again, before)


def test_bad_arrays_are_refused(device: Device) -> None:
    x, dy = checks.on(device, checks.normal(2, 3, 4), checks.normal(2, 4))
    y, count = global_max_pooling(x)
    with pytest.raises(
        ValueError, match=r"global_max_pooling: x must have at least 2 axes, \(N, ..., C\); got shape \(4,\)"
    ):
        global_max_pooling(x[0, 0])
    with pytest.raises(ValueError, match=r"global_max_pooling_gradient: dy must have shape \(2, 4\); got \(1, 4\)"):
        global_max_pooling_gradient(dy[:1], x, y, count)
    with pytest.raises(TypeError, match="global_max_pooling_gradient: count must be int32; got float32"):
        global_max_pooling_gradient(dy, x, y, y)
    with pytest.raises(ValueError, match=r"an image must be below 1073741824 elements; got images \(1, 1073741824\)"):
        global_max_pooling(np.broadcast_to(np.float32(0), (1, 1, 2**30)))
