"""What every loss does: a number from targets and outputs, and its gradient by a closure."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, Self, TypeAlias

import numpy as np
import numpy.typing as npt

from gpunet import arguments
from gpunet.backend.arrays import Array, HostArray, device_of, is_array, to_device, to_host, zeros, zeros_like
from gpunet.default_dtype import floatx
from gpunet.identifiers import snake_case
from gpunet.losses.axes import axes_of, from_rows, rows_over
from gpunet.losses.targets import OutputShape, dense_targets, loss_weights
from gpunet.ops.arithmetic import scale_by
from gpunet.ops.loss_reduction import Reduced, reduce_losses

# From the factors that the reduction gives the losses, one for all or one each, to the gradient of the outputs.
Gradient: TypeAlias = Callable[[Array], Array]
Backward: TypeAlias = Callable[[], Array]

MEANS = ("sum_over_batch_size", "mean", "mean_with_sample_weight")
REDUCTIONS = (*MEANS, "sum", "none", None)


class Loss(ABC):
    """A loss: `forward(y_true, y_pred)` returns `(value, backward)`, `backward()` the gradient of the outputs.

    `reduction` 'sum_over_batch_size' (or 'mean') averages over all axes but the last, over which a loss has already
    been taken; 'sum' adds up; None (or 'none') leaves the losses of the samples as they are, which only a call takes.
    `dtype` None takes outputs of either float dtype; else they must have, and a call converts them to, that one.

    An own loss is a subclass with `per_sample`:

        class MeanCubedError(Loss):
            def per_sample(self, y_true, y_pred):
                error = y_pred - y_true
                return (abs(error) ** 3).mean(axis=-1), lambda scale: 3 * error * abs(error) * scale / error.shape[-1]
    """

    sparse_targets: ClassVar[bool] = False  # whether targets are labels, with one axis less than the outputs

    def __init__(
        self, name: str | None = None, reduction: str | None = "sum_over_batch_size", dtype: npt.DTypeLike | None = None
    ) -> None:
        where = type(self).__name__
        self.name = arguments.text(where, "name", name, snake_case(where))
        self.reduction = arguments.choice(where, "reduction", reduction, REDUCTIONS)
        self.dtype = None if dtype is None else arguments.floating(where, dtype)

    @abstractmethod
    def per_sample(self, y_true: Array, y_pred: Array) -> tuple[Array, Gradient]:
        """Return the losses, with y_pred's shape less its last axis, and their gradient.

        `gradient(scale)` returns the gradient of the sum of scale times the losses, in y_pred's shape. `scale` has
        shape (1,), or with sample weights that of the losses with an axis of size 1 behind: a product with an array of
        y_pred's shape is right for both. `y_true` is what `prepare_targets` returned, on y_pred's device.
        """

    def prepare_targets(self, y_true: Any, output_shape: OutputShape, dtype: npt.DTypeLike | None = None) -> HostArray:
        """Return `y_true` as `forward` takes it, on the host, for outputs of `output_shape` and `dtype`.

        The first size in `output_shape`, the number of samples, may be None. ValueError for a wrong shape or value,
        TypeError for a wrong dtype. `y_true` is not changed.
        """
        if dtype is None:
            dtype = floatx() if self.dtype is None else self.dtype
        return dense_targets(self.name, y_true, output_shape, dtype)

    def prepare_weights(
        self, sample_weight: Any, output_shape: OutputShape, dtype: npt.DTypeLike | None = None
    ) -> HostArray:
        """Return `sample_weight` as `forward` takes it, on the host, for outputs of `output_shape` and `dtype`.

        It has the shape of the losses, or lacks some of the last axes of that; axes of size 1 may stand for those.
        """
        if dtype is None:
            dtype = floatx() if self.dtype is None else self.dtype
        return loss_weights(self.name, sample_weight, self.loss_shape(output_shape), dtype)

    def loss_shape(self, output_shape: OutputShape) -> OutputShape:
        """Return the shape of the losses that `per_sample` returns for outputs of `output_shape`."""
        axes = self._axes(len(output_shape))
        return tuple(size for axis, size in enumerate(output_shape) if axis not in axes)

    def _axes(self, rank: int) -> tuple[int, ...]:
        """Return the axes of outputs of `rank` that a loss is taken over."""
        return (rank - 1,)

    def forward(
        self, y_true: Array, y_pred: Array, record: Array | None = None, sample_weight: Array | None = None
    ) -> tuple[Array, Backward]:
        """Return the value of the batch, shape (1,), on the device of `y_pred`, and backward() -> dy_pred.

        `y_true` is what `prepare_targets` returned, `sample_weight` what `prepare_weights` did, on the same device.
        Nothing is read back. `record`, float64 (1, 2), is a running mean: it grows by (value samples, samples).
        """
        self._check_reduces(y_pred)
        losses, gradient = self.per_sample(y_true, y_pred)
        reduced = self._reduce(losses, y_true, sample_weight, record, len(y_pred))
        scale = reduced.factor if reduced.scales is None else reduced.scales.reshape(*losses.shape, 1)
        return reduced.value, lambda: gradient(scale)

    def over_parts(
        self, y_true: Array, dtype: npt.DTypeLike, sample_weight: Array | None = None
    ) -> tuple[Loss, Array] | None:
        """Return how the loss of the batch `y_true` comes of those of its parts, for outputs of `dtype`.

        That is a loss and a factor of shape (1,): the loss of the batch is the factor times the sum of the parts', each
        with its part of the weights. None if it is the mean of the parts' own losses, weighted by their numbers of
        samples. Nothing is read back.
        """
        if 0 in self._axes(y_true.ndim + self.sparse_targets):
            raise self._no_parts()
        if self.reduction == "sum":
            return self, reduce_losses(zeros((1,), dtype, device_of(y_true)), mean=False).factor
        if not self._divides(sample_weight):
            return None
        assert sample_weight is not None
        flat = sample_weight.reshape(-1)
        return self._summed(), reduce_losses(zeros_like(flat), mean=True, weights=flat, divide=True).factor

    def _no_parts(self) -> ValueError:
        return ValueError(
            f"{self.name}: the loss is one of all samples together, so a batch must not be computed in parts; "
            f"compile with batch_parts=1"
        )

    def _summed(self) -> Self:
        """Return a copy that adds up."""
        loss = copy.copy(self)
        loss.reduction = "sum"
        return loss

    def _divides(self, sample_weight: Array | None) -> bool:
        """Tell whether a mean is divided by the sum of the weights."""
        return self.reduction == "mean_with_sample_weight" and sample_weight is not None

    def _check_reduces(self, y_pred: Array) -> None:
        """Raise unless the loss is one number for outputs like `y_pred`."""
        if self.reduction in ("none", None):
            trainable = ", ".join(repr(reduction) for reduction in REDUCTIONS[:-2])
            raise ValueError(f"{self.name}: reduction must be one of {trainable} to train; got {self.reduction!r}")
        if self.dtype not in (None, y_pred.dtype):
            raise TypeError(f"{self.name}: y_pred must be {self.dtype}, the dtype of the loss; got {y_pred.dtype}")

    def _reduce(
        self,
        losses: Array,
        y_true: Array,
        sample_weight: Array | None = None,
        record: Array | None = None,
        samples: int = 0,
    ) -> Reduced:
        """Return the reduced value and the factors of the losses' gradients."""
        weights = None if sample_weight is None else sample_weight.reshape(-1)
        return reduce_losses(
            losses.reshape(-1),
            mean=self.reduction in MEANS,
            record=record,
            samples=samples,
            weights=weights,
            divide=self._divides(sample_weight),
        )

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> float | Array:
        """Return the loss as a number, or for reduction None the losses of the samples, an array of y_pred's kind.

        All may be arrays of any device, or lists. `sample_weight` has the shape of the losses, or lacks some of its
        last axes: every loss is multiplied by its weight.
        """
        outputs = self._outputs(y_pred)
        outputs = self._with_rank_of(y_true, outputs)
        prepared = self.prepare_targets(y_true, outputs.shape, outputs.dtype)
        targets = to_device(prepared, device_of(outputs))
        weights = None
        if sample_weight is not None:
            weights = to_device(self.prepare_weights(sample_weight, outputs.shape, outputs.dtype), device_of(outputs))
        losses, _ = self.per_sample(targets, outputs)
        if self.reduction in ("none", None):
            return losses if weights is None else _weighted(losses, weights)
        return float(to_host(self._reduce(losses, targets, weights).value)[0])

    def _outputs(self, y_pred: Any) -> Array:
        """Return `y_pred` as a float array, in the dtype of the loss if it has one."""
        array: Array = y_pred if is_array(y_pred) else np.asarray(y_pred, floatx())
        if array.dtype.kind not in "biuf":
            raise TypeError(f"{self.name}: y_pred must hold real numbers; got an array of {array.dtype}")
        if array.ndim == 0 or array.size == 0:
            raise ValueError(f"{self.name}: y_pred must have an axis and an element; got shape {array.shape}")
        if self.dtype is not None:
            return array.astype(self.dtype, copy=False)
        return array if array.dtype in (np.float32, np.float64) else array.astype(floatx())

    def _with_rank_of(self, y_true: Any, y_pred: Array) -> Array:
        """Return `y_pred` with a last axis of size 1 dropped or added, if that gives it the rank of `y_true`."""
        rank = np.ndim(y_true)
        if y_pred.ndim == rank + 1 > 2 and y_pred.shape[-1] == 1:
            return y_pred.reshape(y_pred.shape[:-1])
        if y_pred.ndim == rank - 1 == 1 and np.shape(y_true)[-1] == 1:
            return y_pred.reshape(-1, 1)
        return y_pred

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments, in JSON's types."""
        config: dict[str, Any] = {"name": self.name, "reduction": self.reduction}
        return config if self.dtype is None else config | {"dtype": self.dtype.name}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """Return the loss that `get_config` described."""
        return cls(**config)


def _weighted(losses: Array, weights: Array) -> Array:
    """Return the losses times their weights; one loss with many weights becomes as many."""
    if losses.size == 1 < weights.size:
        return scale_by(weights, losses.reshape(-1))
    scales = reduce_losses(losses.reshape(-1), mean=False, weights=weights.reshape(-1)).scale
    return scale_by(losses.reshape(-1), scales).reshape(losses.shape)


class RowLoss(Loss):
    """A loss that is taken over one or more axes, by an op that takes rows."""

    @abstractmethod
    def of_rows(self, targets: Array, rows: Array) -> tuple[Array, Gradient]:
        """Return the losses of `rows`, (rows, columns), and the closure to their gradient.

        `targets` has the shape of the rows, or is a label a row; the closure takes factors of shape (1,) or (rows,).
        """

    def per_sample(self, y_true: Array, y_pred: Array) -> tuple[Array, Gradient]:
        axes, shape = self._axes(y_pred.ndim), y_pred.shape
        targets = y_true.reshape(-1) if self.sparse_targets else rows_over(y_true, axes)
        losses, gradient = self.of_rows(targets, rows_over(y_pred, axes))
        kept = tuple(size for axis, size in enumerate(shape) if axis not in axes)
        return losses.reshape(kept), lambda scale: from_rows(gradient(scale.reshape(-1)), shape, axes)


class CrossEntropy(RowLoss):
    """What the cross-entropies share: outputs that are probabilities or, with `from_logits`, logits, and an axis."""

    def __init__(
        self, from_logits: bool, reduction: str | None, axis: int, name: str, dtype: npt.DTypeLike | None
    ) -> None:
        super().__init__(name, reduction, dtype)
        where = type(self).__name__
        self.from_logits = arguments.boolean(where, "from_logits", from_logits)
        self.axis = arguments.integer(where, "axis", axis, minimum=-(2**63))

    def _axes(self, rank: int) -> tuple[int, ...]:
        return axes_of(self.name, self.axis, rank)

    def with_logits(self) -> Self:
        """Return a copy that takes logits."""
        loss = copy.copy(self)
        loss.from_logits = True
        return loss

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"from_logits": self.from_logits}


def as_rows(array: Array) -> Array:
    """Return `array` as (rows, last axis)."""
    return array.reshape(-1, array.shape[-1])
