"""What a case is: the work, its data, and how much arithmetic and memory traffic it needs at least."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

HostArray = npt.NDArray[Any]
Data = dict[str, HostArray]

FLOAT_BYTES = 4


@dataclass(frozen=True)
class Case:
    """One op or one step of a model at one size, in float32.

    `flops` counts additions and multiplications (a multiply-add is two) that the mathematics needs, for an op by what
    gpunet's op says of itself (gpunet/ops/trace.py); `bytes` what has to
    cross the memory bus if every array is read or written once. Both are of one run. `tolerance` is how far outputs may
    differ, as a share of the largest. `quick` cases make up the quick mode.
    """

    op: str  # the method of a library's side that does the work
    label: str
    sizes: Mapping[str, Any]
    flops: int
    bytes: int
    make_data: Callable[[Mapping[str, Any]], Data]
    tolerance: float = 1e-4
    quick: bool = False
    is_model: bool = False
    has_images: bool = False  # so that the order of their axes in memory matters

    @property
    def name(self) -> str:
        return f"{self.op}[{self.label}]"

    def data(self) -> Data:
        """Return the arrays of the case, the same at every call."""
        return self.make_data(self.sizes)


def numbers(seed: int, *shape: int, scale: float = 1.0) -> HostArray:
    """Return normal numbers of standard deviation `scale`, as float32."""
    return (scale * np.random.default_rng(seed).standard_normal(shape)).astype(np.float32)


def array(*shape: int) -> HostArray:
    """Return an array of `shape` that takes no memory, for what counts flops by shapes."""
    return np.broadcast_to(np.float32(0), shape)


def float_bytes(*counts: int) -> int:
    """Return the bytes of so many float32 numbers."""
    return FLOAT_BYTES * sum(counts)
