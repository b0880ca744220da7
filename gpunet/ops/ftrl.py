"""Ftrl, in place."""

from __future__ import annotations

import numpy as np

from gpunet.backend.arrays import Array, HostArray, Kind, contiguous
from gpunet.backend.launch import ceil_div, launch
from gpunet.ops.trace import op
from gpunet.ops.update import THREADS, check_update, each_piece


@op(lambda w, *_: 19 * w.size, changes=("w", "accumulator", "linear"))
def ftrl(
    w: Array,
    gradient: Array,
    accumulator: Array,
    linear: Array,
    learning_rate: Array,
    power: float,
    l1: float,
    l2: float,
    shrinkage: float,
    beta: float,
) -> None:
    """s = v + g^2, l += g + shrinkage w - (s^power - v^power) / r w, v = s, w = (clip(l, -l1, l1) - l) / q, in place.

    q = s^power / r + 2 (l2 + beta / (2 r)), with the learning rate r, float64 (1,). v is `accumulator`, l `linear`, g
    `gradient`, all of w's shape. McMahan et al. 2013, "Ad click prediction: a view from the trenches".
    """
    slots = {"accumulator": accumulator, "linear": linear}
    device = check_update("ftrl", w, gradient, "learning_rate", learning_rate, **slots)
    numbers = (float(power), float(l1), float(l2), float(shrinkage), float(beta))
    root = power == 0.5
    if device.kind is not Kind.CPU:
        args = (w, accumulator, linear, contiguous(gradient), learning_rate, *numbers, w.size)
        defines = {"THREADS": THREADS, "ROOT": int(root)}
        launch(
            "ftrl.cu", "ftrl", grid=ceil_div(w.size, THREADS), block=THREADS, args=args, real=w.dtype, defines=defines
        )
        return
    real = w.dtype.type
    rate, two, (p, most, second, shrunk, slow) = real(learning_rate[0]), real(2), map(real, numbers)
    with np.errstate(divide="ignore", invalid="ignore"):  # of a learning rate of 0
        other = two * (second + slow / (two * rate))

    def raised(x: HostArray) -> HostArray:
        return np.sqrt(x) if root else np.power(x, p)

    def work(w: HostArray, v: HostArray, linear: HostArray, g: HostArray) -> None:
        squares = v + np.square(g)
        powers = raised(squares)
        linear += g + w * shrunk - (powers - raised(v)) / rate * w
        w[...] = (np.clip(linear, -most, most) - linear) / (powers / rate + other)
        v[...] = squares

    each_piece(work, w, accumulator, linear, contiguous(gradient))
