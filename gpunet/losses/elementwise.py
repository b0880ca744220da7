"""Losses of single numbers, averaged over the last axis: binary cross-entropy and mean squared error."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy.typing as npt

from gpunet import arguments
from gpunet.backend.arrays import Array
from gpunet.losses.base import CrossEntropy, Gradient, Loss, as_rows
from gpunet.ops import binary_cross_entropy as op
from gpunet.ops.squared_error import squared_error, squared_error_gradient


class BinaryCrossentropy(CrossEntropy):
    """loss = mean_j (-t log q - (1 - t) log(1 - q)); `y_true` holds targets t, `y_pred` probabilities q, both (N, …).

    Probabilities are clipped to 1e-7 … 1 - 1e-7. With `from_logits` q = sigmoid(y_pred), in one stable op with the
    logarithms. `label_smoothing` s, from 0 to 1, takes (1 - s) t + s / 2 for t.

    >>> round(BinaryCrossentropy(from_logits=True)([0, 1, 0, 0], [-18.6, 0.51, 2.94, -12.8]), 3)
    0.865
    """

    def __init__(
        self,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        axis: int = -1,
        reduction: str | None = "sum_over_batch_size",
        name: str = "binary_crossentropy",
        dtype: npt.DTypeLike | None = None,
    ) -> None:
        super().__init__(from_logits, reduction, axis, name, dtype)
        where = type(self).__name__
        self.label_smoothing = arguments.real(where, "label_smoothing", label_smoothing, minimum=0, maximum=1)

    def per_sample(self, y_true: Array, y_pred: Array) -> tuple[Array, Gradient]:
        rows, targets, smoothing = as_rows(y_pred), as_rows(y_true), self.label_smoothing
        losses_of: Callable[[Array, Array, float], Array] = (
            op.binary_cross_entropy_logits if self.from_logits else op.binary_cross_entropy
        )
        gradient_of: Callable[[Array, Array, Array, float], Array] = (
            op.binary_cross_entropy_logits_gradient if self.from_logits else op.binary_cross_entropy_gradient
        )

        def gradient(scale: Array) -> Array:
            return gradient_of(rows, targets, scale, smoothing).reshape(y_pred.shape)

        return losses_of(rows, targets, smoothing).reshape(y_pred.shape[:-1]), gradient

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"label_smoothing": self.label_smoothing, "axis": self.axis}


class MeanSquaredError(Loss):
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

    def per_sample(self, y_true: Array, y_pred: Array) -> tuple[Array, Gradient]:
        rows, targets = as_rows(y_pred), as_rows(y_true)

        def gradient(scale: Array) -> Array:
            return squared_error_gradient(rows, targets, scale).reshape(y_pred.shape)

        return squared_error(rows, targets).reshape(y_pred.shape[:-1]), gradient
