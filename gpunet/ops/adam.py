"""Adam, in place."""

from __future__ import annotations

from typing import Any

import numpy as np

from gpunet.backend.arrays import Array, HostArray, Kind, contiguous, empty_like
from gpunet.backend.launch import ceil_div, launch
from gpunet.backend.threads import Part, run
from gpunet.ops.trace import op
from gpunet.ops.update import check_update, pieces

THREADS = 256


@op(lambda w, *_: 12 * w.size, changes=("w", "momentum", "velocity"))
def adam(
    w: Array,
    gradient: Array,
    momentum: Array,
    velocity: Array,
    step_size: Array,
    beta_1: float,
    beta_2: float,
    epsilon: float,
) -> None:
    """m += (1 - beta_1)(g - m), v += (1 - beta_2)(g^2 - v), w -= step_size m / (sqrt(v) + epsilon), all in place.

    m is `momentum`, v `velocity`, g `gradient`, all of w's shape; `step_size`, float64 (1,), holds the bias correction
    (`optimizer_step.advance_adam`). Kingma & Ba 2015, "Adam: a method for stochastic optimization", in the form just
    before their section 2.1.
    """
    device = check_update("adam", w, gradient, "step_size", step_size, momentum=momentum, velocity=velocity)
    # 1 - beta in float64, rounded once, as Keras does.
    rate_1, rate_2 = 1 - float(beta_1), 1 - float(beta_2)
    if device.kind is not Kind.CPU:
        args = (w, momentum, velocity, contiguous(gradient), step_size, rate_1, rate_2, float(epsilon), w.size)
        blocks = ceil_div(w.size, THREADS)
        launch("adam.cu", "adam", grid=blocks, block=THREADS, args=args, real=w.dtype, defines={"THREADS": THREADS})
        return
    real = w.dtype.type
    first, second, size, smallest = real(rate_1), real(rate_2), real(step_size[0]), real(epsilon)

    def part(w: HostArray, m: HostArray, v: HostArray, g: HostArray) -> Part:
        yield lambda: _adam_host(w, m, v, g, first, second, size, smallest)

    run(part(*piece) for piece in pieces(w, momentum, velocity, contiguous(gradient)))


def _adam_host(
    w: HostArray,
    m: HostArray,
    v: HostArray,
    g: HostArray,
    rate_1: np.floating[Any],
    rate_2: np.floating[Any],
    step_size: np.floating[Any],
    epsilon: np.floating[Any],
) -> None:
    change, step = empty_like(w), empty_like(w)
    np.subtract(g, m, out=change)
    change *= rate_1
    m += change
    np.square(g, out=change)
    change -= v
    change *= rate_2
    v += change
    np.sqrt(v, out=change)
    change += epsilon
    w -= np.divide(np.multiply(m, step_size, out=step), change, out=change)
