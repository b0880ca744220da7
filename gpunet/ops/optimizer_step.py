"""The step count of an optimizer and what follows from it, kept in device memory and computed in float64."""

from __future__ import annotations

import math

import numpy as np

from gpunet.backend.arrays import Array, Device, Kind, common_device
from gpunet.backend.launch import launch
from gpunet.ops import contract
from gpunet.ops.trace import op

_FILE = "optimizer_step.cu"


@op(lambda iterations: 1, changes=("iterations",))
def advance(iterations: Array) -> None:
    """iterations += 1, in place; int64 (1,)."""
    device = _check("advance", iterations=iterations)
    if device.kind is Kind.CPU:
        iterations += 1
    else:
        launch(_FILE, "advance", grid=1, block=1, args=(iterations,), real=np.float64)


@op(lambda *_: 6, changes=("iterations",))
def advance_adam(iterations: Array, learning_rate: Array, step_size: Array, beta_1: float, beta_2: float) -> None:
    """t += 1, step_size = learning_rate sqrt(1 - beta_2^t) / (1 - beta_1^t), in place.

    `iterations` t is int64 (1,), `learning_rate` and `step_size` are float64 (1,). The last two lines of section 2 in
    Kingma & Ba 2015, "Adam: a method for stochastic optimization".
    """
    device = _check("advance_adam", iterations=iterations, learning_rate=learning_rate, step_size=step_size)
    if device.kind is Kind.CPU:
        iterations += 1
        t = int(iterations[0])
        step_size[0] = learning_rate[0] * math.sqrt(1 - power(beta_2, t)) / (1 - power(beta_1, t))
    else:
        args = (iterations, learning_rate, step_size, float(beta_1), float(beta_2))
        launch(_FILE, "advance_adam", grid=1, block=1, args=args, real=np.float64)


def power(base: float, exponent: int) -> float:
    """Return base^exponent for exponent >= 0 by repeated squaring, with the same bits as the kernel."""
    result = 1.0
    while exponent > 0:
        if exponent % 2 == 1:
            result *= base
        base *= base
        exponent //= 2
    return result


def _check(where: str, iterations: Array, **numbers: Array) -> Device:
    device = common_device(where, iterations=iterations, **numbers)
    contract.has_dtype(where, "iterations", iterations, np.int64)
    contract.has_shape(where, "iterations", iterations, (1,))
    for name, number in numbers.items():
        contract.has_dtype(where, name, number, np.float64)
        contract.has_shape(where, name, number, (1,))
    return device
