"""Accuracies: how often the prediction is the target."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from gpunet import arguments
from gpunet.backend.arrays import CPU, Array, HostArray, device_of, is_array, to_device
from gpunet.default_dtype import floatx
from gpunet.losses.base import as_rows
from gpunet.metrics.base import Metric
from gpunet.ops import accuracy


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
