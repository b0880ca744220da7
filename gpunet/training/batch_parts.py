"""A batch in parts: what a step computes for all samples at once, computed for some after others, in less memory.

    g = sum over parts p of n_p / n g_p

g_p is the gradient of the loss of part p alone, activity regularizers included; a part has n_p of the batch's n samples
(a loss is a mean over samples, or is made one by a factor, see `Loss.over_parts`). Gradients add up where they lie: the
sum so far, in units of the last part, becomes one in units of the next by a factor n_last / n_next, which mostly is 1.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple, TypeAlias

import numpy.typing as npt

from gpunet.backend.arrays import Array
from gpunet.losses import Loss
from gpunet.ops.accumulation import accumulate_mean
from gpunet.ops.arithmetic import scale, scale_by
from gpunet.ops.trace import show


class Taken(NamedTuple):
    """A loss that was taken: its value, which counts `times` in a mean over samples, and its gradient.

    `gradient()` returns the gradient of the outputs of the part, to count by its share of samples.
    """

    value: Array
    times: int
    gradient: Callable[[], Array]


# (targets, outputs, weights or None, a running mean to add to or None), each of a part
PartLoss: TypeAlias = Callable[[Array, Array, Array | None, Array | None], Taken]


def rows_of_parts(n: int, parts: int) -> list[slice]:
    """Return where each part of n samples lies: sizes differ by 1 at most, and no part is empty.

    >>> rows_of_parts(5, 2), rows_of_parts(2, 3)
    ([slice(0, 3, None), slice(3, 5, None)], [slice(0, 1, None), slice(1, 2, None)])
    """
    parts = min(parts, n)
    small, larger = divmod(n, parts)
    stops = [small * (i + 1) + min(i + 1, larger) for i in range(parts)]
    return [slice(start, stop) for start, stop in zip([0, *stops], stops, strict=False)]


def loss_over_parts(
    loss: Loss, y: Array, dtype: npt.DTypeLike, parts: int, sample_weight: Array | None = None
) -> PartLoss:
    """Return what takes the loss of a part of the batch with targets `y`, for outputs of `dtype`."""
    summed = None if parts == 1 else _over_parts(loss, y, dtype, sample_weight)
    if summed is None:
        return partial(_whole, loss)
    (part_loss, factor), samples = summed, len(y)

    def forward(y_part: Array, y_pred: Array, weight: Array | None, record: Array | None) -> Taken:
        value, backward = _run(part_loss, y_part, y_pred, weight)
        show(value)
        value = scale_by(value, factor)
        if record is not None:
            accumulate_mean(record, value, samples, len(y_part))
        share = scale(factor, samples / len(y_part))
        return Taken(value, samples, lambda: scale_by(backward(), share))

    return forward


def _over_parts(loss: Loss, y: Array, dtype: npt.DTypeLike, sample_weight: Array | None) -> tuple[Loss, Array] | None:
    return loss.over_parts(y, dtype) if sample_weight is None else loss.over_parts(y, dtype, sample_weight)


def _whole(loss: Loss, y: Array, y_pred: Array, weight: Array | None, record: Array | None) -> Taken:
    """Take the loss of a batch, or of a part whose own mean it is."""
    value, backward = _run(loss, y, y_pred, weight, record)
    show(value)
    return Taken(value, len(y_pred), backward)


def _run(
    loss: Loss, y: Array, y_pred: Array, weight: Array | None, record: Array | None = None
) -> tuple[Array, Callable[[], Array]]:
    if weight is None:  # a loss of the user's own may know nothing of weights
        return loss.forward(y, y_pred, record)
    return loss.forward(y, y_pred, record, weight)
