"""Losses of single numbers, most of them averaged over the last axis: regression, distributions, hinges."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import numpy.typing as npt

from gpunet import arguments
from gpunet.backend.arrays import Array
from gpunet.losses.base import Gradient, RowLoss
from gpunet.ops.elementwise_loss import Pair, Terms, elementwise_loss, elementwise_loss_gradient, hinge_shift
from gpunet.ops.squared_error import squared_error, squared_error_gradient


class MeanSquaredError(RowLoss):
    """loss = mean_j (y_pred[j] - y_true[j])^2; both have shape (N, …, C).

    >>> MeanSquaredError()([[0.0, 1.0]], [[2.0, 1.0]])
    2.0
    """

    def __init__(
        self,
        reduction: str | None = "sum_over_batch_size",
        name: str = "mean_squared_error",
        dtype: npt.DTypeLike | None = None,
    ) -> None:
        super().__init__(name, reduction, dtype)

    def of_rows(self, targets: Array, rows: Array) -> tuple[Array, Gradient]:
        return squared_error(rows, targets), lambda scale: squared_error_gradient(rows, targets, scale)


class PairLoss(RowLoss):
    """A loss that the element-wise op knows."""

    @abstractmethod
    def _terms(self, targets: Array) -> Terms:
        """Return what is added up."""

    def of_rows(self, targets: Array, rows: Array) -> tuple[Array, Gradient]:
        terms = self._terms(targets)
        losses = elementwise_loss(rows, targets, terms)
        return losses, lambda scale: elementwise_loss_gradient(rows, targets, scale, terms)


class MeanAbsoluteError(PairLoss):
    """loss = mean_j |y_pred[j] - y_true[j]|; both have shape (N, …, C).

    >>> MeanAbsoluteError()([[0.0, 1.0]], [[2.0, 1.0]])
    1.0
    """

    def __init__(
        self,
        reduction: str | None = "sum_over_batch_size",
        name: str = "mean_absolute_error",
        dtype: npt.DTypeLike | None = None,
    ) -> None:
        super().__init__(name, reduction, dtype)

    def _terms(self, targets: Array) -> Terms:
        return Terms(Pair.ABSOLUTE)


class MeanAbsolutePercentageError(PairLoss):
    """loss = 100 mean_j |y_pred[j] - y_true[j]| / max(|y_true[j]|, 1e-7); both have shape (N, …, C).

    >>> MeanAbsolutePercentageError()([[1.0, 4.0]], [[2.0, 4.0]])
    50.0
    """

    def __init__(
        self,
        reduction: str | None = "sum_over_batch_size",
        name: str = "mean_absolute_percentage_error",
        dtype: npt.DTypeLike | None = None,
    ) -> None:
        super().__init__(name, reduction, dtype)

    def _terms(self, targets: Array) -> Terms:
        return Terms(Pair.PERCENTAGE)


class MeanSquaredLogarithmicError(PairLoss):
    """loss = mean_j (log(1 + y_pred[j]) - log(1 + y_true[j]))^2; both have shape (N, …, C).

    Numbers below 1e-7 count as 1e-7.

    >>> round(MeanSquaredLogarithmicError()([[0.0, 1.0]], [[1.0, 1.0]]), 3)
    0.24
    """

    def __init__(
        self,
        reduction: str | None = "sum_over_batch_size",
        name: str = "mean_squared_logarithmic_error",
        dtype: npt.DTypeLike | None = None,
    ) -> None:
        super().__init__(name, reduction, dtype)

    def _terms(self, targets: Array) -> Terms:
        return Terms(Pair.SQUARED_LOGARITHMIC)


class Huber(PairLoss):
    """loss = mean_j h(y_pred[j] - y_true[j]), h(e) = e^2 / 2 where |e| <= delta, else delta |e| - delta^2 / 2.

    Both have shape (N, …, C); `delta` is at least 0.

    >>> Huber()([[0.0, 0.0]], [[2.0, 1.0]])
    1.0
    """

    def __init__(
        self,
        delta: float = 1.0,
        reduction: str | None = "sum_over_batch_size",
        name: str = "huber_loss",
        dtype: npt.DTypeLike | None = None,
    ) -> None:
        super().__init__(name, reduction, dtype)
        where = type(self).__name__
        self.delta = arguments.real(where, "delta", delta, minimum=0)

    def _terms(self, targets: Array) -> Terms:
        return Terms(Pair.HUBER, self.delta)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"delta": self.delta}


class LogCosh(PairLoss):
    """loss = mean_j log cosh(y_pred[j] - y_true[j]); both have shape (N, …, C).

    About half the square of a small error, and the absolute value less log 2 of a large one.

    >>> round(LogCosh()([[0.0, 0.0]], [[1.0, 0.0]]), 3)
    0.217
    """

    def __init__(
        self,
        reduction: str | None = "sum_over_batch_size",
        name: str = "log_cosh",
        dtype: npt.DTypeLike | None = None,
    ) -> None:
        super().__init__(name, reduction, dtype)

    def _terms(self, targets: Array) -> Terms:
        return Terms(Pair.LOG_COSH)


class Poisson(PairLoss):
    """loss = mean_j (y_pred[j] - y_true[j] log(y_pred[j] + 1e-7)); both have shape (N, …, C).

    The negative logarithm of a Poisson distribution of mean y_pred at y_true, less what y_pred does not change.

    >>> round(Poisson()([[0.0, 1.0]], [[1.0, 1.0]]), 3)
    1.0
    """

    def __init__(
        self,
        reduction: str | None = "sum_over_batch_size",
        name: str = "poisson",
        dtype: npt.DTypeLike | None = None,
    ) -> None:
        super().__init__(name, reduction, dtype)

    def _terms(self, targets: Array) -> Terms:
        return Terms(Pair.POISSON)


class KLDivergence(PairLoss):
    """loss = sum_j y_true[j] log(y_true[j] / y_pred[j]); both have shape (N, …, C).

    Both are clipped to 1e-7 … 1.

    >>> round(KLDivergence()([[0.5, 0.5]], [[0.25, 0.75]]), 3)
    0.144
    """

    def __init__(
        self,
        reduction: str | None = "sum_over_batch_size",
        name: str = "kl_divergence",
        dtype: npt.DTypeLike | None = None,
    ) -> None:
        super().__init__(name, reduction, dtype)

    def _terms(self, targets: Array) -> Terms:
        return Terms(Pair.DIVERGENCE)


class Hinge(PairLoss):
    """loss = mean_j max(1 - y_true[j] y_pred[j], 0); both have shape (N, …, C).

    Targets are -1 or 1; if all of a batch are 0 or 1, 0 counts as -1.

    >>> Hinge()([[-1.0, 1.0]], [[0.5, 0.5]])
    1.0
    """

    def __init__(
        self,
        reduction: str | None = "sum_over_batch_size",
        name: str = "hinge",
        dtype: npt.DTypeLike | None = None,
    ) -> None:
        super().__init__(name, reduction, dtype)

    def _terms(self, targets: Array) -> Terms:
        return Terms(Pair.HINGE, shift=hinge_shift(targets))


class SquaredHinge(PairLoss):
    """loss = mean_j max(1 - y_true[j] y_pred[j], 0)^2; both have shape (N, …, C), targets as for `Hinge`.

    >>> SquaredHinge()([[0.0, 1.0]], [[0.5, 0.5]])
    1.25
    """

    def __init__(
        self,
        reduction: str | None = "sum_over_batch_size",
        name: str = "squared_hinge",
        dtype: npt.DTypeLike | None = None,
    ) -> None:
        super().__init__(name, reduction, dtype)

    def _terms(self, targets: Array) -> Terms:
        return Terms(Pair.SQUARED_HINGE, shift=hinge_shift(targets))
