"""RMSprop, Adagrad and Adadelta, in place: steps divided by the root of mean or added squares of gradients."""

from __future__ import annotations

import numpy as np

from gpunet.backend.arrays import Array, HostArray, Kind, contiguous
from gpunet.ops.trace import op
from gpunet.ops.update import check_update, each_piece, launch_update

_FILE = "rmsprop.cu"


def _rmsprop_flops(
    w: Array, gradient: Array, velocity: Array, average: Array | None, momentum: Array | None, *_: object
) -> int:
    return w.size * (9 + 5 * (average is not None) + 2 * (momentum is not None))


@op(_rmsprop_flops, changes=("w", "velocity", "average", "momentum"))
def rmsprop(
    w: Array,
    gradient: Array,
    velocity: Array,
    average: Array | None,
    momentum: Array | None,
    learning_rate: Array,
    rho: float,
    kept: float,
    epsilon: float,
) -> None:
    """v = rho v + (1 - rho) g^2, s = learning_rate g / sqrt(v + epsilon), w -= s, all in place.

    v is `velocity`, g `gradient`, both of w's shape; `learning_rate` is float64 (1,). With `average`
    a = rho a + (1 - rho) g, and v - a^2 stands where v stood in the root; with `momentum` m = kept m + s, and w -= m.
    Tieleman & Hinton 2012, "Neural networks for machine learning", lecture 6.5, in Keras's form.
    """
    slots = {"velocity": velocity, "average": average, "momentum": momentum}
    device = check_update("rmsprop", w, gradient, "learning_rate", learning_rate, **slots)
    rate = 1 - float(rho)
    if device.kind is not Kind.CPU:
        arrays = (w, velocity, average, momentum, contiguous(gradient), learning_rate)
        launch_update(_FILE, "rmsprop", w, (*arrays, float(rho), rate, float(kept), float(epsilon)))
        return
    real = w.dtype.type
    old, new, size = real(rho), real(rate), real(learning_rate[0])

    def work(w: HostArray, v: HostArray, g: HostArray, *others: HostArray) -> None:
        left = iter(others)
        v *= old
        v += np.square(g) * new
        divisor = v
        if average is not None:
            a = next(left)
            a *= old
            a += g * new
            divisor = v - np.square(a)
        step = g * size / np.sqrt(divisor + real(epsilon))
        if momentum is not None:
            m = next(left)
            m *= real(kept)
            m += step
            step = m
        w -= step

    others = [slot for slot in (average, momentum) if slot is not None]
    each_piece(work, w, velocity, contiguous(gradient), *others)


@op(lambda w, *_: 7 * w.size, changes=("w", "accumulator"))
def adagrad(w: Array, gradient: Array, accumulator: Array, learning_rate: Array, epsilon: float) -> None:
    """v += g^2, w -= learning_rate g / sqrt(v + epsilon), both in place; v is `accumulator`, g `gradient`.

    `learning_rate` is float64 (1,). Duchi et al. 2011, "Adaptive subgradient methods for online learning and
    stochastic optimization".

    >>> w, v = np.array([1.0]), np.array([7.0])
    >>> adagrad(w, np.array([3.0]), v, np.array([0.5]), 0.0)
    >>> w, v
    (array([0.625]), array([16.]))
    """
    device = check_update("adagrad", w, gradient, "learning_rate", learning_rate, accumulator=accumulator)
    if device.kind is not Kind.CPU:
        args = (w, accumulator, contiguous(gradient), learning_rate, float(epsilon))
        launch_update(_FILE, "adagrad", w, args)
        return
    size, smallest = w.dtype.type(learning_rate[0]), w.dtype.type(epsilon)

    def work(w: HostArray, v: HostArray, g: HostArray) -> None:
        v += np.square(g)
        w -= g * size / np.sqrt(v + smallest)

    each_piece(work, w, accumulator, contiguous(gradient))


@op(lambda w, *_: 16 * w.size, changes=("w", "accumulated", "accumulated_delta"))
def adadelta(
    w: Array,
    gradient: Array,
    accumulated: Array,
    accumulated_delta: Array,
    learning_rate: Array,
    rho: float,
    epsilon: float,
) -> None:
    """v = rho v + (1 - rho) g^2, s = sqrt(d + epsilon) g / sqrt(v + epsilon), d = rho d + (1 - rho) s^2, in place.

    And w -= learning_rate s. v is `accumulated`, d `accumulated_delta`, g `gradient`, all of w's shape;
    `learning_rate` is float64 (1,). Zeiler 2012, "ADADELTA: an adaptive learning rate method".
    """
    slots = {"accumulated": accumulated, "accumulated_delta": accumulated_delta}
    device = check_update("adadelta", w, gradient, "learning_rate", learning_rate, **slots)
    rate = 1 - float(rho)
    if device.kind is not Kind.CPU:
        arrays = (w, accumulated, accumulated_delta, contiguous(gradient), learning_rate)
        launch_update(_FILE, "adadelta", w, (*arrays, float(rho), rate, float(epsilon)))
        return
    real = w.dtype.type
    old, new, size, smallest = real(rho), real(rate), real(learning_rate[0]), real(epsilon)

    def work(w: HostArray, v: HostArray, d: HostArray, g: HostArray) -> None:
        v *= old
        v += np.square(g) * new
        step = np.sqrt(d + smallest) * g / np.sqrt(v + smallest)
        d *= old
        d += np.square(step) * new
        w -= step * size

    each_piece(work, w, accumulated, accumulated_delta, contiguous(gradient))
