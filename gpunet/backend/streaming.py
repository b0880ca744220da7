"""A ring of buffers through which batches reach a device while it computes.

On `cuda` a batch is written into pinned host memory, copied on a stream of its own, and waited for by the stream that
computes; events say when memory may be used again. The host never waits for the computation itself, so that it fills
the next buffers while the device works. `emulated` runs the same code on plain memory, where nothing needs waiting for;
on `cpu` a batch is computed with where it was written.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from gpunet.backend.arrays import Array, Device, HostArray, Kind, Shape, assign, current, empty, import_cupy

# One that the device computes with, one on its way, one that the host fills.
SLOTS = 3


class Layout(NamedTuple):
    """What one array of a batch looks like."""

    shape: Shape
    dtype: np.dtype[Any]


class _Nothing:
    """A stream or an event of a device where everything happens in order."""

    def record(self, stream: object) -> None:
        """Do nothing."""

    def wait_event(self, event: object) -> None:
        """Do nothing."""

    def synchronize(self) -> None:
        """Do nothing."""


class _Buffer:
    """Host memory and device memory for one array of a batch, of at most the size that it was made for."""

    def __init__(self, layout: Layout, device: Device) -> None:
        self.layout = layout
        self.host = _pinned(layout) if device.kind is Kind.CUDA else np.empty(*layout)
        self.array: Array = self.host if device.kind is Kind.CPU else empty(*layout, device)

    def holds(self, layout: Layout) -> bool:
        shape, dtype = self.layout
        return dtype == layout.dtype and shape[1:] == layout.shape[1:] and shape[0] >= layout.shape[0]


class Slot:
    """The buffers of one batch. `reserve` and fill them, `send` them, compute, `release` them."""

    def __init__(self, device: Device, stream: Any) -> None:
        self._device = device
        self._stream = stream
        self._copied = _new_event(device)  # the device's memory has what the host's had
        self._used = _new_event(device)  # nothing reads or writes the device's memory any more
        self._buffers: list[_Buffer] = []
        self._rows: list[int] = []

    def reserve(self, layouts: Sequence[Layout]) -> list[HostArray]:
        """Return host arrays to fill, one for each layout; wait until the copy out of them before has ended."""
        self._copied.synchronize()
        fits = len(layouts) == len(self._buffers)
        if not fits or not all(buffer.holds(layout) for buffer, layout in zip(self._buffers, layouts, strict=True)):
            with current(self._device):
                self._buffers = [_Buffer(layout, self._device) for layout in layouts]
                # The pool may hand out memory that earlier work of the computing stream is not done with.
                self._used.record(_computing_stream(self._device))
        self._rows = [layout.shape[0] for layout in layouts]
        return [buffer.host[:rows] for buffer, rows in zip(self._buffers, self._rows, strict=True)]

    def send(self) -> tuple[Array, ...]:
        """Start the copy of what was filled, make the computing stream wait for it, and return the device's arrays."""
        arrays = [buffer.array[:rows] for buffer, rows in zip(self._buffers, self._rows, strict=True)]
        if self._device.kind is Kind.CPU:
            return tuple(arrays)
        with current(self._device):
            self._stream.wait_event(self._used)
            for buffer, array in zip(self._buffers, arrays, strict=True):
                self._copy(array, buffer.host[: len(array)])
            self._copied.record(self._stream)
            _computing_stream(self._device).wait_event(self._copied)
        return tuple(arrays)

    def _copy(self, target: Array, host: HostArray) -> None:
        if self._device.kind is Kind.CUDA:
            target.set(host, stream=self._stream)  # type: ignore[attr-defined]
        else:
            assign(target, host)

    def release(self) -> None:
        """Say that what the computing stream was given so far is all that uses the device's arrays."""
        with current(self._device):
            self._used.record(_computing_stream(self._device))


class Ring:
    """Slots that take turns; `close` it when the last batch was sent."""

    def __init__(self, device: Device) -> None:
        self._stream = _new_stream(device)
        self._slots = [Slot(device, self._stream) for _ in range(1 if device.kind is Kind.CPU else SLOTS)]
        self._turn = 0

    def next_slot(self) -> Slot:
        """Return the slot that was used the longest time ago."""
        slot = self._slots[self._turn % len(self._slots)]
        self._turn += 1
        return slot

    def close(self) -> None:
        """Wait for the copies under way, so that nobody else gets their memory."""
        self._stream.synchronize()


def _pinned(layout: Layout) -> HostArray:
    """Return host memory that stays where it is: only from there can a copy go on beside other work."""
    count = math.prod(layout.shape)
    memory = import_cupy().cuda.alloc_pinned_memory(count * layout.dtype.itemsize)
    return np.frombuffer(memory, layout.dtype, count).reshape(layout.shape)


def _new_stream(device: Device) -> Any:
    """Return a stream that does not wait for the default one."""
    if device.kind is not Kind.CUDA:
        return _Nothing()
    with current(device):
        return import_cupy().cuda.Stream(non_blocking=True)


def _new_event(device: Device) -> Any:
    if device.kind is not Kind.CUDA:
        return _Nothing()
    with current(device):
        return import_cupy().cuda.Event(disable_timing=True)


def _computing_stream(device: Device) -> Any:
    """Return the stream that kernels are launched in; `device` must be current."""
    return import_cupy().cuda.get_current_stream() if device.kind is Kind.CUDA else _Nothing()
