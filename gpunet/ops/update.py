"""What updates of weights have in common: checks, launches, and pieces that stay in a CPU's cache.

Other ops that work element by element take these pieces too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from gpunet.backend.arrays import Array, Device, HostArray, common_device
from gpunet.backend.launch import Argument, ceil_div, launch
from gpunet.backend.threads import Part, run
from gpunet.ops import contract

THREADS = 256  # of a block, one for each element

# Elements that a CPU version works on at a time: its temporaries then stay in the processor's cache, and its calls of
# NumPy are long enough to be made by several threads.
PIECE = 2**17


def check_update(
    where: str, w: Array, gradient: Array, rate_name: str, rate: Array, rates: int = 1, /, **slots: Array | None
) -> Device:
    """Return the device of an update of `w` in place.

    `gradient` and `slots` that are there must have w's shape and dtype, `rate` must be float64 (`rates`,); `w` and
    `slots` C-contiguous.
    """
    device = contract.floats(where, w=w, gradient=gradient, **slots)
    common_device(where, w=w, **{rate_name: rate})
    contract.has_dtype(where, rate_name, rate, np.float64)
    contract.has_shape(where, rate_name, rate, (rates,))
    for name, array in {"gradient": gradient, **slots}.items():
        if array is not None:
            contract.has_shape(where, name, array, w.shape)
    for name, array in {"w": w, **slots}.items():
        if array is not None:
            contract.is_contiguous(where, name, array)
    return device


def launch_update(file: str, entry: str, w: Array, args: Sequence[Argument]) -> None:
    """Run kernel `entry` with a thread for each element of `w`; behind `args` it takes their number."""
    grid, defines = ceil_div(w.size, THREADS), {"THREADS": THREADS}
    launch(file, entry, grid=grid, block=THREADS, args=(*args, w.size), real=w.dtype, defines=defines)


def each_piece(work: Callable[..., None], *arrays: HostArray) -> None:
    """Call `work` with each piece of `arrays`, which threads share; with all of them if they are no more than one."""
    if arrays[0].size <= PIECE:
        work(*(array.reshape(-1) for array in arrays))
        return

    def part(piece: tuple[HostArray, ...]) -> Part:
        yield lambda: work(*piece)

    run(part(piece) for piece in pieces(*arrays))


def each_piece_here(work: Callable[..., None], *arrays: HostArray) -> None:
    """Call `work` with each piece of `arrays`, in this thread: short calls of NumPy would make others wait for it."""
    for piece in pieces(*arrays):
        work(*piece)


def pieces(*arrays: HostArray) -> Iterator[tuple[HostArray, ...]]:
    """Yield views of up to PIECE elements of C-contiguous `arrays`, all flat and at the same place."""
    flat = [array.reshape(-1) for array in arrays]
    for start in range(0, flat[0].size, PIECE):
        yield tuple(array[start : start + PIECE] for array in flat)
