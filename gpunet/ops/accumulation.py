"""Running totals of a mean in float64, which stay on the device until somebody asks for the result.

A state is float64 (n, 2): totals and weights in n parts, so that blocks of threads can add to parts of their own; their
sums over the parts are what counts.
"""

from __future__ import annotations

import numpy as np

from gpunet.backend.arrays import Array, Device, HostArray, Kind, common_device, contiguous
from gpunet.backend.launch import Argument, ceil_div, launch
from gpunet.ops import contract
from gpunet.ops.trace import op

THREADS = 128
BLOCKS = 64  # parts of a state, at most; more than enough blocks to be limited by memory alone

_FILE = "accumulation.cu"


@op(lambda *_: 3, changes=("state",))
def accumulate_mean(state: Array, value: Array, total_weight: int, weight: int) -> None:
    """state[0] += (total_weight value[0], weight), in place; `value` is float32 or float64 (1,).

    Both weights are the same to count `value` so often in the mean; with `weight` 0 it is added to values that are
    counted already.
    """
    contract.floats("accumulate_mean", value=value)
    contract.has_shape("accumulate_mean", "value", value, (1,))
    device = check_state("accumulate_mean", state, value)
    if device.kind is Kind.CPU:
        state[0] += (float(value[0]) * total_weight, weight)
    else:
        args = (value, state, total_weight, weight)
        defines = {"THREADS": THREADS}
        launch(_FILE, "accumulate_mean", grid=1, block=1, args=args, real=value.dtype, defines=defines)


@op(lambda values, *_, **__: 3 * values.size, changes=("state",))
def accumulate_values(values: Array, state: Array, positions: int = 1, weights: Array | None = None) -> None:
    """state += (sum_i w[i] values[i] / positions, sum_i w[i] / positions), in place; values (N,).

    Each of the `weights` is for as many neighbouring values as any other; without them all w are 1. `state` is float64
    with any number of parts, each of which a block of threads adds to.
    """
    where = "accumulate_values"
    device = contract.floats(where, values=values, weights=weights)
    contract.has_rank(where, "values", values, 1, "(N,)")
    contract.has_rank(where, "state", state, 2, "(parts, 2)")
    check_state(where, state, values, len(state))
    if device.kind is Kind.CPU:
        add_weighted(values, state, positions, weights)
        return
    args = (contiguous(values), *tally(where, state, positions, weights, values.size), values.size)
    grid, defines = min(ceil_div(values.size, THREADS), len(state)), {"THREADS": THREADS}
    launch(_FILE, where, grid=grid, block=THREADS, args=args, real=values.dtype, defines=defines)


def add_weighted(values: HostArray, state: HostArray, positions: int, weights: HostArray | None) -> None:
    """Do what `accumulate_values` does on the host; values may be bool."""
    repeats = contract.repeats("accumulate_values", "weights", weights, values.size)
    if weights is None:
        total = float(values.sum(dtype=np.float64))
        state[0] += total / positions, values.size / positions
        return
    w = weights.astype(np.float64)
    total = float((w * values.reshape(-1, repeats).sum(axis=1, dtype=np.float64)).sum())
    state[0] += total / positions, float(w.sum()) * repeats / positions


def tally(where: str, state: Array, positions: int, weights: Array | None, rows: int) -> tuple[Argument, ...]:
    """Return the arguments of a kernel that adds `rows` values to `state` by tally.cuh."""
    repeats = contract.repeats(where, "weights", weights, rows)
    return state, positions, None if weights is None else contiguous(weights), repeats


def check_state(where: str, state: Array, added: Array, parts: int = 1) -> Device:
    """Return the device of `state`, float64 (parts, 2), and `added`; TypeError or ValueError if they do not fit."""
    device = common_device(where, state=state, added=added)
    contract.has_dtype(where, "state", state, np.float64)
    contract.is_output(where, (parts, 2), state=state)
    return device
