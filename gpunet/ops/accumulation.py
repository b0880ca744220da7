"""Running totals of a metric in float64, which stay on the device until somebody asks for the result."""

from __future__ import annotations

import numpy as np

from gpunet.backend.arrays import Array, Device, Kind, common_device, contiguous
from gpunet.backend.launch import Argument, launch
from gpunet.ops import contract
from gpunet.ops.trace import op

THREADS = 256

_FILE = "accumulation.cu"


@op(lambda *_: 3, changes=("state",))
def accumulate_mean(state: Array, value: Array, weight: int) -> None:
    """state += (weight value[0], weight), in place; `state` is float64 (2,), `value` float32 or float64 (1,)."""
    contract.floats("accumulate_mean", value=value)
    contract.has_shape("accumulate_mean", "value", value, (1,))
    device = _check("accumulate_mean", state, value)
    if device.kind is Kind.CPU:
        state += (float(value[0]) * weight, weight)
    else:
        _launch("accumulate_mean", (value, state, weight), value.dtype)


@op(lambda state, matches, *_: matches.size, changes=("state",))
def accumulate_matches(state: Array, matches: Array, positions: int = 1) -> None:
    """state += (sum of matches / positions, number of matches / positions), in place.

    `state` is float64 (2,), `matches` uint8 of any shape with `positions` elements for each sample: every sample adds
    the fraction of its own matches, as Keras's metrics do.
    """
    device = _check("accumulate_matches", state, matches)
    contract.has_dtype("accumulate_matches", "matches", matches, np.uint8)
    if device.kind is Kind.CPU:
        state += (int(np.count_nonzero(matches)) / positions, matches.size // positions)
    else:
        _launch("accumulate_matches", (contiguous(matches), state, positions, matches.size), state.dtype)


def _check(where: str, state: Array, added: Array) -> Device:
    device = common_device(where, state=state, added=added)
    contract.has_dtype(where, "state", state, np.float64)
    contract.has_shape(where, "state", state, (2,))
    return device


def _launch(entry: str, args: tuple[Argument, ...], real: np.dtype[np.generic]) -> None:
    launch(_FILE, entry, grid=1, block=THREADS, args=args, real=real, defines={"THREADS": THREADS})
