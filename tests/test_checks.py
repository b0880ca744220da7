"""The checks themselves: each must let right results pass and stop wrong ones."""

from __future__ import annotations

import checks
import numpy as np
import pytest

EXACT = np.array([1.0, -3.0, 1 / 3, np.inf])


def test_as_exact_as_plain_allows_the_error_of_plain() -> None:
    plain = EXACT.astype(np.float32)
    checks.assert_as_exact_as_plain(plain, EXACT, plain)
    worse = plain.copy()
    worse[1] *= 1 + 3e-7
    checks.assert_as_exact_as_plain(worse, EXACT, plain)


@pytest.mark.parametrize("index, wrong", [(0, 1.001), (1, np.nan), (2, np.inf), (3, 5.0), (3, -np.inf)])
def test_as_exact_as_plain_refuses(index: int, wrong: float) -> None:
    plain = EXACT.astype(np.float32)
    actual = plain.copy()
    actual[index] = wrong
    with pytest.raises(AssertionError):
        checks.assert_as_exact_as_plain(actual, EXACT, plain)


def test_as_exact_as_plain_refuses_other_shapes_and_dtypes() -> None:
    plain = EXACT.astype(np.float32)
    with pytest.raises(AssertionError):
        checks.assert_as_exact_as_plain(plain[:2], EXACT, plain)
    with pytest.raises(AssertionError, match="float32 expected"):
        checks.assert_as_exact_as_plain(EXACT, EXACT, plain)
    with pytest.raises(AssertionError, match="float64"):
        checks.assert_as_exact_as_plain(plain, plain, plain)


@pytest.mark.parametrize("index, wrong", [(0, 1 + 1e-9), (1, np.nan), (3, 5.0)])
def test_close_in_double(index: int, wrong: float) -> None:
    checks.assert_close_in_double(EXACT * (1 + 1e-15), EXACT)
    actual = EXACT.copy()
    actual[index] = wrong
    with pytest.raises(AssertionError):
        checks.assert_close_in_double(actual, EXACT)


def test_same_bits_sees_the_sign_of_zero_and_one_ulp() -> None:
    x = checks.normal(3, 4)
    checks.assert_same_bits(x, x.copy())
    checks.assert_same_bits(np.array([np.nan]), np.array([np.nan]))
    with pytest.raises(AssertionError, match="1 of 4 bytes"):
        checks.assert_same_bits(np.float32([0.0]), np.float32([-0.0]))
    with pytest.raises(AssertionError):
        checks.assert_same_bits(x, np.nextafter(x, np.float32(9)))
    with pytest.raises(AssertionError, match="float64"):
        checks.assert_same_bits(x, x.astype(np.float64))


def _cubes(x: np.ndarray) -> float:
    return float((x**3).sum())


def test_gradient_passes_when_right() -> None:
    x = checks.normal(3, 5, dtype=np.float64)
    checks.assert_gradient(_cubes, x, 3 * x**2)


@pytest.mark.parametrize("factor", [0, 1 + 1e-4, -1, 2])
def test_gradient_refuses_when_all_is_wrong(factor: float) -> None:
    x = checks.normal(3, 5, dtype=np.float64)
    with pytest.raises(AssertionError, match="direction"):
        checks.assert_gradient(_cubes, x, factor * 3 * x**2)


def test_gradient_refuses_one_wrong_element_and_names_it() -> None:
    x = checks.normal(2, 2, dtype=np.float64)
    dx = 3 * x**2
    dx[1, 0] += 1e-3
    with pytest.raises(AssertionError, match="direction 0"):
        checks.assert_gradient(_cubes, x, dx)
    with pytest.raises(AssertionError, match=r"element \(1, 0\)"):
        checks.assert_gradient(_cubes, x, dx, directions=0)


def test_gradient_refuses_float32() -> None:
    x = checks.normal(2, 2)
    with pytest.raises(AssertionError, match="float64"):
        checks.assert_gradient(_cubes, x, 3 * x**2)
