"""Samples, wherever they lie: in memory, in a file or on a device; checked, and read by index.

What lies in memory is checked once, before anything changes, a device's array on a copy that is taken for it. What lies
in a file (a memory-mapped array, a data set of HDF5) is checked as it is read.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np

from gpunet.backend.arrays import Array, HostArray, Shape, is_array, to_host
from gpunet.ops.gather import STORED, gather
from gpunet.training.schedule import Cut

_CHECKED_AT_ONCE = 2**20  # elements, to keep the copy that the check makes small

# Checks samples as they were read, with their numbers, and returns them as they are to be used.
Prepare: TypeAlias = Callable[[HostArray, HostArray], HostArray]


class Rows:
    """The rows from `start` to `stop` of something with shape and dtype that may be read by slices alone."""

    def __init__(self, source: Any, start: int, stop: int) -> None:
        self._source = source
        self._start = start
        self.shape: Shape = (stop - start, *source.shape[1:])
        self.dtype = np.dtype(source.dtype)
        self.ndim = len(self.shape)

    def __getitem__(self, indices: HostArray) -> HostArray:
        """Return copies of the rows at `indices`; neighbours in the file are read together, in ascending order."""
        rows = np.empty((len(indices), *self.shape[1:]), self.dtype)
        ascending = np.argsort(indices, kind="stable")
        runs = np.split(ascending, np.flatnonzero(np.diff(indices[ascending]) != 1) + 1)
        for places in runs:
            first, last = (self._start + int(indices[places[end]]) for end in (0, -1))
            rows[places] = self._source[first : last + 1]
        return rows

    def part(self, start: int, stop: int) -> Rows:
        return Rows(self._source, self._start + start, self._start + stop)


@dataclass(frozen=True)
class Column:
    """An input, a target or the weights of a set: `array`, and what a batch of it becomes.

    `row` is the shape of a sample, and `dtype` what it is converted to.

    `prepare` is None if the samples were checked, and prepared, before.
    """

    array: Any
    row: Shape
    dtype: np.dtype[Any]
    prepare: Prepare | None = None

    def __len__(self) -> int:
        return int(self.array.shape[0])

    @property
    def kept_dtype(self) -> np.dtype[Any]:
        """The dtype in which a device keeps the samples: their own, or that of the batches if it is smaller."""
        own = np.dtype(self.array.dtype).newbyteorder("=")
        return own if own in STORED and own.itemsize <= self.dtype.itemsize else self.dtype

    @property
    def kept_bytes(self) -> int:
        return len(self) * math.prod(self.row) * self.kept_dtype.itemsize

    def read(self, indices: HostArray) -> HostArray:
        """Return the samples at `indices`, checked, in a dtype of their own."""
        values: HostArray = np.asarray(self.array[indices])
        return (values if self.prepare is None else self.prepare(values, indices)).reshape(-1, *self.row)

    def fill(self, cut: Cut, out: HostArray) -> None:
        """Write the samples of `cut` into `out`, on the host."""
        if self.prepare is None:
            gather(self.array, cut.order, np.array([cut.start]), out)
        else:
            out[...] = self.read(cut.indices)

    def part(self, start: int, stop: int) -> Column:
        """Return the samples from `start` to `stop`."""
        rows = self.array.part(start, stop) if isinstance(self.array, Rows) else self.array[start:stop]
        return replace(self, array=rows)


@dataclass(frozen=True)
class Samples:
    """The inputs of samples and, but for predictions, a target for each output that has one, perhaps with weights.

    There are as many `weights` as `targets`, or none.
    """

    inputs: tuple[Column, ...]
    targets: tuple[Column, ...] = ()
    weights: tuple[Column, ...] = ()

    def __len__(self) -> int:
        return len(self.inputs[0])

    @property
    def columns(self) -> tuple[Column, ...]:
        """All of it, in the order that the arrays of a batch have."""
        return (*self.inputs, *self.targets, *self.weights)

    def split(self, where: str, fraction: float) -> tuple[Samples, Samples]:
        """Return all but the last `fraction` of the samples, and these; ValueError if either would be empty."""
        first = math.floor(len(self) * (1 - fraction))
        if not 0 < first < len(self):
            raise ValueError(
                f"{where}: validation_split must leave at least one of {len(self)} samples on either side; "
                f"got {fraction}"
            )
        return self._part(0, first), self._part(first, len(self))

    def _part(self, start: int, stop: int) -> Samples:
        parts = (tuple(one.part(start, stop) for one in part) for part in (self.inputs, self.targets, self.weights))
        return Samples(*parts)


def is_in_file(array: Any) -> bool:
    """Tell whether reading `array`, which `as_samples` returned, reads a file."""
    return isinstance(array, (np.memmap, Rows))


def reads_by_slices(value: object) -> bool:
    """Tell whether `value` is no array, but has shape, dtype and rows as one: a data set of HDF5 or the like.

    What can hand over its memory is an array in all but name; and pandas's rows go by label.
    """
    needed = all(hasattr(value, name) for name in ("shape", "dtype", "__getitem__", "__len__"))
    if not needed or any(hasattr(value, name) for name in ("__array_interface__", "__dlpack__", "iloc")):
        return False
    try:
        np.dtype(value.dtype)  # type: ignore[attr-defined]
    except TypeError:
        return False
    return True


def as_samples(where: str, name: str, value: object) -> Any:
    """Return an array of any device, Rows of what is read by slices, or what NumPy makes of `value`.

    TypeError unless it holds numbers; ValueError if it has no axis for the samples, or no elements.
    """
    if value is None:
        raise TypeError(f"{where}: {name} must be an array; got None")
    try:
        if reads_by_slices(value) and value.shape:  # type: ignore[attr-defined]
            array: Any = Rows(value, 0, value.shape[0])  # type: ignore[attr-defined]
        else:
            array = value if is_array(value) else np.asarray(value)
    except ValueError as error:  # a list of lists of different lengths
        raise ValueError(f"{where}: {name} must be an array; got a {type(value).__name__} ({error})") from error
    if array.dtype.kind not in "biuf":
        got = f"an array of {array.dtype}" if hasattr(value, "dtype") else f"a {type(value).__name__}"
        raise TypeError(f"{where}: {name} must be an array of real numbers; got {got}")
    if array.ndim == 0:
        raise ValueError(f"{where}: {name} must have one entry a sample along its first axis; got a single number")
    if math.prod(array.shape) == 0:
        raise ValueError(f"{where}: {name} must have no size 0; got shape {array.shape}")
    return array


def as_host(where: str, name: str, value: object) -> HostArray:
    """Return what `as_samples` does, all of it on the host."""
    array = as_samples(where, name, value)
    return array[np.arange(array.shape[0])] if isinstance(array, Rows) else to_host(array)


def check_lengths(where: str, arrays: Mapping[str, Array]) -> None:
    """ValueError unless all `arrays`, by their names, have as many samples."""
    lengths = {name: int(array.shape[0]) for name, array in arrays.items()}
    if len(set(lengths.values())) > 1:
        first = next(iter(lengths))
        other = next(name for name in lengths if lengths[name] != lengths[first])
        raise ValueError(
            f"{where}: {first} and {other} must have as many samples; "
            f"got {lengths[first]} in {first} and {lengths[other]} in {other}"
        )


def check_finite(where: str, name: str, x: HostArray, dtype: np.dtype[Any], numbers: HostArray | None = None) -> None:
    """ValueError that says where, unless every number of x is finite in `dtype`.

    `numbers` are those of the samples in their set, if they are not 0, 1, 2, ...
    """
    if x.dtype.kind != "f":
        return
    step = max(1, _CHECKED_AT_ONCE // math.prod(x.shape[1:]))
    for start in range(0, len(x), step):
        with np.errstate(over="ignore"):
            finite = np.isfinite(x[start : start + step].astype(dtype, copy=False))
        if not finite.all():
            index = _first_false(finite)
            sample = start + index[0]
            place = (sample if numbers is None else int(numbers[sample]), *index[1:])
            raise ValueError(
                f"{where}: {name} must be finite in {dtype}; got {x[(sample, *index[1:])]} at index {place}"
            )


def _first_false(mask: HostArray) -> Shape:
    return tuple(int(i) for i in np.unravel_index(int(np.argmin(mask)), mask.shape))
