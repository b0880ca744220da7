"""Arrays of more than 2^32 elements on device `emulated`, in little memory: pages take some only when they are touched.

An op is run on such arrays as on any others, but of its launches only the blocks that belong to some windows of rows:
the first ones, those around elements 2^31 and 2^32, and the last ones. Everywhere else the arrays hold zeros.
"""

from __future__ import annotations

import math
import mmap
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import product
from typing import Any

import numpy as np
import pytest

from gpunet.backend import arrays, emulator, recording
from gpunet.backend.arrays import Array, HostArray, Shape, to_host
from gpunet.backend.emulated_array import EmulatedArray, empty_emulated

INT, UNSIGNED = 2**31, 2**32  # the numbers that an int and an unsigned int cannot hold
WINDOWS = 4
ROWS = 3  # of a window
_PAGES = 2**16  # bytes of an array from which on it is worth an address space of its own
_MAP_NORESERVE = 0x4000  # Linux's: memory may be promised that is not there


def sparse(shape: Shape, dtype: Any) -> EmulatedArray:
    """Return zeros on device `emulated`."""
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _MAP_NORESERVE
    size = math.prod(shape) * np.dtype(dtype).itemsize
    memory = np.frombuffer(mmap.mmap(-1, size, flags=flags), np.dtype(dtype))
    return memory.reshape(shape).view(EmulatedArray)


def _empty(shape: Shape, dtype: np.dtype[Any]) -> EmulatedArray:
    """Return zeros too: what blocks that are not run would write is to count for nothing."""
    if math.prod(shape) * dtype.itemsize >= _PAGES:
        return sparse(shape, dtype)
    array = empty_emulated(shape, dtype)
    np.asarray(array).fill(0)
    return array


class Windows:
    """The windows of `rows` rows, so many that rows of `row_size` elements lie beyond element 2^32."""

    def __init__(self, row_size: int) -> None:
        self.rows = UNSIGNED // row_size + 2 * ROWS + 1
        self.starts = (0, INT // row_size - 1, UNSIGNED // row_size - 1, self.rows - ROWS)
        self.places = np.concatenate([np.arange(start, start + ROWS) for start in self.starts])

    def spread(self, small: HostArray) -> Array:
        """Return a sparse array with the rows of `small` in the windows."""
        large = sparse((self.rows, *small.shape[1:]), small.dtype)
        for number, place in enumerate(self.places):
            np.asarray(large)[place] = small[number]
        return large

    def gather(self, large: Array) -> HostArray:
        return np.asarray(to_host_rows(large, self.places))

    def blocks(self, margin: int) -> Callable[[tuple[int, int, int]], Sequence[range]]:
        """Return what chooses the blocks of the windows, and `margin` beside them, along each long axis of a grid."""

        def along(size: int) -> list[range]:
            if size <= 64:
                return [range(size)]
            chosen: set[int] = set()
            for start in self.starts:
                first, last = start * size // self.rows, (start + ROWS) * size // self.rows
                chosen.update(range(max(first - margin, 0), min(last + margin + 1, size)))
            return _ranges(sorted(chosen))

        def choose(grid: tuple[int, int, int]) -> Sequence[range]:
            x, y, z = grid
            return [
                range(inner.start + x * (row + y * plane), inner.stop + x * (row + y * plane))
                for planes, rows in product(along(z), along(y))
                for plane, row in product(planes, rows)
                for inner in along(x)
            ]

        return choose


def to_host_rows(large: Array, places: HostArray) -> HostArray:
    """Return copies of some rows of `large`, and touch no others."""
    return np.stack([to_host(large[int(place)]) for place in places])


def _ranges(numbers: list[int]) -> list[range]:
    """Return ascending numbers as ranges."""
    ends = [i for i in range(1, len(numbers)) if numbers[i] != numbers[i - 1] + 1]
    starts = [0, *ends]
    return [range(numbers[a], numbers[b - 1] + 1) for a, b in zip(starts, [*ends, len(numbers)], strict=True)]


@contextmanager
def running(windows: Windows | Callable[[Any], Sequence[range]], margin: int = 2) -> Iterator[None]:
    """Inside a `with` block, large arrays are sparse, and only the blocks of `windows`, or those it chooses, run."""
    choose = windows if callable(windows) else windows.blocks(margin)
    with pytest.MonkeyPatch.context() as patch, emulator.configured(checked=False, blocks=choose):
        patch.setattr(arrays, "empty_emulated", _empty)
        with recording.started(capture=False) as made:
            yield
    covered.update((entry[0], entry[1]) for entry in made.log if any(_is_large(value) for value in entry[6:]))


covered: set[tuple[str, str]] = set()  # kernels, by file and name, that were launched with a large array


def _is_large(value: Any) -> bool:
    return isinstance(value, tuple) and math.prod(value[0]) > UNSIGNED
