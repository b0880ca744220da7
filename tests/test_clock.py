"""Clocks: the host's, and events of a (pretended) GPU; a trace that uses them."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator

import numpy as np
import pytest
from fake_cupy import FakeCupy

from gpunet.backend import arrays, launch
from gpunet.backend.arrays import CPU, EMULATED, Device, Kind, empty
from gpunet.backend.clock import clock_of
from gpunet.ops.roofline import copy, multiply_adds
from gpunet.ops.trace import recording

SECOND_GPU = Device(Kind.CUDA, 1)


@pytest.fixture
def cupy(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeCupy]:
    fake = FakeCupy(devices=2)
    monkeypatch.setitem(sys.modules, "cupy", fake)  # type: ignore[arg-type]
    cached = (arrays.import_cupy, launch._cuda_kernel, launch._cuda_module)
    for one in cached:
        one.cache_clear()
    monkeypatch.setattr(launch, "launched", set())
    yield fake
    for one in cached:
        one.cache_clear()


@pytest.mark.parametrize("place", [CPU, EMULATED])
def test_the_hosts_clock_sees_time_pass(place: Device) -> None:
    clock = clock_of(place)
    start = time.perf_counter()
    begin = clock.mark()
    time.sleep(0.02)
    end = clock.mark()
    assert 0.02 <= clock.seconds(begin, end) <= time.perf_counter() - start


def test_a_gpu_is_timed_by_events_on_its_own_stream(cupy: FakeCupy) -> None:
    clock = clock_of(SECOND_GPU)
    begin, end = clock.mark(), clock.mark()
    assert [event.device for event in cupy.events] == [1, 1] and cupy.current_device == 0
    assert clock.seconds(begin, end) == 0.002
    assert end.is_done, "the time was read before the GPU had come so far"


def test_ops_on_a_gpu_are_recorded_between_events(cupy: FakeCupy) -> None:
    x, y = (empty((1000,), np.float32, SECOND_GPU) for _ in range(2))
    with recording(clock_of(SECOND_GPU)) as trace:
        copy(x, y)
        multiply_adds(x, y, 3)
    assert [kernel.name for kernel in cupy.kernels] == ["copy", "multiply_adds"]
    assert [(call.op, call.bytes, call.flops) for call in trace.calls] == [
        ("copy", 8000, 0),
        ("multiply_adds", 8000, 1000 * 8 * 2 * 3),
    ]
    assert [trace.seconds(call) for call in trace.calls] == [0.002, 0.004]
    assert len(cupy.events) == 4 and not cupy.synchronized
