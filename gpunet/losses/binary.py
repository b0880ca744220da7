"""Cross-entropy between yes and no, averaged over an axis: of probabilities, or logits; plain and focal."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy.typing as npt

from gpunet import arguments
from gpunet.backend.arrays import Array
from gpunet.losses.base import CrossEntropy, Gradient
from gpunet.ops import binary_cross_entropy as op
from gpunet.ops.elementwise_loss import Pair, Terms, elementwise_loss, elementwise_loss_gradient


class BinaryCrossentropy(CrossEntropy):
    """loss = mean_j (-t log q - (1 - t) log(1 - q)); `y_true` holds targets t, `y_pred` probabilities q, both (N, …).

    Probabilities are clipped to 1e-7 … 1 - 1e-7. With `from_logits` q = sigmoid(y_pred), in one stable op with the
    logarithms. `label_smoothing` s, from 0 to 1, takes (1 - s) t + s / 2 for t. The mean is over `axis`.

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

    def of_rows(self, targets: Array, rows: Array) -> tuple[Array, Gradient]:
        smoothing = self.label_smoothing
        losses_of: Callable[[Array, Array, float], Array] = (
            op.binary_cross_entropy_logits if self.from_logits else op.binary_cross_entropy
        )
        gradient_of: Callable[[Array, Array, Array, float], Array] = (
            op.binary_cross_entropy_logits_gradient if self.from_logits else op.binary_cross_entropy_gradient
        )
        return losses_of(rows, targets, smoothing), lambda scale: gradient_of(rows, targets, scale, smoothing)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"label_smoothing": self.label_smoothing, "axis": self.axis}


class BinaryFocalCrossentropy(BinaryCrossentropy):
    """loss = mean_j w (1 - p)^gamma e, e the `BinaryCrossentropy` of t and q, p = t q + (1 - t) (1 - q).

    What is already right, p near 1, counts little. w is 1, or with `apply_class_balancing` alpha t + (1 - alpha)
    (1 - t). With `from_logits` q = sigmoid(y_pred), clipped in the logarithms as probabilities are. Lin et al. 2017,
    "Focal loss for dense object detection".

    >>> round(BinaryFocalCrossentropy()([[0.0, 1.0]], [[0.4, 0.6]]), 4)
    0.0817
    """

    def __init__(
        self,
        apply_class_balancing: bool = False,
        alpha: float = 0.25,
        gamma: float = 2.0,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        axis: int = -1,
        reduction: str | None = "sum_over_batch_size",
        name: str = "binary_focal_crossentropy",
        dtype: npt.DTypeLike | None = None,
    ) -> None:
        super().__init__(from_logits, label_smoothing, axis, reduction, name, dtype)
        where = type(self).__name__
        self.apply_class_balancing = arguments.boolean(where, "apply_class_balancing", apply_class_balancing)
        self.alpha = arguments.real(where, "alpha", alpha)
        self.gamma = arguments.real(where, "gamma", gamma, minimum=0)

    def of_rows(self, targets: Array, rows: Array) -> tuple[Array, Gradient]:
        kind = Pair.FOCAL_LOGITS if self.from_logits else Pair.FOCAL
        one, zero = (self.alpha, 1 - self.alpha) if self.apply_class_balancing else (1.0, 1.0)
        terms = Terms(kind, self.gamma, one, zero, self.label_smoothing)
        losses = elementwise_loss(rows, targets, terms)
        return losses, lambda scale: elementwise_loss_gradient(rows, targets, scale, terms)

    def get_config(self) -> dict[str, Any]:
        focal = {"apply_class_balancing": self.apply_class_balancing, "alpha": self.alpha, "gamma": self.gamma}
        return super().get_config() | focal
