"""Metrics, with Keras's names and arguments. They add up on the device in float64; only `result` reads them.

    model.compile(..., metrics=["accuracy"])

    m = metrics.SparseCategoricalAccuracy()
    m.update_state(y_true, y_pred)     # arrays of any device, or lists
    m.result()                         # a number

An own metric is a subclass of `Metric` with `update_state`, `result` and `reset_state`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gpunet import identifiers
from gpunet.losses import Loss
from gpunet.metrics.accuracy import Accuracy, BinaryAccuracy, CategoricalAccuracy, SparseCategoricalAccuracy
from gpunet.metrics.base import Metric
from gpunet.metrics.means import Mean

__all__ = [
    "Accuracy",
    "BinaryAccuracy",
    "CategoricalAccuracy",
    "Mean",
    "Metric",
    "SparseCategoricalAccuracy",
    "deserialize",
    "get",
    "serialize",
]

_CLASSES: tuple[type[Metric], ...] = (
    Accuracy,
    BinaryAccuracy,
    CategoricalAccuracy,
    Mean,
    SparseCategoricalAccuracy,
)
_CHOICES: dict[str, type[Metric]] = {identifiers.snake_case(cls.__name__): cls for cls in _CLASSES} | {"acc": Accuracy}


def get(
    identifier: Any,
    loss: Loss | None = None,
    output_shape: Sequence[int | None] | None = None,
    where: str = "metrics.get: identifier",
) -> Metric:
    """Return the metric called `identifier`: 'accuracy', 'BinaryAccuracy', a class, an instance, a configuration.

    With the model's `loss` and `output_shape`, 'accuracy' (or 'acc') is BinaryAccuracy for outputs of one number,
    SparseCategoricalAccuracy where the loss takes labels, else CategoricalAccuracy, as in Keras. A metric keeps the
    name it was asked for by. ValueError lists the valid names for an unknown one.
    """
    if not isinstance(identifier, str):
        return identifiers.resolve(where, identifier, Metric, _CHOICES)
    if identifier.lower() in ("accuracy", "acc"):
        metric: Metric = _accuracy_of(loss, output_shape)()
    else:
        metric = identifiers.resolve(where, identifier, Metric, _CHOICES)
    metric.name = identifier
    return metric


def _accuracy_of(loss: Loss | None, output_shape: Sequence[int | None] | None) -> type[Metric]:
    if loss is None or output_shape is None:
        return Accuracy
    if output_shape[-1] == 1:
        return BinaryAccuracy
    return SparseCategoricalAccuracy if loss.sparse_targets else CategoricalAccuracy


def serialize(metric: Metric) -> dict[str, Any] | None:
    """Return the class name and configuration of `metric`."""
    return identifiers.serialize(metric)


def deserialize(config: Any) -> Metric:
    """Return what `serialize` was given."""
    return get(config, where="metrics.deserialize: config")
