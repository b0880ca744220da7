"""A gauge: how many bytes the arrays take at most, that were made inside a `with` block, on any device.

It counts what gpunet's own `empty` hands out (backend/arrays.py), in any thread, until the arrays are gone; arrays that
NumPy or CuPy make in arithmetic of their own are not counted.
"""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any


class Gauge:
    """`bytes` of the arrays that are alive, and the `peak` of that so far."""

    def __init__(self) -> None:
        self.bytes = self.peak = 0
        self._alive: dict[int, weakref.ref[Any]] = {}
        self._gone: deque[int] = deque()  # sizes; a finalizer may run anywhere, and so only takes note

    def add(self, owner: Any, size: int) -> None:
        while self._gone:
            self.bytes -= self._gone.popleft()
        self.bytes += size
        self.peak = max(self.peak, self.bytes)
        self._alive[id(owner)] = weakref.ref(owner, partial(self._end, id(owner), size))

    def _end(self, key: int, size: int, _: object) -> None:
        del self._alive[key]
        self._gone.append(size)


_gauge: Gauge | None = None  # of the process: helpers of backend/threads.py make arrays too


def note(owner: Any, size: int) -> None:
    """Count `size` bytes for as long as `owner`, which every view keeps, is alive."""
    if _gauge is not None:
        _gauge.add(owner, size)


@contextmanager
def measured() -> Iterator[Gauge]:
    """Count arrays inside a `with` block; an outer block does not see those of an inner one."""
    global _gauge
    before, _gauge = _gauge, Gauge()
    try:
        yield _gauge
    finally:
        _gauge = before
