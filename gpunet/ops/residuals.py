"""What the share of variance that predictions explain is made of, added to the sums of a metric."""

from __future__ import annotations

import numpy as np

from gpunet.backend.arrays import Array, Kind, common_device, contiguous
from gpunet.backend.launch import launch
from gpunet.ops import contract
from gpunet.ops.trace import op

THREADS = 256
SUMS = 5  # for every column


@op(lambda y, *_, **__: 10 * y.size, changes=("state",))
def residual_sums(y: Array, targets: Array, state: Array, weights: Array | None = None) -> None:
    """state[c] += sum over rows of (w t, w t^2, w (t - y)^2, w, 1), in place; y and targets t (N, C).

    `state` is float64 (C, SUMS); each of the `weights` is for as many neighbouring elements as any other.
    """
    where = "residual_sums"
    device = contract.floats(where, y=y, targets=targets, weights=weights)
    contract.has_rank(where, "y", y, 2, "(N, C)")
    contract.has_shape(where, "targets", targets, y.shape)
    common_device(where, y=y, state=state)
    contract.has_dtype(where, "state", state, np.float64)
    contract.is_output(where, (y.shape[1], SUMS), state=state)
    repeats = contract.repeats(where, "weights", weights, y.size)
    if device.kind is Kind.CPU:
        t = targets.astype(np.float64)
        w = np.ones(t.shape) if weights is None else weights.astype(np.float64).repeat(repeats).reshape(t.shape)
        sums = [(w * one).sum(axis=0) for one in (t, t * t, (t - y) ** 2, 1)]
        state += np.stack([*sums, np.full(y.shape[1], len(y))], axis=1)
        return
    each = None if weights is None else contiguous(weights)
    args = (contiguous(y), contiguous(targets), each, state, *y.shape, repeats)
    launch("residuals.cu", where, grid=y.shape[1], block=THREADS, args=args, real=y.dtype, defines={"THREADS": THREADS})
