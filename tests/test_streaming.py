"""The ring of buffers through which batches reach a device: their content everywhere, the order of calls on a GPU."""

from __future__ import annotations

import sys
from typing import Any

import checks
import numpy as np
import pytest
from fake_cupy import FakeCupy

from gpunet.backend import arrays, streaming
from gpunet.backend.arrays import CPU, Device, HostArray, Kind, device_of
from gpunet.backend.streaming import SLOTS, Layout, Ring

GPU = Device(Kind.CUDA)
FLOAT32, INT32 = np.dtype(np.float32), np.dtype(np.int32)


@pytest.fixture
def cupy(monkeypatch: pytest.MonkeyPatch) -> FakeCupy:
    """A pretended CuPy with two GPUs."""
    fake = FakeCupy(devices=2)
    monkeypatch.setitem(sys.modules, "cupy", fake)  # type: ignore[arg-type]
    for module in (arrays, streaming):
        monkeypatch.setattr(module, "import_cupy", lambda: fake)
    return fake


def _layouts(rows: int) -> list[Layout]:
    return [Layout((rows, 2), FLOAT32), Layout((rows,), INT32)]


def _send(ring: Ring, x: HostArray, y: HostArray) -> tuple[Any, ...]:
    """Send a batch and release it, as a step would."""
    slot = ring.next_slot()
    for host, array in zip(slot.reserve(_layouts(len(x))), (x, y), strict=True):
        host[...] = array
    sent = slot.send()
    slot.release()
    return sent


def _batch(number: int, rows: int = 4) -> tuple[HostArray, HostArray]:
    return np.full((rows, 2), number, np.float32), np.arange(rows, dtype=np.int32) + number


def test_batches_arrive(device: Device) -> None:
    ring = Ring(device)
    for number, rows in enumerate([4, 4, 4, 4, 2, 4, 9, 3]):
        x, y = _batch(number, rows)
        sent = _send(ring, x, y)
        for array, expected in zip(sent, (x, y), strict=True):
            assert device_of(array) == device and array.flags.c_contiguous
            checks.assert_same_bits(array, expected)
    ring.close()


def test_a_batch_stays_until_all_slots_had_their_turn(device: Device) -> None:
    ring = Ring(device)
    slots = 1 if device == CPU else SLOTS
    sent = [_send(ring, *_batch(number)) for number in range(slots)]
    for number, batch in enumerate(sent):
        checks.assert_same_bits(batch[0], _batch(number)[0])
    later = _send(ring, *_batch(7))
    checks.assert_same_bits(sent[0][0], later[0])  # the same memory


def test_other_layouts_get_other_memory(device: Device) -> None:
    ring = Ring(device)
    for _ in range(SLOTS):
        _send(ring, *_batch(0))
    slot = ring.next_slot()
    (host,) = slot.reserve([Layout((2, 3), INT32)])
    host[...] = [[1, 2, 3], [4, 5, 6]]
    (array,) = slot.send()
    checks.assert_same_bits(array, np.int32([[1, 2, 3], [4, 5, 6]]))


def test_order_of_calls_on_a_gpu(cupy: FakeCupy) -> None:
    """A slot has two events: copied, for which host and computation wait, and used, for which the next copy waits."""
    ring = Ring(GPU)
    copied, used = [[f"event {2 * slot + which}" for slot in range(SLOTS)] for which in (0, 1)]
    taken = []
    for number in range(2 * SLOTS):
        cupy.log.clear()
        x, y = _send(ring, *_batch(number))
        for array, expected in zip((x.memory, y.memory), _batch(number), strict=True):
            checks.assert_same_bits(array, expected)
        slot = number % SLOTS
        made = ["pin 32 bytes", "pin 16 bytes", f"computing: record {used[slot]}"] if number < SLOTS else []
        assert cupy.log == [
            f"host: wait for {copied[slot]}",  # the copy out of the host's memory
            *made,  # memory that the computing stream may still have used for something else
            f"beside: wait for {used[slot]}",  # the steps on the device's memory
            "beside: copy 32 bytes",
            "beside: copy 16 bytes",
            f"beside: record {copied[slot]}",
            f"computing: wait for {copied[slot]}",  # not the host: it goes on
            f"computing: record {used[slot]}",
        ]
        taken.append(x.memory)
    assert all(np.shares_memory(a, b) for a, b in zip(taken[:SLOTS], taken[SLOTS:], strict=True))
    assert not any(np.shares_memory(taken[0], other) for other in taken[1:SLOTS])
    cupy.log.clear()
    ring.close()
    assert cupy.log == ["host: wait for beside"]


def test_a_smaller_batch_needs_no_new_memory_and_a_bigger_one_does(cupy: FakeCupy) -> None:
    ring = Ring(GPU)
    for rows, pinned in ((4, True), (4, True), (4, True), (3, False), (4, False), (5, True), (4, False), (1, False)):
        cupy.log.clear()
        _send(ring, *_batch(0, rows))
        assert any(line.startswith("pin") for line in cupy.log) == pinned, rows


def test_everything_happens_on_the_ring_s_device(cupy: FakeCupy) -> None:
    seen = []
    kept = cupy.cuda.alloc_pinned_memory
    cupy.cuda.alloc_pinned_memory = lambda size: seen.append(cupy.current_device) or kept(size)
    x, _ = _send(Ring(Device(Kind.CUDA, 1)), *_batch(0))
    assert seen == [1, 1] and device_of(x).index == 1 and cupy.current_device == 0


def test_free_memory(cupy: FakeCupy, device: Device) -> None:
    assert arrays.free_memory(GPU) == cupy.memory // 2
    if device.kind is not Kind.CUDA:
        assert arrays.free_memory(device) is None
