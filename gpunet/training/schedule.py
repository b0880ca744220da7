"""Which samples make up which batch."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from gpunet import arguments
from gpunet.backend.arrays import HostArray
from gpunet.backend.random import Purpose, Stream, new_stream


class Cut(NamedTuple):
    """The place of a batch in a pass: the samples `order[start:stop]`; all batches of a pass share one `order`."""

    order: HostArray
    start: int
    stop: int

    @property
    def indices(self) -> HostArray:
        return self.order[self.start : self.stop]

    @property
    def size(self) -> int:
        return self.stop - self.start


def check_kind(kind: Mapping[str, Any], position: Mapping[str, Any]) -> None:
    """ValueError unless `position` is of batches that are made as `kind` says."""
    for name, value in kind.items():
        if position[name] != value:
            raise ValueError(f"{name} must be {position[name]}, as where the training began; got {value}")


class Schedule:
    """Which samples make up which batch.

    Every pass over the `n` samples takes them in order or, with `shuffle`, in the order of a new permutation drawn on
    the host, so that it is the same on every device. The last batch of a pass may be smaller. Epochs shorter than a
    pass (`steps`) continue where the one before stopped or, with `restart`, each begin a pass.
    """

    def __init__(
        self, n: int, batch_size: int, shuffle: bool = False, steps: int | None = None, restart: bool = False
    ) -> None:
        self.n = n
        self.batch_size = batch_size
        self.steps = math.ceil(n / batch_size) if steps is None else steps
        self._stream: Stream | None = new_stream(Purpose.SHUFFLE) if shuffle else None
        self._restart = restart
        self._in_order = np.arange(n)
        # The stream's state before the running pass, or the first one, is drawn.
        self._drawn_from: Sequence[int] = () if self._stream is None else self._stream.state
        self._order: HostArray | None = None  # of the running pass
        self._start = 0  # of its next batch
        self._done: int | None = None  # batches of the running epoch
        self._goes_on = False  # whether the next epoch is one that was begun before

    def epoch(self) -> Iterator[Cut]:
        """Yield where one batch after the other is, for one epoch or what `restore` left of it."""
        if not self._goes_on:
            self._done = 0
            if self._restart:
                self._order = None
        self._goes_on = False
        assert self._done is not None
        while self._done < self.steps:
            cut = self._next()
            self._done += 1
            yield cut
        self._done = None

    def _next(self) -> Cut:
        if self._order is None or self._start == self.n:
            self._begin_pass()
        assert self._order is not None
        start, self._start = self._start, min(self._start + self.batch_size, self.n)
        return Cut(self._order, start, self._start)

    def _begin_pass(self) -> None:
        self._start = 0
        if self._stream is None:
            self._order = self._in_order
            return
        self._drawn_from = self._stream.state
        self._order = self._stream.next_generator().permutation(self.n)

    def position(self) -> dict[str, Any]:
        """Return, in JSON's types, where the schedule stands after the last batch that it gave out."""
        return self._kind() | {
            "stream": list(self._drawn_from),
            "start": None if self._order is None else self._start,
            "done": self._done,
        }

    def restore(self, position: Mapping[str, Any]) -> None:
        """Go on from a `position`; ValueError if it is of a schedule of another kind."""
        check_kind(self._kind(), position)
        if self._stream is not None:
            self._stream.state = self._drawn_from = position["stream"]
        if position["start"] is not None:
            self._begin_pass()
            self._start = arguments.integer("position", "start", position["start"], 0, self.n)
        if position["done"] is not None:
            self._done = arguments.integer("position", "done", position["done"], 0, self.steps)
            self._goes_on = True

    def _kind(self) -> dict[str, Any]:
        """Return what must be the same for a position to have a meaning."""
        sizes = {"samples": self.n, "batch_size": self.batch_size, "steps_per_epoch": self.steps}
        return sizes | {"shuffle": self._stream is not None}
