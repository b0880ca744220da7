"""Accuracies: how often the prediction is the target."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, NamedTuple

import numpy.typing as npt

from gpunet import arguments
from gpunet.backend.arrays import CPU, Array, Shape, device_of, to_device
from gpunet.losses.base import as_rows
from gpunet.metrics.base import Metric
from gpunet.metrics.batch import (
    aligned,
    beside,
    mismatch,
    outputs_of,
    positions_of,
    targets_of,
    weights_for,
    whole_numbers,
)
from gpunet.ops import accuracy
from gpunet.ops.accumulation import BLOCKS


class Tally(NamedTuple):
    """Where matches are counted: the state, how many of them are one sample, and their weights."""

    state: Array
    positions: int
    weights: Array | None


class _Accuracy(Metric, ABC):
    """The fraction of positions where prediction and target match, averaged over the samples."""

    better: ClassVar[str | None] = "max"
    _parts: ClassVar[int] = BLOCKS

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Add the batch (y_true, y_pred): arrays of one device, or host arrays and lists.

        `sample_weight` has the shape of the matches, or lacks some of its last axes: over these the mean is taken.
        """
        outputs = outputs_of(self.name, y_pred)
        targets = targets_of(self.name, y_true)
        shape = self._matches_shape(outputs)
        weights = weights_for(self.name, sample_weight, shape, outputs)
        tally = Tally(self.state_on(device_of(outputs)), positions_of(sample_weight, shape), weights)
        self._count(targets, outputs, tally)

    def _matches_shape(self, outputs: Array) -> Shape:
        """Return the shape of what is compared."""
        return outputs.shape

    @abstractmethod
    def _count(self, targets: Array, outputs: Array, tally: Tally) -> None:
        """Add the matches, the samples of which lie along the first axis, to `tally`."""


class Accuracy(_Accuracy):
    """match = [y_pred = y_true]; both have one shape.

    >>> m = Accuracy()
    >>> m.update_state([[1], [2], [3], [4]], [[0], [2], [3], [4]])
    >>> m.result()
    0.75
    >>> m.update_state([[1], [2]], [[0], [2]], sample_weight=[1, 0])
    >>> m.result()
    0.6
    """

    def __init__(self, name: str = "accuracy", dtype: npt.DTypeLike | None = None) -> None:
        super().__init__(name, dtype)

    def _count(self, targets: Array, outputs: Array, tally: Tally) -> None:
        accuracy.equal_matches(outputs, beside(aligned(self.name, targets, outputs), outputs), *tally)


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

    def _count(self, targets: Array, outputs: Array, tally: Tally) -> None:
        targets = aligned(self.name, targets, outputs)
        if device_of(targets) == CPU:
            targets = targets.astype(outputs.dtype, copy=False)
        targets = to_device(targets, device_of(outputs))
        accuracy.binary_matches(outputs, targets, self.threshold, *tally)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"threshold": self.threshold}


class _OfClasses(_Accuracy):
    """An accuracy of outputs (N, …, classes); among the `k` largest a target matches, or with 0 as the largest."""

    needs_probabilities: ClassVar[bool] = False
    k = 0

    def _matches_shape(self, outputs: Array) -> Shape:
        return outputs.shape[:-1]


class _OfDistributions(_OfClasses):
    def _count(self, targets: Array, outputs: Array, tally: Tally) -> None:
        if targets.shape != outputs.shape:
            raise mismatch(self.name, str(outputs.shape), targets, outputs)
        accuracy.dense_matches(as_rows(outputs), as_rows(beside(targets, outputs)), *tally, k=self.k)


class _OfLabels(_OfClasses):
    def _count(self, targets: Array, outputs: Array, tally: Tally) -> None:
        labels = self._labels(targets, outputs)
        accuracy.sparse_matches(as_rows(outputs), labels, *tally, k=self.k)

    def _labels(self, targets: Array, outputs: Array) -> Array:
        """Return the labels as int32, flat and beside `outputs`."""
        self._check_positions(targets, outputs)
        if device_of(targets) == CPU:
            targets = whole_numbers(self.name, targets)
        return to_device(targets, device_of(outputs)).reshape(-1)

    def _check_positions(self, targets: Array, outputs: Array) -> None:
        positions = outputs.shape[:-1]
        if targets.shape not in (positions, (*positions, 1)):
            raise mismatch(self.name, f"{positions} or {(*positions, 1)}", targets, outputs)


class CategoricalAccuracy(_OfDistributions):
    """match = [argmax_j y_pred[j] = argmax_j y_true[j]]; both (N, …, classes), y_pred probabilities or logits.

    >>> m = CategoricalAccuracy()
    >>> m.update_state([[0, 0, 1], [0, 1, 0]], [[0.1, 0.9, 0.8], [0.05, 0.95, 0]])
    >>> m.result()
    0.5
    """

    def __init__(self, name: str = "categorical_accuracy", dtype: npt.DTypeLike | None = None) -> None:
        super().__init__(name, dtype)


class SparseCategoricalAccuracy(_OfLabels):
    """match = [argmax_j y_pred[j] = y_true]; y_true labels (N, …) or (N, …, 1), y_pred (N, …, classes).

    `y_pred` may be probabilities or logits.

    >>> m = SparseCategoricalAccuracy()
    >>> m.update_state([[2], [1]], [[0.1, 0.6, 0.3], [0.05, 0.95, 0]])
    >>> m.result()
    0.5
    """

    def __init__(self, name: str = "sparse_categorical_accuracy", dtype: npt.DTypeLike | None = None) -> None:
        super().__init__(name, dtype)


class TopKCategoricalAccuracy(_OfDistributions):
    """match = [fewer than k of y_pred are greater than y_pred[argmax_j y_true[j]]]; both (N, …, classes).

    >>> m = TopKCategoricalAccuracy(k=2)
    >>> m.update_state([[0, 0, 1], [0, 1, 0]], [[0.1, 0.9, 0.8], [0.4, 0.1, 0.5]])
    >>> m.result()
    0.5
    """

    def __init__(
        self, k: int = 5, name: str = "top_k_categorical_accuracy", dtype: npt.DTypeLike | None = None
    ) -> None:
        super().__init__(name, dtype)
        self.k = arguments.integer(type(self).__name__, "k", k)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"k": self.k}


class SparseTopKCategoricalAccuracy(_OfLabels):
    """match = [fewer than k of y_pred are greater than y_pred[y_true]]; labels (N, …) or (N, …, 1).

    With `from_sorted_ids`, y_pred holds classes instead, the likeliest first: match = [y_true is among the first k].

    >>> m = SparseTopKCategoricalAccuracy(k=2)
    >>> m.update_state([2, 1], [[0.1, 0.9, 0.8], [0.4, 0.1, 0.5]])
    >>> m.result()
    0.5
    """

    def __init__(
        self,
        k: int = 5,
        name: str = "sparse_top_k_categorical_accuracy",
        dtype: npt.DTypeLike | None = None,
        from_sorted_ids: bool = False,
    ) -> None:
        super().__init__(name, dtype)
        where = type(self).__name__
        self.k = arguments.integer(where, "k", k)
        self.from_sorted_ids = arguments.boolean(where, "from_sorted_ids", from_sorted_ids)

    def _count(self, targets: Array, outputs: Array, tally: Tally) -> None:
        if not self.from_sorted_ids:
            super()._count(targets, outputs, tally)
            return
        self._check_positions(targets, outputs)
        labels = beside(targets, outputs).reshape(-1)
        accuracy.sorted_matches(as_rows(outputs), labels, tally.state, self.k, tally.positions, tally.weights)

    def get_config(self) -> dict[str, Any]:
        config = super().get_config() | {"k": self.k}
        return config | {"from_sorted_ids": True} if self.from_sorted_ids else config
