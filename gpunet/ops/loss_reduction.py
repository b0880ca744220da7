"""The loss of a batch from the losses of its rows, and the factors that the gradient takes."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from gpunet.backend.arrays import Array, Device, HostArray, Kind, common_device, contiguous, empty
from gpunet.backend.launch import launch
from gpunet.ops import accumulation, contract
from gpunet.ops.labels import ignored_argument
from gpunet.ops.trace import op

THREADS = 256


class Reduced(NamedTuple):
    """What is left of the losses: their value and the factor of every gradient, of shape (1,); a factor for each row.

    `scales` is None without weights.
    """

    value: Array
    factor: Array
    scales: Array | None = None

    @property
    def scale(self) -> Array:
        """The factors of the rows' gradients, one each or one for all."""
        return self.factor if self.scales is None else self.scales


@op(lambda losses, **_: losses.size, changes=("record",))
def reduce_losses(
    losses: Array,
    *,
    mean: bool,
    labels: Array | None = None,
    ignored: int | None = None,
    record: Array | None = None,
    samples: int = 0,
    weights: Array | None = None,
    divide: bool = False,
    nonzero: bool = False,
) -> Reduced:
    """value = sum_i w[i] losses[i] / count, factor = 1 / count, scales = factor w; `mean` False: count = 1.

    `losses` has shape (N,), value and factor (1,), scales (N,). Each of the `weights` is for as many neighbouring rows
    as any other; without them all w are 1. The count is that of the rows, or with `divide` the sum of the weights.
    Where int32 `labels` (N,) are given, rows whose label is `ignored` do not count, nor with `nonzero` those whose loss
    is 0; a count of 0 makes value and factors 0. One loss may have many weights: it counts with their sum, and scales
    has shape (1,).

    Sums are taken in float64 and in a fixed order. All results stay on the device: nothing is read back. `record`,
    float64 (1, 2), grows by (value samples, samples).
    """
    device, rows, repeats = _check(losses, labels, record, weights)
    if device.kind is Kind.CPU:
        counts = losses != 0 if nonzero else (None if labels is None else labels != ignored)
        reduced = _reduce_on_host(losses, mean, counts, weights, divide)
        if record is not None:
            record[0] += float(reduced.value[0]) * samples, samples
        return reduced
    value, factor = empty((1,), losses.dtype, device), empty((1,), losses.dtype, device)
    counted = None if labels is None else contiguous(labels)
    scales = None if weights is None else empty(losses.shape, losses.dtype, device)
    each = None if weights is None else contiguous(weights)
    args = (
        *(contiguous(losses), counted, value, factor, record, losses.size, ignored_argument(ignored), mean, samples),
        *(each, scales, rows, repeats, divide and weights is not None, nonzero),
    )
    defines = {"THREADS": THREADS}
    launch("loss_reduction.cu", "reduce_losses", grid=1, block=THREADS, args=args, real=losses.dtype, defines=defines)
    return Reduced(value, factor, scales)


def _check(losses: Array, labels: Array | None, record: Array | None, weights: Array | None) -> tuple[Device, int, int]:
    """Return the device, how many rows there are, and for how many of them each weight is."""
    where = "reduce_losses"
    device = contract.floats(where, losses=losses, weights=weights)
    contract.has_rank(where, "losses", losses, 1, "(N,)")
    rows = weights.size if weights is not None and losses.size == 1 else losses.size
    if labels is not None:
        common_device(where, losses=losses, labels=labels)
        contract.has_dtype(where, "labels", labels, np.int32)
        contract.has_shape(where, "labels", labels, (rows,))
    if record is not None:
        accumulation.check_state(where, record, losses)
    return device, rows, contract.repeats(where, "weights", weights, rows)


def _reduce_on_host(
    losses: HostArray, mean: bool, counts: HostArray | None, weights: HostArray | None, divide: bool
) -> Reduced:
    """Return what `reduce_losses` does; `counts` says which rows do, None is all."""
    count: float = losses.size if counts is None else int(np.count_nonzero(counts))
    if weights is None:
        total, shares = losses.sum(dtype=np.float64), None  # rows that do not count have loss 0
    else:
        rows = weights.size if losses.size == 1 else losses.size
        w = weights.astype(np.float64).repeat(rows // weights.size)
        counted = w if counts is None else np.where(counts, w, 0)
        total = (counted * losses).sum()
        shares = counted.sum(keepdims=True) if losses.size == 1 else w
        if divide:
            count = counted.sum() if counts is not None else counted.sum() * weights.size / rows
        elif counts is None:
            count = rows
    factor = (1 / count if count else 0.0) if mean else 1.0
    value = total / count if mean and count else total * factor
    rounded = np.array([value], losses.dtype), np.array([factor], losses.dtype)
    return Reduced(*rounded, None if shares is None else (shares * factor).astype(losses.dtype))
