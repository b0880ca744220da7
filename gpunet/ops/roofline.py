"""Work that is bound by one thing alone, to measure a device with: a copy, and chains of multiply-adds."""

from __future__ import annotations

import itertools

import numpy as np

from gpunet import arguments
from gpunet.backend.arrays import Array, Kind, contiguous
from gpunet.backend.launch import ceil_div, launch
from gpunet.backend.threads import Part, run
from gpunet.ops import contract
from gpunet.ops.trace import op

THREADS = 256
PER_THREAD = 4  # elements that one thread copies
CHAINS = 8  # multiply-adds of a thread that do not wait for each other

_FILE = "roofline.cu"
_PARTS = 8  # of a copy on the CPU, which threads share
_DEFINES = {"THREADS": THREADS, "PER_THREAD": PER_THREAD, "CHAINS": CHAINS}


@op(lambda x, y: 0)
def copy(x: Array, y: Array) -> None:
    """y = x, both of the same shape; `y` must be C-contiguous.

    >>> y = np.zeros(2)
    >>> copy(np.ones(2), y)
    >>> y
    array([1., 1.])
    """
    device = contract.floats("copy", x=x, y=y)
    contract.has_shape("copy", "y", y, x.shape)
    contract.is_contiguous("copy", "y", y)
    if device.kind is Kind.CPU:
        source, target = contiguous(x).reshape(-1), y.reshape(-1)
        ends = [x.size * number // _PARTS for number in range(_PARTS + 1)]

        def part(elements: slice) -> Part:
            yield lambda: np.copyto(target[elements], source[elements])

        run(part(slice(start, stop)) for start, stop in itertools.pairwise(ends))
        return
    blocks = ceil_div(x.size, THREADS * PER_THREAD)
    args = (contiguous(x), y, x.size)
    launch(_FILE, "copy", grid=blocks, block=THREADS, args=args, real=x.dtype, defines=_DEFINES)


@op(lambda x, y, turns: x.size * CHAINS * 2 * turns)
def multiply_adds(x: Array, y: Array, turns: int) -> None:
    """y = sum of v_c over CHAINS chains c, where v_c begins as x + c and `turns` times v_c = v_c / 2 + 1.

    Both have the same shape; `y` must be C-contiguous, `turns` from 1 to 2**31 - 1. Every v_c approaches 2.

    >>> y = np.zeros(1)
    >>> multiply_adds(np.ones(1), y, 100)
    >>> y
    array([16.])
    """
    device = contract.floats("multiply_adds", x=x, y=y)
    contract.has_shape("multiply_adds", "y", y, x.shape)
    contract.is_contiguous("multiply_adds", "y", y)
    arguments.integer("multiply_adds", "turns", turns)
    if turns >= 2**31:
        raise ValueError(f"multiply_adds: turns must be at most {2**31 - 1}; got {turns}")
    if device.kind is not Kind.CPU:
        blocks = ceil_div(x.size, THREADS)
        args = (contiguous(x), y, turns, x.size)
        launch(_FILE, "multiply_adds", grid=blocks, block=THREADS, args=args, real=x.dtype, defines=_DEFINES)
        return
    chains = [x + x.dtype.type(c) for c in range(CHAINS)]
    for v in chains:
        for _ in range(turns):
            v *= 0.5
            v += 1
    np.copyto(y, chains[0])
    for v in chains[1:]:
        y += v
