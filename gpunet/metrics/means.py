"""Means and sums of numbers that somebody else has computed, or a function computes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from gpunet import arguments, identifiers
from gpunet.backend.arrays import Array, device_of, is_array
from gpunet.default_dtype import floatx
from gpunet.metrics.base import Metric
from gpunet.metrics.batch import outputs_of, positions_of, weights_for
from gpunet.ops.accumulation import accumulate_values


class Mean(Metric):
    """result = sum of w value / sum of w over the samples, a sample's value being the mean of its elements.

    >>> m = Mean()
    >>> m.update_state(2.0)
    >>> m.update_state([5.0, 1.0], sample_weight=[2, 0])
    >>> m.result()
    4.0
    """

    def __init__(self, name: str = "mean", dtype: npt.DTypeLike | None = None) -> None:
        super().__init__(name, dtype)

    def update_state(self, values: Any, sample_weight: Any = None) -> None:  # type: ignore[override]
        """Add `values`, a number or an array on any device, whose first axis is that of the samples.

        `sample_weight` has the shape of the values or lacks some of its last axes; a number is for their mean.
        """
        array = _values(self.name, values)
        add_values(self, array, sample_weight)


class Sum(Metric):
    """result = sum of w value over all elements of the values.

    >>> m = Sum()
    >>> m.update_state([1.0, 3.0, 5.0])
    >>> m.update_state([[1.0, 2.0]], sample_weight=[2])
    >>> m.result()
    15.0
    """

    def __init__(self, name: str = "sum", dtype: npt.DTypeLike | None = None) -> None:
        super().__init__(name, dtype)

    def update_state(self, values: Any, sample_weight: Any = None) -> None:  # type: ignore[override]
        """Add `values`, a number or an array on any device; `sample_weight` may lack some of its last axes."""
        array = _values(self.name, values)
        weights = weights_for(self.name, sample_weight, array.shape, array)
        accumulate_values(array.reshape(-1), self.state_on(device_of(array)), 1, weights)

    def result(self) -> float:
        """Return the sum since the last reset."""
        sums = self._sums()
        return 0.0 if sums is None else float(sums[:, 0].sum())


class MeanMetricWrapper(Mean):
    """The mean of `fn(y_true, y_pred, **kwargs)`, a function of your own that returns an array of values.

    >>> m = MeanMetricWrapper(lambda y_true, y_pred: abs(y_pred - y_true), name="miss")
    >>> m.update_state(np.array([1.0, 2.0]), np.array([1.5, 2.0]))
    >>> m.result()
    0.25
    """

    def __init__(
        self, fn: Callable[..., Any], name: str | None = None, dtype: npt.DTypeLike | None = None, **kwargs: Any
    ) -> None:
        where = type(self).__name__
        if identifiers.is_function(fn):
            fn = identifiers.deserialize_function(f"{where}: fn", fn)
        if not callable(fn):
            raise TypeError(f"{where}: fn must be a function of y_true and y_pred; got {arguments.shown(fn)}")
        Metric.__init__(self, name, dtype)
        self._fn, self._fn_kwargs = fn, kwargs

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:  # type: ignore[override]
        """Add the values of the batch (y_true, y_pred); `sample_weight` fits them as those of `Mean`."""
        super().update_state(self._fn(y_true, y_pred, **self._fn_kwargs), sample_weight)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"fn": identifiers.serialize_function(self._fn)} | self._fn_kwargs

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        return cls(**config)


def add_values(metric: Metric, values: Array, sample_weight: Any = None) -> None:
    """Add the mean of every sample of float `values` to the running mean of `metric`."""
    weights = weights_for(metric.name, sample_weight, values.shape, values)
    positions = positions_of(sample_weight, values.shape)
    accumulate_values(values.reshape(-1), metric.state_on(device_of(values)), positions, weights)


def _values(where: str, values: Any) -> Array:
    """Return `values` as a float array of any rank."""
    if not is_array(values):
        values = np.asarray(values, floatx() if np.ndim(values) else np.float64)
    if values.ndim:
        return outputs_of(where, values)
    single: Array = values if values.dtype.kind == "f" else values.astype(floatx())
    return single
