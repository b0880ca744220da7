"""Graphs (backend/graph.py, backend/recording.py) on `emulated`: what was done is done again, or it is said why not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import checks
import numpy as np
import pytest

from gpunet.backend import devices, recording
from gpunet.backend.arrays import EMULATED, Array, assign, empty_like, fill, to_host
from gpunet.backend.graph import CaptureError, Graph, Workspace
from gpunet.ops import arithmetic


@pytest.fixture(autouse=True)
def _emulated() -> None:
    report = devices.examine(EMULATED)
    if not report.usable:
        pytest.skip(report.reason)


def _x() -> Array:
    x: Array = checks.on(EMULATED, np.float32([1, 2, 3]))
    return x


def _capture(work: Callable[[], None]) -> Graph:
    with recording.started(capture=False) as made:
        work()
    return Workspace(EMULATED).capture(work, made.log)


def test_kernels_copies_and_fills_run_again() -> None:
    x, y = _x(), empty_like(_x())
    copy, count = empty_like(x), _x()

    def work() -> None:
        fill(y, 1)
        arithmetic.add_in_place(y, arithmetic.scale(x, 2))
        assign(copy, y)
        arithmetic.add_in_place(count, x)

    graph = _capture(work)
    np.testing.assert_array_equal(to_host(count), [3, 6, 9])
    assign(x, np.float32([5, 6, 7]))
    graph.launch()
    np.testing.assert_array_equal(to_host(copy), [11, 13, 15])
    np.testing.assert_array_equal(to_host(count), [8, 12, 16])


# Arithmetic of a user's own layer, as CuPy has it too: from x, of shape (3,), to an array.
ARITHMETIC: dict[str, Callable[[Any], Any]] = {
    "an operator": lambda x: 2 * x + x,
    "a sum": lambda x: x.sum(keepdims=True),
    "a mean over an axis": lambda x: x.reshape(3, 1).mean(axis=0),
    "a function": lambda x: np.concatenate([x, x]),
    "indices": lambda x: x[[2, 0]],
    "a slice": lambda x: x[1:] * 1,
    "another dtype": lambda x: x.astype(np.float64),
    "a copy": lambda x: x.copy(),
    "where": lambda x: np.where(x > 1, x, -x),
    "an output": lambda x: np.add(x, x, out=empty_like(x)),
    "a NumPy loop": lambda x: np.maximum.accumulate(x),
}


@pytest.mark.parametrize("name", ARITHMETIC)
def test_arithmetic_on_arrays_runs_again(name: str) -> None:
    x, results = _x(), []
    graph = _capture(lambda: results.append(ARITHMETIC[name](x)))
    assign(x, np.float32([-5, 7, 6]))
    graph.launch()
    expected = ARITHMETIC[name](np.float32([-5, 7, 6]) if name != "an output" else _changed())
    checks.assert_same_bits(results[-1], to_host(expected))


def _changed() -> Array:
    x: Array = checks.on(EMULATED, np.float32([-5, 7, 6]))
    return x


def test_assignments_run_again() -> None:
    x, y = _x(), _x()

    def work() -> None:
        y[1:] = x[1:]
        y[:1] *= 2

    graph = _capture(work)
    assign(x, np.float32([7, 8, 9]))
    graph.launch()
    np.testing.assert_array_equal(to_host(y), [8, 8, 9])


# What no graph can do again, and how it is named.
REFUSED: dict[str, tuple[Callable[[Any], Any], str]] = {
    "reading": (lambda x: to_host(x), "the host reads the device"),
    "get": (lambda x: x.get(), "the host reads the device"),
    "a number": (lambda x: float(x[0]), "the host reads the device"),
    "a condition": (lambda x: bool((x > 0).all()), "an array's __bool__ runs outside of kernels"),
    "item": (lambda x: x[:1].item(), "an array's item runs outside of kernels"),
    "writing": (lambda x: assign(x, np.float32([1, 2, 3])), "the host writes to the device"),
    "several results": (
        lambda x: np.split(x, 3),
        "the emulator cannot run array_split, which has several results, again",
    ),
    "divmod": (lambda x: np.divmod(x, 2), "the emulator cannot run divmod, which has several results, again"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_run_again_is_refused(name: str) -> None:
    act, reason = REFUSED[name]
    x, y = _x(), _x()

    def work() -> None:
        act(x)
        arithmetic.add_in_place(y, x)

    with pytest.raises(CaptureError, match=reason) as caught:
        _capture(work)
    assert caught.value.has_run
    np.testing.assert_array_equal(to_host(y), [3, 6, 9])  # both runs came to their end


def test_other_launches_than_expected_are_refused() -> None:
    x, numbers = _x(), iter([1.0, 2.0])
    with pytest.raises(CaptureError, match=r"two runs launch scale with different numbers or shapes: 1\.0 and 2\.0"):
        _capture(lambda: arithmetic.scale(x, next(numbers)))
    ops = iter([lambda: arithmetic.total(x), lambda: arithmetic.scale(x, 1.0)])
    with pytest.raises(CaptureError, match="two runs launch different kernels: partial_sums and scale"):
        _capture(lambda: next(ops)())
    times = iter([1, 2])
    with pytest.raises(CaptureError, match="two runs launch different numbers of kernels: 1 and 2"):
        _capture(lambda: [arithmetic.scale(x, 3.0) for _ in range(next(times))])


def test_errors_pass_and_end_the_recording() -> None:
    def work() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        Workspace(EMULATED).capture(work, [])
    assert recording.current() is None
