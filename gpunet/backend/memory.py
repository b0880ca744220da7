"""The host's memory pool: what arrays leave behind is used again, so that a training step takes nothing new.

New memory of some size comes from the system page by page, each at its first touch; that costs a step more than its
element-wise arithmetic. A block is free again when the array that was made of it, and every view of that array, is
gone: NumPy keeps the array alive as the base of its views, and its end is told by a weak reference. (On `cuda` CuPy's
own pool does the same; `emulated` wants memory that nothing has written.)
"""

from __future__ import annotations

import math
import weakref
from collections import defaultdict, deque
from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from gpunet.backend import gauge, host_memory
from gpunet.backend.locks import Lock

Block: TypeAlias = tuple[bytearray, int]  # memory, and where a cache line begins in it

SMALLEST = 4096  # bytes; less is as fast from the system's own lists of small blocks
_ALIGNMENT = 64  # bytes: a cache line
USE_LESS = "use a smaller batch_size or a smaller model"  # where nothing better is known
_KEPT = 2**26  # bytes that may lie free in any case: what the blocks of a step's ops take, each of other sizes


class _Lease(weakref.ref["npt.NDArray[Any]"]):
    """Tells when an array that has a block has ended."""

    __slots__ = ("block", "size")
    size: int
    block: Block


class Pool:
    """Blocks of host memory, by size, for all threads.

    `misses` counts the blocks that had to be new. Where one is needed while much more lies free than was ever in use at
    once, most of that is of sizes that nobody asks for any more, and all of it goes back to the system.
    """

    def __init__(self) -> None:
        self.misses = 0
        self._lock = Lock()  # a finalizer, which may run inside, may want an array too
        self._free: defaultdict[int, list[Block]] = defaultdict(list)
        self._leases: dict[int, _Lease] = {}  # by their own id
        self._returned: deque[_Lease] = deque()  # of arrays that have ended
        self._free_bytes = self._leased_bytes = self._most_leased = 0

    def empty(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> npt.NDArray[Any]:
        """Return an uninitialised array that begins at a cache line."""
        size = _block_size(math.prod(shape) * dtype.itemsize)
        with self._lock:
            memory, start = block = self._take(size)
            self._leased_bytes += size
            self._most_leased = max(self._most_leased, self._leased_bytes)
        array: npt.NDArray[Any] = np.ndarray(shape, dtype, memory, start)
        # Python calls what it is given here anywhere, also while this thread holds the lock; so it only takes note. And
        # it drops whatever is raised inside: a function of Python's would swallow a Ctrl-C.
        lease = _Lease(array, self._returned.append)
        lease.size, lease.block = size, block
        self._leases[id(lease)] = lease
        return array

    def _take(self, size: int) -> Block:
        """Return a block of `size` bytes."""
        self._take_back()
        if not self._free[size]:
            return self._new_block(size)
        self._free_bytes -= size
        return self._free[size].pop()

    def _take_back(self) -> None:
        while self._returned:
            lease = self._returned.popleft()
            del self._leases[id(lease)]
            self._leased_bytes -= lease.size
            self._free_bytes += lease.size
            self._free[lease.size].append(lease.block)

    def _new_block(self, size: int) -> Block:
        if self._free_bytes > _KEPT + 2 * self._most_leased:
            self.release()
        self.misses += 1
        try:
            memory = _allocate(size + _ALIGNMENT)
        except MemoryError:
            self.release()  # what lies free is of other sizes
            memory = _allocate(size + _ALIGNMENT)
        return memory, -np.frombuffer(memory, np.uint8).ctypes.data % _ALIGNMENT

    @property
    def free_bytes(self) -> int:
        """How many bytes lie free, to be used again."""
        with self._lock:
            self._take_back()
            return self._free_bytes

    @property
    def leased_bytes(self) -> int:
        """How many bytes arrays have that are alive."""
        with self._lock:
            self._take_back()
            return self._leased_bytes

    def release(self) -> None:
        """Give the system back what lies free."""
        with self._lock:
            self._take_back()
            self._free.clear()
            self._free_bytes = 0


def _allocate(size: int) -> bytearray:
    # Not an array: NumPy would make it the base of all views, of which there could be some when the array is gone.
    return bytearray(size)


@lru_cache(4096)
def _block_size(size: int) -> int:
    """Return `size` rounded up to one of eight sizes between powers of two, so that similar shapes share blocks."""
    step = max(1 << max(size.bit_length() - 4, 0), _ALIGNMENT)
    return -(-size // step) * step


_pool = Pool()


def pool() -> Pool:
    """Return the pool of this process."""
    return _pool


def empty_host(shape: tuple[int, ...], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """Return an uninitialised array, from the pool unless it is small."""
    dtype = np.dtype(dtype)
    size = math.prod(shape) * dtype.itemsize
    if size < SMALLEST:
        return np.empty(shape, dtype)
    try:
        array = _pool.empty(shape, dtype)
    except MemoryError:
        raise out_of_memory("cpu", shape, dtype, *free_and_total()) from None
    gauge.note(array, _block_size(size))
    return array


def free_and_total() -> tuple[int | None, int | None]:
    """Return the host's bytes: free ones, those that the pool keeps for reuse included, and all."""
    free, total = host_memory.free_and_total()
    return None if free is None else free + _pool.free_bytes, total


def out_of_memory(
    where: str, shape: tuple[int, ...], dtype: np.dtype[Any], free: int | None, total: int | None
) -> MemoryError:
    """Return the error for an array that `where` has no memory for."""
    asked = f"{where}: an array of shape {shape} and dtype {dtype} needs {mebibytes(math.prod(shape) * dtype.itemsize)}"
    there = "" if free is None or total is None else f"; {free / 2**20:.1f} of {mebibytes(total)} are free"
    return MemoryError(f"{asked}{there}; {USE_LESS}")


def mebibytes(size: int) -> str:
    """Write a number of bytes as people read it.

    >>> mebibytes(3 * 2**19)
    '1.5 MiB'
    """
    return f"{size / 2**20:.1f} MiB"


def full_host(shape: tuple[int, ...], value: float, dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """Return an array of the pool with `value` everywhere."""
    array = empty_host(shape, dtype)
    array.fill(value)
    return array
