"""Adam and its relatives Adamax and Nadam, in place."""

from __future__ import annotations

from typing import Any

import numpy as np

from gpunet.backend.arrays import Array, HostArray, Kind, contiguous, empty_like
from gpunet.ops.trace import op
from gpunet.ops.update import check_update, each_piece, launch_update

_FILE = "adam.cu"


def _adam_flops(w: Array, *given: object) -> int:
    return w.size * (13 if given[-1] is not None else 12)


@op(_adam_flops, changes=("w", "momentum", "velocity", "velocity_hat"))
def adam(
    w: Array,
    gradient: Array,
    momentum: Array,
    velocity: Array,
    step_size: Array,
    beta_1: float,
    beta_2: float,
    epsilon: float,
    velocity_hat: Array | None = None,
) -> None:
    """m += (1 - beta_1)(g - m), v += (1 - beta_2)(g^2 - v), w -= step_size m / (sqrt(v) + epsilon), all in place.

    m is `momentum`, v `velocity`, g `gradient`, all of w's shape; `step_size`, float64 (1,), holds the bias correction
    (`optimizer_step.advance_adam`). Kingma & Ba 2015, "Adam: a method for stochastic optimization", in the form just
    before their section 2.1. With `velocity_hat`, the greatest v so far, that is divided by: Reddi et al. 2018, "On the
    convergence of Adam and beyond" (AMSGrad).
    """
    slots = {"momentum": momentum, "velocity": velocity, "velocity_hat": velocity_hat}
    device = check_update("adam", w, gradient, "step_size", step_size, **slots)
    # 1 - beta in float64, rounded once, as Keras does.
    rate_1, rate_2 = 1 - float(beta_1), 1 - float(beta_2)
    if device.kind is not Kind.CPU:
        arrays = (w, momentum, velocity, velocity_hat, contiguous(gradient), step_size)
        launch_update(_FILE, "adam", w, (*arrays, rate_1, rate_2, float(epsilon)))
        return
    real = w.dtype.type
    first, second, size, smallest = real(rate_1), real(rate_2), real(step_size[0]), real(epsilon)

    def work(w: HostArray, m: HostArray, v: HostArray, g: HostArray, *hat: HostArray) -> None:
        _adam_host(w, m, v, g, first, second, size, smallest, *hat)

    hats = () if velocity_hat is None else (velocity_hat,)
    each_piece(work, w, momentum, velocity, contiguous(gradient), *hats)


def _move_moments(
    m: HostArray, v: HostArray, g: HostArray, rate_1: np.floating[Any], rate_2: np.floating[Any]
) -> HostArray:
    """m += rate_1 (g - m), v += rate_2 (g^2 - v); return an array of their shape to work in."""
    change = empty_like(m)
    np.subtract(g, m, out=change)
    change *= rate_1
    m += change
    np.square(g, out=change)
    change -= v
    change *= rate_2
    v += change
    return change


def _adam_host(
    w: HostArray,
    m: HostArray,
    v: HostArray,
    g: HostArray,
    rate_1: np.floating[Any],
    rate_2: np.floating[Any],
    step_size: np.floating[Any],
    epsilon: np.floating[Any],
    hat: HostArray | None = None,
) -> None:
    change, step = _move_moments(m, v, g, rate_1, rate_2), empty_like(w)
    if hat is not None:
        v = np.maximum(hat, v, out=hat)
    np.sqrt(v, out=change)
    change += epsilon
    w -= np.divide(np.multiply(m, step_size, out=step), change, out=change)


@op(lambda w, *_: 9 * w.size, changes=("w", "momentum", "norm"))
def adamax(
    w: Array,
    gradient: Array,
    momentum: Array,
    norm: Array,
    step_size: Array,
    beta_1: float,
    beta_2: float,
    epsilon: float,
) -> None:
    """m += (1 - beta_1)(g - m), u = max(beta_2 u, |g|), w -= step_size m / (u + epsilon), all in place.

    m is `momentum`, u `norm`, g `gradient`, all of w's shape; `step_size`, float64 (1,), holds the bias correction of
    m. Section 7.1 of Kingma & Ba 2015.
    """
    device = check_update("adamax", w, gradient, "step_size", step_size, momentum=momentum, norm=norm)
    rate_1 = 1 - float(beta_1)
    if device.kind is not Kind.CPU:
        args = (w, momentum, norm, contiguous(gradient), step_size, rate_1, float(beta_2), float(epsilon))
        launch_update(_FILE, "adamax", w, args)
        return
    real = w.dtype.type
    first, kept, size, smallest = real(rate_1), real(beta_2), real(step_size[0]), real(epsilon)

    def work(w: HostArray, m: HostArray, u: HostArray, g: HostArray) -> None:
        m += (g - m) * first
        u *= kept
        np.maximum(u, np.abs(g), out=u)
        w -= m * size / (u + smallest)

    each_piece(work, w, momentum, norm, contiguous(gradient))


@op(lambda w, *_: 15 * w.size, changes=("w", "momentum", "velocity"))
def nadam(
    w: Array,
    gradient: Array,
    momentum: Array,
    velocity: Array,
    factors: Array,
    beta_1: float,
    beta_2: float,
    epsilon: float,
) -> None:
    """m and v as `adam`; w -= a (b m + c g) / (sqrt(v / d) + epsilon), all in place.

    `factors`, float64 (6,), begin with a, b, c and d (`optimizer_step.advance_nadam`). Dozat 2016, "Incorporating
    Nesterov momentum into Adam".
    """
    slots = {"momentum": momentum, "velocity": velocity}
    device = check_update("nadam", w, gradient, "factors", factors, 6, **slots)
    rate_1, rate_2 = 1 - float(beta_1), 1 - float(beta_2)
    if device.kind is not Kind.CPU:
        args = (w, momentum, velocity, contiguous(gradient), factors, rate_1, rate_2, float(epsilon))
        launch_update(_FILE, "nadam", w, args)
        return
    real = w.dtype.type
    first, second, smallest = real(rate_1), real(rate_2), real(epsilon)
    a, b, c, d = (real(factor) for factor in factors[:4])

    def work(w: HostArray, m: HostArray, v: HostArray, g: HostArray) -> None:
        root = _move_moments(m, v, g, first, second)
        np.sqrt(np.divide(v, d, out=root), out=root)
        root += smallest
        w -= (m * b + g * c) * a / root

    each_piece(work, w, momentum, velocity, contiguous(gradient))
