"""The losses as functions: those of every sample, without a reduction, as an array of the kind of the outputs."""

from __future__ import annotations

from typing import Any

from gpunet.backend.arrays import Array
from gpunet.losses.base import Loss
from gpunet.losses.binary import BinaryCrossentropy, BinaryFocalCrossentropy
from gpunet.losses.categorical import CategoricalCrossentropy, SparseCategoricalCrossentropy
from gpunet.losses.classes import CategoricalFocalCrossentropy, CategoricalGeneralizedCrossEntropy, CategoricalHinge
from gpunet.losses.elementwise import (
    Hinge,
    Huber,
    KLDivergence,
    LogCosh,
    MeanAbsoluteError,
    MeanAbsolutePercentageError,
    MeanSquaredError,
    MeanSquaredLogarithmicError,
    Poisson,
    SquaredHinge,
)
from gpunet.losses.similarity import Circle, CosineSimilarity, Dice, Tversky


def sparse_categorical_crossentropy(
    y_true: Any, y_pred: Any, from_logits: bool = False, ignore_class: int | None = None, axis: int = -1
) -> Array:
    """-log p[label], for every position: the losses of `SparseCategoricalCrossentropy`."""
    return _samples(SparseCategoricalCrossentropy(from_logits, ignore_class, None, axis), y_true, y_pred)


def categorical_crossentropy(
    y_true: Any, y_pred: Any, from_logits: bool = False, label_smoothing: float = 0.0, axis: int = -1
) -> Array:
    """-sum_j t[j] log p[j], for every position: the losses of `CategoricalCrossentropy`."""
    return _samples(CategoricalCrossentropy(from_logits, label_smoothing, axis, None), y_true, y_pred)


def categorical_focal_crossentropy(
    y_true: Any,
    y_pred: Any,
    alpha: float | list[float] = 0.25,
    gamma: float = 2.0,
    from_logits: bool = False,
    label_smoothing: float = 0.0,
    axis: int = -1,
) -> Array:
    """-sum_j alpha (1 - p[j])^gamma t[j] log p[j]: the losses of `CategoricalFocalCrossentropy`."""
    return _samples(
        CategoricalFocalCrossentropy(alpha, gamma, from_logits, label_smoothing, axis, None), y_true, y_pred
    )


def categorical_generalized_cross_entropy(y_true: Any, y_pred: Any, q: float) -> Array:
    """(1 - p[label]^q) / q: the losses of `CategoricalGeneralizedCrossEntropy`."""
    return _samples(CategoricalGeneralizedCrossEntropy(q, None), y_true, y_pred)


def binary_crossentropy(
    y_true: Any, y_pred: Any, from_logits: bool = False, label_smoothing: float = 0.0, axis: int = -1
) -> Array:
    """mean_j (-t log q - (1 - t) log(1 - q)): the losses of `BinaryCrossentropy`."""
    return _samples(BinaryCrossentropy(from_logits, label_smoothing, axis, None), y_true, y_pred)


def binary_focal_crossentropy(
    y_true: Any,
    y_pred: Any,
    apply_class_balancing: bool = False,
    alpha: float = 0.25,
    gamma: float = 2.0,
    from_logits: bool = False,
    label_smoothing: float = 0.0,
    axis: int = -1,
) -> Array:
    """mean_j w (1 - p)^gamma e, e the binary cross-entropy: the losses of `BinaryFocalCrossentropy`."""
    return _samples(
        BinaryFocalCrossentropy(apply_class_balancing, alpha, gamma, from_logits, label_smoothing, axis, None),
        y_true,
        y_pred,
    )


def mean_squared_error(y_true: Any, y_pred: Any) -> Array:
    """mean_j (y_pred[j] - y_true[j])^2: the losses of `MeanSquaredError`.

    >>> mean_squared_error([[0.0, 1.0]], [[2.0, 1.0]])
    array([2.], dtype=float32)
    """
    return _samples(MeanSquaredError(None), y_true, y_pred)


def mean_absolute_error(y_true: Any, y_pred: Any) -> Array:
    """mean_j |y_pred[j] - y_true[j]|: the losses of `MeanAbsoluteError`."""
    return _samples(MeanAbsoluteError(None), y_true, y_pred)


def mean_absolute_percentage_error(y_true: Any, y_pred: Any) -> Array:
    """100 mean_j |y_pred[j] - y_true[j]| / |y_true[j]|: the losses of `MeanAbsolutePercentageError`."""
    return _samples(MeanAbsolutePercentageError(None), y_true, y_pred)


def mean_squared_logarithmic_error(y_true: Any, y_pred: Any) -> Array:
    """mean_j (log(1 + y_pred[j]) - log(1 + y_true[j]))^2: the losses of `MeanSquaredLogarithmicError`."""
    return _samples(MeanSquaredLogarithmicError(None), y_true, y_pred)


def huber(y_true: Any, y_pred: Any, delta: float = 1.0) -> Array:
    """mean_j h(y_pred[j] - y_true[j]): the losses of `Huber`."""
    return _samples(Huber(delta, None), y_true, y_pred)


def log_cosh(y_true: Any, y_pred: Any) -> Array:
    """mean_j log cosh(y_pred[j] - y_true[j]): the losses of `LogCosh`."""
    return _samples(LogCosh(None), y_true, y_pred)


def cosine_similarity(y_true: Any, y_pred: Any, axis: int = -1) -> Array:
    """-cos(y_true, y_pred): the losses of `CosineSimilarity`."""
    return _samples(CosineSimilarity(axis, None), y_true, y_pred)


def kl_divergence(y_true: Any, y_pred: Any) -> Array:
    """sum_j y_true[j] log(y_true[j] / y_pred[j]): the losses of `KLDivergence`."""
    return _samples(KLDivergence(None), y_true, y_pred)


def poisson(y_true: Any, y_pred: Any) -> Array:
    """mean_j (y_pred[j] - y_true[j] log y_pred[j]): the losses of `Poisson`."""
    return _samples(Poisson(None), y_true, y_pred)


def hinge(y_true: Any, y_pred: Any) -> Array:
    """mean_j max(1 - y_true[j] y_pred[j], 0): the losses of `Hinge`."""
    return _samples(Hinge(None), y_true, y_pred)


def squared_hinge(y_true: Any, y_pred: Any) -> Array:
    """mean_j max(1 - y_true[j] y_pred[j], 0)^2: the losses of `SquaredHinge`."""
    return _samples(SquaredHinge(None), y_true, y_pred)


def categorical_hinge(y_true: Any, y_pred: Any) -> Array:
    """max(max_j (1 - t[j]) y[j] - sum_j t[j] y[j] + 1, 0): the losses of `CategoricalHinge`."""
    return _samples(CategoricalHinge(None), y_true, y_pred)


def dice(y_true: Any, y_pred: Any, axis: int | tuple[int, ...] | None = None) -> Array:
    """1 - 2 sum t y / (sum t + sum y + 1e-7): the losses of `Dice`."""
    return _samples(Dice(None, axis=axis), y_true, y_pred)


def tversky(
    y_true: Any, y_pred: Any, alpha: float = 0.5, beta: float = 0.5, axis: int | tuple[int, ...] | None = None
) -> Array:
    """1 - i / (i + alpha f + beta g + 1e-7): the losses of `Tversky`."""
    return _samples(Tversky(alpha, beta, None, axis=axis), y_true, y_pred)


def circle(y_true: Any, y_pred: Any, remove_diagonal: bool = True, gamma: float = 80.0, margin: float = 0.4) -> Array:
    """log(1 + sum_p exp(a_p) sum_n exp(b_n)) of every embedding: the losses of `Circle`."""
    return _samples(Circle(gamma, margin, remove_diagonal, None), y_true, y_pred)


def _samples(loss: Loss, y_true: Any, y_pred: Any) -> Array:
    losses = loss(y_true, y_pred)
    assert not isinstance(losses, float)
    return losses
