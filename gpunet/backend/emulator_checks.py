"""The checked mode's view of a launch's arrays: guarded copies, who touched each element, what was left unwritten."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from gpunet.backend.emulated_array import UNWRITTEN_BITS, EmulatedArray
from gpunet.backend.emulator_abi import CELL, ArrayArgument, Parameter

_GAP = 1 << 20  # bytes around each copy, beside its own size
_ALIGNMENT = 256  # bytes, that of CUDA's allocations: a copy lies as its array does


@dataclass(frozen=True)
class Unwritten:
    """What a kernel left unwritten, in words, and who wrote the nearest element that was written."""

    text: str
    block: int | None  # number in the grid; None if nothing was written
    thread: int  # number in the block


class CheckedArguments:
    """Copies of a launch's arrays, far from each other, so that an access out of one does not land in another.

    Arrays that overlap (an argument given twice, say) overlap in the copy too.
    """

    def __init__(self, parameters: tuple[Parameter, ...], values: Sequence[Any]) -> None:
        self._parameters = parameters
        self._arrays = {i: np.asarray(v) for i, v in enumerate(values) if isinstance(v, EmulatedArray)}
        self._copies: dict[int, npt.NDArray[Any]] = {}  # by number of the argument, as bytes
        self._cells: dict[int, npt.NDArray[Any]] = {}  # likewise; one cell per granule
        self._granules: dict[int, int] = {}  # likewise; bytes
        for numbers in _overlapping(self._arrays):
            self._copy(numbers)
        described = [self._describe(number) for number in self._arrays]
        described.sort(key=lambda argument: not argument.writable)
        self.described = (ArrayArgument * len(described))(*described)
        self.addresses = [self._copies[i].ctypes.data if i in self._copies else None for i in range(len(values))]

    def _copy(self, numbers: list[int]) -> None:
        """Copy arrays that overlap into memory of their own, and make cells for it if the kernel may write it."""
        begin = min(self._arrays[i].ctypes.data for i in numbers)
        size = max(self._arrays[i].ctypes.data + self._arrays[i].nbytes for i in numbers) - begin
        gap = _GAP + size
        memory = np.empty(2 * gap + size + _ALIGNMENT, np.uint8)  # pages of the gaps are never touched
        start = gap + (begin - memory.ctypes.data - gap) % _ALIGNMENT  # kernels are told how arrays are aligned
        offsets = {i: self._arrays[i].ctypes.data - begin for i in numbers}
        granule = math.gcd(*(self._arrays[i].itemsize for i in numbers), *offsets.values())
        written = any(self._parameters[i].is_written for i in numbers)
        cells = np.zeros(-(-size // granule) if written else 0, CELL)
        for i, offset in offsets.items():
            array = self._arrays[i]
            self._copies[i] = memory[start + offset : start + offset + array.nbytes]
            self._copies[i][...] = array.reshape(-1).view(np.uint8)
            self._cells[i] = cells[offset // granule : (offset + array.nbytes) // granule]
            self._granules[i] = granule

    def _describe(self, number: int) -> ArrayArgument:
        parameter, copy = self._parameters[number], self._copies[number]
        return ArrayArgument(
            begin=copy.ctypes.data,
            bytes=copy.size,
            cells=self._cells[number].ctypes.data if parameter.is_written else None,
            cell_shift=self._granules[number].bit_length() - 1,
            item_shift=parameter.dtype.itemsize.bit_length() - 1,
            number=number,
            writable=parameter.is_written,
            type=str(parameter).encode(),
        )

    def copy_back(self) -> None:
        """Bring what the kernel wrote to the arrays that it was given."""
        for number, array in self._arrays.items():
            if self._parameters[number].is_written:
                array.reshape(-1).view(np.uint8)[...] = self._copies[number]

    def unwritten(self) -> Unwritten | None:
        """Return what is known of the first array with elements that nothing has ever written; None if all are."""
        for number in self._arrays:
            parameter = self._parameters[number]
            if not parameter.is_written:
                continue
            size = parameter.dtype.itemsize
            items = self._copies[number].view(f"u{size}")
            writers = self._cells[number]["writer"][:: size // self._granules[number]]
            missing = np.flatnonzero((items == UNWRITTEN_BITS[size]) & (writers["block"] == 0))
            if missing.size:
                first = int(missing[0])
                text = f"unwritten output: argument {number} ({parameter}), {missing.size} of {items.size} elements"
                return _unwritten(f"{text}, the first is element {first}", first, writers)
        return None


def _unwritten(text: str, first: int, writers: npt.NDArray[Any]) -> Unwritten:
    written = np.flatnonzero(writers["block"])
    if not written.size:
        return Unwritten(f"{text}; no thread wrote to this array", None, 0)
    nearest = int(written[np.argmin(np.abs(written - first))])
    writer = writers[nearest]
    return Unwritten(f"{text}; element {nearest} was written", int(writer["block"]) - 1, int(writer["thread"]))


def _overlapping(arrays: dict[int, npt.NDArray[Any]]) -> list[list[int]]:
    """Group the arrays whose memory overlaps."""
    groups: list[list[int]] = []
    end = 0
    for number in sorted(arrays, key=lambda i: arrays[i].ctypes.data):
        array = arrays[number]
        if groups and array.ctypes.data < end:
            groups[-1].append(number)
        else:
            groups.append([number])
        end = max(end, array.ctypes.data + array.nbytes)
    return groups
