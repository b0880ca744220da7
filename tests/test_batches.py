"""Samples on the host, and how they are cut into batches."""

from __future__ import annotations

import itertools
from typing import Any

import checks
import numpy as np
import pytest

import gpunet
from gpunet.backend.arrays import CPU, EMULATED, device_of
from gpunet.training import batches
from gpunet.training.batches import Samples, Schedule
from gpunet.training.loops import Data


def _epoch(schedule: Schedule) -> list[list[int]]:
    return [indices.tolist() for indices in schedule.epoch()]


def test_batches_in_order() -> None:
    schedule = Schedule(5, 2)
    assert schedule.steps == 3
    assert _epoch(schedule) == _epoch(schedule) == [[0, 1], [2, 3], [4]]
    assert _epoch(Schedule(2, 10)) == [[0, 1]]


def test_shuffled_batches_are_permutations_that_the_seed_decides() -> None:
    gpunet.set_random_seed(5)
    schedule = Schedule(50, 7, shuffle=True)
    first, second = _epoch(schedule), _epoch(schedule)
    for epoch in (first, second):
        assert sorted(itertools.chain(*epoch)) == list(range(50))
    assert first != second
    gpunet.set_random_seed(5)
    assert _epoch(Schedule(50, 7, shuffle=True)) == first
    assert _epoch(Schedule(50, 7, shuffle=True)) != first  # the next fit


def test_epochs_of_their_own_length() -> None:
    schedule = Schedule(5, 2, steps=2)
    assert [_epoch(schedule) for _ in range(3)] == [[[0, 1], [2, 3]], [[4], [0, 1]], [[2, 3], [4]]]
    assert _epoch(Schedule(2, 2, steps=3)) == [[0, 1]] * 3


@pytest.mark.parametrize("device", [CPU, EMULATED], ids=str)
def test_batches_are_copies_on_the_device(device: Any) -> None:
    x, y = np.arange(6, dtype=np.uint8).reshape(3, 2), np.int32([5, 6, 7])
    taken, labels = Samples(x, y).labelled_batch(np.array([2, 0]), "float32", device)
    assert device_of(taken) == device_of(labels) == device
    checks.assert_same_bits(taken, np.float32([[4, 5], [0, 1]]))
    checks.assert_same_bits(labels, np.int32([7, 5]))
    x = np.float32([[1], [2]])
    taken = Samples(x, None).batch(np.array([0, 1]), "float32", device)
    assert not np.shares_memory(np.asarray(taken), x)


def test_batches_are_contiguous_whatever_the_order_of_the_samples() -> None:
    x = np.asfortranarray(np.arange(60, dtype=np.float32).reshape(3, 4, 5))
    samples = Samples(x, x)
    for batch in samples.labelled_batch(np.array([0, 2]), np.float32, CPU):
        assert batch.flags.c_contiguous
        checks.assert_same_bits(batch, np.ascontiguousarray(x[[0, 2]]))


@pytest.mark.parametrize(("steps", "size"), [(None, 5), (1, 2), (2, 4), (3, 5), (4, 7), (7, 12)])
def test_how_many_samples_an_epoch_has(steps: int | None, size: int) -> None:
    data = Data(Samples(np.zeros(5), None), Schedule(5, 2, steps=steps))
    assert data.epoch_size == size == sum(map(len, data.schedule.epoch()))


def test_split() -> None:
    samples = Samples(np.arange(10), np.arange(10) * 2)
    head, tail = samples.split("fit", 0.25)
    assert (head.x.tolist(), tail.x.tolist()) == (list(range(7)), [7, 8, 9])
    assert tail.y is not None and tail.y.tolist() == [14, 16, 18]
    assert len(samples.split("fit", 0.001)[1]) == 1
    for fraction in (0.999, 1.0):
        with pytest.raises(ValueError, match=r"fit: validation_split must leave at least one of 10 samples"):
            samples.split("fit", fraction)


@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        (None, TypeError, "fit: x must be an array; got None"),
        (["a", "b"], TypeError, "fit: x must be an array of real numbers; got a list"),
        (np.array(["a"]), TypeError, "fit: x must be an array of real numbers; got an array of <U1"),
        (np.array([1j]), TypeError, "an array of complex128"),
        ((i for i in range(3)), TypeError, "got a generator"),
        ([[1], [1, 2]], ValueError, "fit: x must be an array; got a list"),
        (3, ValueError, "fit: x must have one entry a sample along its first axis; got a single number"),
        (np.zeros((0, 3)), ValueError, r"fit: x must have no size 0; got shape \(0, 3\)"),
        (np.zeros((3, 0)), ValueError, r"fit: x must have no size 0; got shape \(3, 0\)"),
    ],
)
def test_what_is_no_array_of_samples(value: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        batches.as_host("fit", "x", value)


def test_numbers_that_are_not_finite_are_found() -> None:
    x = np.zeros((5, 4, 3))
    batches.check_finite("fit", "x", x, np.dtype(np.float32))
    x[3, 1, 2] = np.nan
    with pytest.raises(ValueError, match=r"fit: x must be finite in float32; got nan at index \(3, 1, 2\)"):
        batches.check_finite("fit", "x", x, np.dtype(np.float32))
    x[3, 1, 2] = 1e300
    batches.check_finite("fit", "x", x, np.dtype(np.float64))
    with pytest.raises(ValueError, match=r"got 1e\+300 at index \(3, 1, 2\)"):
        batches.check_finite("fit", "x", x, np.dtype(np.float32))


def test_the_last_of_many_numbers_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "_CHECKED_AT_ONCE", 8)
    x = np.zeros((7, 3), np.float32)
    x[6, 2] = -np.inf
    with pytest.raises(ValueError, match=r"got -inf at index \(6, 2\)"):
        batches.check_finite("fit", "x", x, np.dtype(np.float32))
