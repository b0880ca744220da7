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
from gpunet.losses.categorical import CategoricalCrossentropy, SparseCategoricalCrossentropy
from gpunet.losses.elementwise import BinaryCrossentropy, MeanSquaredError

__all__ = [
    "BinaryCrossentropy",
    "CategoricalCrossentropy",
    "Loss",
    "MeanSquaredError",
    "SparseCategoricalCrossentropy",
    "binary_crossentropy",
    "categorical_crossentropy",
    "deserialize",
    "get",
    "mean_squared_error",
    "serialize",
    "sparse_categorical_crossentropy",
]


def sparse_categorical_crossentropy(
    y_true: Any, y_pred: Any, from_logits: bool = False, ignore_class: int | None = None, axis: int = -1
) -> Array:
    """-log p[label], for every position: the losses of `SparseCategoricalCrossentropy`, an array of y_pred's kind."""
    return _samples(SparseCategoricalCrossentropy(from_logits, ignore_class, None, axis), y_true, y_pred)


def categorical_crossentropy(
    y_true: Any, y_pred: Any, from_logits: bool = False, label_smoothing: float = 0.0, axis: int = -1
) -> Array:
    """-sum_j t[j] log p[j], for every position: the losses of `CategoricalCrossentropy`, an array of y_pred's kind."""
    return _samples(CategoricalCrossentropy(from_logits, label_smoothing, axis, None), y_true, y_pred)


def binary_crossentropy(
    y_true: Any, y_pred: Any, from_logits: bool = False, label_smoothing: float = 0.0, axis: int = -1
) -> Array:
    """mean_j (-t log q - (1 - t) log(1 - q)): the losses of `BinaryCrossentropy`, an array of y_pred's kind."""
    return _samples(BinaryCrossentropy(from_logits, label_smoothing, axis, None), y_true, y_pred)


def mean_squared_error(y_true: Any, y_pred: Any) -> Array:
    """mean_j (y_pred[j] - y_true[j])^2: the losses of `MeanSquaredError`, an array of y_pred's kind.

    >>> mean_squared_error([[0.0, 1.0]], [[2.0, 1.0]])
    array([2.], dtype=float32)
    """
    return _samples(MeanSquaredError(reduction=None), y_true, y_pred)


def _samples(loss: Loss, y_true: Any, y_pred: Any) -> Array:
    losses = loss(y_true, y_pred)
    assert not isinstance(losses, float)
    return losses


_FUNCTIONS: dict[Callable[..., Array], type[Loss]] = {
    sparse_categorical_crossentropy: SparseCategoricalCrossentropy,
    categorical_crossentropy: CategoricalCrossentropy,
    binary_crossentropy: BinaryCrossentropy,
    mean_squared_error: MeanSquaredError,
}
_CHOICES: dict[str, type[Loss]] = {function.__name__: loss for function, loss in _FUNCTIONS.items()} | {
    "mse": MeanSquaredError,
    "MSE": MeanSquaredError,
    "bce": BinaryCrossentropy,
    "BCE": BinaryCrossentropy,
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
