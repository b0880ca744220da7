"""Losses between classes that are no plain cross-entropy: focal, hinge, generalized."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from gpunet import arguments
from gpunet.backend.arrays import Array, Device, HostArray, device_of, to_device
from gpunet.losses.base import CrossEntropy, Gradient, RowLoss
from gpunet.losses.targets import OutputShape, sparse_targets, warn_of_one_class
from gpunet.ops.class_loss import (
    Focal,
    categorical_hinge,
    categorical_hinge_gradient,
    focal_loss,
    focal_loss_gradient,
    generalized_cross_entropy,
    generalized_cross_entropy_gradient,
)


class CategoricalFocalCrossentropy(CrossEntropy):
    """loss = -sum_j alpha (1 - p[j])^gamma t[j] log p[j]; `y_true` holds distributions t, `y_pred` probabilities p.

    Both have shape (N, …, classes). Probabilities are divided by their sum and clipped to 1e-7 … 1 - 1e-7; with
    `from_logits` p = softmax(y_pred), clipped too. `alpha` is a number, or a list of one for every class.
    `label_smoothing` s, from 0 to 1, takes (1 - s) t + s / classes for t. Lin et al. 2017, "Focal loss for dense object
    detection".

    >>> round(CategoricalFocalCrossentropy()([[0, 1, 0]], [[0.05, 0.5, 0.45]]), 4)
    0.0433
    """

    def __init__(
        self,
        alpha: float | list[float] = 0.25,
        gamma: float = 2.0,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        axis: int = -1,
        reduction: str | None = "sum_over_batch_size",
        name: str = "categorical_focal_crossentropy",
        dtype: npt.DTypeLike | None = None,
    ) -> None:
        super().__init__(from_logits, reduction, axis, name, dtype)
        where = type(self).__name__
        if isinstance(alpha, (list, tuple)):
            self.alpha: float | list[float] = [arguments.real(where, "alpha", number) for number in alpha]
        else:
            self.alpha = arguments.real(where, "alpha", alpha)
        self.gamma = arguments.real(where, "gamma", gamma, minimum=0)
        self.label_smoothing = arguments.real(where, "label_smoothing", label_smoothing, minimum=0, maximum=1)

    def prepare_targets(self, y_true: Any, output_shape: OutputShape, dtype: npt.DTypeLike | None = None) -> HostArray:
        (axis,) = self._axes(len(output_shape))
        if isinstance(self.alpha, list) and len(self.alpha) not in (1, output_shape[axis]):
            raise ValueError(
                f"{self.name}: alpha must be a number or hold one for each of {output_shape[axis]} classes; got "
                f"{len(self.alpha)} of them"
            )
        if output_shape[-1] == 1:
            warn_of_one_class(self.name)
        return super().prepare_targets(y_true, output_shape, dtype)

    def of_rows(self, targets: Array, rows: Array) -> tuple[Array, Gradient]:
        alpha = tuple(self.alpha) if isinstance(self.alpha, list) else (self.alpha,)
        placed = _placed(alpha, rows.dtype, device_of(rows))
        focal = Focal(placed, self.gamma, self.from_logits, self.label_smoothing)
        return focal_loss(rows, targets, focal), lambda scale: focal_loss_gradient(rows, targets, scale, focal)

    def get_config(self) -> dict[str, Any]:
        focal = {"alpha": self.alpha, "gamma": self.gamma}
        return super().get_config() | focal | {"label_smoothing": self.label_smoothing, "axis": self.axis}


@lru_cache(maxsize=64)
def _placed(numbers: tuple[float, ...], dtype: np.dtype[Any], device: Device) -> Array:
    """Return `numbers` on `device`, where they stay: a captured step must find them there."""
    return to_device(np.array(numbers, dtype), device)


class CategoricalHinge(RowLoss):
    """loss = max(max_j (1 - t[j]) y[j] - sum_j t[j] y[j] + 1, 0); targets t and outputs y have shape (N, …, classes).

    >>> CategoricalHinge()([[1.0, 0.0]], [[0.5, 0.25]])
    0.75
    """

    def __init__(
        self,
        reduction: str | None = "sum_over_batch_size",
        name: str = "categorical_hinge",
        dtype: npt.DTypeLike | None = None,
    ) -> None:
        super().__init__(name, reduction, dtype)

    def of_rows(self, targets: Array, rows: Array) -> tuple[Array, Gradient]:
        losses = categorical_hinge(rows, targets)
        return losses, lambda scale: categorical_hinge_gradient(rows, targets, scale)


class CategoricalGeneralizedCrossEntropy(RowLoss):
    """loss = (1 - p[label]^q) / q; `y_true` holds labels, (N, …), `y_pred` probabilities p, (N, …, classes).

    Labels may have an axis of size 1 behind. For q near 0 it is the cross-entropy, near 1 the absolute error, which
    wrong labels lead astray less. Zhang & Sabuncu 2018, "Generalized cross entropy loss for training deep neural
    networks with noisy labels".

    >>> CategoricalGeneralizedCrossEntropy()([0], [[0.25, 0.75]])
    1.0
    """

    sparse_targets: ClassVar[bool] = True

    def __init__(
        self,
        q: float = 0.5,
        reduction: str | None = "sum_over_batch_size",
        name: str = "categorical_generalized_cross_entropy",
        dtype: npt.DTypeLike | None = None,
    ) -> None:
        super().__init__(name, reduction, dtype)
        where = type(self).__name__
        self.q = arguments.real(where, "q", q, minimum=0, maximum=1)
        if not 0 < self.q < 1:
            raise ValueError(f"{where}: q must be more than 0 and less than 1; got {arguments.shown(q)}")

    def prepare_targets(self, y_true: Any, output_shape: OutputShape, dtype: npt.DTypeLike | None = None) -> HostArray:
        return sparse_targets(self.name, y_true, output_shape, None)

    def _with_rank_of(self, y_true: Any, y_pred: Array) -> Array:
        return y_pred  # the last axis is the classes'

    def of_rows(self, targets: Array, rows: Array) -> tuple[Array, Gradient]:
        losses = generalized_cross_entropy(rows, targets, self.q)
        return losses, lambda scale: generalized_cross_entropy_gradient(rows, targets, scale, self.q)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"q": self.q}
