"""Means of numbers that somebody else has computed."""

from __future__ import annotations

from typing import Any

import numpy as np

from gpunet import arguments
from gpunet.backend.arrays import Array, device_of, is_array
from gpunet.metrics.base import Metric
from gpunet.ops import accumulation


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
