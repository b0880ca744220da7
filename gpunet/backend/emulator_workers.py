"""What the threads that run the blocks of one emulated launch together need."""

from __future__ import annotations

import ctypes

from gpunet.backend.locks import Lock

# One launch at a time: the stacks and the libraries' static memory belong to the launch that runs.
running = Lock()

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
