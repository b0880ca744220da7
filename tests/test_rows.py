"""Activations along an axis, and their gradients: log_softmax.cu, sparsemax.cu, glu.cu."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import checks
import numpy as np
import oracle_pointwise as oracle
import pytest

from gpunet.backend.arrays import Device
from gpunet.ops.glu import glu, glu_gradient
from gpunet.ops.log_softmax import log_softmax, log_softmax_gradient
from gpunet.ops.sparsemax import sparsemax, sparsemax_gradient

# Shapes and axes: a lane has no column, one, several; more rows than a block; an axis that is not the last.
CASES = [((1, 2), 1), ((5, 40), -1), ((9, 130), 1), ((3, 34, 2), 1), ((4, 3), 0)]
ROWS: dict[str, tuple[Callable[..., Any], Callable[..., Any], bool]] = {  # the last: whether it takes y
    "log_softmax": (log_softmax, log_softmax_gradient, True),
    "sparsemax": (sparsemax, sparsemax_gradient, True),
    "glu": (glu, glu_gradient, False),
}


def _last(array: Any, axis: int) -> Any:
    return np.moveaxis(checks.host(array), axis, -1)


@pytest.mark.parametrize("name", ROWS)
def test_values_and_gradients(device: Device, name: str) -> None:
    op, gradient, takes_y = ROWS[name]
    for number, (shape, axis) in enumerate(CASES):
        x = 2 * checks.normal(*shape, seed=number)
        wide = _last(x, axis).astype(np.float64)
        y = op(checks.on(device, x), axis)
        exact = getattr(oracle, name)(wide)
        checks.assert_as_exact_as_plain(_last(y, axis), exact, getattr(oracle, name)(_last(x, axis)))
        dy = checks.normal(*y.shape, seed=number + 100)
        saved = checks.host(y) if takes_y else x
        dx = _last(gradient(*checks.on(device, dy, saved), axis), axis)
        plain = getattr(oracle, f"{name}_gradient")(_last(dy, axis), _last(saved, axis))
        exact = getattr(oracle, f"{name}_gradient")(*(_last(a, axis).astype(np.float64) for a in (dy, saved)))
        checks.assert_as_exact_as_plain(dx, exact, plain)


@pytest.mark.parametrize("name", ROWS)
def test_gradients_against_differences(device: Device, name: str) -> None:
    op, gradient, takes_y = ROWS[name]
    x = checks.normal(3, 6, dtype=np.float64)
    x_device = checks.on(device, x)
    y = op(x_device, 1)
    dy = checks.normal(*y.shape, seed=1, dtype=np.float64)
    dx = gradient(checks.on(device, dy), y if takes_y else x_device, 1)
    checks.assert_gradient(lambda x: (dy * checks.host(op(checks.on(device, x), 1))).sum(), x, dx)


def test_large_numbers(device: Device) -> None:
    x = checks.on(device, np.float32([[1e4, 0, -1e4], [3e38, 3e38, 0]]))
    np.testing.assert_allclose(checks.host(log_softmax(x))[0], [0, -1e4, -2e4])
    np.testing.assert_array_equal(checks.host(sparsemax(x)), [[1, 0, 0], [0.5, 0.5, 0]])
    np.testing.assert_array_equal(checks.host(glu(x[:, :2])), np.float32([[5e3], [3e38]]))


def test_a_sparsemax_row_is_a_probability(device: Device) -> None:
    """Also where all elements stay, or are equal; beside a NaN the others are as without it."""
    x = np.float64([[0.1, 0.2, 0.3, 0.0], [7, 7, 7, 7], [-5, 3, 2.5, np.nan]])
    y = checks.host(sparsemax(checks.on(device, x)))
    np.testing.assert_allclose(y[:2], [[0.2, 0.3, 0.4, 0.1], [0.25] * 4], rtol=1e-14)
    np.testing.assert_allclose(y[2], [0, 0.75, 0.25, np.nan])


def test_errors() -> None:
    x = np.ones((2, 3), np.float32)
    with pytest.raises(ValueError, match=r"glu: x must have an even size along axis -1; got shape \(2, 3\)"):
        glu(x)
    with pytest.raises(ValueError, match=r"glu_gradient: dy must have shape \(1, 3\); got \(2, 3\)"):
        glu_gradient(x, x, 0)
    for op in (log_softmax, sparsemax, glu):
        with pytest.raises(ValueError, match=f"{op.__name__}: axis must be one of the 2 axes of x; got 2"):
            op(x, 2)
    for gradient in (log_softmax_gradient, sparsemax_gradient):
        with pytest.raises(ValueError, match=rf"{gradient.__name__}: dy must have shape \(2, 3\); got \(3, 2\)"):
            gradient(x.T, x)
