"""Samples on the host: checked once, before anything changes, then gathered batch by batch and copied to the device."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from gpunet import arguments
from gpunet.backend.arrays import Array, Device, HostArray, Shape, is_array, to_device, to_host
from gpunet.backend.random import Purpose, Stream, new_stream

_CHECKED_AT_ONCE = 2**20  # elements, to keep the copy that the check makes small


@dataclass(frozen=True)
class Samples:
    """Inputs x and, but for predictions, targets y on the host; both have one entry a sample along the first axis."""

    x: HostArray
    y: HostArray | None

    def __len__(self) -> int:
        return len(self.x)

    def batch(self, indices: HostArray, dtype: npt.DTypeLike, device: Device) -> Array:
        """Return a copy of the inputs at `indices` on `device`, in `dtype`."""
        return to_device(self.x[indices].astype(dtype, order="C", copy=False), device)

    def labelled_batch(self, indices: HostArray, dtype: npt.DTypeLike, device: Device) -> tuple[Array, Array]:
        """Return copies of the inputs, in `dtype`, and of the targets at `indices` on `device`."""
        assert self.y is not None
        return self.batch(indices, dtype, device), to_device(np.ascontiguousarray(self.y[indices]), device)

    def split(self, where: str, fraction: float) -> tuple[Samples, Samples]:
        """Return all but the last `fraction` of the samples, and these; ValueError if either would be empty."""
        first = math.floor(len(self) * (1 - fraction))
        if not 0 < first < len(self):
            raise ValueError(
                f"{where}: validation_split must leave at least one of {len(self)} samples on either side; "
                f"got {fraction}"
            )
        head, tail = slice(first), slice(first, None)
        x, y = self.x, self.y
        return (
            Samples(x[head], None if y is None else y[head]),
            Samples(x[tail], None if y is None else y[tail]),
        )


class Schedule:
    """Which samples make up which batch.

    Every pass over the `n` samples takes them in order or, with `shuffle`, in the order of a new permutation drawn on
    the host, so that it is the same on every device. The last batch of a pass may be smaller. Epochs shorter than a
    pass (`steps`) continue where the one before stopped.
    """

    def __init__(self, n: int, batch_size: int, shuffle: bool = False, steps: int | None = None) -> None:
        self.n = n
        self.batch_size = batch_size
        self.steps = math.ceil(n / batch_size) if steps is None else steps
        self._stream: Stream | None = new_stream(Purpose.SHUFFLE) if shuffle else None
        self._batches = self._passes()

    def epoch(self) -> Iterator[HostArray]:
        """Yield the indices of one batch after the other for one epoch."""
        for _ in range(self.steps):
            yield next(self._batches)

    def _passes(self) -> Iterator[HostArray]:
        while True:
            order = np.arange(self.n) if self._stream is None else self._stream.next_generator().permutation(self.n)
            for start in range(0, self.n, self.batch_size):
                yield order[start : start + self.batch_size]


def check_batch_size(where: str, name: str, batch_size: object, default: int = 32) -> int:
    """Return `batch_size`, or `default` for None; 32 is Keras's."""
    return default if batch_size is None else arguments.integer(where, name, batch_size)


def as_host(where: str, name: str, value: object) -> HostArray:
    """Return an array of any device, or what NumPy makes one of, on the host; TypeError unless it holds numbers.

    ValueError if it has no axis for the samples, or no elements.
    """
    if value is None:
        raise TypeError(f"{where}: {name} must be an array; got None")
    try:
        array = to_host(value) if is_array(value) else np.asarray(value)  # type: ignore[arg-type]
    except ValueError as error:  # a list of lists of different lengths
        raise ValueError(f"{where}: {name} must be an array; got a {type(value).__name__} ({error})") from error
    if array.dtype.kind not in "biuf":
        got = f"an array of {array.dtype}" if is_array(value) else f"a {type(value).__name__}"
        raise TypeError(f"{where}: {name} must be an array of real numbers; got {got}")
    if array.ndim == 0:
        raise ValueError(f"{where}: {name} must have one entry a sample along its first axis; got a single number")
    if array.size == 0:
        raise ValueError(f"{where}: {name} must have no size 0; got shape {array.shape}")
    return array


def check_lengths(where: str, x: HostArray, y: HostArray) -> None:
    """ValueError unless x and y have as many samples."""
    if len(x) != len(y):
        raise ValueError(f"{where}: x and y must have as many samples; got {len(x)} in x and {len(y)} in y")


def check_finite(where: str, name: str, x: HostArray, dtype: np.dtype[Any]) -> None:
    """ValueError that says where, unless every number of x is finite in `dtype`."""
    if x.dtype.kind != "f":
        return
    step = max(1, _CHECKED_AT_ONCE // math.prod(x.shape[1:]))
    for start in range(0, len(x), step):
        with np.errstate(over="ignore"):
            finite = np.isfinite(x[start : start + step].astype(dtype, copy=False))
        if not finite.all():
            index = _first_false(finite)
            index = (start + index[0], *index[1:])
            raise ValueError(f"{where}: {name} must be finite in {dtype}; got {x[index]} at index {index}")


def _first_false(mask: HostArray) -> Shape:
    return tuple(int(i) for i in np.unravel_index(int(np.argmin(mask)), mask.shape))
