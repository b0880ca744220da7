"""Where a feed stands in its epochs can be written down, and another feed goes on from there with the same batches."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import gpunet
from gpunet.backend.arrays import CPU, HostArray, Shape
from gpunet.backend.streaming import Layout
from gpunet.training.feeding import Feed, new_feed
from gpunet.training.samples import Column, Samples
from gpunet.training.schedule import Schedule
from gpunet.training.sequences import Checked, Sequences

X = np.arange(11, dtype=np.float32)
EPOCHS = 3


class Shuffling:
    """A data set of batches that puts its samples in another order after every epoch."""

    def __init__(self) -> None:
        self._rng = np.random.default_rng(3)
        self._order = np.arange(11)
        self.made = 0

    def __len__(self) -> int:
        return 4

    def __getitem__(self, number: int) -> tuple[HostArray, ...]:
        self.made += 1
        return (X[self._order[3 * number : 3 * number + 3]],)

    def on_epoch_end(self) -> None:
        self._rng.shuffle(self._order)


class Iterable:
    def __iter__(self) -> Iterator[tuple[HostArray, ...]]:
        yield from ((X[start : start + 4],) for start in range(0, 11, 4))


def _endless() -> Iterator[tuple[HostArray, ...]]:
    rng = np.random.default_rng(1)
    while True:
        yield (rng.random(2, np.float32),)


def _check(where: str, batch: tuple[HostArray, ...]) -> Checked:
    return batch, [Layout(array.shape, array.dtype) for array in batch]


def _samples(size: int, shuffle: bool = False, steps: int | None = None) -> Feed:
    samples = Samples((Column(X, (), X.dtype),))
    return new_feed(samples, Schedule(11, size, shuffle, steps), CPU)


def _sequences(data: Any, **options: Any) -> Sequences:
    return Sequences("fit", data, _check, CPU, **options)


FEEDS: dict[str, Callable[[], Feed]] = {
    "in order": lambda: _samples(4),
    "shuffled": lambda: _samples(4, shuffle=True),
    "epochs shorter than a pass": lambda: _samples(3, shuffle=True, steps=3),
    "epochs longer than a pass": lambda: _samples(4, shuffle=True, steps=5),
    "passes begin with epochs": lambda: new_feed(
        Samples((Column(X, (), X.dtype),)), Schedule(11, 4, steps=2, restart=True), CPU
    ),
    "a data set": lambda: _sequences(Shuffling()),
    "a data set in another order": lambda: _sequences(Shuffling(), shuffle=True),
    "a data set, a part an epoch": lambda: _sequences(Shuffling(), shuffle=True, steps=2),
    "a data set from its beginning": lambda: _sequences(Shuffling(), steps=3, restart=True),
    "an iterable": lambda: _sequences(Iterable()),
    "an iterable, a part an epoch": lambda: _sequences(Iterable(), steps=1),
    "a generator": lambda: _sequences(_endless(), steps=3),
}


def _batches(feed: Feed, epochs: int) -> Iterator[list[float]]:
    """Yield the batches of so many epochs, each with its shape."""
    for _ in range(epochs):
        batches = feed.epoch()
        assert batches is not None
        for batch in batches:
            yield _content(batch.take()[0])


def _content(array: HostArray) -> list[float]:
    shape: Shape = array.shape
    return [*shape, *array.ravel().tolist()]


@pytest.mark.parametrize("name", FEEDS)
def test_another_feed_goes_on_from_every_position(name: str) -> None:
    gpunet.set_random_seed(8)
    expected = list(_batches(FEEDS[name](), EPOCHS))
    lengths = _lengths(name)
    for stop in range(len(expected) + 1):
        gpunet.set_random_seed(8)
        feed = FEEDS[name]()
        position = _position_after(feed, stop, lengths)
        gpunet.set_random_seed(stop)  # another process may have drawn other streams before
        other = FEEDS[name]()
        other.restore(json.loads(json.dumps(position)))
        epoch = next(e for e in range(EPOCHS + 1) if e == EPOCHS or sum(lengths[: e + 1]) > stop)
        assert list(_batches(other, EPOCHS - epoch)) == expected[stop:], stop


@pytest.mark.parametrize("name", FEEDS)
def test_a_position_after_the_last_batch_of_an_epoch_that_has_not_ended(name: str) -> None:
    gpunet.set_random_seed(8)
    lengths = _lengths(name)
    gpunet.set_random_seed(8)
    feed = FEEDS[name]()
    batches = feed.epoch()
    assert batches is not None
    for _ in range(lengths[0]):
        next(batches)
    other = FEEDS[name]()
    other.restore(feed.position())
    rest = other.epoch()
    assert rest is not None and list(rest) == []
    gpunet.set_random_seed(8)
    expected = list(_batches(FEEDS[name](), EPOCHS))
    assert list(_batches(other, EPOCHS - 1)) == expected[lengths[0] :]


def _lengths(name: str) -> list[int]:
    """Return how many batches each epoch has."""
    gpunet.set_random_seed(8)
    feed = FEEDS[name]()
    return [sum(1 for _ in _batches(feed, 1)) for _ in range(EPOCHS)]


def _position_after(feed: Feed, stop: int, lengths: list[int]) -> dict[str, Any]:
    """Return the position after `stop` batches; after the last of an epoch, this has ended."""
    for length in lengths:
        if stop == 0:
            break
        batches = feed.epoch()
        assert batches is not None
        if stop < length:
            for _ in range(stop):
                next(batches)
            return feed.position()
        assert sum(1 for _ in batches) == length
        stop -= length
    return feed.position()


def test_batches_behind_are_not_made_again() -> None:
    data = Shuffling()
    feed = _sequences(data)
    assert sum(1 for _ in _batches(feed, 5)) == 20 and data.made == 20
    other = Shuffling()
    _sequences(other).restore(feed.position())
    assert other.made <= 5  # the first of each epoch


@pytest.mark.parametrize(
    ("make", "other", "words"),
    [
        (lambda: _samples(4), lambda: _samples(3), "batch_size must be 4, as where the training began; got 3"),
        (lambda: _samples(4), lambda: _samples(4, True), "shuffle must be False, as where the training began; got Tr"),
        (lambda: _samples(4, steps=2), lambda: _samples(4), "steps_per_epoch must be 2, as where .* began; got 3"),
        (FEEDS["a data set"], lambda: _sequences(Shuffling(), steps=2), "steps_per_epoch must be None, .*; got 2"),
    ],
)
def test_a_position_of_other_batches_is_refused(make: Any, other: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        other().restore(make().position())


@pytest.mark.parametrize(("name", "value"), [("start", 12), ("start", -1), ("done", 4), ("done", "1")])
def test_a_position_that_cannot_be_is_refused(name: str, value: Any) -> None:
    feed = _samples(4, shuffle=True)
    next(_batches(feed, 1))
    with pytest.raises((ValueError, TypeError), match=name):
        _samples(4, shuffle=True).restore(feed.position() | {name: value})
