"""The area under a curve of decisions at many thresholds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from gpunet import arguments
from gpunet.backend.arrays import HostArray, Shape, device_of
from gpunet.losses.base import as_rows
from gpunet.metrics.batch import aligned, beside, outputs_of, placed_numbers, targets_of, weights_for
from gpunet.metrics.confusion import MOST_THRESHOLDS, Thresholded, ratio
from gpunet.ops.activation import Activation, activate
from gpunet.ops.confusion import confusion_counts, counts_shape

_CURVES = ("ROC", "PR", "PRGAIN")
_METHODS = ("interpolation", "majoring", "minoring")
_EPSILON = 1e-7  # by which the outermost thresholds lie outside 0 ... 1, so that all outputs are between them


class AUC(Thresholded):
    """result = the area under the curve of recall over the rate of false positives, by a sum over thresholds.

    `curve` 'ROC' is that one, 'PR' precision over recall, 'PRGAIN' their gains (Flach & Kull 2015). The area between
    two of `num_thresholds` evenly spaced thresholds, or of 0, `thresholds` and 1, is by `summation_method`
    'interpolation' that below the chord, for PR as Davis & Goadrich 2006 have it, 'majoring' and 'minoring' that below
    the larger and the smaller of both heights. `multi_label` takes each column of (N, labels) by itself; the areas are
    averaged, with `label_weights` if there are any; else these weigh the columns' counts. `from_logits` applies a
    sigmoid first.

    >>> AUC(num_thresholds=3)([0, 0, 1, 1], [0, 0.5, 0.3, 0.9])
    0.75
    """

    better: ClassVar[str | None] = "max"

    def __init__(
        self,
        num_thresholds: int = 200,
        curve: str = "ROC",
        summation_method: str = "interpolation",
        name: str | None = None,
        dtype: npt.DTypeLike | None = None,
        thresholds: Sequence[float] | None = None,
        multi_label: bool = False,
        num_labels: int | None = None,
        label_weights: Sequence[float] | None = None,
        from_logits: bool = False,
    ) -> None:
        where = type(self).__name__
        if thresholds is None:
            between = even_thresholds(arguments.integer(where, "num_thresholds", num_thresholds, 2, MOST_THRESHOLDS))
        else:
            given = arguments.members(where, "thresholds", thresholds, "a list of numbers")
            between = sorted(arguments.real(where, "thresholds", threshold, 0, 1) for threshold in given)
        super().__init__([-_EPSILON, *between, 1 + _EPSILON], name, dtype)
        # Two thresholds are evenly spaced here, and to Keras, where they were not given.
        self._is_even = self._is_even or thresholds is None
        self._given = thresholds is not None
        self.curve = arguments.choice(where, "curve", curve, (*_CURVES, "roc", "pr", "prgain")).upper()
        methods = (*_METHODS, *(method.capitalize() for method in _METHODS))
        self.summation_method = arguments.choice(where, "summation_method", summation_method, methods).lower()
        self.multi_label = arguments.boolean(where, "multi_label", multi_label)
        self.num_labels = None if num_labels is None else arguments.integer(where, "num_labels", num_labels, minimum=0)
        if self.num_labels and not self.multi_label:
            raise ValueError(f"{where}: num_labels must be None unless multi_label is True; got {self.num_labels}")
        self.label_weights: list[float] | None = None
        if label_weights is not None:
            listed = arguments.members(where, "label_weights", label_weights, "a list of numbers")
            self.label_weights = [arguments.real(where, "label_weights", weight, 0) for weight in listed]
        self.from_logits = arguments.boolean(where, "from_logits", from_logits)

    @property
    def num_thresholds(self) -> int:
        """The number of thresholds, with those below 0 and above 1."""
        return len(self.thresholds)

    def _state_shape(self) -> Shape | None:
        return None if self.multi_label else super()._state_shape()

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Add the batch (y_true, y_pred), of one shape; `sample_weight` may lack some of the last axes of that."""
        outputs = outputs_of(self.name, y_pred)
        targets = beside(aligned(self.name, targets_of(self.name, y_true), outputs), outputs)
        weights = weights_for(self.name, sample_weight, outputs.shape, outputs)
        self._check_labels(outputs.shape)
        y = as_rows(outputs)
        if self.from_logits:
            y = activate(y, Activation.SIGMOID)
        t, label_weights = as_rows(targets), None
        if not self.multi_label:
            y, t = y.reshape(-1, 1), t.reshape(-1, 1)
            if self.label_weights is not None:
                label_weights = placed_numbers(tuple(self.label_weights), y.dtype, device_of(y))
        levels = self._levels(outputs)
        state = self.state_on(device_of(outputs), counts_shape(levels.number, y.shape[1]))
        confusion_counts(y, t, levels, state, weights=weights, label_weights=label_weights)

    def _check_labels(self, shape: Shape) -> None:
        """ValueError unless outputs of `shape` have the labels that the arguments speak of."""
        if self.multi_label and len(shape) != 2:
            raise ValueError(f"{self.name}: y_pred must have shape (N, labels) with multi_label; got {shape}")
        for name, number in (
            ("num_labels", self.num_labels),
            ("label_weights", None if self.label_weights is None else len(self.label_weights)),
        ):
            if number and shape[-1] != number:
                raise ValueError(f"{self.name}: y_pred must have {number} labels, as {name} says; got shape {shape}")

    def result(self) -> Any:
        """Return the area, 0 if there was no update."""
        sums = self._sums()
        if sums is None:
            return 0.0
        counts = sums.sum(axis=0).transpose(2, 1, 0)  # kinds, thresholds, labels
        if (self.curve, self.summation_method) == ("PR", "interpolation"):
            areas = _interpolated(*counts)
        else:
            x, y = _curve(self.curve, *counts)
            areas = (x[:-1] - x[1:]) * _heights(self.summation_method, y[:-1], y[1:])
        by_label = areas.sum(axis=0)
        if self.label_weights is None or not self.multi_label:
            return float(by_label.mean())
        weights = np.asarray(self.label_weights)
        return float(ratio((by_label * weights).sum(), weights.sum()))

    def get_config(self) -> dict[str, Any]:
        config: dict[str, Any] = super().get_config() | {
            "num_thresholds": self.num_thresholds,
            "curve": self.curve,
            "summation_method": self.summation_method,
            "multi_label": self.multi_label,
            "num_labels": self.num_labels,
            "label_weights": self.label_weights,
            "from_logits": self.from_logits,
        }
        return config | {"thresholds": self.thresholds[1:-1]} if self._given else config


def even_thresholds(number: int) -> list[float]:
    """Return those of `number` evenly spaced thresholds from 0 to 1 that lie between."""
    return [(i + 1) / (number - 1) for i in range(number - 2)]


def _interpolated(tp: HostArray, fp: HostArray, tn: HostArray, fn: HostArray) -> HostArray:
    """Return the areas under precision over recall, positives being linear between thresholds."""
    p = tp + fp
    dtp, dp = tp[:-1] - tp[1:], p[:-1] - p[1:]
    slope = ratio(dtp, np.maximum(dp, 0))
    intercept = tp[1:] - slope * p[1:]
    both = (p[:-1] > 0) & (p[1:] > 0)
    shrinkage = np.where(both, ratio(p[:-1], p[1:]), 1)
    return ratio(slope * (dtp + intercept * np.log(shrinkage)), tp[1:] + fn[1:])


def _curve(kind: str, tp: HostArray, fp: HostArray, tn: HostArray, fn: HostArray) -> tuple[HostArray, HostArray]:
    """Return x and y of the curve at all thresholds."""
    recall = ratio(tp, tp + fn)
    if kind == "ROC":
        return ratio(fp, fp + tn), recall
    if kind == "PR":
        return recall, ratio(tp, tp + fp)
    odds = ratio(tp + fn, tn + fp)
    recall_gain = np.where(tp == 0, 0, 1 - odds * ratio(fn, tp))
    precision_gain = np.where(tp == 0, 1, 1 - odds * ratio(fp, tp))
    return np.maximum(recall_gain, 0), precision_gain


def _heights(method: str, left: HostArray, right: HostArray) -> HostArray:
    if method == "interpolation":
        mean: HostArray = (left + right) / 2
        return mean
    return np.minimum(left, right) if method == "minoring" else np.maximum(left, right)
