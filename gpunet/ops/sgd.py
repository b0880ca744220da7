"""Stochastic gradient descent, plain and with momentum, in place."""

from __future__ import annotations

import numpy as np

from gpunet.backend.arrays import Array, Kind, contiguous, empty_like
from gpunet.ops.trace import op
from gpunet.ops.update import check_update, launch_update, pieces

_FILE = "sgd.cu"


@op(lambda w, *_: 2 * w.size, changes=("w",))
def sgd(w: Array, gradient: Array, learning_rate: Array) -> None:
    """w -= learning_rate gradient, in place; `learning_rate` is float64 (1,) on w's device.

    >>> w = np.array([1.0])
    >>> sgd(w, np.array([2.0]), np.array([0.1]))
    >>> w
    array([0.8])
    """
    device = check_update("sgd", w, gradient, "learning_rate", learning_rate)
    if device.kind is not Kind.CPU:
        launch_update(_FILE, "sgd", w, (w, contiguous(gradient), learning_rate))
        return
    rate = w.dtype.type(learning_rate[0])
    for part, g in pieces(w, contiguous(gradient)):
        part -= np.multiply(g, rate, out=empty_like(part))


def _momentum_flops(
    w: Array, gradient: Array, velocity: Array, learning_rate: Array, momentum: float, nesterov: bool, *_: object
) -> int:
    return w.size * (6 if nesterov else 4)


@op(_momentum_flops, changes=("w", "velocity"))
def sgd_momentum(
    w: Array, gradient: Array, velocity: Array, learning_rate: Array, momentum: float, nesterov: bool
) -> None:
    """velocity = momentum velocity - learning_rate gradient; w += velocity, both in place.

    With `nesterov`, w += momentum velocity - learning_rate gradient, with the new velocity (Keras's form of Sutskever
    et al. 2013, "On the importance of initialization and momentum in deep learning").
    """
    device = check_update("sgd_momentum", w, gradient, "learning_rate", learning_rate, velocity=velocity)
    if device.kind is not Kind.CPU:
        args = (w, velocity, contiguous(gradient), learning_rate, float(momentum), nesterov)
        launch_update(_FILE, "sgd_momentum", w, args)
        return
    rate, kept = w.dtype.type(learning_rate[0]), w.dtype.type(momentum)
    for part, v, g in pieces(w, velocity, contiguous(gradient)):
        step = np.multiply(g, rate, out=empty_like(part))
        v *= kept
        v -= step
        if nesterov:
            part += np.subtract(np.multiply(v, kept, out=empty_like(part)), step, out=step)
        else:
            part += v
