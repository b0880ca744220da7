"""Losses of whole vectors or images: the angle between outputs and targets, and how much of them overlaps."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy.typing as npt

from gpunet import arguments
from gpunet.backend.arrays import Array, HostArray, contiguous
from gpunet.losses.axes import axes_argument, axes_of
from gpunet.losses.base import MEANS, Gradient, Loss, RowLoss
from gpunet.losses.targets import OutputShape, integer_labels
from gpunet.ops.activation import Activation
from gpunet.ops.arithmetic import add_in_place, scale_by
from gpunet.ops.circle_loss import circle_loss
from gpunet.ops.dense import dense
from gpunet.ops.loss_reduction import Reduced, reduce_losses
from gpunet.ops.similarity_loss import Overlap, similarity_loss, similarity_loss_gradient


class CosineSimilarity(RowLoss):
    """loss = -sum_j y_true[j] y_pred[j] / (|y_true| |y_pred|), over `axis`; both have shape (N, …).

    -1 where both point the same way, 1 where they point opposite ways; 0 if one of them is 0.

    >>> CosineSimilarity()([[0.0, 2.0]], [[0.0, 3.0]])
    -1.0
    """

    def __init__(
        self,
        axis: int = -1,
        reduction: str | None = "sum_over_batch_size",
        name: str = "cosine_similarity",
        dtype: npt.DTypeLike | None = None,
    ) -> None:
        super().__init__(name, reduction, dtype)
        self.axis = arguments.integer(type(self).__name__, "axis", axis, minimum=-(2**63))

    def _axes(self, rank: int) -> tuple[int, ...]:
        return axes_of(self.name, self.axis, rank)

    def of_rows(self, targets: Array, rows: Array) -> tuple[Array, Gradient]:
        losses, lines = similarity_loss(rows, targets)
        return losses, lambda scale: similarity_loss_gradient(rows, targets, lines, scale)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"axis": self.axis}


class _OverlapLoss(RowLoss):
    """What Dice and Tversky share: sums over some of the axes, or all of them."""

    def __init__(
        self, reduction: str | None, name: str, axis: int | tuple[int, ...] | None, dtype: npt.DTypeLike | None
    ) -> None:
        super().__init__(name, reduction, dtype)
        self.axis = axes_argument(type(self).__name__, axis)

    def _axes(self, rank: int) -> tuple[int, ...]:
        return axes_of(self.name, self.axis, rank)

    @property
    def _overlap(self) -> Overlap:
        return Overlap(2, 1, 1)

    def of_rows(self, targets: Array, rows: Array) -> tuple[Array, Gradient]:
        losses, lines = similarity_loss(rows, targets, self._overlap)
        return losses, lambda scale: similarity_loss_gradient(rows, targets, lines, scale)

    def get_config(self) -> dict[str, Any]:
        axis = list(self.axis) if isinstance(self.axis, tuple) else self.axis
        return super().get_config() | {"axis": axis}


class Circle(Loss):
    """loss = log(1 + sum_p exp(-gamma w_p (margin - d_p)) sum_n exp(gamma w_n (1 - margin - d_n))) of every embedding.

    `y_true` holds labels, (N,) or (N, 1), `y_pred` embeddings, (N, D), of length 1 as a rule; d = max(1 - u v, 0) is
    how far two of them are apart. p are the others with the same label (with `remove_diagonal` False itself, too), n
    those with another one; w_p = margin + d_p, w_n = max(1 + margin - d_n, 0). An embedding without p or n has loss 0
    and does not count in the mean. Sun et al. 2020, "Circle loss: a unified perspective of pair similarity
    optimization".

    >>> round(Circle(gamma=1.0)([0, 0, 1], [[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]]), 3)
    1.47
    """

    sparse_targets: ClassVar[bool] = True

    def __init__(
        self,
        gamma: float = 80.0,
        margin: float = 0.4,
        remove_diagonal: bool = True,
        reduction: str | None = "sum_over_batch_size",
        name: str = "circle",
        dtype: npt.DTypeLike | None = None,
    ) -> None:
        super().__init__(name, reduction, dtype)
        where = type(self).__name__
        self.gamma = arguments.real(where, "gamma", gamma, minimum=0)
        self.margin = arguments.real(where, "margin", margin, minimum=0)
        self.remove_diagonal = arguments.boolean(where, "remove_diagonal", remove_diagonal)

    def prepare_targets(self, y_true: Any, output_shape: OutputShape, dtype: npt.DTypeLike | None = None) -> HostArray:
        if len(output_shape) != 2:
            raise ValueError(f"{self.name}: y_pred must have shape (N, D); got {len(output_shape)} axes")
        return integer_labels(self.name, y_true, (output_shape[0],))

    def _with_rank_of(self, y_true: Any, y_pred: Array) -> Array:
        return y_pred  # the last axis is the embeddings'

    def per_sample(self, y_true: Array, y_pred: Array) -> tuple[Array, Gradient]:
        products, _ = dense(y_pred, contiguous(y_pred.T), None, Activation.LINEAR)
        losses, slopes = circle_loss(products, y_true, self.gamma, self.margin, self.remove_diagonal)

        def gradient(scale: Array) -> Array:
            # Every product is of two embeddings, each of which gets its slope.
            slope = scale_by(slopes, scale.reshape(-1))
            both = contiguous(slope.T)
            add_in_place(both, slope)
            return dense(both, y_pred, None, Activation.LINEAR)[0]

        return losses, gradient

    def over_parts(
        self, y_true: Array, dtype: npt.DTypeLike, sample_weight: Array | None = None
    ) -> tuple[Loss, Array] | None:
        raise self._no_parts()

    def _reduce(
        self,
        losses: Array,
        y_true: Array,
        sample_weight: Array | None = None,
        record: Array | None = None,
        samples: int = 0,
    ) -> Reduced:
        return reduce_losses(
            losses,
            mean=self.reduction in MEANS,
            record=record,
            samples=samples,
            weights=None if sample_weight is None else sample_weight.reshape(-1),
            divide=self._divides(sample_weight),
            nonzero=True,
        )

    def get_config(self) -> dict[str, Any]:
        circle = {"gamma": self.gamma, "margin": self.margin, "remove_diagonal": self.remove_diagonal}
        return super().get_config() | circle


class Dice(_OverlapLoss):
    """loss = 1 - 2 sum t y / (sum t + sum y + 1e-7), over `axis`; targets t and outputs y, from 0 to 1, (N, …).

    With `axis` None the whole batch is one number, which sample weights scale by their mean; axis=(1, 2, 3) gives
    every image a loss of its own.

    >>> round(Dice()([[1.0, 0.0]], [[0.5, 0.5]]), 3)
    0.5
    """

    def __init__(
        self,
        reduction: str | None = "sum_over_batch_size",
        name: str = "dice",
        axis: int | tuple[int, ...] | None = None,
        dtype: npt.DTypeLike | None = None,
    ) -> None:
        super().__init__(reduction, name, axis, dtype)


class Tversky(_OverlapLoss):
    """loss = 1 - i / (i + alpha f + beta g + 1e-7), i = sum t y, f = sum t (1 - y), g = sum y (1 - t), over `axis`.

    `alpha` is for what the outputs y miss of the targets t, `beta` for what they add; all else is as for `Dice`, which
    this is for 0.5 and 0.5. Salehi et al. 2017, "Tversky loss function for image segmentation".

    >>> round(Tversky(alpha=1.0, beta=0.0)([[1.0, 0.0]], [[0.5, 0.5]]), 3)
    0.5
    """

    def __init__(
        self,
        alpha: float = 0.5,
        beta: float = 0.5,
        reduction: str | None = "sum_over_batch_size",
        name: str = "tversky",
        axis: int | tuple[int, ...] | None = None,
        dtype: npt.DTypeLike | None = None,
    ) -> None:
        super().__init__(reduction, name, axis, dtype)
        where = type(self).__name__
        self.alpha = arguments.real(where, "alpha", alpha)
        self.beta = arguments.real(where, "beta", beta)

    @property
    def _overlap(self) -> Overlap:
        return Overlap(1, self.alpha, self.beta)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"alpha": self.alpha, "beta": self.beta}
