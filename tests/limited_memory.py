"""A device whose memory is limited to so many bytes, or fails at a chosen array, for tests on `cpu` and `emulated`."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from gpunet.backend import arrays, host_memory, memory
from gpunet.backend.arrays import CPU, Device


class Limit:
    """Memory for arrays: `bytes` in all, None for any number; for `fails_at` arrays, if that is not negative."""

    def __init__(self, device: Device) -> None:
        self.bytes: int | None = None
        self.fails_at = -1
        self.made = 0
        self.device = device
        self._emulated = 0

    @property
    def used(self) -> int:
        """The bytes of all arrays that are alive."""
        return memory._pool.leased_bytes if self.device == CPU else self._emulated

    def claim(self, size: int) -> None:
        self.made += 1
        held = memory._pool._free_bytes if self.device == CPU else 0
        too_much = self.bytes is not None and self.used + held + size > self.bytes
        if too_much or 0 <= self.fails_at < self.made:
            raise MemoryError

    def allocate(self, size: int) -> bytearray:
        self.claim(size)
        return bytearray(size)

    def empty_emulated(self, shape: Any, dtype: Any, make: Any = arrays.empty_emulated) -> Any:
        array_bytes = int(dtype.itemsize)
        for length in shape:
            array_bytes *= int(length)
        self.claim(array_bytes)
        array = make(shape, dtype)
        self._emulated += array_bytes
        weakref.finalize(array.base, self._end, array_bytes)
        return array

    def _end(self, size: int) -> None:
        self._emulated -= size

    def free_and_total(self) -> tuple[int | None, int | None]:
        if self.bytes is None:
            return None, None
        held = memory._pool._free_bytes if self.device == CPU else 0
        return self.bytes - self.used - held, self.bytes


@contextmanager
def limited(device: Device) -> Iterator[Limit]:
    """Inside a `with` block, let a Limit watch all arrays that are made on `device`."""
    limit = Limit(device)
    gc.collect()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(memory, "_pool", memory.Pool())
        patch.setattr(memory, "_allocate", limit.allocate)
        patch.setattr(arrays, "empty_emulated", limit.empty_emulated)
        patch.setattr(host_memory, "free_and_total", limit.free_and_total)
        yield limit
