"""Where there is no memory: what the error says, that its advice holds, that nothing is changed or kept after it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from fake_cupy import FakeCupy
from limited_memory import Limit, limited
from small_models import bits

import gpunet
from gpunet import Conv2D, Dense, Dropout, Flatten, Input, MaxPooling2D, Sequential
from gpunet.backend import arrays, emulator, gauge, memory, threads
from gpunet.backend.arrays import CPU, Device, Kind, empty
from gpunet.backend.gauge import measured
from gpunet.backend.random import set_random_seed
from gpunet.backend.shortage import charged
from gpunet.backend.streaming import Layout
from gpunet.layers import Layer
from gpunet.training.feeding import ready
from gpunet.training.memory import Line, Rehearsed, line_of, tells_shortages

# On a CPU an op works on a few hundred kilobytes at a time, beside which a batch is to be large.
MOST = 800
X = np.random.default_rng(0).random((MOST, 12, 12, 2), np.float32)
Y = np.arange(MOST) % 10


def _whole(limit: Limit) -> int:
    """Return the size of the batch that does not fit."""
    return MOST if limit.device == CPU else 160


@pytest.fixture
def limit(device: Device, monkeypatch: pytest.MonkeyPatch) -> Iterator[Limit]:
    if device.kind is Kind.CUDA:
        pytest.skip("cuda: what its pool does is CuPy's; test_graph_cuda.py and test_arrays.py follow it to the door")
    monkeypatch.setattr(threads, "_chosen", 1)  # how many blocks several hold at once differs from step to step
    with limited(device) as watched, emulator.configured(checked=False):
        yield watched


def _model(parts: int = 1) -> Sequential:
    set_random_seed(1)
    model = Sequential(
        [
            Input((12, 12, 2)),
            Conv2D(12, 3, activation="relu", name="first"),
            Conv2D(16, 3, activation="relu", name="second"),
            MaxPooling2D(4),
            Flatten(),
            Dropout(0.2),
            Dense(10, activation="softmax", name="last"),
        ]
    )
    model.compile("adam", "sparse_categorical_crossentropy", ["accuracy"], run_eagerly=True, batch_parts=parts)
    return model


ACTS: dict[str, Callable[[Sequential, int], Any]] = {
    "fit": lambda model, size: model.fit(X[:size], Y[:size], batch_size=size, verbose=0),
    "evaluate": lambda model, size: model.evaluate(X[:size], Y[:size], batch_size=size, verbose=0),
    "predict": lambda model, size: model.predict(X[:size], batch_size=size, verbose=0),
    "train_on_batch": lambda model, size: model.train_on_batch(X[:size], Y[:size]),
    "test_on_batch": lambda model, size: model.test_on_batch(X[:size], Y[:size]),
    "predict_on_batch": lambda model, size: model.predict_on_batch(X[:size]),
}


def _halve(limit: Limit, act: Callable[[Sequential, int], Any], model: Sequential) -> None:
    """Leave the device half of what `act` takes on the whole batch."""
    act(model, 8)
    memory.pool().release()
    with measured() as taken:
        act(model, _whole(limit))
    memory.pool().release()
    limit.bytes = limit.used + taken.peak // 2


@pytest.mark.parametrize("name", ACTS)
def test_the_error_says_for_what_and_how_much_would_fit(limit: Limit, name: str) -> None:
    """And so much does fit; about half of the batch would. Nothing is kept, even while the error is."""
    model, act = _model(), ACTS[name]
    _halve(limit, act, model)
    before, used = bits(model), limit.used
    with pytest.raises(MemoryError) as caught:
        act(model, _whole(limit))
    text = str(caught.value)
    asked = r"(cpu|emulated): an array of shape \(.*\) and dtype \w+ needs [\d.]+ MiB; [\d.]+ of [\d.]+ MiB"
    match = re.fullmatch(
        rf"Sequential 'sequential.*'\.{name}: a batch of {_whole(limit)} samples must fit in memory; got no room in "
        rf"(the (forward|backward) pass of \w+ '\w+'|the batch itself): {asked} are free; "
        r"(\d+) samples would fit: use batches of \d+(, or compile\(\.\.\., batch_parts=(\d+)\))?",
        text,
    )
    assert match, text
    assert bits(model) == before and caught.value.__context__ is None
    assert limit.used <= used + 4096  # new means
    fits = int(match[4])
    assert (0.15 if limit.device == CPU else 0.3) < fits / _whole(limit) <= 0.52
    assert (match[6] is None) == name.startswith("predict")
    if limit.device != CPU or not name.endswith("on_batch"):  # there NumPy holds the batch, which the limit overlooks
        act(model, fits)


@pytest.mark.parametrize("name", ["fit", "train_on_batch", "evaluate"])
def test_the_advised_number_of_parts_fits(limit: Limit, name: str) -> None:
    model, act = _model(), ACTS[name]
    _halve(limit, act, model)
    with pytest.raises(MemoryError) as caught:
        act(model, _whole(limit))
    parts = int(re.findall(r"batch_parts=(\d+)", str(caught.value))[0])
    assert 2 <= parts <= (6 if limit.device == CPU else 4)
    model.compile(model.optimizer, model.loss, ["accuracy"], run_eagerly=True, batch_parts=parts)
    memory.pool().release()
    with measured() as taken:
        act(model, _whole(limit))
    memory.pool().release()
    limit.bytes = limit.used + int(0.8 * taken.peak)
    text = f"samples must fit in memory, {parts} parts one after the other; got no room in"
    with pytest.raises(MemoryError, match=text) as caught:
        act(model, _whole(limit))
    assert int(re.findall(r"batch_parts=(\d+)", str(caught.value))[0]) > parts


def test_parts_take_less_memory(limit: Limit) -> None:
    peaks, n = {}, _whole(limit)
    for parts in (1, 2, 8):
        model = _model(parts)
        with measured() as taken:
            model.train_on_batch(X[:n], Y[:n])
            model.train_on_batch(X[:n], Y[:n])
        peaks[parts] = taken.peak - X[:n].nbytes
    assert peaks[2] < 0.6 * peaks[1] and peaks[8] < 0.25 * peaks[1]


def test_a_model_tells_what_it_takes(limit: Limit) -> None:
    """The line is followed from half of what it tells of, and is held against what a step takes."""
    model, n = _model(), _whole(limit)
    before = bits(model)
    told = model.memory(n)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gpunet.training.memory._SAMPLES", n // 2)
        patch.setattr("gpunet.training.memory._BYTES", 0)
        followed = model.memory(n)
    assert bits(model) == before and model.optimizer is not None and model.optimizer.iterations == 0
    step = model._new_step()
    placed = tuple(gpunet.to_device(a, model.device) for a in (X[:n], Y[:n].astype(np.int32)))
    with measured() as taken:
        step.train(ready(placed))
    real = taken.peak + sum(a.nbytes for a in placed)
    assert told.step == pytest.approx(real, rel=0.01)
    # On a CPU 14 MiB are not much beside what ops work on at a time: the line lies above.
    assert followed.step == pytest.approx(real, rel=0.2 if limit.device == CPU else 0.01)
    assert told.weights == 4 * model.count_params()
    assert 12 * model.count_params() <= told.optimizer < 12 * model.count_params() + 12 * 256 * 6  # blocks of 256
    assert told.total == told.weights + told.optimizer + told.step


def test_an_error_at_any_array_of_a_step_changes_nothing(limit: Limit) -> None:
    """But in the update, the arrays of which are small, and asked for when those of the step are free again."""
    model, twin = _model(), _model()
    for each in (model, twin):
        each.train_on_batch(X[:40], Y[:40])
    for layer in (model.layers[4], twin.layers[4]):
        layer.rate = 0.0  # what the failed steps have drawn stays drawn
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(twin.optimizer), "apply", lambda self, parameters: None)
        memory.pool().release()
        limit.made = 0
        twin.train_on_batch(X[:40], Y[:40])
    count = limit.made
    assert count > 10
    places = set()
    for number in range(count):
        before = bits(model)
        memory.pool().release()
        limit.made, limit.fails_at = 0, number
        with pytest.raises(MemoryError) as caught:
            model.train_on_batch(X[:40], Y[:40])
        limit.fails_at = -1
        places |= set(re.findall(r"no room in (.*?): ", str(caught.value)))
        assert bits(model) == before and model.optimizer.iterations == twin.optimizer.iterations
    assert {"the forward pass of Conv2D 'first'", "the backward pass of Conv2D 'second'"} <= places
    for each in (model, twin):
        each.train_on_batch(X[:40], Y[:40])
    assert bits(model) == bits(twin)


class _Failing(Layer):
    """A layer that has no memory for the batch, and then fails in another way."""

    def __init__(self, rest: Exception) -> None:
        super().__init__()
        self.errors = [rest] * 20

    def forward(self, x: Any, training: bool) -> Any:
        if not training:  # to find out the shape of y
            return x, lambda dy: dy
        raise MemoryError("mine") if len(x) == MOST else self.errors.pop()


@pytest.mark.parametrize(
    "rest, advice",
    [
        (ValueError("of another kind"), r"use smaller batches, or compile\(\.\.\., batch_parts=…\)"),
        (MemoryError(), "not even one sample would fit: use a smaller model"),
    ],
)
def test_what_cannot_be_found_out_is_not_told(limit: Limit, rest: Exception, advice: str) -> None:
    model = Sequential([Input((12, 12, 2)), _Failing(rest), Flatten(), Dense(10)])
    model.compile("sgd", "mse")
    with pytest.raises(MemoryError, match=rf"the forward pass of _Failing '\w+': mine; {advice}$"):
        model.fit(X, np.zeros((MOST, 10), np.float32), batch_size=MOST, verbose=0)


def test_a_weight_that_does_not_fit_is_named(limit: Limit) -> None:
    """On the host its first values are NumPy's; no machine has 4 EiB."""
    limit.bytes = limit.used + 2**20
    inputs, units = (2**40, 2**20) if limit.device == CPU else (1000, 1000)
    model = Sequential([Dense(units, name="wide", kernel_initializer="zeros")])
    text = rf"Dense 'wide': kernel must fit in memory; got shape \({inputs}, {units}\) of float32: .*{units}"
    with pytest.raises(MemoryError, match=text):
        model.build((None, inputs))
    assert not model.built


def test_a_state_that_does_not_fit_is_named(limit: Limit) -> None:
    model = Sequential([Input((400,)), Dense(400)])
    model.compile("adam", "mse")
    limit.bytes = limit.used + 2**20
    with pytest.raises(
        MemoryError, match=r"\.fit: the state of the optimizer must fit in memory; got no room: .* needs"
    ):
        model.fit(np.zeros((8, 400), np.float32), np.zeros((8, 400), np.float32), verbose=0)
    limit.bytes = None
    model.fit(np.zeros((8, 400), np.float32), np.zeros((8, 400), np.float32), verbose=0)


@pytest.mark.parametrize("name", ["fit", "evaluate", "predict"])
def test_data_that_does_not_fit_is_named(limit: Limit, name: str) -> None:
    if limit.device == CPU:
        pytest.skip("the CPU reads the user's array where it is")
    model, n = _model(), 400
    ACTS[name](model, 8)
    limit.bytes = limit.used + n * 288
    text = (
        rf"Sequential 'sequential.*'\.{name}: the data must fit in memory; got no room: emulated: an array .* are free;"
    )
    with pytest.raises(MemoryError, match=text):
        ACTS[name](model, n)
    limit.bytes = None
    ACTS[name](model, 8)


def test_the_pool_gives_back_what_it_keeps_before_it_gives_up() -> None:
    with limited(CPU) as limit:
        limit.bytes = 3 * 2**20
        pool = memory.pool()
        array = pool.empty((2**19,), np.dtype(np.float32))
        del array
        assert pool.free_bytes == 2**21
        pool.empty((5 * 2**17,), np.dtype(np.float32))  # 2.5 MiB, beside which 2 have no room
        with pytest.raises(MemoryError):
            pool.empty((2**20,), np.dtype(np.float32))


class _OnGpu:
    """What fits a batch of 500,000 on a GPU, in a step that takes an array of 1024 floats a sample."""

    where = "Sequential 'model'"

    def __init__(self, gpu: Device) -> None:
        self.gpu = gpu

    def rehearse(self, x: Any) -> None:
        empty((len(x), 1024), np.float32, self.gpu)

    @tells_shortages
    def fit(self) -> None:
        layouts = [Layout((500_000, 8), np.dtype(np.float32))]
        rehearsed = Rehearsed(Dense(1), self.gpu, self.rehearse, parts=1)
        with rehearsed.watching(layouts), charged("the forward pass of Dense 'dense'"):
            empty((500_000, 1024), np.float32, self.gpu)


def test_the_error_of_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """As far as it goes without one: half of 1 GiB is free, of which eight tenths are to be used."""
    cupy = FakeCupy()
    monkeypatch.setitem(sys.modules, "cupy", cupy)  # type: ignore[arg-type]
    monkeypatch.setattr(arrays, "import_cupy", lambda: cupy)
    size = int((0.8 * 2**29 + 32 * 500_000) / (4096 + 32))  # the batch itself, of 32 bytes a sample, gives way
    part = int(0.8 * 2**29 / 4096)
    text = (
        "Sequential 'model'.fit: a batch of 500000 samples must fit in memory; got no room in the forward pass of "
        "Dense 'dense': cuda:0: an array of shape (500000, 1024) and dtype float32 needs 1953.1 MiB; "
        f"512.0 of 1024.0 MiB are free; {size} samples would fit: use batches of {size}, "
        f"or compile(..., batch_parts={-(-500_000 // part)})"
    )
    with pytest.raises(MemoryError, match=re.escape(text)):
        _OnGpu(Device(Kind.CUDA)).fit()


def test_a_line_through_two_sizes() -> None:
    assert line_of(lambda n: 100 + 3 * n, 10**6) == Line(100, 3)
    asked = []

    def bytes_of(n: int) -> int:
        asked.append(n)
        if n > 100:
            raise MemoryError
        return 50 + 7 * n

    line = line_of(bytes_of, 10**6)
    assert line == Line(50, 7) and line.bytes(1000) == 7050 and line.largest(7050) == 1000 and line.largest(10) == 0
    assert max(asked) == 1024
    with pytest.raises(MemoryError):
        line_of(lambda n: bytes_of(n + 100), 50)


def test_a_gauge_counts_what_is_alive(device: Device) -> None:
    if device.kind is Kind.CUDA:
        pytest.skip("cuda: arrays of CuPy are counted likewise")
    with measured() as taken:
        a = empty((2**10, 2**8), np.float32, device)
        view = a[3:, ::2].T
        del a
        b = empty((2**10, 2**8), np.float32, device)
        del view, b
        empty((2**10, 2**8), np.float32, device)
        with measured() as inner:
            assert gauge._gauge is inner
        assert gauge._gauge is taken
    assert gauge._gauge is None and taken.peak == 2**21


ROOM = 300 * 2**20

SCRIPT = f"""
import resource
import numpy as np
import gpunet
from gpunet import Conv2D, Dense, Flatten, Input, Sequential
model = Sequential([Input((32, 32, 3)), Conv2D(32, 3, activation="relu"), Flatten(), Dense(10, activation="softmax")])
model.compile("sgd", "sparse_categorical_crossentropy")
x, y = np.ones((4096, 32, 32, 3), np.float32), np.arange(4096) % 10
model.fit(x[:64], y[:64], verbose=0)
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + {ROOM}, used + {ROOM}))
try:
    model.fit(x, y, batch_size=4096, verbose=0)
except MemoryError as error:
    print(error)
    size = int(str(error).split("use batches of ")[1].split(",")[0])
    model.fit(x, y, batch_size=size, verbose=0)
    print("trained with", size)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the limit on address space is Linux's")
def test_a_real_limit_on_the_host() -> None:
    """On one thread: glibc sets address space aside for each, which is no memory, but counts here."""
    surroundings = {**os.environ, "GPUNET_THREADS": "1", "MALLOC_ARENA_MAX": "1"}
    command = [sys.executable, "-c", SCRIPT]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, env=surroundings)
    assert done.returncode == 0, done.stderr
    assert re.search(r"a batch of 4096 samples must fit in memory; got no room in the \w+ pass of Conv2D", done.stdout)
    assert re.search(r"[\d.]+ of [\d.]+ MiB are free", done.stdout)
    assert int(re.findall(r"trained with (\d+)", done.stdout)[0]) > 300
