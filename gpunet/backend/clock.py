"""Clocks: how long something took, on the host's clock or, for a GPU, between events of its stream."""

from __future__ import annotations

import time
from typing import Any, Protocol

from gpunet.backend.arrays import Device, Kind, current, import_cupy


class Clock(Protocol):
    """Two marks around some work, and later the seconds between them."""

    def mark(self) -> Any:
        """Return the present moment; on a GPU that in which all work so far will be done."""

    def seconds(self, begin: Any, end: Any) -> float:
        """Return the time from one mark to another; on a GPU this waits for the second."""


class HostClock:
    """The host's clock, for devices that have finished when the op returns."""

    def mark(self) -> float:
        return time.perf_counter()

    def seconds(self, begin: float, end: float) -> float:
        return end - begin


class CudaClock:
    """Events on the current stream of a GPU.

    Between two of them lies the work of the GPU, and its waiting for the host where that is slower.
    """

    def __init__(self, device: Device) -> None:
        self._device = device
        self._cuda = import_cupy().cuda

    def mark(self) -> Any:
        with current(self._device):
            event = self._cuda.Event()
            event.record()
        return event

    def seconds(self, begin: Any, end: Any) -> float:
        end.synchronize()
        return float(self._cuda.get_elapsed_time(begin, end)) / 1000  # CUDA counts in milliseconds


def clock_of(device: Device) -> Clock:
    """Return the clock that times the work of `device`."""
    return CudaClock(device) if device.kind is Kind.CUDA else HostClock()
