"""Cross-entropy between classes: targets are labels (sparse) or a distribution over the classes (dense)."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar

import numpy.typing as npt

from gpunet import arguments
from gpunet.backend.arrays import Array, HostArray, device_of, zeros
from gpunet.losses.base import MEANS, Backward, CrossEntropy, Gradient, Loss, RowLoss, as_rows
from gpunet.losses.targets import OutputShape, sparse_targets, warn_of_one_class
from gpunet.ops import cross_entropy as from_probabilities
from gpunet.ops.arithmetic import scale_by
from gpunet.ops.loss_reduction import Reduced, reduce_losses
from gpunet.ops.softmax_cross_entropy import (
    Recorded,
    softmax_cross_entropy,
    softmax_cross_entropy_dense,
    softmax_cross_entropy_dense_value,
    softmax_cross_entropy_value,
)

_INT32 = 2**31


class _CategoricalCrossentropy(CrossEntropy):
    """What both have in common: from logits, losses and gradient are one op."""

    @abstractmethod
    def _from_logits(self, targets: Array, rows: Array, scale: float) -> tuple[Array, Array]:
        """Return the losses of the rows, and scale times the gradient of their sum."""

    @abstractmethod
    def _value_from_logits(self, y_true: Array, y_pred: Array, scale: float, how: Recorded) -> tuple[Array, Array]:
        """Return the value of these losses, and scale times the gradient of their sum, as rows."""

    @property
    def is_known(self) -> bool:
        """Whether this is one of this module's, over the last axis; a subclass with a method of its own is not."""
        own = SparseCategoricalCrossentropy.of_rows, CategoricalCrossentropy.of_rows
        return type(self).per_sample is RowLoss.per_sample and type(self).of_rows in own and self.axis == -1

    @property
    def _every_row_counts(self) -> bool:
        """Whether the number of rows that a mean is over is known without looking at the targets."""
        return True

    def forward(
        self, y_true: Array, y_pred: Array, record: Array | None = None, sample_weight: Array | None = None
    ) -> tuple[Array, Backward]:
        if not (self.from_logits and self.is_known and self._every_row_counts):
            return super().forward(y_true, y_pred, record, sample_weight)
        self._check_reduces(y_pred)
        mean, rows = self.reduction in MEANS, y_pred.size // y_pred.shape[-1]
        weights = None if sample_weight is None else sample_weight.reshape(-1)
        how = Recorded(mean, record, len(y_pred), weights, self._divides(sample_weight))
        value, dz = self._value_from_logits(y_true, y_pred, 1 / rows if mean and not how.divides else 1.0, how)
        return value, lambda: dz.reshape(y_pred.shape)

    def _scaled_later(self, targets: Array, rows: Array) -> tuple[Array, Gradient]:
        """Return what `of_rows` does from logits."""
        losses, dz = self._from_logits(targets, rows, 1.0)
        return losses, lambda scale: scale_by(dz, scale)


class SparseCategoricalCrossentropy(_CategoricalCrossentropy):
    """loss = -log p[label]; `y_true` holds labels, shape (N, …) or (N, …, 1), `y_pred` probabilities p (N, …, classes).

    Probabilities are divided by their sum and clipped to 1e-7 … 1 - 1e-7. With `from_logits` p = softmax(y_pred), in
    one stable op with the logarithm. Positions whose label is `ignore_class` have loss 0 and do not count in the mean.

    >>> round(SparseCategoricalCrossentropy()([1, 2], [[0.05, 0.95, 0], [0.1, 0.8, 0.1]]), 3)
    1.177
    """

    sparse_targets: ClassVar[bool] = True

    def __init__(
        self,
        from_logits: bool = False,
        ignore_class: int | None = None,
        reduction: str | None = "sum_over_batch_size",
        axis: int = -1,
        name: str = "sparse_categorical_crossentropy",
        dtype: npt.DTypeLike | None = None,
    ) -> None:
        super().__init__(from_logits, reduction, axis, name, dtype)
        if ignore_class is not None:
            ignore_class = arguments.integer(type(self).__name__, "ignore_class", ignore_class, minimum=-_INT32)
            if ignore_class >= _INT32:
                raise ValueError(f"{type(self).__name__}: ignore_class must be below 2**31; got {ignore_class}")
        self.ignore_class = ignore_class

    def prepare_targets(self, y_true: Any, output_shape: OutputShape, dtype: npt.DTypeLike | None = None) -> HostArray:
        (axis,) = self._axes(len(output_shape))
        return sparse_targets(self.name, y_true, output_shape, self.ignore_class, axis)

    @property
    def _every_row_counts(self) -> bool:
        return self.ignore_class is None

    def _from_logits(self, targets: Array, rows: Array, scale: float) -> tuple[Array, Array]:
        return softmax_cross_entropy(rows, targets, scale, self.ignore_class)

    def _value_from_logits(self, y_true: Array, y_pred: Array, scale: float, how: Recorded) -> tuple[Array, Array]:
        return softmax_cross_entropy_value(as_rows(y_pred), y_true.reshape(-1), scale, how)

    def of_rows(self, targets: Array, rows: Array) -> tuple[Array, Gradient]:
        if self.from_logits:
            return self._scaled_later(targets, rows)
        ignored = self.ignore_class
        losses, totals = from_probabilities.cross_entropy(rows, targets, ignored)
        return losses, lambda scale: from_probabilities.cross_entropy_gradient(rows, targets, totals, scale, ignored)

    def _reduce(
        self,
        losses: Array,
        y_true: Array,
        sample_weight: Array | None = None,
        record: Array | None = None,
        samples: int = 0,
    ) -> Reduced:
        if self.ignore_class is None:
            return super()._reduce(losses, y_true, sample_weight, record, samples)
        return reduce_losses(
            losses.reshape(-1),
            mean=self.reduction in MEANS,
            labels=y_true.reshape(-1),
            ignored=self.ignore_class,
            record=record,
            samples=samples,
            weights=None if sample_weight is None else sample_weight.reshape(-1),
            divide=self._divides(sample_weight),
        )

    def over_parts(
        self, y_true: Array, dtype: npt.DTypeLike, sample_weight: Array | None = None
    ) -> tuple[Loss, Array] | None:
        if self.ignore_class is None or self.reduction == "sum":
            return super().over_parts(y_true, dtype, sample_weight)
        # How many rows count in the whole batch is known only to the device.
        return self._summed(), self._reduce(
            zeros((y_true.size,), dtype, device_of(y_true)), y_true, sample_weight
        ).factor

    def _with_rank_of(self, y_true: Any, y_pred: Array) -> Array:
        return y_pred  # the last axis is the classes'

    def get_config(self) -> dict[str, Any]:
        config = super().get_config() | {"ignore_class": self.ignore_class}
        return config if self.axis == -1 else config | {"axis": self.axis}


class CategoricalCrossentropy(_CategoricalCrossentropy):
    """loss = -sum_j t[j] log p[j]; `y_true` holds distributions t, `y_pred` probabilities p, both (N, …, classes).

    Probabilities are divided by their sum and clipped to 1e-7 … 1 - 1e-7. With `from_logits` p = softmax(y_pred), in
    one stable op with the logarithm. `label_smoothing` s, from 0 to 1, takes (1 - s) t + s / classes for t.

    >>> round(CategoricalCrossentropy()([[0, 1, 0], [0, 0, 1]], [[0.05, 0.95, 0], [0.1, 0.8, 0.1]]), 3)
    1.177
    """

    def __init__(
        self,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        axis: int = -1,
        reduction: str | None = "sum_over_batch_size",
        name: str = "categorical_crossentropy",
        dtype: npt.DTypeLike | None = None,
    ) -> None:
        super().__init__(from_logits, reduction, axis, name, dtype)
        where = type(self).__name__
        self.label_smoothing = arguments.real(where, "label_smoothing", label_smoothing, minimum=0, maximum=1)

    def prepare_targets(self, y_true: Any, output_shape: OutputShape, dtype: npt.DTypeLike | None = None) -> HostArray:
        if output_shape[-1] == 1:
            warn_of_one_class(self.name)
        return super().prepare_targets(y_true, output_shape, dtype)

    def _from_logits(self, targets: Array, rows: Array, scale: float) -> tuple[Array, Array]:
        return softmax_cross_entropy_dense(rows, targets, scale, self.label_smoothing)

    def _value_from_logits(self, y_true: Array, y_pred: Array, scale: float, how: Recorded) -> tuple[Array, Array]:
        rows, targets = as_rows(y_pred), as_rows(y_true)
        return softmax_cross_entropy_dense_value(rows, targets, scale, self.label_smoothing, how)

    def of_rows(self, targets: Array, rows: Array) -> tuple[Array, Gradient]:
        if self.from_logits:
            return self._scaled_later(targets, rows)
        smoothing = self.label_smoothing
        losses, totals, weights = from_probabilities.cross_entropy_dense(rows, targets, smoothing)

        def gradient(scale: Array) -> Array:
            return from_probabilities.cross_entropy_dense_gradient(rows, targets, totals, weights, scale, smoothing)

        return losses, gradient

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"label_smoothing": self.label_smoothing, "axis": self.axis}
