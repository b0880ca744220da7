"""The loss of a batch from the losses of its rows, and the factor that the gradient takes."""

from __future__ import annotations

import numpy as np

from gpunet.backend.arrays import Array, Kind, common_device, contiguous, empty
from gpunet.backend.launch import launch
from gpunet.ops import accumulation, contract
from gpunet.ops.labels import ignored_argument
from gpunet.ops.trace import op

THREADS = 256


@op(lambda losses, **_: losses.size, changes=("record",))
def reduce_losses(
    losses: Array,
    *,
    mean: bool,
    labels: Array | None = None,
    ignored: int | None = None,
    record: Array | None = None,
    samples: int = 0,
) -> tuple[Array, Array]:
    """value = sum_i losses[i] / count and scale = 1 / count, or with `mean` False the sum and scale = 1.

    `losses` has shape (N,), value and scale (1,). Where int32 `labels` (N,) are given, rows whose label is `ignored`
    do not count; with no row left both results are 0. Sums are taken in float64 and in a fixed order. Both results
    stay on the device: nothing is read back. `record`, float64 (1, 2), grows by (value samples, samples).
    """
    device = contract.floats("reduce_losses", losses=losses)
    contract.has_rank("reduce_losses", "losses", losses, 1, "(N,)")
    if labels is not None:
        common_device("reduce_losses", losses=losses, labels=labels)
        contract.has_dtype("reduce_losses", "labels", labels, np.int32)
        contract.has_shape("reduce_losses", "labels", labels, losses.shape)
    if record is not None:
        accumulation.check_state("reduce_losses", record, losses)
    if device.kind is Kind.CPU:
        count = losses.size if labels is None else int(np.count_nonzero(labels != ignored))
        scale = (1 / count if count else 0.0) if mean else 1.0
        total = losses.sum(dtype=np.float64)  # ignored rows have loss 0
        value = total / count if mean and count else total
        rounded = np.array([value], losses.dtype)
        if record is not None:
            record[0] += float(rounded[0]) * samples, samples
        return rounded, np.array([scale], losses.dtype)
    on_device = empty((1,), losses.dtype, device), empty((1,), losses.dtype, device)
    counted = None if labels is None else contiguous(labels)
    args = (contiguous(losses), counted, *on_device, record, losses.size, ignored_argument(ignored), mean, samples)
    defines = {"THREADS": THREADS}
    launch("loss_reduction.cu", "reduce_losses", grid=1, block=THREADS, args=args, real=losses.dtype, defines=defines)
    return on_device
