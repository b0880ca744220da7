"""Metrics, with Keras's names and arguments. They add up on the device in float64; only `result` reads them.

    model.compile(..., metrics=["accuracy"])

    m = metrics.SparseCategoricalAccuracy()
    m.update_state(y_true, y_pred)     # arrays of any device, or lists
    m.result()                         # a number

An own metric is a subclass of `Metric` with `update_state`, `result` and `reset_state`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from gpunet import identifiers
from gpunet.losses import (
    Loss,
    binary_crossentropy,
    binary_focal_crossentropy,
    categorical_crossentropy,
    categorical_focal_crossentropy,
    categorical_hinge,
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
)
from gpunet.metrics.accuracy import (
    Accuracy,
    BinaryAccuracy,
    CategoricalAccuracy,
    SparseCategoricalAccuracy,
    SparseTopKCategoricalAccuracy,
    TopKCategoricalAccuracy,
)
from gpunet.metrics.base import Metric
from gpunet.metrics.confusion import FalseNegatives, FalsePositives, Precision, Recall, TrueNegatives, TruePositives
from gpunet.metrics.curves import AUC
from gpunet.metrics.entropies import BinaryCrossentropy, CategoricalCrossentropy, SparseCategoricalCrossentropy
from gpunet.metrics.errors import (
    CategoricalHinge,
    CosineSimilarity,
    Hinge,
    KLDivergence,
    LogCoshError,
    MeanAbsoluteError,
    MeanAbsolutePercentageError,
    MeanSquaredError,
    MeanSquaredLogarithmicError,
    Poisson,
    RootMeanSquaredError,
    SquaredHinge,
)
from gpunet.metrics.iou import BinaryIoU, IoU, MeanIoU, OneHotIoU, OneHotMeanIoU
from gpunet.metrics.means import Mean, MeanMetricWrapper, Sum
from gpunet.metrics.operating_points import (
    PrecisionAtRecall,
    RecallAtPrecision,
    SensitivityAtSpecificity,
    SpecificityAtSensitivity,
)
from gpunet.metrics.scores import F1Score, FBetaScore, R2Score

__all__ = [
    "AUC",
    "Accuracy",
    "BinaryAccuracy",
    "BinaryCrossentropy",
    "BinaryIoU",
    "CategoricalAccuracy",
    "CategoricalCrossentropy",
    "CategoricalHinge",
    "CosineSimilarity",
    "F1Score",
    "FBetaScore",
    "FalseNegatives",
    "FalsePositives",
    "Hinge",
    "IoU",
    "KLDivergence",
    "LogCoshError",
    "Mean",
    "MeanAbsoluteError",
    "MeanAbsolutePercentageError",
    "MeanIoU",
    "MeanMetricWrapper",
    "MeanSquaredError",
    "MeanSquaredLogarithmicError",
    "Metric",
    "OneHotIoU",
    "OneHotMeanIoU",
    "Poisson",
    "Precision",
    "PrecisionAtRecall",
    "R2Score",
    "Recall",
    "RecallAtPrecision",
    "RootMeanSquaredError",
    "SensitivityAtSpecificity",
    "SparseCategoricalAccuracy",
    "SparseCategoricalCrossentropy",
    "SparseTopKCategoricalAccuracy",
    "SpecificityAtSensitivity",
    "SquaredHinge",
    "Sum",
    "TopKCategoricalAccuracy",
    "TrueNegatives",
    "TruePositives",
    "binary_crossentropy",
    "binary_focal_crossentropy",
    "categorical_crossentropy",
    "categorical_focal_crossentropy",
    "categorical_hinge",
    "deserialize",
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
]

_CLASSES: tuple[type[Metric], ...] = (
    AUC,
    Accuracy,
    BinaryAccuracy,
    BinaryCrossentropy,
    BinaryIoU,
    CategoricalAccuracy,
    CategoricalCrossentropy,
    CategoricalHinge,
    CosineSimilarity,
    F1Score,
    FBetaScore,
    FalseNegatives,
    FalsePositives,
    Hinge,
    IoU,
    KLDivergence,
    LogCoshError,
    Mean,
    MeanAbsoluteError,
    MeanAbsolutePercentageError,
    MeanIoU,
    MeanMetricWrapper,
    MeanSquaredError,
    MeanSquaredLogarithmicError,
    OneHotIoU,
    OneHotMeanIoU,
    Poisson,
    Precision,
    PrecisionAtRecall,
    R2Score,
    Recall,
    RecallAtPrecision,
    RootMeanSquaredError,
    SensitivityAtSpecificity,
    SparseCategoricalAccuracy,
    SparseCategoricalCrossentropy,
    SparseTopKCategoricalAccuracy,
    SpecificityAtSensitivity,
    SquaredHinge,
    Sum,
    TopKCategoricalAccuracy,
    TrueNegatives,
    TruePositives,
)
_ALIASES: dict[str, type[Metric]] = {
    "acc": Accuracy,
    "bce": BinaryCrossentropy,
    "mse": MeanSquaredError,
    "mae": MeanAbsoluteError,
    "mape": MeanAbsolutePercentageError,
    "msle": MeanSquaredLogarithmicError,
}
_CHOICES: dict[str, type[Metric]] = {identifiers.snake_case(cls.__name__): cls for cls in _CLASSES}
_CHOICES |= _ALIASES | {name.upper(): cls for name, cls in _ALIASES.items() if name != "acc"}
_FUNCTIONS: dict[Callable[..., Any], Callable[[], Metric]] = {
    binary_crossentropy: BinaryCrossentropy,
    categorical_crossentropy: CategoricalCrossentropy,
    categorical_hinge: CategoricalHinge,
    hinge: Hinge,
    kl_divergence: KLDivergence,
    log_cosh: LogCoshError,
    mean_absolute_error: MeanAbsoluteError,
    mean_absolute_percentage_error: MeanAbsolutePercentageError,
    mean_squared_error: MeanSquaredError,
    mean_squared_logarithmic_error: MeanSquaredLogarithmicError,
    poisson: Poisson,
    sparse_categorical_crossentropy: SparseCategoricalCrossentropy,
    squared_hinge: SquaredHinge,
}


def get(
    identifier: Any,
    loss: Loss | None = None,
    output_shape: Sequence[int | None] | None = None,
    where: str = "metrics.get: identifier",
) -> Metric:
    """Return the metric called `identifier`: 'accuracy', 'BinaryAccuracy', a class, an instance, a configuration.

    A function of y_true and y_pred becomes the mean of what it returns, named as it is; those of losses stand for
    their metrics.

    With the model's `loss` and `output_shape`, 'accuracy' (or 'acc') is BinaryAccuracy for outputs of one number,
    SparseCategoricalAccuracy where the loss takes labels, else CategoricalAccuracy, as in Keras. A metric keeps the
    name it was asked for by. ValueError lists the valid names for an unknown one.
    """
    if callable(identifier) and not isinstance(identifier, (type, Metric)):
        if identifier in _FUNCTIONS:
            return _FUNCTIONS[identifier]()
        return MeanMetricWrapper(identifier, getattr(identifier, "__name__", None))
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
