"""Intersection over union: how well the places of a class are found, in all of them together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from gpunet import arguments
from gpunet.backend.arrays import Array, Shape, device_of, to_device
from gpunet.losses.axes import axes_of, rows_over
from gpunet.metrics.base import Metric
from gpunet.metrics.batch import beside, outputs_of, targets_of, weights_for
from gpunet.ops.confusion import confusion_matrix
from gpunet.ops.prediction import argmax_classes, threshold_classes

_EPSILON = 1e-7
_MOST_CLASSES = 2**15  # a block of threads for each pair of them
_LEAST = 1e-9  # of elements, below which a class does not count


class IoU(Metric):
    """result = the mean over `target_class_ids` of true positives / (true and false positives + false negatives).

    Classes are labels from 0 to num_classes - 1, or with `sparse_y_true` and `sparse_y_pred` False the places of the
    largest along `axis`. Elements of `ignore_class` are left out, and classes that never occur. Counts are integers, so
    that weights lose their fractions, unless `dtype` is a float one.

    >>> round(IoU(num_classes=2, target_class_ids=[0])([0, 0, 1, 1], [0, 1, 0, 1]), 4)
    0.3333
    """

    better: ClassVar[str | None] = "max"

    def __init__(
        self,
        num_classes: int,
        target_class_ids: Sequence[int],
        name: str | None = None,
        dtype: npt.DTypeLike | None = None,
        ignore_class: int | None = None,
        sparse_y_true: bool = True,
        sparse_y_pred: bool = True,
        axis: int = -1,
    ) -> None:
        where = type(self).__name__
        super().__init__(name)
        self.dtype = _dtype(where, dtype)
        self.num_classes = arguments.integer(where, "num_classes", num_classes, 1, _MOST_CLASSES)
        self.target_class_ids = list(arguments.integers(where, "target_class_ids", target_class_ids, minimum=0))
        if not self.target_class_ids or max(self.target_class_ids) >= self.num_classes:
            raise ValueError(
                f"{where}: target_class_ids must be from 0 to {self.num_classes - 1}, and at least one; got "
                f"{self.target_class_ids}"
            )
        limit = 2**31
        self.ignore_class = (
            None
            if ignore_class is None
            else arguments.integer(where, "ignore_class", ignore_class, minimum=-limit, maximum=limit - 1)
        )
        self.sparse_y_true = arguments.boolean(where, "sparse_y_true", sparse_y_true)
        self.sparse_y_pred = arguments.boolean(where, "sparse_y_pred", sparse_y_pred)
        self.axis = arguments.integer(where, "axis", axis, minimum=-(2**63))

    def _state_shape(self) -> Shape | None:
        return self.num_classes, self.num_classes

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Add the batch (y_true, y_pred); `sample_weight` has the shape of the labels or lacks last axes."""
        outputs = outputs_of(self.name, y_pred)
        targets = targets_of(self.name, y_true)
        truth = self._labels(targets, self.sparse_y_true, outputs)
        self._add(truth, self._labels(outputs, self.sparse_y_pred, outputs), outputs, sample_weight)

    def _labels(self, given: Array, are_sparse: bool, outputs: Array) -> Array:
        """Return labels as int32, flat and beside `outputs`."""
        if not are_sparse:
            return argmax_classes(rows_over(beside(given, outputs), axes_of(self.name, self.axis, given.ndim)))
        labels = given if given.dtype == np.int32 else given.astype(np.int32)
        return to_device(labels, device_of(outputs)).reshape(-1)

    def _add(self, truth: Array, prediction: Array, outputs: Array, sample_weight: Any) -> None:
        if truth.shape != prediction.shape:
            raise ValueError(
                f"{self.name}: y_true must have as many labels as y_pred, {prediction.size}; got {truth.size}"
            )
        shape = outputs.shape
        if not self.sparse_y_pred:
            (axis,) = axes_of(self.name, self.axis, outputs.ndim)
            shape = shape[:axis] + shape[axis + 1 :]
        weights = weights_for(self.name, sample_weight, shape, outputs)
        state = self.state_on(device_of(outputs), self._state_shape())
        whole = np.dtype(self.dtype).kind in "iu"
        confusion_matrix(truth, prediction, state, weights=weights, ignored=self.ignore_class, whole=whole)

    def result(self) -> float:
        """Return the mean since the last reset, over the classes that occurred."""
        matrix = self._sums()
        if matrix is None:
            return 0.0
        hits = matrix.diagonal()
        union = (matrix.sum(axis=0) + matrix.sum(axis=1) - hits)[self.target_class_ids]
        shares = np.where(union > _LEAST, hits[self.target_class_ids] / (union + _EPSILON), 0)
        return float(shares.sum() / (np.count_nonzero(union > _LEAST) + _EPSILON))

    def get_config(self) -> dict[str, Any]:
        names = ("num_classes", "target_class_ids", "ignore_class", "sparse_y_true", "sparse_y_pred", "axis")
        return super().get_config() | {name: getattr(self, name) for name in names}


class BinaryIoU(IoU):
    """`IoU` of the two classes [y_pred >= threshold]; y_true holds 0 and 1.

    >>> round(BinaryIoU(target_class_ids=[0, 1], threshold=0.3)([0, 1, 0, 1], [0.1, 0.2, 0.4, 0.7]), 4)
    0.3333
    """

    def __init__(
        self,
        target_class_ids: Sequence[int] = (0, 1),
        threshold: float = 0.5,
        name: str | None = None,
        dtype: npt.DTypeLike | None = None,
    ) -> None:
        super().__init__(2, target_class_ids, name, dtype)
        self.threshold = arguments.real(type(self).__name__, "threshold", threshold)

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        outputs = outputs_of(self.name, y_pred)
        truth = self._labels(targets_of(self.name, y_true), True, outputs)
        self._add(truth, threshold_classes(outputs, self.threshold).reshape(-1), outputs, sample_weight)

    def get_config(self) -> dict[str, Any]:
        config = {"target_class_ids": self.target_class_ids, "threshold": self.threshold}
        return Metric.get_config(self) | config


class MeanIoU(IoU):
    """`IoU` of all classes.

    >>> round(MeanIoU(num_classes=2)([0, 0, 1, 1], [0, 1, 0, 1]), 4)
    0.3333
    """

    def __init__(
        self,
        num_classes: int,
        name: str | None = None,
        dtype: npt.DTypeLike | None = None,
        ignore_class: int | None = None,
        sparse_y_true: bool = True,
        sparse_y_pred: bool = True,
        axis: int = -1,
    ) -> None:
        num_classes = arguments.integer(type(self).__name__, "num_classes", num_classes, 1, _MOST_CLASSES)
        ids = range(num_classes)
        super().__init__(num_classes, ids, name, dtype, ignore_class, sparse_y_true, sparse_y_pred, axis)

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        del config["target_class_ids"]
        return config


class OneHotIoU(IoU):
    """`IoU` where y_true is one-hot and y_pred too, or probabilities, or with `sparse_y_pred` labels.

    >>> m = OneHotIoU(num_classes=2, target_class_ids=[0])
    >>> round(m([[1, 0], [0, 1]], [[0.9, 0.1], [0.6, 0.4]]), 4)
    0.5
    """

    needs_probabilities: ClassVar[bool] = False

    def __init__(
        self,
        num_classes: int,
        target_class_ids: Sequence[int],
        name: str | None = None,
        dtype: npt.DTypeLike | None = None,
        ignore_class: int | None = None,
        sparse_y_pred: bool = False,
        axis: int = -1,
    ) -> None:
        super().__init__(num_classes, target_class_ids, name, dtype, ignore_class, False, sparse_y_pred, axis)

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        del config["sparse_y_true"]
        return config


class OneHotMeanIoU(MeanIoU):
    """`OneHotIoU` of all classes.

    >>> round(OneHotMeanIoU(num_classes=2)([[1, 0], [0, 1]], [[0.9, 0.1], [0.6, 0.4]]), 4)
    0.25
    """

    needs_probabilities: ClassVar[bool] = False

    def __init__(
        self,
        num_classes: int,
        name: str | None = None,
        dtype: npt.DTypeLike | None = None,
        ignore_class: int | None = None,
        sparse_y_pred: bool = False,
        axis: int = -1,
    ) -> None:
        super().__init__(num_classes, name, dtype, ignore_class, False, sparse_y_pred, axis)

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        del config["sparse_y_true"]
        return config


def _dtype(where: str, dtype: npt.DTypeLike | None) -> str:
    """Return the name of the dtype in which elements are counted, an integer one unless it is given."""
    if dtype is None or (isinstance(dtype, str) and dtype == "int"):
        return "int32"
    found = arguments.dtype_of(dtype)
    if found is None or found.kind not in "iuf":
        raise TypeError(f"{where}: dtype must be an integer or float one; got {arguments.shown(dtype)}")
    return found.name
