"""Scores with sums of their own for every class or column: F-scores and the coefficient of determination."""

from __future__ import annotations

import warnings
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from gpunet import arguments
from gpunet.backend.arrays import Array, Shape, device_of
from gpunet.metrics.base import Metric
from gpunet.metrics.batch import aligned, beside, outputs_of, placed_numbers, targets_of, weights_for, with_rank_of
from gpunet.ops.confusion import Levels, confusion_counts, counts_shape
from gpunet.ops.prediction import mark_maxima
from gpunet.ops.residuals import SUMS, residual_sums

_EPSILON = 1e-7


class FBetaScore(Metric):
    """score = (1 + beta^2) precision recall / (beta^2 precision + recall), for every class of outputs (N, classes).

    Positive is what is above `threshold` or, for None, the largest of a row. `average` None gives the scores of the
    classes, 'macro' their mean, 'weighted' that with the weights of the true positives and false negatives, 'micro' the
    score of all classes together.

    >>> round(FBetaScore(average="micro", threshold=0.5)([[1, 1], [1, 0]], [[0.9, 0.1], [0.8, 0.7]]), 4)
    0.6667
    """

    better: ClassVar[str | None] = "max"

    def __init__(
        self,
        average: str | None = None,
        beta: float = 1.0,
        threshold: float | None = None,
        name: str = "fbeta_score",
        dtype: npt.DTypeLike | None = None,
    ) -> None:
        super().__init__(name, dtype)
        where = type(self).__name__
        self.average = arguments.choice(where, "average", average, (None, "micro", "macro", "weighted"))
        self.beta = arguments.real(where, "beta", beta)
        if self.beta <= 0:
            raise ValueError(f"{where}: beta must be above 0; got {self.beta}")
        self.threshold = None if threshold is None else arguments.real(where, "threshold", threshold, 0, 1)
        if self.threshold == 0:
            raise ValueError(f"{where}: threshold must be above 0; got 0")

    def _state_shape(self) -> Shape | None:
        return None

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Add the batch (y_true, y_pred), both (N, classes); `sample_weight` has shape (N,)."""
        y, t, weights = _columns(self.name, y_true, y_pred, sample_weight)
        threshold = 0.5 if self.threshold is None else self.threshold
        if self.threshold is None:
            y = mark_maxima(y)
        levels = Levels(1, placed_numbers((threshold,), y.dtype, device_of(y)))
        state = self.state_on(device_of(y), counts_shape(1, y.shape[1]))
        confusion_counts(y, t, levels, state, weights=weights, soft=True)

    def result(self) -> Any:
        """Return the score, or an array with one for every class; 0 if there was no update."""
        sums = self._sums()
        if sums is None:
            return 0.0
        counts = sums.sum(axis=(0, 2))  # classes, kinds
        tp, fp, _, fn = (counts.sum(axis=0) if self.average == "micro" else counts).T
        precision, recall = tp / (tp + fp + _EPSILON), tp / (tp + fn + _EPSILON)
        mean = precision * recall / (self.beta**2 * precision + recall + _EPSILON)
        scores = mean * (1 + self.beta**2)
        if self.average == "weighted":
            weights = tp + fn
            return float((scores * weights / (weights.sum() + _EPSILON)).sum())
        return scores if self.average is None else float(scores.mean())

    def get_config(self) -> dict[str, Any]:
        config = {"average": self.average, "beta": self.beta, "threshold": self.threshold}
        return super().get_config() | config


class F1Score(FBetaScore):
    """score = 2 precision recall / (precision + recall), for every class of outputs (N, classes); see `FBetaScore`.

    >>> round(F1Score(average="macro")([[1, 0], [1, 0]], [[0.9, 0.1], [0.8, 0.2]]), 4)
    0.5
    """

    def __init__(
        self,
        average: str | None = None,
        threshold: float | None = None,
        name: str = "f1_score",
        dtype: npt.DTypeLike | None = None,
    ) -> None:
        super().__init__(average, 1.0, threshold, name, dtype)

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        del config["beta"]
        return config


class R2Score(Metric):
    """score = 1 - sum w (t - y)^2 / sum w (t - mean t)^2, for every column of outputs (N, columns).

    `class_aggregation` 'uniform_average' is the mean of the columns, 'variance_weighted_average' that with the
    variances of the targets as weights, None leaves them. With `num_regressors` p above 0 the score of n targets is
    adjusted: 1 - (1 - score) (n - 1) / (n - p - 1).

    >>> round(R2Score()([[1.0], [2.0], [3.0]], [[1.0], [2.0], [2.5]]), 4)
    0.875
    """

    better: ClassVar[str | None] = "max"

    def __init__(
        self,
        class_aggregation: str | None = "uniform_average",
        num_regressors: int = 0,
        name: str = "r2_score",
        dtype: npt.DTypeLike | None = None,
    ) -> None:
        super().__init__(name, dtype)
        where = type(self).__name__
        kinds = (None, "uniform_average", "variance_weighted_average")
        self.class_aggregation = arguments.choice(where, "class_aggregation", class_aggregation, kinds)
        self.num_regressors = arguments.integer(where, "num_regressors", num_regressors, minimum=0)

    def _state_shape(self) -> Shape | None:
        return None

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Add the batch (y_true, y_pred), both (N, columns); `sample_weight` has shape (N,), or theirs."""
        y, t, weights = _columns(self.name, y_true, y_pred, sample_weight)
        residual_sums(y, t, self.state_on(device_of(y), (y.shape[1], SUMS)), weights)

    def result(self) -> Any:
        """Return the score, or an array with one for every column; 0 if there was no update."""
        sums = self._sums()
        if sums is None:
            return 0.0
        of_targets, of_squares, of_errors, count, elements = sums.T
        with np.errstate(divide="ignore", invalid="ignore"):
            total = of_squares - of_targets * (of_targets / count)
            scores = 1 - of_errors / total
            scores = np.where(np.isinf(scores), 0, scores)
            if self.class_aggregation == "variance_weighted_average":
                score: Any = (total * scores).sum() / total.sum()
            else:
                score = scores if self.class_aggregation is None else scores.mean()
        score = self._adjusted(score, int(elements.sum()))
        return score if self.class_aggregation is None else float(score)

    def _adjusted(self, score: Any, n: int) -> Any:
        """Return the score adjusted for the number of regressors, unless there are as many as targets."""
        if self.num_regressors == 0:
            return score
        if self.num_regressors >= n - 1:
            warnings.warn(
                f"{self.name}: num_regressors must be below {n - 1}, one less than there are targets; got "
                f"{self.num_regressors}; the score is not adjusted",
                stacklevel=3,
            )
            return score
        return 1 - (1 - score) * (n - 1) / (n - self.num_regressors - 1)

    def get_config(self) -> dict[str, Any]:
        config = {"class_aggregation": self.class_aggregation, "num_regressors": self.num_regressors}
        return super().get_config() | config


def _columns(where: str, y_true: Any, y_pred: Any, sample_weight: Any) -> tuple[Array, Array, Array | None]:
    """Return outputs and targets (N, columns), and weights for them."""
    targets = targets_of(where, y_true)
    outputs = with_rank_of(targets, outputs_of(where, y_pred))
    if outputs.ndim != 2:
        raise ValueError(f"{where}: y_pred must have shape (N, columns); got {outputs.shape}")
    targets = beside(aligned(where, targets, outputs), outputs)
    return outputs, targets, weights_for(where, sample_weight, outputs.shape, outputs)
