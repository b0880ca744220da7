"""Metrics, with Keras's names and arguments. They add up on the device in float64; only `result` reads them.

    model.compile(..., metrics=["accuracy"])

    m = metrics.SparseCategoricalAccuracy()
    m.update_state(y_true, y_pred)     # arrays of any device, or lists
    m.result()                         # a number

An own metric is a subclass of `Metric` with `update_state`, `result` and `reset_state`.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from gpunet import arguments, identifiers
from gpunet.backend.arrays import CPU, Array, Device, HostArray, device_of, fill, is_array, to_device, to_host, zeros
from gpunet.default_dtype import floatx
from gpunet.losses import Loss
from gpunet.losses.base import as_rows
from gpunet.ops import accumulation, accuracy


class Metric:
    """A number that is averaged over the batches of an epoch.

    `name` is what History and the progress bar show; `dtype` is kept for Keras's sake: sums are always float64.
    """

    needs_probabilities: ClassVar[bool] = True  # False if logits, the arguments of a final softmax, do as well
    better: ClassVar[str | None] = None  # 'min' or 'max', for callbacks that watch the metric
    _parts: ClassVar[int] = 1

    def __init__(self, name: str | None = None, dtype: npt.DTypeLike | None = None) -> None:
        where = type(self).__name__
        self.name = arguments.text(where, "name", name, identifiers.snake_case(where))
        self.dtype = arguments.floating(where, floatx() if dtype is None else dtype).name
        # float64 (_parts, 2): totals and counts, on the device of the first update; see ops/accumulation.py.
        self._state: Array | None = None

    def update_state(self, y_true: Any, y_pred: Any) -> None:
        """Add the batch (y_true, y_pred), arrays of one device or lists."""
        raise NotImplementedError(f"{type(self).__name__}: update_state must be defined")

    def result(self) -> float:
        """Return the mean since the last reset; 0 if there was no update."""
        if self._state is None:
            return 0.0
        total, count = to_host(self._state).sum(axis=0)
        return float(total / count) if count else 0.0

    def reset_state(self) -> None:
        """Begin a new mean."""
        if self._state is not None:
            fill(self._state, 0)

    def state_on(self, device: Device) -> Array:
        """Return the running totals and counts, on `device` unless there are some elsewhere."""
        if self._state is None or (device_of(self._state) != device and not to_host(self._state).any()):
            self._state = zeros((self._parts, 2), np.float64, device)
        return self._state

    def get_state(self) -> dict[str, Any]:
        """Return, for a checkpoint, what was added up since the last reset: all attributes, in JSON's types or arrays.

        What lies in attributes of other types is not kept: an own metric that has some defines this and `set_state`.
        """
        kept = (bool, int, float, str, list, dict)
        return {name: value for name, value in vars(self).items() if isinstance(value, kept) or is_array(value)}

    def set_state(self, state: Mapping[str, Any], device: Device) -> None:
        """Go on from what `get_state` returned, with arrays on `device`; ValueError if it is of another metric."""
        present, given = (
            {name: type(value) for name, value in values.items() if not is_array(value)}
            for values in (self.get_state(), state)
        )
        if given != present:
            raise ValueError(f"{self.name}: state must be that of this metric, of {present}; got {given}")
        sums = state.get("_state")
        if sums is not None and (sums.shape, sums.dtype) != ((self._parts, 2), np.float64):
            raise ValueError(f"{self.name}: sums must be float64 of shape {(self._parts, 2)}; got {sums.shape}")
        vars(self).update((key, to_device(value, device) if is_array(value) else value) for key, value in state.items())

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments, in JSON's types."""
        return {"name": self.name, "dtype": self.dtype}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """Return the metric that `get_config` described."""
        return cls(**config)


class Mean(Metric):
    """result = sum of weight value / sum of weight, for values such as the loss of a batch.

    >>> m = Mean()
    >>> m.update_state(2.0)
    >>> m.update_state(5.0, weight=2)
    >>> m.result()
    4.0
    """

    def update_state(self, value: Any, weight: int = 1) -> None:
        """Add `value`, a number or an array of one element on any device, `weight` times."""
        array: Array = value if is_array(value) else np.asarray(value, np.float64)
        if array.size != 1:
            raise ValueError(f"{self.name}: value must have one element; got shape {array.shape}")
        weight = arguments.integer(self.name, "weight", weight, minimum=0)
        accumulation.accumulate_mean(self.state_on(device_of(array)), array.reshape(1), weight, weight)


class _Accuracy(Metric, ABC):
    """The fraction of positions where prediction and target match, averaged over the samples."""

    better: ClassVar[str | None] = "max"
    _parts: ClassVar[int] = accuracy.BLOCKS

    def update_state(self, y_true: Any, y_pred: Any) -> None:
        """Add the batch (y_true, y_pred): arrays of one device, or host arrays and lists."""
        outputs = self._outputs(y_pred)
        targets: Array = y_true if is_array(y_true) else np.asarray(y_true)
        if targets.dtype.kind not in "biuf":
            raise TypeError(f"{self.name}: y_true must hold real numbers; got an array of {targets.dtype}")
        self._count(targets, outputs, self.state_on(device_of(outputs)))

    @abstractmethod
    def _count(self, targets: Array, outputs: Array, state: Array) -> None:
        """Add the matches, the samples of which lie along the first axis, to `state`."""

    def _outputs(self, y_pred: Any) -> Array:
        array: Array = y_pred if is_array(y_pred) else np.asarray(y_pred, floatx())
        if array.ndim == 0 or array.size == 0:
            raise ValueError(f"{self.name}: y_pred must have an axis and an element; got shape {array.shape}")
        return array if array.dtype.kind == "f" else array.astype(floatx())

    def _aligned(self, targets: Array, outputs: Array) -> Array:
        """Return `targets` in the shape of `outputs`, from which a last axis of size 1 may be missing or left over."""
        if outputs.shape not in (targets.shape, (*targets.shape, 1)) and targets.shape != (*outputs.shape, 1):
            raise self._mismatch(str(outputs.shape), targets, outputs)
        return targets.reshape(outputs.shape)

    def _mismatch(self, expected: str, targets: Array, outputs: Array) -> ValueError:
        return ValueError(
            f"{self.name}: y_true must have shape {expected} for outputs of shape {outputs.shape}; got {targets.shape}"
        )


class Accuracy(_Accuracy):
    """match = [y_pred = y_true]; both have one shape.

    >>> m = Accuracy()
    >>> m.update_state([[1], [2], [3], [4]], [[0], [2], [3], [4]])
    >>> m.result()
    0.75
    """

    def __init__(self, name: str = "accuracy", dtype: npt.DTypeLike | None = None) -> None:
        super().__init__(name, dtype)

    def _count(self, targets: Array, outputs: Array, state: Array) -> None:
        targets = _placed(self._aligned(targets, outputs), outputs.dtype, outputs)
        accuracy.equal_matches(outputs, targets, state, math.prod(outputs.shape[1:]))


class BinaryAccuracy(_Accuracy):
    """match = [[y_pred > threshold] = y_true]; both have one shape.

    >>> m = BinaryAccuracy()
    >>> m.update_state([[1], [1], [0], [0]], [[0.98], [1], [0], [0.6]])
    >>> m.result()
    0.75
    """

    def __init__(
        self, name: str = "binary_accuracy", dtype: npt.DTypeLike | None = None, threshold: float = 0.5
    ) -> None:
        super().__init__(name, dtype)
        self.threshold = arguments.real(type(self).__name__, "threshold", threshold)

    def _count(self, targets: Array, outputs: Array, state: Array) -> None:
        targets = _placed(self._aligned(targets, outputs), outputs.dtype, outputs)
        accuracy.binary_matches(outputs, targets, self.threshold, state, math.prod(outputs.shape[1:]))

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"threshold": self.threshold}


class CategoricalAccuracy(_Accuracy):
    """match = [argmax_j y_pred[j] = argmax_j y_true[j]]; both (N, …, classes), y_pred probabilities or logits.

    >>> m = CategoricalAccuracy()
    >>> m.update_state([[0, 0, 1], [0, 1, 0]], [[0.1, 0.9, 0.8], [0.05, 0.95, 0]])
    >>> m.result()
    0.5
    """

    needs_probabilities: ClassVar[bool] = False

    def __init__(self, name: str = "categorical_accuracy", dtype: npt.DTypeLike | None = None) -> None:
        super().__init__(name, dtype)

    def _count(self, targets: Array, outputs: Array, state: Array) -> None:
        if targets.shape != outputs.shape:
            raise self._mismatch(str(outputs.shape), targets, outputs)
        targets = _placed(targets, outputs.dtype, outputs)
        accuracy.dense_matches(as_rows(outputs), as_rows(targets), state, math.prod(outputs.shape[1:-1]))


class SparseCategoricalAccuracy(_Accuracy):
    """match = [argmax_j y_pred[j] = y_true]; y_true labels (N, …) or (N, …, 1), y_pred (N, …, classes).

    `y_pred` may be probabilities or logits.

    >>> m = SparseCategoricalAccuracy()
    >>> m.update_state([[2], [1]], [[0.1, 0.6, 0.3], [0.05, 0.95, 0]])
    >>> m.result()
    0.5
    """

    needs_probabilities: ClassVar[bool] = False

    def __init__(self, name: str = "sparse_categorical_accuracy", dtype: npt.DTypeLike | None = None) -> None:
        super().__init__(name, dtype)

    def _count(self, targets: Array, outputs: Array, state: Array) -> None:
        positions = outputs.shape[:-1]
        if targets.shape not in (positions, (*positions, 1)):
            raise self._mismatch(f"{positions} or {(*positions, 1)}", targets, outputs)
        if device_of(targets) == CPU:
            targets = self._labels(targets)
        labels = to_device(targets, device_of(outputs)).reshape(-1)
        accuracy.sparse_matches(as_rows(outputs), labels, state, math.prod(positions[1:]))

    def _labels(self, targets: HostArray) -> HostArray:
        """Return `targets` as int32; ValueError unless they are whole numbers of 32 bits."""
        with np.errstate(invalid="ignore"):
            labels = targets.astype(np.int32, copy=False)
        if not np.array_equal(labels, targets):
            raise ValueError(
                f"{self.name}: y_true must hold whole numbers below 2**31; got {targets.dtype} with others"
            )
        return labels


def _placed(targets: Array, dtype: np.dtype[Any], outputs: Array) -> Array:
    """Return `targets` on the device of `outputs`, on the way there converted to `dtype`."""
    if device_of(targets) == CPU:
        targets = targets.astype(dtype, copy=False)
    return to_device(targets, device_of(outputs))


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
