"""Notes of the first step that is not finite, and copies of what was there before it (kernels nonfinite.cu)."""

from __future__ import annotations

from typing import Any

import checks
import numpy as np
import oracle
import pytest

from gpunet.backend.arrays import CPU, Array, Device, HostArray, zeros_like
from gpunet.ops.flat import BLOCK, Layout
from gpunet.ops.nonfinite import (
    COPIES,
    COPY_BLOCKS,
    NOTES,
    PER_THREAD,
    first_note,
    keep_if_noted,
    new_notes,
    note_nonfinite,
)
from gpunet.ops.preparation import Rules

# One block that notes, about what one looks at, all that there are, and several turns of each.
SIZES = [1, BLOCK, NOTES * PER_THREAD + 1, NOTES * NOTES * PER_THREAD, 2 * NOTES * NOTES * PER_THREAD + 7]


class _Step:
    """Flat weights and gradients of parameters with `sizes`, and notes."""

    def __init__(self, device: Device, *sizes: int, penalties: Any = None, dtype: Any = np.float32) -> None:
        layout = Layout([(size,) for size in sizes])
        none = [(0.0, 0.0)] * len(sizes)
        self.rules = Rules(layout, penalties or none, [0.0] * len(sizes), dtype, device)
        self.w, self.g = checks.on(device, np.full(layout.size, 0.9, dtype), np.ones(layout.size, dtype))
        self.notes = new_notes(device)
        self.device, self.everything = device, slice(0, len(sizes))

    def plant(self, index: int, value: float) -> None:
        g = checks.host(self.g).copy()
        g[index] = value
        self.g = checks.on(self.device, g)

    def note(self, step: int = 3, kind: int = 5, run: slice | None = None, loss: Any = None) -> tuple[int, int] | None:
        iterations, record = checks.on(self.device, np.array([step]), None if loss is None else np.array([loss]))
        note_nonfinite(self.w, self.g, self.rules, run or self.everything, record, iterations, self.notes, kind)
        return first_note(checks.host(self.notes))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("size", SIZES)
def test_one_element_of_many_is_enough(device: Device, size: int, dtype: Any) -> None:
    for index in {0, size // 2, size - 1}:
        step = _Step(device, size, dtype=dtype)
        assert step.note() is None
        step.plant(index, np.nan)
        assert step.note() == (3, 5)


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan, np.finfo(np.float32).max, -np.finfo(np.float32).max])
def test_what_is_not_finite(device: Device, value: float) -> None:
    step = _Step(device, 10, 300)
    step.plant(BLOCK + 299, value)
    expected = oracle.has_nonfinite(checks.host(step.g), checks.host(step.w), 0, 0)
    assert (step.note() is not None) == expected == (not np.isfinite(value))


def test_the_loss_counts_too(device: Device) -> None:
    assert _Step(device, 3).note(loss=(1.0, 2.0)) is None
    for loss in [(np.inf, 2.0), (np.nan, 2.0), (1.0, np.nan)]:
        assert _Step(device, 3).note(loss=loss) == (3, 5)


def test_only_the_parameters_of_the_run_count(device: Device) -> None:
    step = _Step(device, 3, BLOCK + 1, 4)
    step.plant(BLOCK + 5, np.inf)
    assert step.note(run=slice(0, 1)) is None
    assert step.note(run=slice(2, 3)) is None
    assert step.note(run=slice(1, 2)) == (3, 5)


@pytest.mark.parametrize("l2, is_finite", [(1e38, True), (3e38, False)])
def test_gradients_of_penalties_count(device: Device, l2: float, is_finite: bool) -> None:
    """2 l2 w is infinite for w = 0.9, where the penalty itself, l2 w^2, is not."""
    step = _Step(device, 3, BLOCK + 1, penalties=[(0.0, 0.0), (0.1, l2)])
    g, w = np.ones(1, np.float32), np.full(1, 0.9, np.float32)
    with np.errstate(over="ignore"):
        assert oracle.has_nonfinite(g, w, np.float32(0.1), np.float32(l2)) == (not is_finite)
        assert step.note() == (None if is_finite else (3, 5))


def test_the_first_step_stays_noted(device: Device) -> None:
    step = _Step(device, 3 * NOTES * PER_THREAD)
    step.plant(2 * NOTES * PER_THREAD, np.nan)  # in the first turn of no block but one
    assert step.note(7, 1) == (7, 1)
    step.plant(0, np.nan)
    assert step.note(8, 2) == (7, 1)
    by_block = {0, 7} if device == CPU else {0, 7, 8}
    assert set(checks.host(step.notes)[0].tolist()) == by_block


ARRAYS = [
    np.arange(COPY_BLOCKS * NOTES + 3, dtype=np.float32),
    np.array([2**40 + 1]),
    np.arange(6, dtype=np.int32).reshape(2, 3),
    checks.normal(3, 5, dtype=np.float64),
    checks.normal(1),
]
assert len(ARRAYS) > COPIES


def _pairs(device: Device) -> list[tuple[Array, Array]]:
    sources = checks.on(device, *ARRAYS)
    return [(source, zeros_like(source)) for source in sources]


def _are_kept(pairs: list[tuple[Array, Array]]) -> bool:
    """Tell whether all is copied; fail if some is."""
    copied = [np.array_equal(checks.host(target), array) for array, (_, target) in zip(ARRAYS, pairs, strict=True)]
    untouched = [not checks.host(target).any() for _, target in pairs]
    assert all(copied) or all(untouched)
    return all(copied)


def _notes(device: Device, *noted: tuple[int, int]) -> Array:
    """Return notes of (block, step)."""
    notes: HostArray = np.zeros((2, NOTES), np.int64)
    for block, step in noted:
        notes[:, block] = step, 1
    result: Array = checks.on(device, notes)
    return result


@pytest.mark.parametrize(
    "noted, step, kept",
    [
        ([], 5, False),
        ([(0, 5)], 5, True),
        ([(NOTES - 1, 5)], 5, True),
        ([(7, 5), (0, 5)], 5, True),
        ([(0, 5)], 6, False),
        ([(0, 5), (3, 6)], 6, False),
        ([(0, 6), (3, 5)], 6, False),
        ([], None, True),
        ([(9, 5)], None, False),
    ],
)
def test_copies_are_kept_of_the_first_step_or_until_then(
    device: Device, noted: list[tuple[int, int]], step: int | None, kept: bool
) -> None:
    pairs = _pairs(device)
    iterations = None if step is None else checks.on(device, np.array([step]))
    keep_if_noted(_notes(device, *noted), iterations, pairs)
    assert _are_kept(pairs) == kept


def test_one_launch_keeps_several_arrays(device: Device) -> None:
    pairs, iterations = _pairs(device), checks.on(device, np.array([5]))
    for count, launches in [(0, 0), (1, 1), (COPIES, 1), (COPIES + 1, 2)]:
        with checks.recorded_launches() as launched:
            keep_if_noted(_notes(device), iterations, pairs[:count])
        assert [launch.entry for launch in launched] == ["keep_if"] * (0 if device == CPU else launches)


def test_bad_input_is_refused(device: Device) -> None:
    step = _Step(device, 3)
    with pytest.raises(TypeError, match="note_nonfinite: loss must be float64; got float32"):
        record, iterations = checks.on(device, np.zeros((1, 2), np.float32), np.array([1]))
        note_nonfinite(step.w, step.g, step.rules, step.everything, record, iterations, step.notes, 0)
    with pytest.raises(TypeError, match="note_nonfinite: iterations must be int64; got float64"):
        iterations = checks.on(device, np.ones(1))
        note_nonfinite(step.w, step.g, step.rules, step.everything, None, iterations, step.notes, 0)
    with pytest.raises(ValueError, match=r"keep_if_noted: notes must have shape \(2, 256\); got \(256,\)"):
        keep_if_noted(checks.on(device, np.zeros(NOTES, np.int64)), None, _pairs(device))
    with pytest.raises(TypeError, match="keep_if_noted: target must be float32; got float64"):
        keep_if_noted(step.notes, None, [checks.on(device, np.ones(3, np.float32), np.ones(3))])
    with pytest.raises(ValueError, match=r"keep_if_noted: target must have shape \(3,\); got \(4,\)"):
        keep_if_noted(step.notes, None, [checks.on(device, np.ones(3), np.ones(4))])
