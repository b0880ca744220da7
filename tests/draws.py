"""Random arguments of ops, on the emulated device, for kernel_cases.py."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gpunet.backend.arrays import EMULATED, Array, HostArray, to_device
from gpunet.ops.activation import Activation
from gpunet.ops.dropping import Dropping

_EDGES = (1, 2, 3, 4, 31, 32, 33, 127, 128, 129, 255, 256, 257, 1023, 1024, 1025, 4097)


class Draw:
    """Random arguments for one call of an op, the same for the same seed; arrays lie on `emulated`."""

    def __init__(self, seed: Sequence[int]) -> None:
        self.rng = np.random.default_rng(seed)
        self.dtype = np.dtype(self.one_of(np.float32, np.float32, np.float64))

    def size(self, low: int, high: int) -> int:
        """Return a size from `low` to `high`; every other time one near a power of two, where edges are."""
        near = [edge for edge in _EDGES if low <= edge <= high]
        return int(self.rng.choice(near)) if near and self.rng.integers(2) else int(self.rng.integers(low, high + 1))

    def one_of(self, *values: Any) -> Any:
        return values[int(self.rng.integers(len(values)))]

    def real(self, low: float = 0.0, high: float = 1.0) -> float:
        return float(self.rng.uniform(low, high))

    def host(self, *shape: int) -> HostArray:
        """Return normal numbers, a few of them 0, and seldom one that is not finite."""
        x = np.asarray(self.rng.standard_normal(shape)).astype(self.dtype)
        x.reshape(-1)[self.rng.integers(0, x.size, x.size // 8)] = 0
        if self.rng.integers(10) == 0:
            x.reshape(-1)[self.rng.integers(x.size)] = self.one_of(np.nan, np.inf, -np.inf)
        return x

    def array(self, *shape: int) -> Array:
        return self.on(self.host(*shape))

    def on(self, host: Any) -> Array:
        return to_device(np.array(host, order="C"), EMULATED)

    def output(self, *shape: int) -> Array:
        return self.on(np.zeros(shape, self.dtype))

    def probabilities(self, *shape: int) -> Array:
        return self.on(self.rng.random(shape).astype(self.dtype))

    def labels(self, n: int, classes: int) -> Array:
        return self.on(self.rng.integers(0, classes, n).astype(np.int32))

    def activation(self) -> Activation:
        return Activation(self.one_of(*Activation))

    def state(self, parts: int = 1) -> Array:
        return self.on(np.zeros((parts, 2)))

    def scalar(self) -> Array:
        return self.on(np.array([self.real()], self.dtype))

    def dropping(self) -> Dropping | None:
        """A dropout, which goes with ReLU."""
        return Dropping(self.real(0.05, 0.9), (self.size(0, 9), 3, self.one_of(0, 7, self.on(np.array([5])))))

    def maybe(self, value: Array) -> Array | None:
        return self.one_of(value, None)


def present(*arrays: Array | None) -> list[Array]:
    """Return the arrays that are there."""
    return [array for array in arrays if array is not None]
