"""Counts of right and wrong decisions at thresholds, and what is made of them: precision and recall."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from gpunet import arguments
from gpunet.backend.arrays import Array, HostArray, Shape, device_of
from gpunet.losses.base import as_rows
from gpunet.metrics.base import Metric
from gpunet.metrics.batch import aligned, beside, outputs_of, placed_numbers, targets_of, weights_for
from gpunet.ops.confusion import Levels, confusion_counts, counts_shape
from gpunet.ops.prediction import keep_largest

MOST_THRESHOLDS = 2**20  # that arguments may ask for: a block of threads each

# Places in the counts of ops/confusion.py.
TRUE_POSITIVE, FALSE_POSITIVE, TRUE_NEGATIVE, FALSE_NEGATIVE = range(4)

_EPSILON = 1e-7  # within which Keras takes thresholds for evenly spaced ones
_LEAST = -1e10  # below every output, but not below what `keep_largest` puts in place of others


class Thresholded(Metric):
    """A metric of the decisions y_pred > threshold, for several `thresholds`; y_true is taken for true if not 0.

    Evenly spaced thresholds from 0 to 1 are compared as Keras does it, by the product of y_pred and their number.
    """

    def __init__(self, thresholds: Sequence[float], name: str | None, dtype: npt.DTypeLike | None) -> None:
        super().__init__(name, dtype)
        self.thresholds = list(thresholds)
        self._is_even = is_even(self.thresholds)

    def _state_shape(self) -> Shape | None:
        return counts_shape(len(self.thresholds), 1)

    def _as_given(self, thresholds: Any) -> list[float] | float | None:
        """Return the argument `thresholds` as a configuration has it."""
        if thresholds is None:
            return None
        return self.thresholds if _are_several(thresholds) else self.thresholds[0]

    def _levels(self, outputs: Array) -> Levels:
        """Return the thresholds for `outputs`, whose lowest may lie a little below 0."""
        number = len(self.thresholds)
        if self._is_even:
            return Levels(number, None, 0 if self.thresholds[0] < 0 or self.thresholds[-1] > 1 else -1)
        return Levels(number, placed_numbers(tuple(self.thresholds), outputs.dtype, device_of(outputs)))

    def _add(
        self, y_true: Any, y_pred: Any, sample_weight: Any, top_k: int | None = None, class_id: int | None = None
    ) -> None:
        """Count the decisions of all outputs together, or of the `top_k` of each, or of class `class_id`."""
        outputs = outputs_of(self.name, y_pred)
        targets = beside(aligned(self.name, targets_of(self.name, y_true), outputs), outputs)
        weights = weights_for(self.name, sample_weight, outputs.shape, outputs)
        classes = outputs.shape[-1]
        if class_id is not None and (outputs.ndim == 1 or class_id >= classes):
            raise ValueError(
                f"{self.name}: y_pred must have a last axis with class_id={class_id}; got shape {outputs.shape}"
            )
        y, t = as_rows(outputs), as_rows(targets)
        if top_k is not None:
            if top_k > classes:
                raise ValueError(f"{self.name}: y_pred must have at least top_k={top_k} classes; got {classes}")
            y = keep_largest(y, top_k)
        if class_id is None:
            y, t = y.reshape(-1, 1), t.reshape(-1, 1)
        levels = self._levels(outputs)
        state = self.state_on(device_of(outputs), counts_shape(levels.number, 1))
        confusion_counts(y, t, levels, state, column=class_id, weights=weights)

    def _counts(self) -> tuple[HostArray, ...]:
        """Return true positives, false positives, true negatives and false negatives, each for all thresholds."""
        sums = self._sums()
        counts = np.zeros((4, len(self.thresholds))) if sums is None else sums.sum(axis=(0, 1)).T
        return tuple(counts)


class _Count(Thresholded):
    """A count of decisions of one kind, weighted."""

    _kind: ClassVar[int]

    def __init__(self, thresholds: Any = None, name: str | None = None, dtype: npt.DTypeLike | None = None) -> None:
        super().__init__(_threshold_list(type(self).__name__, thresholds, 0.5), name, dtype)
        self.init_thresholds = self._as_given(thresholds)

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Add the batch (y_true, y_pred), of one shape; `sample_weight` may lack some of the last axes of that."""
        self._add(y_true, y_pred, sample_weight)

    def result(self) -> Any:
        """Return the count, an array if there are several thresholds."""
        return one_or_all(self._counts()[self._kind])

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"thresholds": self.init_thresholds}


class TruePositives(_Count):
    """result = sum of w over y_pred > threshold with true y_true; `thresholds` is 0.5, a number or a list.

    >>> TruePositives()([0, 1, 1, 1], [1, 0, 1, 1])
    2.0
    """

    _kind = TRUE_POSITIVE


class FalsePositives(_Count):
    """result = sum of w over y_pred > threshold with false y_true; `thresholds` is 0.5, a number or a list.

    >>> FalsePositives()([0, 1, 0, 0], [0, 0, 1, 1])
    2.0
    """

    _kind = FALSE_POSITIVE


class TrueNegatives(_Count):
    """result = sum of w over y_pred <= threshold with false y_true; `thresholds` is 0.5, a number or a list.

    >>> TrueNegatives()([0, 1, 0, 0], [1, 1, 0, 0])
    2.0
    """

    _kind = TRUE_NEGATIVE


class FalseNegatives(_Count):
    """result = sum of w over y_pred <= threshold with true y_true; `thresholds` is 0.5, a number or a list.

    >>> FalseNegatives()([0, 1, 1, 1], [0, 1, 0, 0])
    2.0
    """

    _kind = FALSE_NEGATIVE


class _Share(Thresholded):
    """Of positives of a kind, the share that are true; of the `top_k` outputs, and of class `class_id`."""

    better: ClassVar[str | None] = "max"
    _rest: ClassVar[int]  # the kind of the others

    def __init__(
        self,
        thresholds: Any = None,
        top_k: int | None = None,
        class_id: int | None = None,
        name: str | None = None,
        dtype: npt.DTypeLike | None = None,
    ) -> None:
        where = type(self).__name__
        super().__init__(_threshold_list(where, thresholds, 0.5 if top_k is None else _LEAST), name, dtype)
        self.init_thresholds = self._as_given(thresholds)
        self.top_k = None if top_k is None else arguments.integer(where, "top_k", top_k)
        self.class_id = None if class_id is None else arguments.integer(where, "class_id", class_id, minimum=0)

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Add the batch (y_true, y_pred), of one shape; `sample_weight` may lack some of the last axes of that."""
        self._add(y_true, y_pred, sample_weight, self.top_k, self.class_id)

    def result(self) -> Any:
        """Return the share, an array if there are several thresholds; 0 where there are no positives."""
        counts = self._counts()
        return one_or_all(ratio(counts[TRUE_POSITIVE], counts[TRUE_POSITIVE] + counts[self._rest]))

    def get_config(self) -> dict[str, Any]:
        config = {"thresholds": self.init_thresholds, "top_k": self.top_k, "class_id": self.class_id}
        return super().get_config() | config


class Precision(_Share):
    """result = true positives / (true positives + false positives).

    `thresholds` is 0.5, a number or a list. With `top_k` only the so many largest of a row's outputs are positive, of
    these all unless there are `thresholds`; `class_id` is the only class that counts.

    >>> Precision()([0, 1, 1, 1], [1, 0, 1, 1]) * 3
    2.0
    """

    _rest = FALSE_POSITIVE


class Recall(_Share):
    """result = true positives / (true positives + false negatives).

    `thresholds` is 0.5, a number or a list. With `top_k` only the so many largest of a row's outputs are positive, of
    these all unless there are `thresholds`; `class_id` is the only class that counts.

    >>> Recall()([0, 1, 1, 1], [1, 0, 1, 1]) * 3
    2.0
    """

    _rest = FALSE_NEGATIVE


def _are_several(thresholds: Any) -> bool:
    return isinstance(thresholds, (list, tuple)) or (isinstance(thresholds, np.ndarray) and thresholds.ndim > 0)


def _threshold_list(where: str, thresholds: Any, default: float) -> list[float]:
    """Return `thresholds`, None, a number or several from 0 to 1, as a list."""
    if thresholds is None:
        return [default]
    given = thresholds if _are_several(thresholds) else [thresholds]
    if not len(given):
        raise ValueError(f"{where}: thresholds must be a number or several; got none")
    return [arguments.real(where, "thresholds", threshold, 0, 1) for threshold in given]


def is_even(thresholds: Sequence[float]) -> bool:
    """Tell whether `thresholds` are evenly spaced from 0 to 1."""
    number = len(thresholds)
    return number > 2 and np.allclose(
        thresholds, np.arange(number, dtype=np.float32) / np.float32(number - 1), atol=_EPSILON
    )


def ratio(a: HostArray, b: HostArray) -> HostArray:
    """Return a / b, 0 where b is 0."""
    return np.divide(a, b, out=np.zeros_like(a), where=b != 0)


def one_or_all(numbers: HostArray) -> Any:
    """Return the only number as a float, several as an array."""
    return float(numbers[0]) if len(numbers) == 1 else numbers
