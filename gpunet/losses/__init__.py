"""Losses, with Keras's names, arguments and formulas.

    model.compile(loss="sparse_categorical_crossentropy")
    model.compile(loss=losses.CategoricalCrossentropy(label_smoothing=0.1))
    losses.MeanSquaredError()(y_true, y_pred)          # a number
    losses.mean_squared_error(y_true, y_pred)          # the losses of the samples

Sources: Keras 3's losses; the fused softmax cross-entropy after Milakov & Gimelshein 2018, "Online normalizer
calculation for softmax".
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gpunet import arguments, identifiers
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
from gpunet.losses.functions import (
    binary_crossentropy,
    binary_focal_crossentropy,
    categorical_crossentropy,
    categorical_focal_crossentropy,
    categorical_generalized_cross_entropy,
    categorical_hinge,
    circle,
    cosine_similarity,
    dice,
    hinge,
    huber,
    kl_divergence,
    log_cosh,
    mean_absolute_error,
    mean_absolute_percentage_error,
    mean_squared_error,
    mean_squared_logarithmic_error,
    poisson,
    sparse_categorical_crossentropy,
    squared_hinge,
    tversky,
)
from gpunet.losses.similarity import Circle, CosineSimilarity, Dice, Tversky

__all__ = [
    "BinaryCrossentropy",
    "BinaryFocalCrossentropy",
    "CategoricalCrossentropy",
    "CategoricalFocalCrossentropy",
    "CategoricalGeneralizedCrossEntropy",
    "CategoricalHinge",
    "Circle",
    "CosineSimilarity",
    "Dice",
    "Hinge",
    "Huber",
    "KLDivergence",
    "LogCosh",
    "Loss",
    "MeanAbsoluteError",
    "MeanAbsolutePercentageError",
    "MeanSquaredError",
    "MeanSquaredLogarithmicError",
    "Poisson",
    "SparseCategoricalCrossentropy",
    "SquaredHinge",
    "Tversky",
    "binary_crossentropy",
    "binary_focal_crossentropy",
    "categorical_crossentropy",
    "categorical_focal_crossentropy",
    "categorical_generalized_cross_entropy",
    "categorical_hinge",
    "circle",
    "cosine_similarity",
    "deserialize",
    "dice",
    "get",
    "hinge",
    "huber",
    "kl_divergence",
    "log_cosh",
    "mean_absolute_error",
    "mean_absolute_percentage_error",
    "mean_squared_error",
    "mean_squared_logarithmic_error",
    "poisson",
    "serialize",
    "sparse_categorical_crossentropy",
    "squared_hinge",
    "tversky",
]

_FUNCTIONS: dict[Callable[..., Array], type[Loss]] = {
    sparse_categorical_crossentropy: SparseCategoricalCrossentropy,
    categorical_crossentropy: CategoricalCrossentropy,
    categorical_focal_crossentropy: CategoricalFocalCrossentropy,
    categorical_generalized_cross_entropy: CategoricalGeneralizedCrossEntropy,
    binary_crossentropy: BinaryCrossentropy,
    binary_focal_crossentropy: BinaryFocalCrossentropy,
    mean_squared_error: MeanSquaredError,
    mean_absolute_error: MeanAbsoluteError,
    mean_absolute_percentage_error: MeanAbsolutePercentageError,
    mean_squared_logarithmic_error: MeanSquaredLogarithmicError,
    huber: Huber,
    log_cosh: LogCosh,
    cosine_similarity: CosineSimilarity,
    kl_divergence: KLDivergence,
    poisson: Poisson,
    hinge: Hinge,
    squared_hinge: SquaredHinge,
    categorical_hinge: CategoricalHinge,
    dice: Dice,
    tversky: Tversky,
    circle: Circle,
}
_CHOICES: dict[str, type[Loss]] = {function.__name__: loss for function, loss in _FUNCTIONS.items()}
_CHOICES |= {
    "bce": BinaryCrossentropy,
    "BCE": BinaryCrossentropy,
    "kld": KLDivergence,
    "KLD": KLDivergence,
    "kullback_leibler_divergence": KLDivergence,
    "logcosh": LogCosh,
    "mae": MeanAbsoluteError,
    "MAE": MeanAbsoluteError,
    "mape": MeanAbsolutePercentageError,
    "MAPE": MeanAbsolutePercentageError,
    "mse": MeanSquaredError,
    "MSE": MeanSquaredError,
    "msle": MeanSquaredLogarithmicError,
    "MSLE": MeanSquaredLogarithmicError,
}


def get(identifier: Any, where: str = "losses.get: identifier") -> Loss:
    """Return the loss called `identifier`: 'mse', 'MeanSquaredError', a class, an instance, a configuration.

    One of this module's functions stands for its class. ValueError lists the valid names for an unknown one;
    TypeError for anything else, a function of your own too: it has no gradient here, derive from `Loss`.
    """
    if callable(identifier) and not isinstance(identifier, (type, Loss)):
        if identifier not in _FUNCTIONS:
            raise TypeError(
                f"{where} must be a name or a Loss; got {arguments.shown(identifier)}; "
                f"a function has no gradient here: derive a class from gpunet.losses.Loss"
            )
        return _FUNCTIONS[identifier]()
    return identifiers.resolve(where, identifier, Loss, _CHOICES)  # type: ignore[type-abstract]


def serialize(loss: Loss) -> dict[str, Any] | None:
    """Return the class name and configuration of `loss`."""
    return identifiers.serialize(loss)


def deserialize(config: Any) -> Loss:
    """Return what `serialize` was given."""
    return get(config, "losses.deserialize: config")
