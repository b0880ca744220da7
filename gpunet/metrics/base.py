"""What every metric does: it adds up batches on the device, in float64, and is read when somebody asks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from gpunet import arguments, identifiers
from gpunet.backend.arrays import Array, Device, HostArray, Shape, device_of, fill, is_array, to_device, to_host, zeros
from gpunet.default_dtype import floatx


class Metric:
    """A number that is made of the batches of an epoch; here their mean.

    `name` is what History and the progress bar show; `dtype` is kept for Keras's sake: sums are always float64.
    """

    needs_probabilities: ClassVar[bool] = True  # False if logits, the arguments of a final softmax, do as well
    better: ClassVar[str | None] = None  # 'min' or 'max', for callbacks that watch the metric
    _parts: ClassVar[int] = 1

    def __init__(self, name: str | None = None, dtype: npt.DTypeLike | None = None) -> None:
        where = type(self).__name__
        self.name = arguments.text(where, "name", name, identifiers.snake_case(where))
        self.dtype = arguments.floating(where, floatx() if dtype is None else dtype).name
        # float64 sums, on the device of the first update: of most metrics (_parts, 2), see ops/accumulation.py.
        self._state: Array | None = None

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Add the batch (y_true, y_pred), arrays of one device or lists; samples count `sample_weight` times."""
        raise NotImplementedError(f"{type(self).__name__}: update_state must be defined")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Add what `update_state` takes, and return the result."""
        self.update_state(*args, **kwargs)
        return self.result()

    def result(self) -> Any:
        """Return the mean since the last reset; 0 if there was no update."""
        sums = self._sums()
        if sums is None:
            return 0.0
        total, count = sums.sum(axis=0)
        return float(total / count) if count else 0.0

    def reset_state(self) -> None:
        """Begin anew."""
        if self._state is not None:
            fill(self._state, 0)

    def state_on(self, device: Device, shape: Shape | None = None) -> Array:
        """Return the running sums, on `device` unless there are some elsewhere; `shape` None is that of a mean.

        ValueError if there are sums of another shape, which is that of the outputs' classes.
        """
        shape = (self._parts, 2) if shape is None else shape
        state = self._state
        if state is None or ((device_of(state), state.shape) != (device, shape) and not to_host(state).any()):
            self._state = state = zeros(shape, np.float64, device)
        if state.shape != shape:
            raise ValueError(
                f"{self.name}: y_pred must have as many classes as before, for sums of shape {state.shape}; got sums "
                f"of shape {shape}; call reset_state first"
            )
        return state

    def _sums(self) -> HostArray | None:
        """Wait for the device and return the running sums; None if there was no update."""
        return None if self._state is None else to_host(self._state)

    def _state_shape(self) -> Shape | None:
        """Return the shape of the running sums; None where it is that of the first outputs."""
        return self._parts, 2

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
        sums, shape = state.get("_state"), self._state_shape()
        if sums is not None and (sums.dtype != np.float64 or shape not in (None, sums.shape)):
            raise ValueError(f"{self.name}: sums must be float64 of shape {shape}; got {sums.shape}")
        vars(self).update((key, to_device(value, device) if is_array(value) else value) for key, value in state.items())

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments, in JSON's types."""
        return {"name": self.name, "dtype": self.dtype}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """Return the metric that `get_config` described."""
        return cls(**config)
