"""Batches on the model's device, from sets that lie there and from sets that are streamed to it."""

from __future__ import annotations

import sys
from typing import Any

import checks
import numpy as np
import pytest
from data_sources import Dataset, SliceFile
from fake_cupy import FakeCupy

from gpunet.backend import arrays, launch, streaming
from gpunet.backend.arrays import CPU, EMULATED, Array, Device, HostArray, Kind, device_of, to_device
from gpunet.backend.streaming import Layout
from gpunet.training import feeding
from gpunet.training.feeding import Resident, Streamed, new_feed, whole
from gpunet.training.samples import Column, Rows, Samples
from gpunet.training.schedule import Schedule
from gpunet.training.sequences import Sequences

GPU = Device(Kind.CUDA)
X = np.arange(22, dtype=np.uint8).reshape(11, 2)
Y = 2 * np.arange(11, dtype=np.int32)


def _column(array: Any, dtype: Any) -> Column:
    return Column(array, array.shape[1:], np.dtype(dtype))


def _samples(x: Any = X, y: Any = Y) -> Samples:
    return Samples((_column(x, np.float32),), (_column(y, np.int32),))


def _in_file(array: HostArray, dtype: Any) -> Column:
    rows = Rows(SliceFile(array), 0, len(array))
    return Column(rows, array.shape[1:], np.dtype(dtype), prepare=lambda values, numbers: values)


def _epoch(feed: Any) -> list[tuple[HostArray, ...]]:
    """Return the batches of an epoch, on the host."""
    return [tuple(np.array(checks.host(array)) for array in batch.take()) for batch in feed.epoch()]


@pytest.mark.parametrize("kind", [Resident, Streamed])
@pytest.mark.parametrize("shuffle", [False, True])
def test_batches_are_those_of_the_schedule(device: Device, kind: type, shuffle: bool) -> None:
    feed = kind(_samples(), Schedule(11, 4, shuffle), device)
    assert (feed.steps, feed.row, feed.taken) == (3, (2,), 0)
    stream = [np.random.Generator(np.random.Philox(key=[0, 2], counter=[0, 0, 0, step])) for step in range(2)]
    for epoch in range(2):
        order = stream[epoch].permutation(11) if shuffle else np.arange(11)
        batches = _epoch(feed)
        assert [len(x) for x, _ in batches] == [4, 4, 3] and feed.taken == 11
        for number, (x, y) in enumerate(batches):
            indices = order[4 * number : 4 * number + 4]
            checks.assert_same_bits(x, X[indices].astype(np.float32))
            checks.assert_same_bits(y, Y[indices])


@pytest.mark.parametrize("kind", [Resident, Streamed])
def test_epochs_that_end_within_a_pass(device: Device, kind: type) -> None:
    feed = kind(Samples((_column(X, np.float32),)), Schedule(11, 4, steps=2), device)
    starts = [[int(x[0, 0]) // 2 for (x,) in _epoch(feed)] for _ in range(3)]
    assert starts == [[0, 4], [8, 0], [4, 8]] and feed.taken == 7


@pytest.mark.parametrize("kind", [Resident, Streamed])
def test_an_epoch_that_was_broken_off_does_not_disturb_the_next(device: Device, kind: type) -> None:
    feed = kind(_samples(), Schedule(11, 4, restart=True), device)
    batches = feed.epoch()
    next(batches)
    batches.close()
    assert [y[0] for _, y in _epoch(feed)] == [0, 8, 16]


def test_on_the_cpu_arrays_stay_where_they_are() -> None:
    feed = new_feed(_samples(), Schedule(11, 4), CPU)
    assert isinstance(feed, Resident) and feed.sources[0] is X and feed.sources[1] is Y


def test_batches_are_copies(device: Device) -> None:
    x = to_device(np.arange(6, dtype=np.float32)[:, None], device)
    for batch in (
        next(Resident(_samples(x, Y[:6]), Schedule(6, 6), device).epoch()).take(),
        whole(_samples(x, Y[:6]), device),
    ):
        batch[0][...] = 7
        checks.assert_same_bits(x, np.arange(6, dtype=np.float32)[:, None])


def test_a_device_s_arrays_are_used_in_place(device: Device) -> None:
    x, y = checks.on(device, X, Y)
    feed = new_feed(_samples(x, y), Schedule(11, 4), device)
    assert isinstance(feed, Resident) and feed.sources[0] is x and feed.sources[1] is y


def test_a_device_keeps_the_own_dtype_and_the_same_addresses(device: Device) -> None:
    if device == CPU:
        pytest.skip("the CPU keeps nothing")
    feed = Resident(_samples(), Schedule(11, 4, shuffle=True), device)
    assert [source.dtype for source in feed.sources] == [np.uint8, np.int32]

    def places() -> list[Array]:
        return [*feed.sources, feed.order, feed.start]

    before, seen = places(), {}
    for _ in range(2):
        for batch in feed.epoch():
            arrays = batch.take()
            first = seen.setdefault(batch.key, arrays)
            assert all(a is b for a, b in zip(first, arrays, strict=True))
    assert sorted(key[1] for key in seen) == [3, 4]
    assert all(a is b for a, b in zip(before, places(), strict=True))


def test_a_batch_is_work_of_the_device_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that it can be captured: the host uploads where a pass begins, and nothing else."""
    feed = Resident(_samples(), Schedule(11, 4, shuffle=True), EMULATED)
    uploads: list[str] = []
    monkeypatch.setattr(
        feeding, "assign", lambda target, source: uploads.append(target.dtype.name) or _assign(target, source)
    )
    launches: list[str] = []
    run = launch.launch
    monkeypatch.setattr(
        "gpunet.ops.gather.launch", lambda *args, **options: launches.append(args[1]) or run(*args, **options)
    )
    monkeypatch.setattr(
        "gpunet.ops.position.launch", lambda *args, **options: launches.append(args[1]) or run(*args, **options)
    )
    for epoch in range(2):
        batches = feed.epoch()
        next(batches).take()
        assert uploads == ["int64", "int64"] * (epoch + 1)  # order and position
        for batch in batches:
            batch.take()
            assert len(uploads) == 2 * (epoch + 1)
        assert launches == ["gather", "gather"] * 3
        launches.clear()


_assign = arrays.assign


def test_files_are_uploaded_piece_by_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feeding, "_UPLOADED_AT_ONCE", 8)
    samples = Samples((_in_file(X, np.float32),), (_in_file(Y, np.int32),))
    feed = new_feed(samples, Schedule(11, 4), EMULATED)
    assert isinstance(feed, Resident)
    checks.assert_same_bits(feed.sources[0], X)
    checks.assert_same_bits(feed.sources[1], Y)
    assert samples.inputs[0].array._source.reads == [(start, min(start + 4, 11)) for start in (0, 4, 8)]


def test_files_are_streamed_to_the_cpu() -> None:
    samples = Samples((_in_file(X, np.float32),), (_column(Y, np.int32),))
    feed = new_feed(samples, Schedule(11, 4), CPU)
    assert isinstance(feed, Streamed) and samples.inputs[0].array._source.reads == []
    for number, (x, y) in enumerate(_epoch(feed)):
        rows = slice(4 * number, 4 * number + 4)
        checks.assert_same_bits(x, X[rows].astype(np.float32))
        checks.assert_same_bits(y, Y[rows])


@pytest.mark.parametrize(("room", "kind"), [(66 - 1, Streamed), (66, Resident)])
def test_what_fits_is_kept(room: int, kind: type, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feeding, "free_memory", lambda device: int(room / feeding.RESIDENT_SHARE))
    assert isinstance(new_feed(_samples(), Schedule(11, 4), EMULATED), kind)  # 22 of uint8 and 11 of int32
    x, y = checks.on(EMULATED, X, Y)
    assert isinstance(new_feed(_samples(x, y), Schedule(11, 4), EMULATED), Resident)  # they are there already


def test_the_free_memory_of_a_gpu_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeCupy(memory=2 * 4 * 66)  # half of it is free, a quarter of which is for the set
    monkeypatch.setitem(sys.modules, "cupy", fake)  # type: ignore[arg-type]
    for module in (arrays, streaming):
        monkeypatch.setattr(module, "import_cupy", lambda: fake)
    feed = new_feed(_samples(), Schedule(11, 4), GPU)
    assert isinstance(feed, Resident)
    assert all(device_of(source) == GPU for source in feed.sources)
    checks.assert_same_bits(feed.sources[0].memory, X)  # type: ignore[attr-defined]
    fake.memory -= 8
    streamed = new_feed(_samples(), Schedule(11, 4), GPU)
    assert isinstance(streamed, Streamed)
    x, y = next(streamed.epoch()).take()
    checks.assert_same_bits(x.memory, X[:4].astype(np.float32))  # type: ignore[attr-defined]
    checks.assert_same_bits(y.memory, Y[:4])  # type: ignore[attr-defined]


def _sequences() -> Sequences:
    def check(where: str, batch: Any) -> Any:
        return batch, [Layout(array.shape, array.dtype) for array in batch]

    return Sequences("fit", Dataset(X, Y, 4), check, EMULATED)


@pytest.mark.parametrize("make", [lambda: Streamed(_samples(), Schedule(11, 4), EMULATED), _sequences])
def test_memory_is_released_however_an_epoch_ends(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    monkeypatch.setattr(streaming.Ring, "close", lambda self: calls.append("close"))
    monkeypatch.setattr(streaming.Slot, "release", lambda self: calls.append("release"))
    feed = make()
    assert [len(x) for x, _ in _epoch(feed)] == [4, 4, 3] and feed.taken == 11 and feed.row == (2,)
    assert calls == [*["release"] * 3, "close"]
    calls.clear()
    batches = feed.epoch()
    next(batches)
    assert feed.taken == 4
    batches.close()
    assert calls == ["release", "close"]


def test_whole_sets_of_a_device_stay_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feeding, "to_device", None)  # what would bring them from the host
    x, y = whole(_samples(*checks.on(EMULATED, X, Y)), EMULATED)
    checks.assert_same_bits(x, X.astype(np.float32))
    checks.assert_same_bits(y, Y)


def test_whole_sets(device: Device) -> None:
    for samples in (
        _samples(),
        _samples(*checks.on(device, X, Y)),
        Samples((_in_file(X, np.float32),), (_in_file(Y, np.int32),)),
        _samples(np.asfortranarray(X)),
    ):
        x, y = whole(samples, device)
        assert device_of(x) == device_of(y) == device and x.flags.c_contiguous
        checks.assert_same_bits(x, X.astype(np.float32))
        checks.assert_same_bits(y, Y)


def test_a_batch_that_nobody_took_does_not_disturb_the_next(device: Device) -> None:
    """The device has not moved on, though the host has."""
    feed = Resident(_samples(), Schedule(11, 4, steps=1), device)
    next(feed.epoch()).take()
    next(feed.epoch())
    (batch,) = _epoch(feed)
    checks.assert_same_bits(batch[0], X[8:].astype(np.float32))
