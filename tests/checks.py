"""Assertions and small helpers that every test of an op, layer or loss uses."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

from gpunet.backend import launch
from gpunet.backend.arrays import Array, Device, HostArray, to_device, to_host

LONG = os.environ.get("GPUNET_TEST_LONG") == "1"  # whether tests that draw cases, or wait for chance, shall do it long

_EPSILON32 = float(np.finfo(np.float32).eps)


def on(device: Device, *arrays: Any) -> Any:
    """Return copies of host `arrays` on `device`: one array for one, else a tuple; None stays None."""
    placed = tuple(None if a is None else to_device(np.array(a, order="C"), device) for a in arrays)
    return placed[0] if len(placed) == 1 else placed


def host(*arrays: Any) -> Any:
    """Return `arrays` of any device as NumPy arrays: one array for one, else a tuple; None stays None."""
    taken = tuple(None if a is None else to_host(a) for a in arrays)
    return taken[0] if len(taken) == 1 else taken


class _Recorder(list[launch.Launch]):
    """Every launch in order, noted in the process's set of different ones too."""

    def add(self, made: launch.Launch) -> None:
        self.append(made)
        _all_launches.add(made)


_all_launches = launch.launched


@contextmanager
def recorded_launches() -> Iterator[list[launch.Launch]]:
    """Inside a `with` block, list the launches of kernels."""
    with pytest.MonkeyPatch.context() as patch:
        recorder = _Recorder()
        patch.setattr(launch, "launched", recorder)
        yield recorder


def normal(*shape: int, seed: int = 0, dtype: Any = np.float32) -> HostArray:
    """Return standard normal numbers, the same in every run."""
    return np.asarray(np.random.default_rng(seed).standard_normal(shape)).astype(dtype)


def assert_as_exact_as_plain(actual: Array, exact64: HostArray, plain32: HostArray, times: float = 2) -> None:
    """Check that `actual` is at most twice, or `times`, as far from the float64 oracle as a plain float32 version is.

    Errors are the largest of the array. Four float32 roundings of the largest magnitude are allowed on top, because
    the plain version may happen to be exact. Infinities and NaNs must stand where the oracle has them.
    """
    actual, plain32 = to_host(actual), np.asarray(plain32)
    exact64 = np.asarray(exact64)
    assert exact64.dtype == np.float64, f"the oracle must compute in float64; it gave {exact64.dtype}"
    assert actual.dtype == plain32.dtype == np.float32, f"float32 expected; got {actual.dtype} and {plain32.dtype}"
    assert actual.shape == exact64.shape == plain32.shape, (actual.shape, exact64.shape, plain32.shape)
    finite = np.isfinite(exact64)
    np.testing.assert_array_equal(actual[~finite], exact64[~finite].astype(np.float32))
    if not finite.any():
        return
    error = np.abs(actual[finite].astype(np.float64) - exact64[finite])
    plain_error = np.abs(plain32[finite].astype(np.float64) - exact64[finite])
    allowed = times * np.nanmax(plain_error) + 4 * _EPSILON32 * np.abs(exact64[finite]).max()
    worst = _worst(actual, exact64, finite)
    assert np.isfinite(error).all(), f"not finite where the oracle is: {worst}"
    assert error.max() <= allowed, f"error {error.max():.3g} exceeds {allowed:.3g}: {worst}"


def assert_close_in_double(actual: Array, exact64: HostArray, tolerance: float = 1e-12) -> None:
    """Check a float64 result against the float64 oracle: `tolerance` is relative to the largest magnitude."""
    actual, exact64 = to_host(actual), np.asarray(exact64)
    assert actual.dtype == np.float64, f"float64 expected; got {actual.dtype}"
    assert actual.shape == exact64.shape, (actual.shape, exact64.shape)
    finite = np.isfinite(exact64)
    np.testing.assert_array_equal(actual[~finite], exact64[~finite])
    if not finite.any():
        return
    error = np.abs(actual[finite] - exact64[finite])
    worst = _worst(actual, exact64, finite)
    assert np.isfinite(error).all(), f"not finite where the oracle is: {worst}"
    allowed = tolerance * np.abs(exact64[finite]).max()
    assert error.max() <= allowed, f"error {error.max():.3g} exceeds {allowed:.3g}: {worst}"


def _worst(actual: HostArray, exact64: HostArray, finite: HostArray) -> str:
    """Describe the element that is furthest from the oracle."""
    error = np.full(exact64.shape, -1.0)
    error[finite] = np.nan_to_num(np.abs(actual[finite].astype(np.float64) - exact64[finite]), nan=np.inf)
    index = tuple(int(i) for i in np.unravel_index(int(np.argmax(error)), error.shape))
    return f"element {index} of {error.shape} is {actual[index]!r}, must be {exact64[index]!r}"


def assert_same_bits(actual: Array, expected: Array) -> None:
    """Check that two arrays of any devices agree in shape, dtype and every bit."""
    actual, expected = to_host(actual), to_host(expected)
    assert (actual.shape, actual.dtype) == (expected.shape, expected.dtype), (
        f"{actual.shape} {actual.dtype} is not {expected.shape} {expected.dtype}"
    )
    differing = int(np.count_nonzero(_bits(actual) != _bits(expected)))
    assert differing == 0, f"{differing} of {actual.nbytes} bytes differ"


def _bits(array: HostArray) -> HostArray:
    return np.frombuffer(np.ascontiguousarray(array).tobytes(), np.uint8)


def assert_gradient(
    f: Callable[[HostArray], Any],
    x: HostArray,
    dx: Array,
    *,
    step: float = 1e-5,
    tolerance: float = 1e-6,
    directions: int = 4,
    elements: int = 4,
    seed: int = 0,
) -> None:
    """Check that `dx` is the gradient of the scalar function `f` at `x`, by central differences in float64.

    `f` takes a host array of float64 with the shape of `x` and returns a number or an array of one element. The
    derivative is compared along random directions of +-1 (every element takes part) and along single elements (which
    say where an error is). `x` must be further than `step` from kinks of `f`, such as the 0 of relu.
    """
    x, dx = np.asarray(x), to_host(dx)
    assert x.dtype == dx.dtype == np.float64, f"gradients are checked in float64; got {x.dtype} and {dx.dtype}"
    assert x.shape == dx.shape, f"the gradient has shape {dx.shape}; x has {x.shape}"
    rng = np.random.default_rng(seed)
    for number in range(directions):
        direction = rng.choice([-1.0, 1.0], size=x.shape)
        _assert_derivative(f, x, dx, direction, step, tolerance, f"random direction {number}")
    for flat in rng.permutation(x.size)[:elements]:
        index = tuple(int(i) for i in np.unravel_index(int(flat), x.shape))
        direction = np.zeros(x.shape)
        direction[index] = 1
        _assert_derivative(f, x, dx, direction, step, tolerance, f"element {index}")


def _assert_derivative(
    f: Callable[[HostArray], Any],
    x: HostArray,
    dx: HostArray,
    direction: HostArray,
    step: float,
    tolerance: float,
    where: str,
) -> None:
    above, below = _number(f(x + step * direction)), _number(f(x - step * direction))
    numeric = (above - below) / (2 * step)
    analytic = float((dx * direction).sum())
    # The second term bounds the rounding of f itself, some 1e-15 of it, divided by the step.
    allowed = tolerance * float(np.abs(dx * direction).sum() + abs(numeric)) + 1e-14 * (abs(above) + abs(below)) / step
    assert abs(numeric - analytic) <= allowed, f"{where}: gradient says {analytic:.9g}, differences say {numeric:.9g}"


def _number(value: Any) -> float:
    return float(np.asarray(to_host(value) if hasattr(value, "dtype") else value).reshape(()))
