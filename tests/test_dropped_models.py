"""What a model took is free as soon as it is dropped: nothing keeps it, and no cycle has to be found first."""

from __future__ import annotations

import gc
import sys
import threading
import tracemalloc
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from fake_cupy import FakeCupy
from limited_memory import limited

from gpunet import Conv2D, Dense, Dropout, Flatten, Input, MaxPooling2D, Sequential
from gpunet.backend import arrays, emulator, graph, launch, threads
from gpunet.backend.arrays import Device, Kind, empty
from gpunet.backend.devices import device as use_device
from gpunet.training.capture import Captures

RNG = np.random.default_rng(0)
X = RNG.random((20, 8, 8, 1), np.float32)
Y = np.arange(20) % 10


def _batches() -> Iterator[Any]:
    yield X[:8], Y[:8]
    yield X[8:], Y[8:]


def _model(eager: bool = False) -> Sequential:
    model = Sequential(
        [
            Input((8, 8, 1)),
            Conv2D(8, 3, activation="relu"),
            MaxPooling2D(2),
            Dropout(0.2),
            Flatten(),
            Dense(300, activation="relu", kernel_regularizer="l2", kernel_constraint="max_norm"),
            Dense(10, activation="softmax"),
        ]
    )
    model.compile("adam", "sparse_categorical_crossentropy", ["accuracy"], run_eagerly=eager)
    return model


def _used(number: int) -> weakref.ref[Sequential]:
    """Make, train and use a model, each in one of several ways; return where it was."""
    model = _model(eager=number % 7 == 6)
    if number % 3 == 0:
        model.fit(X, Y, batch_size=8, epochs=2, validation_split=0.2, verbose=0)
    elif number % 3 == 1:
        for _ in range(4):
            model.train_on_batch(X[:8], Y[:8])
    else:
        model.fit(_batches(), verbose=0)
    model.predict(X, verbose=0)
    return weakref.ref(model)


def _caches() -> dict[str, int]:
    """Return how much each cached function of gpunet remembers."""
    found = {}
    for name, module in list(sys.modules.items()):
        if name.startswith("gpunet"):
            for key, value in vars(module).items():
                if hasattr(value, "cache_info"):
                    found[f"{name}.{key}"] = value.cache_info().currsize
    return found


@contextmanager
def _no_collection() -> Iterator[None]:
    """Inside a `with` block what only cycles keep stays."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def test_many_models_leave_nothing(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    """200 models on the CPU. Each takes 500 kB with its optimizer, so that one that stayed would be seen."""
    monkeypatch.setattr(threads, "_chosen", 1)  # a helper lets go of what it worked on a moment after it was done
    if device.kind is Kind.CUDA:
        pytest.skip("cuda: arrays are CuPy's, and go as those of the emulator do")
    with limited(device) as limit, emulator.configured(checked=False):
        for number in range(7):
            _used(number)
        with _no_collection():
            caches, running, used = _caches(), threading.active_count(), limit.used
            launches = len(launch.launched)
            for number in range(200 if device.kind is Kind.CPU else 30):
                assert _used(number)() is None, f"model {number} is still there"
                assert limit.used == used
        assert (_caches(), threading.active_count(), len(launch.launched)) == (caches, running, launches)


def test_what_python_keeps_does_not_grow() -> None:
    def traced(models: int) -> int:
        for number in range(models):
            _used(number)
        gc.collect()
        return tracemalloc.get_traced_memory()[0]

    traced(21)
    tracemalloc.start()
    try:
        first = traced(21)
        assert traced(42) - first < 42 * 500  # bytes a model, a thousandth of what it takes
    finally:
        tracemalloc.stop()


def test_a_model_knows_its_history_and_the_history_its_model() -> None:
    model = _model()
    history = model.fit(X, Y, verbose=0)
    assert model.history is history and history.model is model
    with _no_collection():
        del model
        assert history.model is None and history.history["loss"]


def test_a_graph_and_its_memory_go_with_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """On `cuda`, up to the door of CuPy; the graph's memory is its own."""
    cupy = FakeCupy()
    monkeypatch.setitem(sys.modules, "cupy", cupy)  # type: ignore[arg-type]
    for module in (arrays, launch, graph):
        monkeypatch.setattr(module, "import_cupy", lambda: cupy)
    monkeypatch.setattr(launch, "launched", set())
    for cached in (launch._cuda_kernel, launch._cuda_module):
        cached.cache_clear()
    gpu = Device(Kind.CUDA)
    y = empty((1000,), np.float32, gpu)

    def work() -> None:
        launch.launch("probe.cu", "probe", grid=4, block=256, args=(y, 1000), real=np.float32)

    captures = Captures("here", gpu)
    for _ in range(3):
        captures.run("probe", work)
    assert captures.graphs == 1
    (captured,) = [seen.graph for seen in captures._seen.values()]
    kept = [weakref.ref(part) for part in (captured, captured._graph, captures._workspace._stream)]
    with _no_collection():
        del captures, captured
        assert [ref() for ref in kept] == [None] * 3


def test_a_model_that_failed_goes_too(device: Device) -> None:
    """Errors of a user's, and what Ctrl-C leaves, keep the model only as long as they are kept."""
    with use_device(device), _no_collection(), emulator.configured(checked=False):
        model = _model()
        model.fit(X, Y, verbose=0)
        with pytest.raises(ValueError, match="must have shape"):
            model.fit(X[:, :4], Y, verbose=0)
        ref = weakref.ref(model)
        del model
    gc.collect()  # pytest.raises keeps the error, and its frames, in a cycle of its own
    assert ref() is None
