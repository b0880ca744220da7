"""Threads of the operating system that run the blocks of one emulated launch together."""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache

# One launch at a time: the stacks and the libraries' static memory belong to the launch that runs.
running = threading.Lock()


@cache
def worker_count() -> int:
    """Return how many workers run blocks: GPUNET_THREADS, else one per core."""
    text = os.environ.get("GPUNET_THREADS", "")
    if not text:
        return os.cpu_count() or 1
    if not text.isdecimal() or int(text) == 0:
        raise ValueError(f"GPUNET_THREADS: value must be a positive integer; got {text!r}")
    return int(text)


def run_workers(count: int, work: Callable[[int], None]) -> None:
    """Call `work(0)` to `work(count - 1)` at the same time, number 0 in this thread; return when all have returned."""
    others = [_pool(os.getpid()).submit(work, number) for number in range(1, count)]
    try:
        work(0)
    finally:
        for other in others:
            other.result()


@cache
def _pool(process: int) -> ThreadPoolExecutor:
    """The threads of this process; a forked child must not wait for its parent's."""
    return ThreadPoolExecutor(max(1, worker_count() - 1), thread_name_prefix="gpunet-emulator")


_stacks: dict[int, int] = {}


def stacks(worker: int, library: ctypes.CDLL) -> int:
    """Return the address of a worker's stacks, mapped by the first library that needs them and never given back."""
    if worker not in _stacks:
        library.emulator_map_stacks.restype = ctypes.c_void_p
        address = library.emulator_map_stacks()
        if not address:
            raise MemoryError(f"emulated: no address space for the stacks of worker {worker} (64 MiB)")
        _stacks[worker] = int(address)
    return _stacks[worker]
