"""The best of one rate where another is at least so large, over many thresholds."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from gpunet import arguments
from gpunet.backend.arrays import HostArray
from gpunet.metrics.confusion import MOST_THRESHOLDS, Thresholded, ratio
from gpunet.metrics.curves import even_thresholds


class _Best(Thresholded):
    """The largest of the rates that the thresholds give where another, which `_given` names, is at least `value`."""

    better: ClassVar[str | None] = "max"
    _given: ClassVar[str]

    def __init__(
        self,
        value: float,
        num_thresholds: int = 200,
        class_id: int | None = None,
        name: str | None = None,
        dtype: npt.DTypeLike | None = None,
    ) -> None:
        where = type(self).__name__
        self.num_thresholds = arguments.integer(where, "num_thresholds", num_thresholds, 1, MOST_THRESHOLDS)
        thresholds = [0.5] if self.num_thresholds == 1 else [0.0, *even_thresholds(self.num_thresholds), 1.0]
        super().__init__(thresholds, name, dtype)
        self._is_even = self.num_thresholds > 1
        self.value = arguments.real(where, self._given, value, 0, 1)
        self.class_id = None if class_id is None else arguments.integer(where, "class_id", class_id, minimum=0)

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Add the batch (y_true, y_pred), of one shape; `sample_weight` may lack some of the last axes of that."""
        self._add(y_true, y_pred, sample_weight, class_id=self.class_id)

    def _rates(self) -> dict[str, HostArray]:
        tp, fp, tn, fn = self._counts()
        recall = ratio(tp, tp + fn)
        return {
            "sensitivity": recall,
            "recall": recall,
            "specificity": ratio(tn, tn + fp),
            "precision": ratio(tp, tp + fp),
        }

    def _best(self, rate: str) -> float:
        """Return the largest `rate`, 0 where the other one is never large enough; they are compared in float32."""
        rates = self._rates()
        feasible = rates[self._given].astype(np.float32) >= np.float32(self.value)
        return float(np.where(feasible, rates[rate], 0).max())

    def get_config(self) -> dict[str, Any]:
        config = {self._given: self.value, "num_thresholds": self.num_thresholds, "class_id": self.class_id}
        return super().get_config() | config


class SensitivityAtSpecificity(_Best):
    """result = the largest true positives / positives where true negatives / negatives is at least `specificity`.

    Thresholds are `num_thresholds` evenly spaced ones from 0 to 1; `class_id` is the only class that counts.

    >>> round(SensitivityAtSpecificity(0.5)([0, 0, 0, 1, 1], [0, 0.3, 0.8, 0.3, 0.8]), 4)
    0.5
    """

    _given = "specificity"

    def __init__(
        self,
        specificity: float,
        num_thresholds: int = 200,
        class_id: int | None = None,
        name: str | None = None,
        dtype: npt.DTypeLike | None = None,
    ) -> None:
        super().__init__(specificity, num_thresholds, class_id, name, dtype)
        self.specificity = self.value

    def result(self) -> float:
        """Return the largest sensitivity."""
        return self._best("sensitivity")


class SpecificityAtSensitivity(_Best):
    """result = the largest true negatives / negatives where true positives / positives is at least `sensitivity`.

    Thresholds are `num_thresholds` evenly spaced ones from 0 to 1; `class_id` is the only class that counts.

    >>> round(SpecificityAtSensitivity(0.5)([0, 0, 0, 1, 1], [0, 0.3, 0.8, 0.3, 0.8]), 4)
    0.6667
    """

    _given = "sensitivity"

    def __init__(
        self,
        sensitivity: float,
        num_thresholds: int = 200,
        class_id: int | None = None,
        name: str | None = None,
        dtype: npt.DTypeLike | None = None,
    ) -> None:
        super().__init__(sensitivity, num_thresholds, class_id, name, dtype)
        self.sensitivity = self.value

    def result(self) -> float:
        """Return the largest specificity."""
        return self._best("specificity")


class PrecisionAtRecall(_Best):
    """result = the largest precision where recall is at least `recall`.

    Thresholds are `num_thresholds` evenly spaced ones from 0 to 1; `class_id` is the only class that counts.

    >>> round(PrecisionAtRecall(0.5)([0, 0, 0, 1, 1], [0, 0.3, 0.8, 0.3, 0.8]), 4)
    0.5
    """

    _given = "recall"

    def __init__(
        self,
        recall: float,
        num_thresholds: int = 200,
        class_id: int | None = None,
        name: str | None = None,
        dtype: npt.DTypeLike | None = None,
    ) -> None:
        super().__init__(recall, num_thresholds, class_id, name, dtype)
        self.recall = self.value

    def result(self) -> float:
        """Return the largest precision."""
        return self._best("precision")


class RecallAtPrecision(_Best):
    """result = the largest recall where precision is at least `precision`.

    Thresholds are `num_thresholds` evenly spaced ones from 0 to 1; `class_id` is the only class that counts.

    >>> round(RecallAtPrecision(0.4)([0, 0, 0, 1, 1], [0, 0.3, 0.8, 0.3, 0.8]), 4)
    1.0
    """

    _given = "precision"

    def __init__(
        self,
        precision: float,
        num_thresholds: int = 200,
        class_id: int | None = None,
        name: str | None = None,
        dtype: npt.DTypeLike | None = None,
    ) -> None:
        super().__init__(precision, num_thresholds, class_id, name, dtype)
        self.precision = self.value

    def result(self) -> float:
        """Return the largest recall."""
        return self._best("recall")
