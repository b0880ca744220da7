"""Means of what the losses compute, sample by sample: of errors, hinges and divergences."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy.typing as npt

from gpunet import arguments, losses
from gpunet.backend.arrays import CPU, Array, device_of, to_device
from gpunet.losses.base import Loss
from gpunet.metrics.base import Metric
from gpunet.metrics.batch import aligned, beside, outputs_of, targets_of, with_rank_of
from gpunet.metrics.means import add_values
from gpunet.ops.accumulation import BLOCKS
from gpunet.ops.squared_error import squared_error


class LossMean(Metric):
    """The mean of a `loss` over the samples, each times its weight."""

    better: ClassVar[str | None] = "min"
    _parts: ClassVar[int] = BLOCKS

    def __init__(self, loss: Loss, name: str, dtype: npt.DTypeLike | None) -> None:
        super().__init__(name, dtype)
        self._loss = loss

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Add the batch (y_true, y_pred): arrays of one device, or host arrays and lists.

        `sample_weight` has the shape of the losses, or lacks some of its last axes: over these the mean is taken.
        """
        targets, outputs = self._batch(y_true, y_pred)
        values, _ = self._loss.per_sample(targets, outputs)
        add_values(self, values, sample_weight)

    def _batch(self, y_true: Any, y_pred: Any) -> tuple[Array, Array]:
        """Return targets and outputs as the loss takes them; targets of the host are checked."""
        targets = targets_of(self.name, y_true)
        outputs = outputs_of(self.name, y_pred)
        if not self._loss.sparse_targets:
            outputs = with_rank_of(targets, outputs)
        if device_of(targets) == CPU:
            targets = self._loss.prepare_targets(targets, outputs.shape, outputs.dtype)
            return to_device(targets, device_of(outputs)), outputs
        if self._loss.sparse_targets:
            return targets, outputs
        return beside(aligned(self.name, targets, outputs), outputs), outputs


class MeanSquaredError(LossMean):
    """value = mean_j (y_pred[j] - y_true[j])^2; both have shape (N, …, C).

    >>> MeanSquaredError()([[0.0, 1.0], [0.0, 0.0]], [[1.0, 1.0], [0.0, 0.0]])
    0.25
    """

    def __init__(self, name: str = "mean_squared_error", dtype: npt.DTypeLike | None = None) -> None:
        super().__init__(losses.MeanSquaredError(), name, dtype)


class MeanAbsoluteError(LossMean):
    """value = mean_j |y_pred[j] - y_true[j]|; both have shape (N, …, C).

    >>> MeanAbsoluteError()([[0.0, 1.0], [0.0, 0.0]], [[1.0, 1.0], [1.0, 0.0]], sample_weight=[1, 0])
    0.5
    """

    def __init__(self, name: str = "mean_absolute_error", dtype: npt.DTypeLike | None = None) -> None:
        super().__init__(losses.MeanAbsoluteError(), name, dtype)


class MeanAbsolutePercentageError(LossMean):
    """value = 100 mean_j |y_pred[j] - y_true[j]| / max(|y_true[j]|, 1e-7); both have shape (N, …, C).

    >>> MeanAbsolutePercentageError()([[2.0, 4.0]], [[1.0, 4.0]])
    25.0
    """

    def __init__(self, name: str = "mean_absolute_percentage_error", dtype: npt.DTypeLike | None = None) -> None:
        super().__init__(losses.MeanAbsolutePercentageError(), name, dtype)


class MeanSquaredLogarithmicError(LossMean):
    """value = mean_j (log(y_pred[j] + 1) - log(y_true[j] + 1))^2, numbers below 1e-7 taken for it; both (N, …, C).

    >>> round(MeanSquaredLogarithmicError()([[0.0, 1.0]], [[1.0, 1.0]]), 4)
    0.2402
    """

    def __init__(self, name: str = "mean_squared_logarithmic_error", dtype: npt.DTypeLike | None = None) -> None:
        super().__init__(losses.MeanSquaredLogarithmicError(), name, dtype)


class LogCoshError(LossMean):
    """value = mean_j log(cosh(y_pred[j] - y_true[j])); both have shape (N, …, C).

    >>> round(LogCoshError()([[0.0, 1.0]], [[1.0, 1.0]]), 4)
    0.2169
    """

    def __init__(self, name: str = "logcosh", dtype: npt.DTypeLike | None = None) -> None:
        super().__init__(losses.LogCosh(), name, dtype)


class RootMeanSquaredError(LossMean):
    """result = sqrt(mean (y_pred - y_true)^2); both have one shape.

    >>> RootMeanSquaredError()([[0.0, 1.0]], [[1.0, 1.0]], sample_weight=[[1, 0]])
    1.0
    """

    def __init__(self, name: str = "root_mean_squared_error", dtype: npt.DTypeLike | None = None) -> None:
        super().__init__(losses.MeanSquaredError(), name, dtype)

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Add the batch (y_true, y_pred); `sample_weight` has their shape, or lacks some of its last axes."""
        targets, outputs = self._batch(y_true, y_pred)
        squares = squared_error(outputs.reshape(-1, 1), targets.reshape(-1, 1))
        add_values(self, squares.reshape(outputs.shape), sample_weight)

    def result(self) -> float:
        """Return the root of the mean since the last reset."""
        return float(super().result() ** 0.5)


class CosineSimilarity(LossMean):
    """value = sum_j t[j] y[j] over their lengths, along `axis`: 1 for the same direction, -1 for the opposite one.

    >>> round(CosineSimilarity()([[0.0, 1.0]], [[1.0, 1.0]]), 4)
    0.7071
    """

    better: ClassVar[str | None] = "max"

    def __init__(self, name: str = "cosine_similarity", dtype: npt.DTypeLike | None = None, axis: int = -1) -> None:
        super().__init__(losses.CosineSimilarity(axis=axis), name, dtype)
        self.axis = arguments.integer(type(self).__name__, "axis", axis, minimum=-(2**63))

    def result(self) -> float:
        """Return the mean since the last reset; the loss is its negative."""
        return 0.0 - float(super().result())

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"axis": self.axis}


class KLDivergence(LossMean):
    """value = sum_j t[j] log(t[j] / y[j]), both clipped to 1e-7 … 1; distributions (N, …, C).

    >>> round(KLDivergence()([[0.0, 1.0]], [[0.4, 0.6]]), 4)
    0.5108
    """

    def __init__(self, name: str = "kl_divergence", dtype: npt.DTypeLike | None = None) -> None:
        super().__init__(losses.KLDivergence(), name, dtype)


class Poisson(LossMean):
    """value = mean_j (y[j] - t[j] log(y[j] + 1e-7)); both have shape (N, …, C).

    >>> round(Poisson()([[0.0, 1.0]], [[1.0, 1.0]]), 4)
    1.0
    """

    def __init__(self, name: str = "poisson", dtype: npt.DTypeLike | None = None) -> None:
        super().__init__(losses.Poisson(), name, dtype)


class Hinge(LossMean):
    """value = mean_j max(1 - t[j] y[j], 0), targets -1 or 1, or 0 for -1; both have shape (N, …, C).

    >>> Hinge()([[0, 1]], [[-2.0, 0.5]])
    0.25
    """

    def __init__(self, name: str = "hinge", dtype: npt.DTypeLike | None = None) -> None:
        super().__init__(losses.Hinge(), name, dtype)


class SquaredHinge(LossMean):
    """value = mean_j max(1 - t[j] y[j], 0)^2, targets -1 or 1, or 0 for -1; both have shape (N, …, C).

    >>> SquaredHinge()([[0, 1]], [[-2.0, 0.5]])
    0.125
    """

    def __init__(self, name: str = "squared_hinge", dtype: npt.DTypeLike | None = None) -> None:
        super().__init__(losses.SquaredHinge(), name, dtype)


class CategoricalHinge(LossMean):
    """value = max(max_j (1 - t[j]) y[j] - sum_j t[j] y[j] + 1, 0); both have shape (N, …, classes).

    >>> CategoricalHinge()([[1.0, 0.0]], [[0.5, 0.25]])
    0.75
    """

    def __init__(self, name: str = "categorical_hinge", dtype: npt.DTypeLike | None = None) -> None:
        super().__init__(losses.CategoricalHinge(), name, dtype)
