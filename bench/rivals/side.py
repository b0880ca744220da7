"""What a library does in its own process: run cases, and time them."""

from __future__ import annotations

import statistics
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

from bench.cases import Case
from bench.cases.case import Data, HostArray
from bench.cases.models import CHECKED_STEPS

Run = Callable[[], Any]

# More than the second-level cache of any GPU. Writing it also keeps the GPU busy while the host prepares the next run.
FLUSH_BYTES = 256 * 2**20


class UnsupportedError(Exception):
    """The library cannot do a case; the message says why."""


class Side(ABC):
    """A library. For each op that it takes part in it has a method `op(data, sizes)` that returns (run, outputs).

    `run()` does the work once; `outputs()` does it once and returns the results as float arrays on the host, NHWC.
    """

    def __init__(self, mode: str, device: str, threads: int) -> None:
        self.mode = mode
        self.device = device
        self.threads = threads
        self._run: Run | None = None
        self._times_on_device = False

    @abstractmethod
    def versions(self) -> dict[str, str]:
        """Return the versions of what runs, by name."""

    @abstractmethod
    def synchronize(self) -> None:
        """Wait until the device has done everything."""

    @abstractmethod
    def network(self, name: str, data: Data) -> tuple[Callable[[], float], Callable[[], Any]]:
        """Return (train, infer): a step on the batch that returns its loss, and its outputs as the library has them."""

    @abstractmethod
    def to_host(self, outputs: Any) -> HostArray:
        """Return an array of the library as a NumPy array."""

    def device_name(self) -> str:
        """Return what the device is called; '' where nothing tells."""
        return ""

    def device_memory(self) -> int | None:
        """Return the most bytes of the device's memory that were taken; None where nothing tells."""
        return None

    def device_seconds(self, run: Run, repetitions: int) -> list[float]:
        """Return the seconds of each repetition by the device's clock, the caches flushed before each."""
        raise UnsupportedError(f"{type(self).__name__} has no clock on {self.device}")

    def prepare(self, case: Case) -> list[HostArray]:
        """Make ready for a case, and return its outputs: the losses of some steps, or results."""
        data = case.data()
        self._run = None
        self._times_on_device = self.device == "cuda" and not case.is_model
        if case.is_model:
            train, infer = self.network(case.sizes["network"], data)
            if case.op == "training_step":
                losses = [train() for _ in range(CHECKED_STEPS)]
                self._run = train
                return [self.to_host(losses)]
            self._run = infer
            return [self.to_host(infer())]
        method = getattr(self, case.op, None)
        if method is None:
            raise UnsupportedError(f"no {case.op}")
        self._run, outputs = method(data, case.sizes)
        return [self.to_host(output) for output in outputs()]

    def warm_up(self, least_seconds: float) -> float:
        """Run until `least_seconds` have passed, once at least, and return the seconds of one run."""
        end = time.perf_counter() + least_seconds
        times = self.seconds(1)
        while time.perf_counter() < end and len(times) < 1000:
            times += self.seconds(1)
        return statistics.median(times)

    def seconds(self, repetitions: int) -> list[float]:
        """Return the seconds of each of some runs."""
        run = self._run
        assert run is not None, "prepare comes first"
        if self._times_on_device:
            return self.device_seconds(run, repetitions)
        times = []
        for _ in range(repetitions):
            start = time.perf_counter()
            run()
            self.synchronize()
            times.append(time.perf_counter() - start)
        return times


def cupy_seconds(cupy: Any, run: Run, repetitions: int) -> list[float]:
    """Time `run` by events of CuPy's current stream, the second-level cache flushed before each."""
    junk = cupy.empty(FLUSH_BYTES, cupy.uint8)
    pairs = []
    for _ in range(repetitions):
        junk.fill(1)
        start, end = cupy.cuda.Event(), cupy.cuda.Event()
        start.record()
        run()
        end.record()
        pairs.append((start, end))
    cupy.cuda.Device().synchronize()
    return [cupy.cuda.get_elapsed_time(start, end) / 1e3 for start, end in pairs]
