"""Cross-entropies as metrics: their mean over the samples."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from gpunet import losses
from gpunet.backend.arrays import to_host
from gpunet.metrics.batch import targets_of
from gpunet.metrics.errors import LossMean


class BinaryCrossentropy(LossMean):
    """value = mean_j (-t log q - (1 - t) log(1 - q)); targets t and probabilities q, or logits, have shape (N, …, C).

    >>> round(BinaryCrossentropy()([[0, 1]], [[0.4, 0.6]]), 4)
    0.5108
    """

    def __init__(
        self,
        name: str = "binary_crossentropy",
        dtype: npt.DTypeLike | None = None,
        from_logits: bool = False,
        label_smoothing: float = 0,
    ) -> None:
        loss = losses.BinaryCrossentropy(from_logits, label_smoothing)
        super().__init__(loss, name, dtype)
        self.from_logits, self.label_smoothing = loss.from_logits, loss.label_smoothing

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"from_logits": self.from_logits, "label_smoothing": self.label_smoothing}


class CategoricalCrossentropy(LossMean):
    """value = -sum_j t[j] log p[j]; distributions t and probabilities p, or logits, have shape (N, …, classes).

    >>> round(CategoricalCrossentropy()([[0, 1, 0]], [[0.05, 0.9, 0.05]]), 4)
    0.1054
    """

    def __init__(
        self,
        name: str = "categorical_crossentropy",
        dtype: npt.DTypeLike | None = None,
        from_logits: bool = False,
        label_smoothing: float = 0,
        axis: int = -1,
    ) -> None:
        loss = losses.CategoricalCrossentropy(from_logits, label_smoothing, axis)
        super().__init__(loss, name, dtype)
        self.from_logits, self.label_smoothing, self.axis = loss.from_logits, loss.label_smoothing, loss.axis

    def get_config(self) -> dict[str, Any]:
        config = {"from_logits": self.from_logits, "label_smoothing": self.label_smoothing, "axis": self.axis}
        return super().get_config() | config


class SparseCategoricalCrossentropy(LossMean):
    """value = -log p[label]; labels (N, …), probabilities p, or logits, (N, …, classes).

    As in Keras the value of `ignore_class` is 0, and it is left out of the mean only where there are weights.

    >>> round(SparseCategoricalCrossentropy()([1], [[0.05, 0.9, 0.05]]), 4)
    0.1054
    """

    def __init__(
        self,
        name: str = "sparse_categorical_crossentropy",
        dtype: npt.DTypeLike | None = None,
        from_logits: bool = False,
        ignore_class: int | None = None,
        axis: int = -1,
    ) -> None:
        loss = losses.SparseCategoricalCrossentropy(from_logits, ignore_class, axis=axis)
        super().__init__(loss, name, dtype)
        self.from_logits, self.ignore_class, self.axis = loss.from_logits, loss.ignore_class, loss.axis

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Add the batch (y_true, y_pred); `sample_weight` has the shape of the losses, or lacks some of its last axes.

        With weights and an `ignore_class` the host reads both labels and weights.
        """
        if sample_weight is not None and self.ignore_class is not None:
            labels, weights = (to_host(targets_of(self.name, given)) for given in (y_true, sample_weight))
            positions = np.delete(np.shape(y_pred), self.axis)
            counts = (labels != self.ignore_class).reshape(positions)
            sample_weight = weights.reshape(*weights.shape, *[1] * (counts.ndim - weights.ndim)) * counts
        super().update_state(y_true, y_pred, sample_weight)

    def get_config(self) -> dict[str, Any]:
        config = {"from_logits": self.from_logits, "ignore_class": self.ignore_class, "axis": self.axis}
        return super().get_config() | config
