"""A stand-in for CuPy on a machine without a GPU: NumPy memory behind CuPy's names, and a record of what was asked.

It covers what gpunet uses of CuPy and nothing else, so that the path to a GPU can be followed by tests up to the door
of the real one. Its kernels do not run, but for `probe`, whose result it writes itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import numpy as np


class OutOfMemoryError(MemoryError):
    """As cupy.cuda.memory.OutOfMemoryError."""


class FakeNdarray:
    """As cupy.ndarray: memory on a pretended GPU."""

    def __init__(self, memory: np.ndarray, device: int) -> None:
        self.memory = memory
        self.device = SimpleNamespace(id=device)
        self.shape, self.dtype, self.size, self.flags = memory.shape, memory.dtype, memory.size, memory.flags
        self.nbytes = memory.nbytes

    def fill(self, value: float) -> None:
        self.memory.fill(value)

    def get(self) -> np.ndarray:
        return self.memory.copy()

    def set(self, source: np.ndarray, stream: FakeStream | None = None) -> None:
        assert type(source) is np.ndarray and source.flags.c_contiguous
        assert (source.shape, source.dtype) == (self.shape, self.dtype)
        if stream is None:
            np.copyto(self.memory, source)
        else:
            stream.copy(self.memory, source)

    def __getitem__(self, rows: slice) -> FakeNdarray:
        return FakeNdarray(self.memory[rows], self.device.id)

    def __len__(self) -> int:
        return len(self.memory)


class FakeEvent:
    """As cupy.cuda.Event; the GPU is pretended to take 2, 3, 4, … milliseconds from one timed event to the next."""

    def __init__(self, cupy: FakeCupy, disable_timing: bool) -> None:
        self.cupy, self.is_timed = cupy, not disable_timing
        self.log, self.name = cupy.log, f"event {cupy.count('event')}"
        self.is_done = False

    def record(self, stream: FakeStream | None = None) -> None:
        stream = self.cupy.cuda.get_current_stream() if stream is None else stream
        self.log.append(f"{stream.name}: record {self.name}")
        if self.is_timed:
            self.device, number = self.cupy.current_device, len(self.cupy.events)
            self.milliseconds = number * (number + 3) / 2
            self.cupy.events.append(self)

    def synchronize(self) -> None:
        self.is_done = True
        self.log.append(f"host: wait for {self.name}")


class FakeStream:
    """As cupy.cuda.Stream. What it is asked for goes to the log in order; copies happen at once."""

    def __init__(self, cupy: FakeCupy, name: str, is_non_blocking: bool = False) -> None:
        self.cupy, self.log, self.name, self.is_non_blocking = cupy, cupy.log, name, is_non_blocking

    def copy(self, target: np.ndarray, source: np.ndarray) -> None:
        memory = source if source.base is None else source.base
        assert any(np.shares_memory(memory, pinned) for pinned in self.cupy.pinned), "a copy beside work must be pinned"
        np.copyto(target, source)
        self.log.append(f"{self.name}: copy {source.nbytes} bytes")

    def __enter__(self) -> None:
        self.cupy.current_streams.append(self)

    def __exit__(self, *_: object) -> None:
        assert self.cupy.current_streams.pop() is self

    def begin_capture(self) -> None:
        self.log.append(f"{self.name}: begin capture")

    def end_capture(self) -> FakeGraph:
        self.log.append(f"{self.name}: end capture")
        if self.cupy.failure is not None:
            raise self.cupy.failure
        return FakeGraph(self.log)

    def wait_event(self, event: FakeEvent) -> None:
        self.log.append(f"{self.name}: wait for {event.name}")

    def synchronize(self) -> None:
        self.cupy.synchronized.append(self.cupy.current_device)
        self.log.append(f"host: wait for {self.name}")


class FakeGraph:
    """As cupy.cuda.Graph."""

    def __init__(self, log: list[str]) -> None:
        self.log = log

    def launch(self, stream: FakeStream) -> None:
        self.log.append(f"{stream.name}: launch graph")


class CUDARuntimeError(RuntimeError):
    """As cupy.cuda.runtime.CUDARuntimeError."""


class FakeKernel:
    """As cupy.RawKernel: remembers its launches."""

    def __init__(self, cupy: FakeCupy, name: str, code: str, options: tuple[str, ...]) -> None:
        self.cupy, self.name, self.code, self.options = cupy, name, code, options
        self.max_dynamic_shared_size_bytes = 48 * 1024
        self.launches: list[SimpleNamespace] = []

    def __call__(self, grid: Any, block: Any, args: Any, *, shared_mem: int = 0) -> None:
        device = self.cupy.current_device
        self.launches.append(SimpleNamespace(grid=grid, block=block, args=args, shared_mem=shared_mem, device=device))
        if self.name == "probe":
            y, n = args
            y.memory[:] = 2 * np.arange(n) + self.cupy.probe_offset


class FakeCupy:
    """As the module cupy, on a machine with `devices` GPUs."""

    def __init__(self, devices: int = 1, memory: int = 2**30) -> None:
        self.__version__ = "14.2.0"
        self.ndarray = FakeNdarray
        self.devices = devices
        self.memory = memory
        self.current_device = 0
        self.probe_offset = 1
        self.events: list[FakeEvent] = []
        self.kernels: list[FakeKernel] = []
        self.modules: list[SimpleNamespace] = []
        self.synchronized: list[int] = []
        self.log: list[str] = []  # what streams and events were asked for
        self.pinned: list[np.ndarray] = []
        self.counts: dict[str, int] = {}
        self.current_streams = [FakeStream(self, "computing")]
        self.driver_version = 13000
        self.failure: Exception | None = None
        self.cuda = SimpleNamespace(
            Device=lambda index: _CurrentDevice(self, index),
            get_current_stream=lambda: self.current_streams[-1],
            MemoryPool=lambda: SimpleNamespace(malloc=f"pool {self.count('pool')}"),
            using_allocator=self._using_allocator,
            Stream=self._new_stream,
            Event=lambda disable_timing=False: FakeEvent(self, disable_timing),
            get_elapsed_time=self._get_elapsed_time,
            alloc_pinned_memory=self._alloc_pinned_memory,
            memory=SimpleNamespace(OutOfMemoryError=OutOfMemoryError),
            runtime=SimpleNamespace(
                CUDARuntimeError=CUDARuntimeError,
                getDeviceCount=self._get_device_count,
                getDeviceProperties=lambda index: {"name": f"Fake {index}".encode(), "major": 9, "minor": 0},
                memGetInfo=lambda: (self.memory // 2, self.memory),
                driverGetVersion=lambda: self.driver_version,
                runtimeGetVersion=lambda: 13020,
            ),
        )

    def _get_elapsed_time(self, begin: FakeEvent, end: FakeEvent) -> float:
        assert begin.is_timed and end.is_timed
        return end.milliseconds - begin.milliseconds

    @contextmanager
    def _using_allocator(self, malloc: str) -> Iterator[None]:
        self.log.append(f"memory from {malloc}")
        yield
        self.log.append("memory as before")

    def _get_device_count(self) -> int:
        if self.failure is not None:
            raise self.failure
        return self.devices

    def count(self, name: str) -> int:
        """Return how often this was called with `name` before."""
        self.counts[name] = self.counts.get(name, -1) + 1
        return self.counts[name]

    def _new_stream(self, non_blocking: bool = False) -> FakeStream:
        """One that does not wait for the default stream, for copies or graphs; or one that does."""
        return FakeStream(self, "beside" if non_blocking else "waiting", non_blocking)

    def _alloc_pinned_memory(self, size: int) -> np.ndarray:
        self.log.append(f"pin {size} bytes")
        self.pinned.append(np.full(size, 99, np.uint8))
        return self.pinned[-1]

    def empty(self, shape: tuple[int, ...], dtype: Any) -> FakeNdarray:
        if int(np.prod(shape)) * np.dtype(dtype).itemsize > self.memory:
            raise OutOfMemoryError("Out of memory allocating …")
        return FakeNdarray(np.full(shape, 77, dtype), self.current_device)

    def get_default_memory_pool(self) -> SimpleNamespace:
        return SimpleNamespace(free_bytes=lambda: 0, free_all_blocks=lambda: self.log.append("free all blocks"))

    def RawModule(self, *, code: str, options: tuple[str, ...], backend: str) -> SimpleNamespace:  # noqa: N802
        assert backend == "nvrtc"
        self.modules.append(SimpleNamespace(code=code, options=options, device=self.current_device))

        def get_function(name: str) -> FakeKernel:
            self.kernels.append(FakeKernel(self, name, code, options))
            return self.kernels[-1]

        return SimpleNamespace(get_function=get_function)


class _CurrentDevice:
    """As cupy.cuda.Device, used in a `with` block."""

    def __init__(self, cupy: FakeCupy, index: int) -> None:
        self.cupy, self.index = cupy, index

    def __enter__(self) -> None:
        self.previous, self.cupy.current_device = self.cupy.current_device, self.index

    def __exit__(self, *_: object) -> None:
        self.cupy.current_device = self.previous
