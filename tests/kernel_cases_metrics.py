"""Random valid calls of the ops of metrics, for kernel_cases.py."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from draws import Draw

from gpunet.backend.arrays import Array
from gpunet.ops import accumulation, accuracy, confusion, prediction, residuals


def _weights(d: Draw, rows: int) -> Array | None:
    return d.one_of(None, d.probabilities(1), d.probabilities(rows))


def weighted_matches(d: Draw) -> Sequence[Array]:
    n, classes, k = d.size(1, 300), d.size(1, 70), d.size(1, 9)
    y, states = d.array(n, classes), [d.state(accuracy.BLOCKS) for _ in range(4)]
    w = _weights(d, n)
    accuracy.sparse_matches(y, d.labels(n, classes), states[0], 1, w, k)
    accuracy.dense_matches(y, d.array(n, classes), states[1], 3, w, k)
    accuracy.sorted_matches(y, d.array(n), states[2], k, 1, w)
    accuracy.equal_matches(y, y, states[3], classes, w)
    return states


def weighted_values(d: Draw) -> Sequence[Array]:
    n, state = d.size(1, 5000), d.state(d.size(1, 4))
    accumulation.accumulate_values(d.array(n), state, d.size(1, 4), _weights(d, n))
    return [state]


def confusions(d: Draw) -> Sequence[Array]:
    rows, columns, number = d.size(1, 600), d.size(1, 5), d.size(2, 20)
    thresholds = d.one_of(None, d.probabilities(number))
    column = d.one_of(None, d.size(1, columns) - 1)
    levels = confusion.Levels(number, thresholds, d.one_of(-1, 0))
    state = d.on(np.zeros(confusion.counts_shape(number, columns if column is None else 1)))
    both = {"weights": _weights(d, rows), "label_weights": d.one_of(None, d.probabilities(columns))}
    y, t = d.one_of(d.probabilities, d.array)(rows, columns), d.probabilities(rows, columns)
    confusion.confusion_counts(y, t, levels, state, column=column, **both, soft=d.one_of(True, False))
    classes, n = d.size(1, 6), d.size(1, 900)
    matrix = d.on(np.zeros((classes, classes)))
    truth, prediction_ = d.labels(n, classes + 1), d.labels(n, classes)
    whole = d.one_of(True, False)
    confusion.confusion_matrix(
        truth, prediction_, matrix, weights=_weights(d, n), ignored=d.one_of(None, 0), whole=whole
    )
    return state, matrix


def predictions(d: Draw) -> Sequence[Array]:
    y = d.array(d.size(1, 150), d.size(1, 70))
    return (
        prediction.argmax_classes(y),
        prediction.threshold_classes(y, d.real()),
        prediction.keep_largest(y, d.size(1, 9)),
        prediction.mark_maxima(y),
    )


def residual(d: Draw) -> Sequence[Array]:
    rows, columns = d.size(1, 600), d.size(1, 5)
    state = d.on(np.zeros((columns, residuals.SUMS)))
    residuals.residual_sums(d.array(rows, columns), d.array(rows, columns), state, _weights(d, rows))
    return [state]


CASES: tuple[Callable[[Draw], Sequence[Array]], ...] = (
    *(weighted_matches, weighted_values, confusions, predictions, residual),
)
