"""Which samples make up which batch."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

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
        self._cuts = self._passes()

    def epoch(self) -> Iterator[Cut]:
        """Yield where one batch after the other is, for one epoch."""
        if self._restart:
            self._cuts = self._passes()
        for _ in range(self.steps):
            yield next(self._cuts)

    def _passes(self) -> Iterator[Cut]:
        while True:
            drawn = None if self._stream is None else self._stream.next_generator().permutation(self.n)
            order = self._in_order if drawn is None else drawn
            for start in range(0, self.n, self.batch_size):
                yield Cut(order, start, min(start + self.batch_size, self.n))
