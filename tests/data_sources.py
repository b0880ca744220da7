"""Sources of data that several test files share: a file of slices, a data set of batches."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from gpunet.backend.arrays import HostArray


class SliceFile:
    """A data set of HDF5, more or less: shape, dtype, len, and rows by ascending slices, which it notes in `reads`."""

    def __init__(self, array: HostArray) -> None:
        self.array = array
        self.shape, self.dtype = array.shape, array.dtype
        self.reads: list[tuple[int, int]] = []

    def __len__(self) -> int:
        return len(self.array)

    def __getitem__(self, rows: slice) -> HostArray:
        assert isinstance(rows, slice) and rows.step is None and 0 <= rows.start < rows.stop <= len(self)
        self.reads.append((rows.start, rows.stop))
        return self.array[rows].copy()


class Dataset:
    """Keras's PyDataset without Keras: item i is batch i. `calls` notes the batches and the epochs."""

    def __init__(self, x: HostArray, y: HostArray, batch_size: int) -> None:
        self.x, self.y, self.batch_size = x, y, batch_size
        self.calls: list[Any] = []

    def __len__(self) -> int:
        return math.ceil(len(self.x) / self.batch_size)

    def __getitem__(self, number: int) -> tuple[HostArray, HostArray]:
        assert type(number) is int and 0 <= number < len(self)
        self.calls.append(number)
        rows = slice(number * self.batch_size, (number + 1) * self.batch_size)
        return self.x[rows], self.y[rows]

    def on_epoch_begin(self) -> None:
        self.calls.append("begin")

    def on_epoch_end(self) -> None:
        self.calls.append("end")


class Loader:
    """The batches of a data set by iteration alone, as often as one likes: a loader of another library."""

    def __init__(self, x: HostArray, y: HostArray, batch_size: int) -> None:
        self.arguments = x, y, batch_size

    def __iter__(self) -> Iterator[list[HostArray]]:
        return (list(batch) for batch in batches(*self.arguments))


def batches(x: Any, y: Any, batch_size: int, passes: int | None = 1) -> Iterator[tuple[Any, Any]]:
    """Yield the batches of `passes` passes in order; of endless ones for None."""
    done = 0
    while done != passes:
        for start in range(0, len(x), batch_size):
            yield x[start : start + batch_size], y[start : start + batch_size]
        done += 1


def in_file(path: Any, array: HostArray) -> Any:
    """Return `array` as a read-only memory-mapped array."""
    np.save(path, array)
    return np.load(path, mmap_mode="r")
