"""The pool of the host's memory (backend/memory.py), and that a training step takes nothing new, on any device."""

from __future__ import annotations

import gc
import tracemalloc
from typing import Any

import checks
import numpy as np
import pytest

from gpunet.backend import memory, threads
from gpunet.backend.arrays import CPU, Device, Kind, import_cupy
from gpunet.backend.devices import device as use_device
from gpunet.backend.memory import SMALLEST, Pool
from gpunet.recipes import RECIPES
from gpunet.training.feeding import ready

F4 = np.dtype(np.float32)


def test_a_block_is_used_again_when_the_last_view_is_gone() -> None:
    pool = Pool()
    array = pool.empty((40, 50), F4)
    address = array.ctypes.data
    view = array[3:, ::2].T.reshape(-1, 37)[1:].view(np.int32)
    assert np.may_share_memory(array, view)
    del array
    other = pool.empty((40, 50), F4)
    assert other.ctypes.data != address and pool.misses == 2
    del view
    again = pool.empty((2000,), F4)
    assert again.ctypes.data == address and pool.misses == 2


def test_arrays_begin_at_cache_lines_and_hold_what_they_are_told() -> None:
    pool = Pool()
    arrays = [pool.empty((n,), np.dtype(kind)) for n in (1, 1000, 1025, 12345) for kind in ("f4", "f8", "u1", "i4")]
    assert all(array.ctypes.data % 64 == 0 for array in arrays)
    for number, array in enumerate(arrays):
        array.fill(number)
    assert all((array == number).all() for number, array in enumerate(arrays))


def test_similar_sizes_share_blocks_and_others_do_not() -> None:
    pool = Pool()
    pool.empty((8192,), F4)
    pool.empty((8100,), F4)
    assert pool.misses == 1
    pool.empty((6000,), F4)
    assert pool.misses == 2


def test_what_nobody_asks_for_any_more_goes_back() -> None:
    tracemalloc.start()
    try:
        pool = Pool()
        for size in range(1, 60):  # one at a time, each bigger than the one before
            pool.empty((size * 2**18,), F4)
        held, _ = tracemalloc.get_traced_memory()
        assert held <= 4 * 59 * 2**20 + memory._KEPT  # twice the biggest, and some
    finally:
        tracemalloc.stop()


def test_small_arrays_are_not_the_pools() -> None:
    misses = memory.pool().misses
    assert memory.empty_host((SMALLEST // 4 - 1,), F4).flags.owndata
    assert memory.pool().misses == misses


@pytest.mark.parametrize("name", RECIPES)
def test_a_step_takes_no_new_memory(device: Device, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the recipes' networks. On the CPU the pool, and NumPy beside it; on CUDA CuPy's pool."""
    monkeypatch.setattr(threads, "_chosen", 1)  # how many blocks several hold at once differs from step to step
    if device.kind is Kind.EMULATED:
        pytest.skip("emulated: every array is new, so that memory that nothing has written is known")
    recipe = RECIPES[name]
    model = recipe.network()
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"], run_eagerly=True)
    x = np.random.default_rng(0).random((64, recipe.image_size, recipe.image_size, 1), np.float32)
    y = (np.arange(64) % 10).astype(np.int32)
    for _ in range(3):
        model.train_on_batch(x, y)
    step, batch = model._step_on_batches(), ready(checks.on(device, x, y))
    assert _new_bytes(device, lambda: step.train(batch)) < 2**18


def _new_bytes(device: Device, work: Any) -> int:
    """Return how much memory `work` takes from the system at most, at once."""
    gc.collect()
    if device.kind is Kind.CUDA:
        pool = import_cupy().get_default_memory_pool()
        before = pool.total_bytes()
        work()
        return int(pool.total_bytes() - before)
    assert device == CPU
    misses = memory.pool().misses
    tracemalloc.start()
    try:
        work()
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert memory.pool().misses == misses
    return most


def test_threads_take_no_new_memory_in_the_long_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """How many parts of an op wait for their calls at once is bounded, and so is what they hold."""
    monkeypatch.setattr(threads, "_chosen", 3)
    recipe = RECIPES["cnn50"]
    with use_device(CPU):
        model = recipe.network()
    model.compile("adam", "sparse_categorical_crossentropy")
    x = np.random.default_rng(0).random((64, recipe.image_size, recipe.image_size, 1), np.float32)
    y = (np.arange(64) % 10).astype(np.int32)
    for _ in range(60):
        model.train_on_batch(x, y)
    misses = memory.pool().misses
    for _ in range(60):
        model.train_on_batch(x, y)
    assert memory.pool().misses - misses < 20  # where more are held at once than ever before
