"""Which samples make up which batch."""

from __future__ import annotations

import itertools

import numpy as np

import gpunet
from gpunet.training.schedule import Schedule


def _epoch(schedule: Schedule) -> list[list[int]]:
    return [cut.indices.tolist() for cut in schedule.epoch()]


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


def test_epochs_that_each_begin_a_pass() -> None:
    schedule = Schedule(5, 2, steps=2, restart=True)
    assert [_epoch(schedule) for _ in range(2)] == [[[0, 1], [2, 3]]] * 2


def test_the_batches_of_a_pass_share_one_order() -> None:
    shuffled, in_order = Schedule(5, 2, shuffle=True), Schedule(5, 2)
    cuts = [*shuffled.epoch(), *shuffled.epoch()]
    assert [(cut.start, cut.stop, cut.size) for cut in cuts[:3]] == [(0, 2, 2), (2, 4, 2), (4, 5, 1)]
    assert cuts[0].order is cuts[1].order is cuts[2].order is not cuts[3].order
    assert len({id(cut.order) for cut in (*in_order.epoch(), *in_order.epoch())}) == 1
    assert cuts[0].order.dtype == next(in_order.epoch()).order.dtype == np.int64
