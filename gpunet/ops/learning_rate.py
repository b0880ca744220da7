"""The learning rate that a schedule gives for a step, computed in float64 where the optimizer's arrays are."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from enum import Enum

import numpy as np

from gpunet.backend.arrays import Array, Kind, common_device
from gpunet.backend.launch import launch
from gpunet.ops import contract
from gpunet.ops.optimizer_step import power
from gpunet.ops.trace import op


class Formula(Enum):
    """The formulas of kernels/learning_rate.cu, which says what numbers each takes."""

    EXPONENTIAL = 0
    INVERSE_TIME = 1
    POLYNOMIAL = 2
    COSINE = 3
    RESTARTS = 4
    PIECES = 5


@op(lambda *_: 10)
def scheduled_rate(iterations: Array, numbers: Array, learning_rate: Array, formula: Formula) -> None:
    """learning_rate = formula(numbers, iterations), in place.

    `iterations` is int64 (1,), `learning_rate` float64 (1,), `numbers` float64, as the formula takes them.
    """
    where = "scheduled_rate"
    device = common_device(where, iterations=iterations, numbers=numbers, learning_rate=learning_rate)
    contract.has_dtype(where, "iterations", iterations, np.int64)
    contract.has_shape(where, "iterations", iterations, (1,))
    contract.has_dtype(where, "numbers", numbers, np.float64)
    contract.has_dtype(where, "learning_rate", learning_rate, np.float64)
    contract.has_shape(where, "learning_rate", learning_rate, (1,))
    if device.kind is Kind.CPU:
        learning_rate[0] = rate_at(formula, numbers.tolist(), int(iterations[0]))
    else:
        args = (iterations, numbers, learning_rate, formula.value)
        launch("learning_rate.cu", "scheduled_rate", grid=1, block=1, args=args, real=np.float64)


def rate_at(formula: Formula, numbers: Sequence[float], step: float) -> float:
    """Return the rate for `step`, with the bits of the kernel but for powers that are no integers."""
    return _FORMULAS[formula](float(step), numbers)


def _floor(x: float) -> float:
    return float(np.floor(x))  # of infinity too


def _raised(base: float, exponent: float) -> float:
    """Return base^exponent for exponent >= 0."""
    if exponent == _floor(exponent) and exponent < 9e18:
        return power(base, int(exponent))
    with np.errstate(over="ignore", invalid="ignore"):
        return float(np.float64(base) ** exponent)


def _cosine_series(x: float) -> float:
    """Return cos(x) for 0 <= x <= pi / 2 by its Taylor series up to x^24, which is exact to rounding."""
    total = 1.0
    for k in range(24, 0, -2):
        total = 1 - total * (x * x) / (k * (k - 1))
    return total


def _cosine(q: float) -> float:
    """Return cos(pi q) for 0 <= q <= 1."""
    return _cosine_series(math.pi * q) if q <= 0.5 else -_cosine_series(math.pi * (1 - q))


def _exponential(s: float, numbers: Sequence[float]) -> float:
    rate, steps, decay, staircase = numbers
    p = s / steps
    return rate * _raised(decay, _floor(p) if staircase else p)


def _inverse_time(s: float, numbers: Sequence[float]) -> float:
    rate, steps, decay, staircase = numbers
    p = s / steps
    return rate / (1 + decay * (_floor(p) if staircase else p))


def _polynomial(s: float, numbers: Sequence[float]) -> float:
    rate, steps, end, exponent, cycle = numbers
    if cycle:
        steps *= max(1.0, -_floor(-s / steps))
    else:
        s = min(s, steps)
    return (rate - end) * _raised(1 - s / steps, exponent) + end


def _cosine_decay(s: float, numbers: Sequence[float]) -> float:
    rate, steps, alpha, target, warmup = numbers
    if s < warmup:
        return (target - rate) * (s / warmup) + rate
    q = min(s - warmup, steps) / steps
    return target * ((1 - alpha) * (0.5 * (1 + _cosine(q))) + alpha)


def _restarts(s: float, numbers: Sequence[float]) -> float:
    rate, length, t, m, alpha = numbers
    start = k = 0.0
    if t == 1:
        k = _floor(s / length)
        start = k * length
    else:
        while s >= start + length:
            start, length, k = start + length, length * t, k + 1
    q = max(0.0, (s - start) / length)
    return rate * ((1 - alpha) * (0.5 * _raised(m, k) * (1 + _cosine(q))) + alpha)


def _pieces(s: float, numbers: Sequence[float]) -> float:
    count = int(numbers[0])
    return numbers[1 + count + sum(s > boundary for boundary in numbers[1 : 1 + count])]


_FORMULAS: Mapping[Formula, Callable[[float, Sequence[float]], float]] = {
    Formula.EXPONENTIAL: _exponential,
    Formula.INVERSE_TIME: _inverse_time,
    Formula.POLYNOMIAL: _polynomial,
    Formula.COSINE: _cosine_decay,
    Formula.RESTARTS: _restarts,
    Formula.PIECES: _pieces,
}
