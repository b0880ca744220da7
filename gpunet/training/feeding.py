"""How samples become batches on the model's device: from a set that lies there, or streamed to it."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Generator, Hashable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, TypeAlias

import numpy as np

from gpunet.backend.arrays import (
    Array,
    Device,
    HostArray,
    Kind,
    Shape,
    assign,
    contiguous,
    device_of,
    empty,
    empty_like,
    free_memory,
    is_array,
    to_device,
)
from gpunet.backend.streaming import Layout, Ring
from gpunet.ops.gather import gather
from gpunet.training.samples import Column, Samples, is_in_file
from gpunet.training.schedule import Schedule

# A set is kept on a GPU if it needs at most this share of the memory that is free there: the rest is for activations,
# gradients and the optimizer, and for the set that is validated with.
RESIDENT_SHARE = 0.25

_MOST_KINDS = 16  # shapes of batches, for each of which arrays and a graph are kept

_UPLOADED_AT_ONCE = 2**25  # bytes of a file, to keep what the host has to hold small

Arrays: TypeAlias = tuple[Array, ...]  # inputs, then perhaps targets, then perhaps weights


@dataclass(frozen=True)
class Batch:
    """A batch: `take` gives its arrays on the device, once, valid until the next batch is asked for.

    With a `key`, to take it is work of the device alone, which is the same for all batches of one key, and gives the
    same arrays: a graph can do it again. Arrays without a key lie at any address.
    """

    take: Callable[[], Arrays]
    key: Hashable = None


def ready(arrays: Arrays) -> Batch:
    """Return the batch of `arrays`."""
    return Batch(lambda: arrays)


Batches: TypeAlias = Generator[Batch, None, None]


class Inputs:
    """Arrays at fixed addresses, into which batches from any address are copied, so that a graph finds them.

    That is done for the first _MOST_KINDS kinds of batches. Of data of ever new shapes the rest stays as it is, which
    is said once.
    """

    def __init__(self, where: str) -> None:
        self._where = where
        self._is_told = False
        self._arrays: dict[Hashable, Arrays] = {}  # by what such a batch looks like

    def placed(self, batch: Batch) -> Batch:
        """Return a batch with a key that has the arrays of `batch`, or one without if there are too many kinds."""
        given = batch.take()
        key = tuple((array.shape, array.dtype.name) for array in given)
        if key not in self._arrays:
            if len(self._arrays) == _MOST_KINDS:
                self._tell()
                return ready(given)
            self._arrays[key] = tuple(map(empty_like, given))
        arrays = self._arrays[key]
        for target, source in zip(arrays, given, strict=True):
            assign(target, source)
        return Batch(lambda: arrays, key)

    def _tell(self) -> None:
        if not self._is_told:
            self._is_told = True
            reason = f"batches have more than {_MOST_KINDS} different shapes"
            warnings.warn(f"{self._where}: some steps run uncaptured, kernel after kernel: {reason}", stacklevel=2)


class Feed(Protocol):
    """What the loops take batches from, whatever they are made of."""

    @property
    def steps(self) -> int | None:
        """How many batches an epoch has; None if nobody can tell."""

    @property
    def taken(self) -> int:
        """How many samples the running epoch has handed out so far."""

    @property
    def row(self) -> Shape:
        """The shape of one sample of the first input."""

    def epoch(self) -> Batches | None:
        """Return the batches of the next epoch, on the model's device; None if there are none left.

        After `restore` it is what was left of the epoch that had begun there.
        """

    def position(self) -> dict[str, Any]:
        """Return, in JSON's types, which batches were handed out so far."""

    def restore(self, position: Mapping[str, Any]) -> None:
        """Let a new feed of the same data go on behind the batches before `position`.

        ValueError if it is of batches that were made in another way.
        """


def new_feed(samples: Samples, schedule: Schedule, device: Device) -> Feed:
    """Return batches of `samples`, gathered where they lie if they fit there, else streamed."""
    return Resident(samples, schedule, device) if _fits(samples, device) else Streamed(samples, schedule, device)


def _fits(samples: Samples, device: Device) -> bool:
    """Tell whether `samples` are to lie on `device`; on the CPU whatever is in memory does."""
    if device.kind is Kind.CPU:
        return not any(is_in_file(column.array) for column in samples.columns)
    free = free_memory(device)
    arriving = [column for column in samples.columns if not _is_on(column.array, device)]
    return free is None or sum(column.kept_bytes for column in arriving) <= RESIDENT_SHARE * free


def _is_on(array: object, device: Device) -> bool:
    return is_array(array) and device_of(array) == device  # type: ignore[arg-type]


class _Scheduled:
    """What a feed of samples leaves to its schedule."""

    def __init__(self, samples: Samples, schedule: Schedule) -> None:
        self.row = samples.inputs[0].row
        self.taken = 0
        self._columns = samples.columns
        self._schedule = schedule

    @property
    def steps(self) -> int:
        return self._schedule.steps

    def position(self) -> dict[str, Any]:
        return self._schedule.position()

    def restore(self, position: Mapping[str, Any]) -> None:
        self._schedule.restore(position)


class Resident(_Scheduled):
    """A set that lies on the device: copied there once, in its own dtype, or there from the start.

    Batches are gathered by index, by work of the device alone, which can be captured in a graph: all that it reads and
    writes lies at addresses that never change. These are `sources`, the `order` of the running pass, the `start` of the
    next batch in it, and for each size one batch. The host uploads `order` when a pass begins.
    """

    def __init__(self, samples: Samples, schedule: Schedule, device: Device) -> None:
        super().__init__(samples, schedule)
        self.sources = [_place(column, device) for column in samples.columns]
        self.order = empty((len(samples),), np.int64, device)
        self.start = empty((1,), np.int64, device)
        self._device = device
        self._batches: dict[int, Arrays] = {}  # by size
        self._uploaded: HostArray | None = None  # what `order` has
        self._reached = -1  # what `start` has

    def epoch(self) -> Batches:
        self.taken = 0
        for cut in self._schedule.epoch():
            if cut.order is not self._uploaded:
                assign(self.order, cut.order)
                self._uploaded = cut.order
            if cut.start != self._reached:
                assign(self.start, np.array([cut.start]))
            self._reached = -1  # nobody knows, if the loop ends here
            self.taken += cut.size
            yield Batch(partial(self.next, cut.size), (id(self), cut.size))
            self._reached = cut.stop

    def next(self, size: int) -> Arrays:
        """Return the next `size` samples of the pass, and move on."""
        batch = self._batch(size)
        for number, (source, out) in enumerate(zip(self.sources, batch, strict=True), start=1):
            gather(source, self.order, self.start, out, move=number == len(batch))
        return batch

    def _batch(self, size: int) -> Arrays:
        if size not in self._batches:
            self._batches[size] = tuple(empty((size, *c.row), c.dtype, self._device) for c in self._columns)
        return self._batches[size]


def _place(column: Column, device: Device) -> Array:
    """Return the samples of `column` on `device`; no copy of what is there."""
    if _is_on(column.array, device):
        array: Array = column.array if device.kind is Kind.CPU else contiguous(column.array)
        return array
    source = empty((len(column), *column.row), column.kept_dtype, device)
    rows = max(1, _UPLOADED_AT_ONCE // (math.prod(column.row) * column.kept_dtype.itemsize))
    for start in range(0, len(column), rows):
        stop = min(start + rows, len(column))
        values = column.read(np.arange(start, stop)) if column.prepare is not None else column.array[start:stop]
        assign(source[start:stop], np.ascontiguousarray(values, column.kept_dtype))
    return source


class Streamed(_Scheduled):
    """A set that stays on the host or in a file: each batch is read, and copied to the device beside its work."""

    def __init__(self, samples: Samples, schedule: Schedule, device: Device) -> None:
        super().__init__(samples, schedule)
        self._ring = Ring(device)

    def epoch(self) -> Batches:
        self.taken = 0
        try:
            for cut in self._schedule.epoch():
                slot = self._ring.next_slot()
                layouts = [Layout((cut.size, *column.row), column.dtype) for column in self._columns]
                for column, host in zip(self._columns, slot.reserve(layouts), strict=True):
                    column.fill(cut, host)
                self.taken += cut.size
                try:
                    yield ready(slot.send())
                finally:
                    slot.release()
        finally:
            self._ring.close()


def whole(samples: Samples, device: Device) -> Arrays:
    """Return copies of all `samples` on `device`, as one batch."""
    if any(_is_on(column.array, device) and device.kind is not Kind.CPU for column in samples.columns):
        return next(Resident(samples, Schedule(len(samples), len(samples)), device).epoch()).take()
    batch = []
    for column in samples.columns:
        values = column.array if column.prepare is None else column.read(np.arange(len(column)))
        batch.append(to_device(np.array(values, column.dtype, order="C"), device))
    return tuple(batch)
