"""A batch in parts: what a step computes for all samples at once, computed for some after others, in less memory.

    g = sum over parts p of n_p / n g_p

g_p is the gradient of the loss of part p alone, activity regularizers included; a part has n_p of the batch's n samples
(a loss is a mean over samples, or is made one by a factor, see `Loss.over_parts`). Gradients add up where they lie: the
sum so far, in units of the last part, becomes one in units of the next by a factor n_last / n_next, which mostly is 1.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TypeAlias

import numpy.typing as npt

from gpunet.backend.arrays import Array
from gpunet.losses import Loss
from gpunet.ops.accumulation import accumulate_mean
from gpunet.ops.arithmetic import scale, scale_by
from gpunet.ops.trace import show

# (targets, outputs, record) of a part -> backward() -> the gradient of its outputs, to count by its share of samples
PartLoss: TypeAlias = Callable[[Array, Array, Array], Callable[[], Array]]


def rows_of_parts(n: int, parts: int) -> list[slice]:
    """Return where each part of n samples lies: sizes differ by 1 at most, and no part is empty.

    >>> rows_of_parts(5, 2), rows_of_parts(2, 3)
    ([slice(0, 3, None), slice(3, 5, None)], [slice(0, 1, None), slice(1, 2, None)])
    """
    parts = min(parts, n)
    small, larger = divmod(n, parts)
    stops = [small * (i + 1) + min(i + 1, larger) for i in range(parts)]
    return [slice(start, stop) for start, stop in zip([0, *stops], stops, strict=False)]


def loss_over_parts(loss: Loss, y: Array, dtype: npt.DTypeLike, parts: int) -> PartLoss:
    """Return what adds the loss of a part of the batch with targets `y` to a running mean, for outputs of `dtype`."""
    summed = None if parts == 1 else loss.over_parts(y, dtype)
    if summed is None:
        return partial(_whole, loss)
    (part_loss, factor), samples = summed, len(y)

    def forward(y_part: Array, y_pred: Array, record: Array) -> Callable[[], Array]:
        value, backward = part_loss.forward(y_part, y_pred)
        show(value)
        accumulate_mean(record, scale_by(value, factor), samples, len(y_part))
        weight = scale(factor, samples / len(y_part))
        return lambda: scale_by(backward(), weight)

    return forward


def _whole(loss: Loss, y: Array, y_pred: Array, record: Array) -> Callable[[], Array]:
    """Add the loss of a batch, or of a part whose own mean it is, to `record`."""
    value, backward = loss.forward(y, y_pred, record)
    show(value)
    return backward
