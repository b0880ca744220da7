"""Counts of right and wrong predictions, by thresholds or by classes, added to the state of a metric.

A state is float64; weights are added up in it, counts are exact. Nothing is read back.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from gpunet.backend.arrays import Array, Device, HostArray, Kind, Shape, common_device, contiguous
from gpunet.backend.launch import launch
from gpunet.ops import contract
from gpunet.ops.labels import ignored_argument
from gpunet.ops.trace import op

THREADS = 256

_FILE = "confusion.cu"
_BLOCKS = 64  # that share the work where there are few thresholds and classes


class Levels(NamedTuple):
    """When y is positive, for each of `number` thresholds.

    With `thresholds`, an array of y's dtype, y > thresholds[i]. Else the thresholds are i / (number - 1), and y is
    compared as Keras compares it with such: i <= ceil(min(max(y, 0), 1) (number - 1)) - 1; `least` is the last
    threshold that every y is above, -1 for none, 0 where the first lies a little below 0.
    """

    number: int
    thresholds: Array | None = None
    least: int = -1


def counts_shape(levels: int, classes: int) -> Shape:
    """Return the shape of the state of `confusion_counts`: (parts, classes, levels, 4)."""
    return max(1, _BLOCKS // (levels * classes)), classes, levels, 4


@op(lambda y, *_, **__: 5 * y.size, changes=("state",))
def confusion_counts(
    y: Array,
    targets: Array,
    levels: Levels,
    state: Array,
    *,
    column: int | None = None,
    weights: Array | None = None,
    label_weights: Array | None = None,
    soft: bool = False,
) -> None:
    """state[part, c, i] += sum of w (true positives, false positives, true negatives, false negatives).

    y and targets have shape (N, C); every column is a class of its own, or `column` the only one. A target is positive
    where it is not 0, or with `soft` to the degree that it says. Each of the `weights` is for as many neighbouring
    elements as any other; element e counts `label_weights[e % size]` times besides. `state` has the shape that
    `counts_shape` gives; what counts is its sum over the parts.
    """
    where = "confusion_counts"
    device = contract.floats(
        where, y=y, targets=targets, thresholds=levels.thresholds, weights=weights, label_weights=label_weights
    )
    contract.has_rank(where, "y", y, 2, "(N, C)")
    contract.has_shape(where, "targets", targets, y.shape)
    repeats = contract.repeats(where, "weights", weights, y.size)
    rows, columns = y.shape
    first, classes = (0, columns) if column is None else (column, 1)
    shape = counts_shape(levels.number, classes)
    _check_state(where, state, y, shape)
    if device.kind is Kind.CPU:
        w = _weights_on_host(y.shape, weights, repeats, label_weights)
        for place in range(classes):
            one = np.s_[:, first + place]
            state[0, place] += _counts_of(y[one], targets[one], levels, None if w is None else w[one], soft)
        return
    arrays = (contiguous(y), contiguous(targets), levels.thresholds)
    both = (None if one is None else contiguous(one) for one in (weights, label_weights))
    labels = 1 if label_weights is None else label_weights.size
    sizes = (rows, columns, first, classes, levels.number, shape[0], repeats, labels, levels.least, soft)
    grid, defines = shape[0] * classes * levels.number, {"THREADS": THREADS}
    launch(_FILE, where, grid=grid, block=THREADS, args=(*arrays, *both, state, *sizes), real=y.dtype, defines=defines)


@op(lambda truth, *_, **__: truth.size, changes=("state",))
def confusion_matrix(
    truth: Array,
    prediction: Array,
    state: Array,
    *,
    weights: Array | None = None,
    ignored: int | None = None,
    whole: bool = False,
) -> None:
    """state[a, b] += sum of w[i] where truth[i] = a and prediction[i] = b; both int32 (N,), state float64 (C, C).

    Elements with another class, and with the `ignored` one for truth, do not count. Each of the `weights` is for as
    many neighbouring elements as any other; `whole` cuts off their fractions.
    """
    where = "confusion_matrix"
    device = common_device(where, truth=truth, prediction=prediction, weights=weights)
    for name, labels in (("truth", truth), ("prediction", prediction)):
        contract.has_rank(where, name, labels, 1, "(N,)")
        contract.has_dtype(where, name, labels, np.int32)
    contract.has_shape(where, "prediction", prediction, truth.shape)
    if weights is not None:
        contract.floats(where, weights=weights)
    repeats = contract.repeats(where, "weights", weights, truth.size)
    classes = len(state)
    _check_state(where, state, truth, (classes, classes))
    if device.kind is Kind.CPU:
        counts = (truth >= 0) & (truth < classes) & (prediction >= 0) & (prediction < classes) & (truth != ignored)
        cells = truth[counts].astype(np.int64) * classes + prediction[counts]
        w = None if weights is None else weights.astype(np.float64).repeat(repeats)[counts]
        state += np.bincount(cells, np.trunc(w) if w is not None and whole else w, classes**2).reshape(state.shape)
        return
    real = np.dtype(np.float32) if weights is None else weights.dtype
    arrays = (contiguous(truth), contiguous(prediction), None if weights is None else contiguous(weights), state)
    args = (*arrays, truth.size, classes, repeats, ignored_argument(ignored), whole)
    launch(_FILE, where, grid=classes**2, block=THREADS, args=args, real=real, defines={"THREADS": THREADS})


def _check_state(where: str, state: Array, added: Array, shape: Shape) -> Device:
    contract.has_dtype(where, "state", state, np.float64)
    contract.is_output(where, shape, state=state)
    return common_device(where, state=state, added=added)


def _weights_on_host(
    shape: Shape, weights: HostArray | None, repeats: int, label_weights: HostArray | None
) -> HostArray | None:
    """Return the weight of every element, None if all are 1."""
    if weights is None and label_weights is None:
        return None
    w = np.ones(shape) if weights is None else weights.astype(np.float64).repeat(repeats).reshape(shape)
    if label_weights is not None:
        w = (w.reshape(-1, label_weights.size) * label_weights).reshape(shape)
    return w


def _counts_of(y: HostArray, t: HostArray, levels: Levels, w: HostArray | None, soft: bool) -> HostArray:
    """Return (levels, 4) counts of one class."""
    above, order = _levels_below(y, levels)
    truth = t.astype(np.float64) if soft else (t != 0).astype(np.float64)
    yes, no = (truth, 1 - truth) if w is None else (w * truth, w * (1 - truth))
    bins = [np.bincount(above, one, levels.number + 1) for one in (yes, no)]
    # An element with `above` thresholds below it is positive at the first so many.
    positive = [one[:0:-1].cumsum()[::-1] for one in bins]
    negative = [one[:-1].cumsum() for one in bins]
    counts = np.empty((levels.number, 4))
    counts[order] = np.stack([positive[0], positive[1], negative[1], negative[0]], axis=1)
    return counts


def _levels_below(y: HostArray, levels: Levels) -> tuple[HostArray, HostArray]:
    """Return how many of the sorted thresholds each element is above, and the thresholds' places in this order."""
    if levels.thresholds is None:
        inside = np.fmin(np.fmax(y, 0), 1)  # 0 for NaN
        bucket = np.ceil(inside * y.dtype.type(levels.number - 1)).astype(np.int64) - 1
        return np.maximum(bucket, levels.least) + 1, np.arange(levels.number)
    order = levels.thresholds.argsort(kind="stable")
    above = np.searchsorted(levels.thresholds[order], y, side="left")
    return np.where(np.isnan(y), 0, above), order
