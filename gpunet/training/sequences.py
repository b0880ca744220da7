"""Batches that the user makes: generators, other iterables, and data sets whose item i is batch i."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from gpunet import arguments
from gpunet.backend.arrays import Device, HostArray, Shape
from gpunet.backend.random import Purpose, Stream, new_stream
from gpunet.backend.streaming import Layout, Ring
from gpunet.training.feeding import Batch, Batches, ready
from gpunet.training.samples import reads_by_slices
from gpunet.training.schedule import check_kind

# The arrays of a batch on the host, checked, and what they become on the device.
Checked: TypeAlias = tuple[Sequence[HostArray], Sequence[Layout]]

_END = object()


def makes_batches(x: object) -> bool:
    """Tell whether `x` hands out batches: an iterator, an iterable, or a data set with len() and items.

    Lists and Python's other sequences, and whatever is an array or becomes one, hold samples.
    """
    if isinstance(x, (Sequence, Mapping, type)) or hasattr(x, "__array__") or reads_by_slices(x):
        return False
    return hasattr(x, "__iter__") or _is_dataset(x)


def _is_dataset(x: object) -> bool:
    """Tell whether `x` is what Keras calls a PyDataset: `x[i]` is batch i of `len(x)`."""
    return hasattr(x, "__getitem__") and _length(x) is not None


def _length(data: Any) -> int | None:
    """Return how many batches a data set has; None if there is no end, or nobody can tell."""
    length = data.num_batches if hasattr(data, "num_batches") else len(data) if hasattr(data, "__len__") else None
    return length if length is None else int(length)


class _Pass:
    """The batches of a pass over a data set, made as they are asked for."""

    def __init__(self, data: Any, numbers: Iterable[int]) -> None:
        self._data = data
        self.numbers = iter(numbers)

    def __iter__(self) -> Iterator[Any]:
        return (self._data[int(number)] for number in self.numbers)


class Sequences:
    """The batches that a generator, an iterable or a data set makes, streamed to the device one by one.

    An epoch has `steps` batches or, if that is None, all of a pass. Where a pass ended the next epoch begins a new one,
    as every epoch does with `restart`; but an iterator, such as a generator, can be used up only once. A data set is
    told of epochs by `on_epoch_begin` and `on_epoch_end`, if it has them; with `shuffle` every pass takes its batches
    in the order of a new permutation.

    To go on from where an earlier training stood (`restore`), epochs are gone through again without any work: of a data
    set the batches behind are not made, but its hooks are called; an iterable is read again from its beginning.

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
        self._first_state: Sequence[int] = () if self._stream is None else self._stream.state
        self._restart = restart
        self._ring = Ring(device)
        self._fetched = 0  # batches so far, for errors to count them
        self._epochs = 0  # that have ended
        self._done: int | None = None  # batches of the running epoch
        self._goes_on = False  # whether the next epoch is one that was begun before
        self._tell("on_epoch_begin")
        self._pass = self._new_pass()
        self._waiting = self._fetch()  # the first batch of the next epoch
        self._is_begun = True
        if self._waiting is None:
            raise ValueError(f"{where}: x must yield at least one batch; got none")
        self.row: Shape = self._waiting[0][0].shape[1:]

    @property
    def steps(self) -> int | None:
        return _length(self._data) if self._steps is None and _is_dataset(self._data) else self._steps

    def epoch(self) -> Batches | None:
        if self._goes_on:
            self._goes_on = False
            return self._batches()
        self._enter()
        if self._waiting is None:
            warnings.warn(
                f"{self._where}: x must have batches for every epoch; got none, an iterator being used up; give "
                f"one that does not end and a number of steps, or a data set with len() and items",
                stacklevel=2,
            )
            return None
        return self._batches()

    def position(self) -> dict[str, Any]:
        return self._kind() | {
            "stream": list(self._first_state),
            "epochs": self._epochs,
            "done": self._done,
        }

    def restore(self, position: Mapping[str, Any]) -> None:
        check_kind(self._kind(), position)
        if self._stream is not None:
            self._stream.state = self._first_state = position["stream"]
            self._pass = self._new_pass()
            self._waiting = self._fetch()
        for _ in range(arguments.integer("position", "epochs", position["epochs"], 0)):
            self._pass_over(self._steps)
            self._end()
        if position["done"] is not None:
            self._pass_over(arguments.integer("position", "done", position["done"], 0))
            self._goes_on = True

    def _kind(self) -> dict[str, Any]:
        """Return what must be the same for a position to have a meaning."""
        return {"steps_per_epoch": self._steps, "shuffle": self._stream is not None}

    def _pass_over(self, batches: int | None) -> None:
        """Begin an epoch and let so many batches pass, or all of them."""
        self._enter()
        self._done = 0
        while self._done != batches and (self._waiting is not None or self._skip()):
            self._waiting = None
            self._done += 1

    def _skip(self) -> bool:
        """Let the next batch of the pass go by; tell whether there was one."""
        self._fetched += 1
        source = self._pass.numbers if isinstance(self._pass, _Pass) else self._pass
        return next(source, _END) is not _END

    def _enter(self) -> None:
        """Fetch the first batch of the next epoch, unless it waits already."""
        if not self._is_begun:
            self._begin()
        self._is_begun, self._done = False, 0

    def _end(self) -> None:
        self._tell("on_epoch_end")
        self._epochs, self._done = self._epochs + 1, None

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
        self.taken = 0
        assert self._done is not None
        try:
            while self._done != self._steps:
                checked = self._fetch() if self._waiting is None else self._waiting
                self._waiting = None
                if checked is None:
                    break
                self._done += 1
                yield from self._send(checked)
        finally:
            self._ring.close()
        if self._steps is not None and self._done < self._steps:
            got = self._done
            warnings.warn(
                f"{self._where}: x must have {self._steps} batches for this epoch; got {got}: the epoch ends here",
                stacklevel=2,
            )
        self._end()

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

    def _new_pass(self) -> Iterator[Any] | _Pass:
        if not _is_dataset(self._data):
            items: Iterator[Any] = iter(self._data)
            return items
        n = _length(self._data)
        assert n is not None
        order = np.arange(n) if self._stream is None else self._stream.next_generator().permutation(n)
        return _Pass(self._data, order)

    def _fetch(self) -> Checked | None:
        """Return the next batch of the pass; None at its end."""
        for batch in self._pass:
            self._fetched += 1
            return self._check(f"{self._where}: batch {self._fetched - 1}", batch)
        return None

    def _tell(self, hook: str) -> None:
        if hasattr(self._data, hook):
            getattr(self._data, hook)()
