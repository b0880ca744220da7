"""The step count of an optimizer and what follows from it, kept in device memory and computed in float64.

`iterations`, int64 (1,), counts the calls of an optimizer, of which one in `every` updates the weights: the update that
a call is about to make has the number t = iterations // every, the call counted in.
"""

from __future__ import annotations

import math

import numpy as np

from gpunet.backend.arrays import Array, Device, Kind, common_device
from gpunet.backend.launch import Argument, launch
from gpunet.ops import contract
from gpunet.ops.trace import op

_FILE = "optimizer_step.cu"


@op(lambda iterations: 1, changes=("iterations",))
def advance(iterations: Array) -> None:
    """iterations += 1, in place; int64 (1,)."""
    device = _check("advance", iterations)
    if device.kind is Kind.CPU:
        iterations += 1
    else:
        _launch("advance", iterations)


@op(lambda *_: 6, changes=("iterations",))
def advance_adam(
    iterations: Array, learning_rate: Array, step_size: Array, beta_1: float, beta_2: float, every: int = 1
) -> None:
    """iterations += 1, step_size = learning_rate sqrt(1 - beta_2^t) / (1 - beta_1^t), in place.

    `learning_rate` and `step_size` are float64 (1,). The last two lines of section 2 in Kingma & Ba 2015, "Adam: a
    method for stochastic optimization". With a `beta_2` of 0 the correction is that of Adamax.
    """
    device = _check("advance_adam", iterations, learning_rate=(learning_rate, 1), step_size=(step_size, 1))
    if device.kind is Kind.CPU:
        t = _count(iterations, every)
        step_size[0] = learning_rate[0] * math.sqrt(1 - power(beta_2, t)) / (1 - power(beta_1, t))
    else:
        _launch("advance_adam", iterations, learning_rate, step_size, float(beta_1), float(beta_2), every)


@op(lambda *_: 12, changes=("iterations", "factors"))
def advance_nadam(
    iterations: Array, learning_rate: Array, factors: Array, beta_1: float, beta_2: float, every: int = 1
) -> None:
    """iterations += 1, factors = (learning_rate, u' / (1 - P u'), (1 - u) / (1 - P), 1 - beta_2^t, P, t), in place.

    u = beta_1 (1 - 0.96^t / 2), u' is that of t + 1, P the product of u over all updates up to t. `learning_rate` is
    float64 (1,), `factors` float64 (6,). If the count has been changed since `factors` were written, P is multiplied
    up anew, so that they depend on the count alone. Dozat 2016, "Incorporating Nesterov momentum into Adam".
    """
    device = _check("advance_nadam", iterations, learning_rate=(learning_rate, 1), factors=(factors, 6))
    if device.kind is not Kind.CPU:
        _launch("advance_nadam", iterations, learning_rate, factors, float(beta_1), float(beta_2), every)
        return
    t, product = _count(iterations, every), float(factors[4])
    if t == 1 or factors[5] != t - 1:
        product, k = 1.0, 1
        while k < t and product > 0:
            product, k = product * _nadam_momentum(beta_1, k), k + 1
    now, following = _nadam_momentum(beta_1, t), _nadam_momentum(beta_1, t + 1)
    product *= now
    means = following / (1 - product * following), (1 - now) / (1 - product), 1 - power(beta_2, t)
    factors[:] = (learning_rate[0], *means, product, t)


def _nadam_momentum(beta_1: float, t: int) -> float:
    return beta_1 * (1 - power(0.96, t) / 2)


@op(lambda *_: 2, changes=("iterations",))
def advance_lamb(iterations: Array, corrections: Array, beta_1: float, beta_2: float, every: int = 1) -> None:
    """iterations += 1, corrections = (1 - beta_1^t, 1 - beta_2^t), in place; `corrections` is float64 (2,)."""
    device = _check("advance_lamb", iterations, corrections=(corrections, 2))
    if device.kind is Kind.CPU:
        t = _count(iterations, every)
        corrections[:] = 1 - power(beta_1, t), 1 - power(beta_2, t)
    else:
        _launch("advance_lamb", iterations, corrections, float(beta_1), float(beta_2), every)


@op(lambda *_: 4, changes=("iterations",))
def advance_adafactor(iterations: Array, learning_rate: Array, factors: Array, exponent: float, every: int = 1) -> None:
    """iterations += 1, factors = (min(learning_rate, 1 / sqrt(t)), 1 - t^exponent, t^exponent), in place.

    `learning_rate` is float64 (1,), `factors` float64 (3,). Shazeer & Stern 2018, "Adafactor: adaptive learning rates
    with sublinear memory cost", algorithm 4.
    """
    device = _check("advance_adafactor", iterations, learning_rate=(learning_rate, 1), factors=(factors, 3))
    if device.kind is Kind.CPU:
        t = float(_count(iterations, every))
        with np.errstate(over="ignore"):
            new = float(np.float64(t) ** exponent)
        factors[:] = min(float(learning_rate[0]), 1 / math.sqrt(t)), 1 - new, new
    else:
        _launch("advance_adafactor", iterations, learning_rate, factors, float(exponent), every)


def power(base: float, exponent: int) -> float:
    """Return base^exponent for exponent >= 0 by repeated squaring, with the same bits as the kernel."""
    result = 1.0
    while exponent > 0:
        if exponent % 2 == 1:
            result *= base
        base *= base
        exponent //= 2
    return result


def _count(iterations: Array, every: int) -> int:
    """Count a call; return the number of its update."""
    iterations += 1
    return int(iterations[0]) // every


def _check(where: str, iterations: Array, **numbers: tuple[Array, int]) -> Device:
    device = common_device(where, iterations=iterations, **{name: array for name, (array, _) in numbers.items()})
    contract.has_dtype(where, "iterations", iterations, np.int64)
    contract.has_shape(where, "iterations", iterations, (1,))
    for name, (array, count) in numbers.items():
        contract.has_dtype(where, name, array, np.float64)
        contract.has_shape(where, name, array, (count,))
    return device


def _launch(entry: str, *args: Argument) -> None:
    launch(_FILE, entry, grid=1, block=1, args=args, real=np.float64)
