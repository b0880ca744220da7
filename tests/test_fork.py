"""Forked children: what they may use of gpunet at once, and a GPU, which they may not."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from fake_cupy import FakeCupy
from small_models import bits, digits, small_cnn

import gpunet
from gpunet import Sequential
from gpunet.backend import arrays, devices, emulator_workers, launch, locks, memory, threads
from gpunet.backend.arrays import CPU, Device, Kind, empty, to_host
from gpunet.backend.locks import Lock

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork"),
    pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning"),
]

_SECONDS = 60  # after which a child that hangs is ended


def forked(action: Callable[[], Any]) -> Any:
    """Return what `action` returns in a forked child, or raise what it raises there."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(_SECONDS)
        result: Any = None
        try:
            result = action()
        except BaseException as error:
            result = error
        finally:
            with os.fdopen(writing, "wb") as pipe:
                pickle.dump(result, pipe)
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        data = pipe.read()
    status = os.waitpid(child, 0)[1]
    assert status == 0, f"the child ended with status {status}; {signal.SIGALRM.value} is that it hung"
    result = pickle.loads(data)
    if isinstance(result, BaseException):
        raise result
    return result


@pytest.fixture
def model(device: Device) -> Sequential:
    if device.kind is Kind.CUDA:
        pytest.skip("a forked child may not use a GPU that its parent has used: see the tests below")
    gpunet.set_threads(3)
    model = small_cnn()
    model.fit(*digits(20), batch_size=10, verbose=0)
    return model


@pytest.fixture(autouse=True)
def _restore(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "_chosen", None)


def _used(model: Sequential) -> list[bytes]:
    """Predict, evaluate, train on, and build another model: what takes locks and threads."""
    x, y = digits(40)
    y_pred = model.predict(x, verbose=0)
    loss = model.evaluate(x, y, verbose=0)
    model.fit(x, y, batch_size=10, epochs=2, verbose=0)
    with gpunet.random_seed(5):
        other = small_cnn()
    return [y_pred.tobytes(), np.asarray(loss).tobytes(), *bits(model), *bits(other)]


def test_a_forked_child_goes_on_as_its_parent_would(model: Sequential) -> None:
    in_child = [forked(lambda: _used(model)) for _ in range(2)]
    assert in_child[0] == in_child[1] == _used(model)


def test_a_child_forked_while_other_threads_compute_does_not_hang(model: Sequential) -> None:
    """They may hold any lock at that moment, and are not there to let go of it."""
    x, _ = digits(40)
    expected = model.predict(x, verbose=0).tobytes()
    ended = threading.Event()

    def compute() -> None:
        with gpunet.device(model.device):
            while not ended.is_set():
                model.predict(x, verbose=0)
                small_cnn()

    others = [threading.Thread(target=compute) for _ in range(2)]
    for other in others:
        other.start()
    try:
        for _ in range(5):
            assert forked(lambda: model.predict(x, verbose=0)).tobytes() == expected
    finally:
        ended.set()
        for other in others:
            other.join(60)
    assert model.predict(x, verbose=0).tobytes() == expected


def test_locks_that_other_threads_hold_are_free_in_a_child() -> None:
    held, leave = threading.Event(), threading.Event()
    own = Lock()
    every = [own, emulator_workers.running, memory.pool()._lock, threads._blas._lock]

    def hold() -> None:
        for lock in every:
            lock.acquire()
        held.set()
        leave.wait(_SECONDS)
        for lock in reversed(every):
            lock.release()

    other = threading.Thread(target=hold)
    other.start()
    try:
        assert held.wait(_SECONDS)
        assert forked(lambda: [lock.acquire(blocking=False) for lock in (own, emulator_workers.running)]) == [True] * 2
        assert forked(lambda: memory.empty_host((5000,), np.float32).nbytes) == 20_000
        assert not own.acquire(blocking=False)
    finally:
        leave.set()
        other.join(_SECONDS)


def _predicted(seed: int) -> bytes:
    with gpunet.random_seed(seed):
        return bytes(small_cnn().predict(digits(8)[0], verbose=0).tobytes())


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_pools_of_processes(method: str) -> None:
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"this system has no {method}")
    expected = [_predicted(seed) for seed in range(3)]
    with multiprocessing.get_context(method).Pool(2) as pool:
        assert pool.map_async(_predicted, range(3)).get(120) == expected


GPU = Device(Kind.CUDA)


@pytest.fixture
def cupy(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeCupy]:
    """A pretended GPU that this process has not used yet."""
    fake = FakeCupy()
    monkeypatch.setitem(sys.modules, "cupy", fake)  # type: ignore[arg-type]
    monkeypatch.setattr(launch, "launched", set())
    monkeypatch.setattr(arrays, "_used", False)
    kept = (arrays.import_cupy, devices.examine, devices.capability, launch._cuda_kernel, launch._cuda_module)
    for cached in kept:
        cached.cache_clear()
    yield fake
    for cached in kept:
        cached.cache_clear()


_ADVICE = r'cuda: a process must not use a GPU that its parent had used before the fork; .*"spawn" or "forkserver"'


def test_a_gpu_that_the_parent_has_used_is_refused_in_a_child(cupy: FakeCupy) -> None:
    assert devices.examine(GPU).usable
    y = empty((4,), np.float32, GPU)
    uses: dict[str, Callable[[], object]] = {
        "auto": lambda: empty((1,), np.float32, devices.choose("auto")[0]),
        "empty": lambda: empty((1,), np.float32, GPU),
        "read": lambda: to_host(y),
        "write": lambda: arrays.assign(y, np.zeros(4, np.float32)),
        "fill": lambda: arrays.fill(y, 0),
        "launch": lambda: launch.launch("probe.cu", "probe", grid=1, block=256, args=(y, 4), real=np.float32),
        "synchronize": lambda: arrays.synchronize(GPU),
    }
    for name, use in uses.items():
        with pytest.raises(RuntimeError, match=_ADVICE):
            pytest.fail(f"{name} was not refused: {forked(use)}")
    with pytest.raises(RuntimeError, match=_ADVICE):  # a child's child
        forked(lambda: forked(uses["empty"]))
    assert forked(lambda: _cpu_sum()) == 3.0
    assert to_host(y).shape == (4,)  # the parent goes on


def _cpu_sum() -> float:
    with gpunet.device(CPU):
        return float(gpunet.activations.relu([1.0, 2.0, -3.0]).sum())


def test_a_gpu_that_the_parent_has_not_used_is_the_child_s(cupy: FakeCupy) -> None:
    assert forked(lambda: to_host(empty((4,), np.float32, GPU)).shape if devices.examine(GPU).usable else None) == (4,)
    assert devices.examine(GPU).usable


def test_actions_for_children_run_there_alone() -> None:
    ran: list[int] = []
    locks.in_child(lambda: ran.append(os.getpid()))
    assert forked(lambda: ran == [os.getpid()]) and not ran
