"""A stand-in for CuPy on a machine without a GPU: NumPy memory behind CuPy's names, and a record of what was asked.

It covers what gpunet uses of CuPy and nothing else, so that the path to a GPU can be followed by tests up to the door
of the real one. Its kernels do not run, but for `probe`, whose result it writes itself.
"""

from __future__ import annotations

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

    def set(self, source: np.ndarray) -> None:
        assert type(source) is np.ndarray and source.flags.c_contiguous
        assert (source.shape, source.dtype) == (self.shape, self.dtype)
        np.copyto(self.memory, source)


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


class FakeEvent:
    """As cupy.cuda.Event; the GPU is pretended to take 2, 3, 4, … milliseconds from one recorded event to the next."""

    def __init__(self, cupy: FakeCupy) -> None:
        self.cupy = cupy
        self.device: int | None = None
        self.is_done = False

    def record(self) -> None:
        self.device = self.cupy.current_device
        number = len(self.cupy.events)
        self.milliseconds = number * (number + 3) / 2
        self.cupy.events.append(self)

    def synchronize(self) -> None:
        self.is_done = True


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
        self.driver_version = 13000
        self.failure: Exception | None = None
        self.cuda = SimpleNamespace(
            Device=lambda index: _CurrentDevice(self, index),
            Event=lambda: FakeEvent(self),
            get_elapsed_time=lambda begin, end: end.milliseconds - begin.milliseconds,
            get_current_stream=lambda: SimpleNamespace(
                synchronize=lambda: self.synchronized.append(self.current_device)
            ),
            memory=SimpleNamespace(OutOfMemoryError=OutOfMemoryError),
            runtime=SimpleNamespace(
                getDeviceCount=self._get_device_count,
                getDeviceProperties=lambda index: {"name": f"Fake {index}".encode(), "major": 9, "minor": 0},
                memGetInfo=lambda: (self.memory // 2, self.memory),
                driverGetVersion=lambda: self.driver_version,
                runtimeGetVersion=lambda: 13020,
            ),
        )

    def _get_device_count(self) -> int:
        if self.failure is not None:
            raise self.failure
        return self.devices

    def empty(self, shape: tuple[int, ...], dtype: Any) -> FakeNdarray:
        if int(np.prod(shape)) * np.dtype(dtype).itemsize > self.memory:
            raise OutOfMemoryError("Out of memory allocating …")
        return FakeNdarray(np.full(shape, 77, dtype), self.current_device)

    def get_default_memory_pool(self) -> SimpleNamespace:
        return SimpleNamespace(free_bytes=lambda: 0)

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
