"""Batches that the user makes: generators, other iterables, and data sets whose item i is batch i."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from gpunet.backend.arrays import Device, HostArray, Shape
from gpunet.backend.random import Purpose, Stream, new_stream
from gpunet.backend.streaming import Layout, Ring
from gpunet.training.feeding import Batch, Batches, ready
from gpunet.training.samples import reads_by_slices

# The arrays of a batch on the host, checked, and what they become on the device.
Checked: TypeAlias = tuple[Sequence[HostArray], Sequence[Layout]]


def makes_batches(x: object) -> bool:
    """Tell whether `x` hands out batches: an iterator, an iterable, or a data set with len() and items.

    Lists and Python's other sequences, and whatever is an array or becomes one, hold samples.
    """
    if isinstance(x, (Sequence, Mapping, type)) or hasattr(x, "__array__") or reads_by_slices(x):
        return False
    return hasattr(x, "__iter__") or _is_dataset(x)


def _is_dataset(x: object) -> bool:
    """Tell whether `x` is what Keras calls a PyDataset: `x[i]` is batch i of `len(x)`."""
    return hasattr(x, "__len__") and hasattr(x, "__getitem__")


class Sequences:
    """The batches that a generator, an iterable or a data set makes, streamed to the device one by one.

    An epoch has `steps` batches or, if that is None, all of a pass. Where a pass ended the next epoch begins a new one,
    as every epoch does with `restart`; but an iterator, such as a generator, can be used up only once. A data set is
    told of epochs by `on_epoch_begin` and `on_epoch_end`, if it has them; with `shuffle` every pass takes its batches
    in the order of a new permutation.

    `check` takes what errors are to call a batch, and the batch. The first one is fetched at once, so that bad data is
    refused before anything changes.
    """

    def __init__(
        self,
        where: str,
        data: Any,
        check: Callable[[str, Any], Checked],
        device: Device,
        *,
        steps: int | None = None,
        shuffle: bool = False,
        restart: bool = False,
    ) -> None:
        self.taken = 0
        self._where = where
        self._data = data
        self._check = check
        self._steps = steps
        self._stream: Stream | None = new_stream(Purpose.SHUFFLE) if shuffle and _is_dataset(data) else None
        self._restart = restart
        self._ring = Ring(device)
        self._fetched = 0  # batches so far, for errors to count them
        self._tell("on_epoch_begin")
        self._pass = self._new_pass()
        self._waiting = self._fetch()  # the first batch of the next epoch
        self._is_begun = True
        if self._waiting is None:
            raise ValueError(f"{where}: x must yield at least one batch; got none")
        self.row: Shape = self._waiting[0][0].shape[1:]

    @property
    def steps(self) -> int | None:
        return len(self._data) if self._steps is None and _is_dataset(self._data) else self._steps

    def epoch(self) -> Batches | None:
        if not self._is_begun:
            self._begin()
        self._is_begun = False
        if self._waiting is None:
            warnings.warn(
                f"{self._where}: x must have batches for every epoch; got none, an iterator being used up; give "
                f"one that does not end and a number of steps, or a data set with len() and items",
                stacklevel=2,
            )
            return None
        return self._batches()

    def _begin(self) -> None:
        """Fetch the first batch of an epoch, from a new pass if need be and if there can be one."""
        self._tell("on_epoch_begin")
        can_renew = not hasattr(self._data, "__next__")
        if not (can_renew and self._restart):
            self._waiting = self._fetch()
        if self._waiting is None and can_renew:
            self._pass = self._new_pass()
            self._waiting = self._fetch()

    def _batches(self) -> Batches:
        self.taken = count = 0
        try:
            while count != self._steps:
                checked = self._fetch() if self._waiting is None else self._waiting
                self._waiting = None
                if checked is None:
                    break
                yield from self._send(checked)
                count += 1
        finally:
            self._ring.close()
        if self._steps is not None and count < self._steps:
            warnings.warn(
                f"{self._where}: x must have {self._steps} batches for this epoch; got {count}: the epoch ends here",
                stacklevel=2,
            )
        self._tell("on_epoch_end")

    def _send(self, checked: Checked) -> Iterator[Batch]:
        """Yield one batch on the device."""
        arrays, layouts = checked
        slot = self._ring.next_slot()
        for host, array in zip(slot.reserve(layouts), arrays, strict=True):
            host[...] = array
        self.taken += layouts[0].shape[0]
        try:
            yield ready(slot.send())
        finally:
            slot.release()

    def _new_pass(self) -> Iterator[Any]:
        if not _is_dataset(self._data):
            return iter(self._data)
        n = len(self._data)
        order = np.arange(n) if self._stream is None else self._stream.next_generator().permutation(n)
        return (self._data[int(number)] for number in order)

    def _fetch(self) -> Checked | None:
        """Return the next batch of the pass; None at its end."""
        for batch in self._pass:
            self._fetched += 1
            return self._check(f"{self._where}: batch {self._fetched - 1}", batch)
        return None

    def _tell(self, hook: str) -> None:
        if hasattr(self._data, hook):
            getattr(self._data, hook)()
