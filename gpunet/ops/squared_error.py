"""Mean squared error over the last axis."""

from __future__ import annotations

import numpy as np

from gpunet.backend.arrays import Array, HostArray, Kind, contiguous, empty
from gpunet.backend.launch import ceil_div, launch
from gpunet.ops import contract
from gpunet.ops.trace import op

THREADS = 128
ROWS = THREADS // 32  # rows that one block works on: a warp each

_FILE = "squared_error.cu"


@op(lambda y, targets: 3 * y.size)
def squared_error(y: Array, targets: Array) -> Array:
    """losses[i] = mean_j (y[i, j] - targets[i, j])^2; `y` and `targets` have shape (N, C), the losses (N,).

    >>> squared_error(np.array([[1.0, 3.0]]), np.array([[0.0, 0.0]]))
    array([5.])
    """
    device = contract.floats("squared_error", y=y, targets=targets)
    contract.has_rank("squared_error", "y", y, 2, "(N, C)")
    contract.has_shape("squared_error", "targets", targets, y.shape)
    if device.kind is Kind.CPU:
        error: HostArray = np.subtract(y, targets)
        np.square(error, out=error)
        losses: HostArray = error.mean(axis=1)
        return losses
    losses = empty(y.shape[:1], y.dtype, device)
    args = (contiguous(y), contiguous(targets), losses, *y.shape)
    blocks = ceil_div(y.shape[0], ROWS)
    launch(_FILE, "squared_error", grid=blocks, block=THREADS, args=args, real=y.dtype, defines={"THREADS": THREADS})
    return losses


@op(lambda y, *_: 2 * y.size)
def squared_error_gradient(y: Array, targets: Array, scale: Array) -> Array:
    """dy[i, j] = 2 (y[i, j] - targets[i, j]) scale / C, `scale` of shape (1,) or one a row, (N,)."""
    where = "squared_error_gradient"
    device = contract.floats(where, y=y, targets=targets, scale=scale)
    contract.has_rank(where, "y", y, 2, "(N, C)")
    contract.has_shape(where, "targets", targets, y.shape)
    per_row = contract.is_per_row(where, "scale", scale, len(y))
    if device.kind is Kind.CPU:
        dy = np.subtract(y, targets)
        dy *= (2 * scale / y.dtype.type(y.shape[1]))[:, None]
        return dy
    dy = empty(y.shape, y.dtype, device)
    args = (contiguous(y), contiguous(targets), contiguous(scale), dy, per_row, y.shape[1], y.size)
    launch(
        _FILE,
        where,
        grid=ceil_div(y.size, THREADS),
        block=THREADS,
        args=args,
        real=y.dtype,
        defines={"THREADS": THREADS},
    )
    return dy
