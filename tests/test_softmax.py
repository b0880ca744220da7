"""Softmax over one axis, and its gradient."""

from __future__ import annotations

import checks
import numpy as np
import oracle
import pytest

from gpunet.backend import emulator
from gpunet.backend.arrays import Device
from gpunet.ops.rows import ROWS
from gpunet.ops.softmax import softmax, softmax_gradient

SHAPES = [
    (1, 1),
    (ROWS - 1, 31),
    (ROWS, 32),
    (ROWS + 1, 33),
    (3, 10),
    (2, 10_001),
    (2, 3, 5),
    (7,),
]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("spread", [1, 30])
def test_softmax(device: Device, shape: tuple[int, ...], spread: float) -> None:
    x = spread * checks.normal(*shape)
    y = softmax(checks.on(device, x))
    checks.assert_as_exact_as_plain(y, oracle.softmax(x.astype(np.float64)), oracle.softmax(x))
    double = softmax(checks.on(device, x.astype(np.float64)))
    checks.assert_close_in_double(double, oracle.softmax(x.astype(np.float64)))


@pytest.mark.parametrize("shape", SHAPES)
def test_softmax_gradient(device: Device, shape: tuple[int, ...]) -> None:
    y, dy = oracle.softmax(checks.normal(*shape, seed=1)), checks.normal(*shape, seed=2)
    exact = oracle.softmax_gradient(dy.astype(np.float64), y.astype(np.float64))
    dx = softmax_gradient(*checks.on(device, dy, y))
    checks.assert_as_exact_as_plain(dx, exact, oracle.softmax_gradient(dy, y))
    double = softmax_gradient(*checks.on(device, dy.astype(np.float64), y.astype(np.float64)))
    checks.assert_close_in_double(double, exact)


@pytest.mark.parametrize("shape", [(2, 33), (3, 5)])
def test_softmax_gradient_against_differences(device: Device, shape: tuple[int, ...]) -> None:
    x, weights = checks.normal(*shape, seed=1, dtype=np.float64), checks.normal(*shape, seed=2, dtype=np.float64)
    dx = softmax_gradient(checks.on(device, weights), softmax(checks.on(device, x)))
    checks.assert_gradient(lambda x: (checks.host(softmax(checks.on(device, x))) * weights).sum(), x, dx)


@pytest.mark.parametrize("shape, axis", [((3, 4, 5), 1), ((3, 4, 5), -3), ((33, 2), 0), ((2, 3, 4, 5), -2)])
def test_other_axes(device: Device, shape: tuple[int, ...], axis: int) -> None:
    x, dy = checks.normal(*shape, seed=1, dtype=np.float64), checks.normal(*shape, seed=2, dtype=np.float64)
    y = softmax(checks.on(device, x), axis)
    exact = np.moveaxis(oracle.softmax(np.moveaxis(x, axis, -1)), -1, axis)
    checks.assert_close_in_double(y, exact)
    dx = softmax_gradient(checks.on(device, dy), y, axis)
    exact_dx = oracle.softmax_gradient(np.moveaxis(dy, axis, -1), np.moveaxis(exact, axis, -1))
    checks.assert_close_in_double(dx, np.moveaxis(exact_dx, -1, axis))


def test_extreme_rows(device: Device) -> None:
    top = np.finfo(np.float32).max
    x = np.float32([[1e30, -1e30, 0], [-top, -top, -top], [top, top, -top], [0, -np.inf, 0], [-1000, -1001, -2000]])
    y = checks.host(softmax(checks.on(device, x)))
    e = 1 / (1 + np.exp(-1))
    np.testing.assert_allclose(
        y, [[1, 0, 0], [1 / 3] * 3, [0.5, 0.5, 0], [0.5, 0, 0.5], [e, 1 - e, 0]], rtol=1e-6, atol=1e-30
    )


@pytest.mark.parametrize("columns", [3, 70])
@pytest.mark.parametrize("place", [0, 1, -1])
def test_a_nan_spoils_its_row_and_no_other(device: Device, columns: int, place: int) -> None:
    x = checks.normal(3, columns)
    x[1, place] = np.nan
    y = checks.host(softmax(checks.on(device, x)))
    assert np.isnan(y[1]).all()
    checks.assert_same_bits(y[[0, 2]], softmax(checks.on(device, x[[0, 2]])))


@pytest.mark.parametrize("order", ["forward", "reverse", 5])
def test_same_bits_at_every_run_and_in_any_order(device: Device, order: str | int) -> None:
    x, dy = checks.on(device, checks.normal(9, 77, seed=1), checks.normal(9, 77, seed=2))
    y = softmax(x)
    dx = softmax_gradient(dy, y)
    with emulator.configured(order=order):
        checks.assert_same_bits(softmax(x), y)
        checks.assert_same_bits(softmax_gradient(dy, y), dx)


def test_the_input_is_not_changed(device: Device) -> None:
    x, dy = checks.normal(4, 5, seed=1), checks.normal(4, 5, seed=2)
    x_device, dy_device = checks.on(device, x, dy)
    y = softmax(x_device)
    copy = checks.host(y).copy()
    softmax_gradient(dy_device, y)
    checks.assert_same_bits(x_device, x)
    checks.assert_same_bits(dy_device, dy)
    checks.assert_same_bits(y, copy)


def test_bad_input_is_refused(device: Device) -> None:
    x = checks.on(device, checks.normal(2, 3))
    with pytest.raises(ValueError, match=r"softmax: x must have at least one element; got shape \(2, 0\)"):
        softmax(checks.on(device, np.zeros((2, 0), np.float32)))
    with pytest.raises(ValueError, match=r"softmax: x must have at least one axis; got shape \(\)"):
        softmax(checks.on(device, np.float32(3)))
    with pytest.raises(TypeError, match="softmax: x must be float32 or float64; got float16"):
        softmax(checks.on(device, np.zeros((2, 3), np.float16)))
    with pytest.raises(ValueError, match=r"softmax_gradient: dy must have shape \(2, 3\); got \(3, 2\)"):
        softmax_gradient(checks.on(device, checks.normal(3, 2)), x)
    with pytest.raises(TypeError, match="softmax_gradient: all arrays must have one dtype"):
        softmax_gradient(checks.on(device, checks.normal(2, 3, dtype=np.float64)), x)
