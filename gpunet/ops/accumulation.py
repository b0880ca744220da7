"""Running totals of a mean in float64, which stay on the device until somebody asks for the result.

A state is float64 (n, 2): totals and weights in n parts, so that blocks of threads can add to parts of their own; their
sums over the parts are what counts.
"""

from __future__ import annotations

import numpy as np

from gpunet.backend.arrays import Array, Device, Kind, common_device
from gpunet.backend.launch import launch
from gpunet.ops import contract
from gpunet.ops.trace import op

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
        launch(_FILE, "accumulate_mean", grid=1, block=1, args=args, real=value.dtype)


def check_state(where: str, state: Array, added: Array, parts: int = 1) -> Device:
    """Return the device of `state`, float64 (parts, 2), and `added`; TypeError or ValueError if they do not fit."""
    device = common_device(where, state=state, added=added)
    contract.has_dtype(where, "state", state, np.float64)
    contract.is_output(where, (parts, 2), state=state)
    return device
