"""Lion, in place."""

from __future__ import annotations

import numpy as np

from gpunet.backend.arrays import Array, HostArray, Kind, contiguous
from gpunet.ops.trace import op
from gpunet.ops.update import check_update, each_piece, launch_update


@op(lambda w, *_: 9 * w.size, changes=("w", "momentum"))
def lion(w: Array, gradient: Array, momentum: Array, learning_rate: Array, beta_1: float, beta_2: float) -> None:
    """w -= learning_rate sign(beta_1 m + (1 - beta_1) g), then m = beta_2 m + (1 - beta_2) g, both in place.

    m is `momentum`, g `gradient`, both of w's shape; `learning_rate` is float64 (1,). Chen et al. 2023, "Symbolic
    discovery of optimization algorithms".

    >>> w, m = np.array([1.0]), np.array([2.0])
    >>> lion(w, np.array([-1.0]), m, np.array([0.25]), 0.5, 0.75)
    >>> w, m
    (array([0.75]), array([1.25]))
    """
    device = check_update("lion", w, gradient, "learning_rate", learning_rate, momentum=momentum)
    numbers = (float(beta_1), 1 - float(beta_1), float(beta_2), 1 - float(beta_2))
    if device.kind is not Kind.CPU:
        launch_update("lion.cu", "lion", w, (w, momentum, contiguous(gradient), learning_rate, *numbers))
        return
    real = w.dtype.type
    size, (kept_1, rate_1, kept_2, rate_2) = real(learning_rate[0]), map(real, numbers)

    def work(w: HostArray, m: HostArray, g: HostArray) -> None:
        w -= np.sign(m * kept_1 + g * rate_1) * size
        m *= kept_2
        m += g * rate_2

    each_piece(work, w, momentum, contiguous(gradient))
