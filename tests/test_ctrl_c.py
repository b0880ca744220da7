"""Ctrl-C at any moment: the model is that of one step, whole, and everything goes on.

A trace function counts the lines of gpunet that are run, and calls the handler of SIGINT at a chosen one, as Python
would there. (test_fit_interrupt.py has what `fit` promises; here nothing is known of where it comes.)
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from types import FrameType
from typing import Any

import checks
import numpy as np
import pytest
from small_models import bits, digits

import gpunet
from gpunet import Conv2D, Dense, Flatten, Input, MaxPooling2D, Sequential
from gpunet.backend import compiler, emulator, recording, threads
from gpunet.backend.arrays import CPU, EMULATED, Device, to_host
from gpunet.backend.graph import Workspace
from gpunet.backend.interrupts import patient, undisturbed

PACKAGE = str(Path(gpunet.__file__).parent)
X, Y = digits(16)
PARTS = ((X[:8], Y[:8]), (X[8:], Y[8:]))


class _Moment:
    """A trace function that interrupts at the lines with these numbers."""

    def __init__(self, *numbers: int) -> None:
        self.lines = 0
        self._numbers = frozenset(numbers)

    def __call__(self, frame: FrameType, event: str, argument: Any) -> Any:
        if not frame.f_code.co_filename.startswith(PACKAGE):
            return None
        self.lines += event == "line"
        if event == "line" and self.lines in self._numbers:
            handler: Any = signal.getsignal(signal.SIGINT)
            handler(signal.SIGINT, frame)
        return self


def _lines_of(work: Callable[[], object]) -> int:
    moment = _Moment()
    sys.settrace(moment)
    try:
        work()
    finally:
        sys.settrace(None)
    return moment.lines


def _interrupt(work: Callable[[], object], *numbers: int) -> None:
    """Do `work`, interrupted at these lines; its last lines may be past the last moment for KeyboardInterrupt."""
    sys.settrace(_Moment(*numbers))
    try:
        work()
    except KeyboardInterrupt:
        pass
    finally:
        sys.settrace(None)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler, "a handler was left behind"
    assert threads._blas._inside == 0, "NumPy's BLAS is still held to one thread"


def _moments(lines: int, most: int, seed: int) -> Iterator[int]:
    """Yield numbers of lines, at most so many unless the tests may take long: one of each part of the lines."""
    if checks.LONG or lines <= most:
        yield from range(1, lines + 1)
        return
    rng = np.random.default_rng(seed)
    bounds = np.linspace(1, lines, most + 1).astype(int)
    yield from (int(rng.integers(low, high)) for low, high in pairwise(bounds))


@pytest.fixture(autouse=True)
def _fast() -> Iterator[None]:
    """What emulated kernels do is checked elsewhere."""
    with emulator.configured(checked=False):
        yield


def _layers() -> list[Any]:
    return [
        Conv2D(4, 3, activation="relu", kernel_regularizer="l2"),
        MaxPooling2D(2),
        Flatten(),
        Dense(5, activation="tanh", activity_regularizer="l2"),
        Dense(10, activation="softmax"),
    ]


def _model() -> Sequential:
    with gpunet.random_seed(1):
        model = Sequential([Input((8, 8, 1)), *_layers()])
    model.compile("adam", "sparse_categorical_crossentropy", ["accuracy"])
    return model


def _state(model: Sequential) -> list[bytes]:
    assert model.optimizer is not None
    return [*bits(model), *(to_host(array).tobytes() for array in model.optimizer.variables.values())]


WORK: dict[str, Callable[[Sequential], object]] = {
    "fit": lambda model: model.fit(X, Y, batch_size=8, epochs=2, shuffle=False, verbose=0),
    "train_on_batch": lambda model: [model.train_on_batch(*PARTS[number % 2]) for number in range(4)],
    "evaluate": lambda model: model.evaluate(X, Y, batch_size=8, verbose=0),
    "test_on_batch": lambda model: model.test_on_batch(X, Y),
    "predict": lambda model: model.predict(X, batch_size=8, verbose=0),
    "predict_on_batch": lambda model: model.predict_on_batch(X),
}


@pytest.mark.parametrize("name", WORK)
@pytest.mark.parametrize("presses", [1, 2])
def test_the_model_is_that_of_one_step(device: Device, name: str, presses: int) -> None:
    """Weights, slots and step count are those after some whole number of steps, and training goes on from there."""
    after = _model()
    after._new_step()
    states = [_state(after)]
    for number in range(6):
        after.train_on_batch(*PARTS[number % 2])
        states.append(_state(after))
    work = WORK[name]
    lines = _lines_of(lambda: work(_model()))
    rng = np.random.default_rng(0)
    for moment in _moments(lines, 12 if device == CPU else 3, presses):
        model = _model()
        later = [int(moment + 10 ** rng.uniform(0, 3)) for _ in range(presses - 1)]
        _interrupt(lambda model=model: work(model), moment, *later)
        assert model.optimizer is not None
        steps = model.optimizer.iterations
        if model.optimizer.built:
            assert _state(model) == states[steps], f"interrupted at line {moment} of {lines}: not the state of a step"
        assert bits(model) == states[steps][: len(bits(model))]
        model.train_on_batch(*PARTS[steps % 2])
        assert _state(model) == states[steps + 1], f"interrupted at line {moment} of {lines}: another next step"
        assert np.isfinite(model.predict(X, verbose=0)).all()


def test_a_layer_is_built_or_not() -> None:
    def built(model: Sequential, layers: list[Any]) -> None:
        for layer in layers[len(model.layers) :]:
            model.add(layer)

    def check(model: Sequential) -> None:
        assert [weight.shape for weight in model.weights] == [(3, 3, 1, 4), (4,), (36, 5), (5,), (5, 10), (10,)]
        model.compile("sgd", "sparse_categorical_crossentropy")
        assert np.isfinite(model.train_on_batch(X, Y))

    lines = _lines_of(lambda: built(Sequential([Input((8, 8, 1))]), _layers()))
    for moment in _moments(lines, 25, 3):
        model, layers = Sequential([Input((8, 8, 1))]), _layers()
        _interrupt(lambda model=model, layers=layers: built(model, layers), moment)
        built(model, layers)
        check(model)
    lines = _lines_of(lambda: Sequential(_layers()).build((None, 8, 8, 1)))
    for moment in _moments(lines, 25, 4):
        model = Sequential(_layers())
        _interrupt(lambda model=model: model.build((None, 8, 8, 1)), moment)
        model.build((None, 8, 8, 1))
        check(model)


def test_a_layer_whose_building_was_interrupted_last_of_all_is_taken_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """The last moment before `add` returns."""
    model, layer = Sequential([Input((8, 8, 1)), Flatten()]), Dense(3)
    shape = model.output_shape
    with monkeypatch.context() as patch:
        build = Sequential._build_rest

        def interrupted(self: Sequential) -> None:
            build(self)
            raise KeyboardInterrupt

        patch.setattr(Sequential, "_build_rest", interrupted)
        with pytest.raises(KeyboardInterrupt):
            model.add(layer)
    assert len(model.layers) == 1 and model.output_shape == shape and not layer.built
    model.add(layer)
    assert model.output_shape == (None, 3) and len(layer.weights) == 2


def test_a_replayed_step_is_done_to_its_end() -> None:
    """As on a GPU, where it is one call."""
    done: list[str] = []

    def work() -> None:
        recording.note(lambda: done.append("begun"))
        recording.note(lambda: signal.raise_signal(signal.SIGINT))
        recording.note(lambda: signal.raise_signal(signal.SIGINT))
        recording.note(lambda: done.append("ended"))

    graph = Workspace(EMULATED).capture(work, [])
    with pytest.raises(KeyboardInterrupt), patient():
        graph.launch()
    assert done == ["begun", "ended"]


def test_a_model_is_compiled_as_before_or_anew() -> None:
    def again(model: Sequential) -> None:
        model.compile("sgd", "sparse_categorical_crossentropy")

    first = _model()
    lines = _lines_of(lambda: again(first))
    for moment in range(1, lines + 1, 1 if checks.LONG else 4):
        model = _model()
        model.train_on_batch(X, Y)
        _interrupt(lambda model=model: again(model), moment)
        numbers = model.train_on_batch(X, Y, return_dict=True)
        assert model.optimizer is not None
        assert list(numbers) == {"adam": ["accuracy", "loss"], "sgd": ["loss"]}[model.optimizer.name]


@pytest.mark.filterwarnings("ignore:.*unclosed file:ResourceWarning")  # a trace can raise just before a file's close
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_saved_model_is_the_old_or_the_new_one(tmp_path: Path) -> None:
    path = tmp_path / "digits.gpunet"
    model = _model()
    for moment in _moments(_lines_of(lambda: model.save(path)), 25, 5):
        model.save(path)
        before = bits(model)
        model.train_on_batch(X, Y)
        _interrupt(lambda: model.save(path), moment)
        assert bits(gpunet.load_model(path)) in (before, bits(model))
        assert [file.name for file in tmp_path.iterdir()] == [path.name]


_PROGRAM = """
import sys, time
import numpy as np
import gpunet
from gpunet import Dense, Dropout, Input, Sequential
from gpunet.callbacks import LambdaCallback

rng = np.random.default_rng(0)
x, y = rng.random((64, 20), np.float32), rng.integers(0, 3, 64)
model = Sequential([Input((20,)), Dense(30, activation="relu"), Dropout(0.2), Dense(3, activation="softmax")])
model.compile("adam", "sparse_categorical_crossentropy")
model.train_on_batch(x, y)
work = {
    "fit": lambda: model.fit(x, y, epochs=10**6, verbose=0),
    "train_on_batch": lambda: [model.train_on_batch(x, y) for _ in iter(int, 1)],
    "evaluate": lambda: [model.evaluate(x, y, verbose=0) for _ in iter(int, 1)],
    "predict": lambda: [model.predict(x, verbose=0) for _ in iter(int, 1)],
}
for name in sys.argv[1:]:
    try:
        print("begun", flush=True)
        work[name]()
    except KeyboardInterrupt:
        pass
    variables = model.optimizer.variables
    assert all(np.isfinite(value).all() for value in (*model.get_weights(), *map(gpunet.to_host, variables.values())))
    before = model.optimizer.iterations
    model.fit(x, y, batch_size=16, verbose=0)
    assert model.optimizer.iterations == before + 4
print("ended", flush=True)
"""


def test_real_signals_at_random_moments(device: Device) -> None:
    """Three of each kind of work, in a process of its own, pressed after 1 to 20 ms."""
    rng = np.random.default_rng(0)
    works = [name for _ in range(3) for name in ("fit", "train_on_batch", "evaluate", "predict")]
    environment = os.environ | {"GPUNET_DEVICE": str(device), "GPUNET_EMULATOR_CHECK": "0"}
    with subprocess.Popen(
        [sys.executable, "-c", _PROGRAM, *works],
        env=environment,
        bufsize=0,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as child:
        assert child.stdout is not None and child.stderr is not None
        for _ in works:
            if child.stdout.readline() != b"begun\n":
                break
            threading.Event().wait(float(rng.uniform(0.001, 0.02)))
            child.send_signal(signal.SIGINT)
            while not select.select([child.stdout], [], [], 20)[0]:  # Python drops one that comes in a finalizer
                child.send_signal(signal.SIGINT)
        assert child.stdout.readline() == b"ended\n", child.stderr.read().decode()
    assert child.returncode == 0


def test_the_compiler_does_not_hear_ctrl_c() -> None:
    """A terminal sends it to the whole group of processes; a compiler that it ends would seem to fail."""
    groups = compiler._run([sys.executable, "-c", "import os; print(os.getpgid(0), os.getpid())"]).split()
    assert groups[0] == groups[1] != str(os.getpgid(0))


def test_blocks_hold_ctrl_c_back() -> None:
    passed: list[str] = []

    def press() -> None:
        signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt), undisturbed():
        press()
        with undisturbed():
            press()
        passed.append("all of it")
    with pytest.raises(KeyboardInterrupt), patient():
        press()
        passed.append("once")
        press()
        passed.append("never")
    with pytest.raises(KeyboardInterrupt), patient():
        with undisturbed():
            press()
            press()
            passed.append("both")
        passed.append("never")
    assert passed == ["all of it", "once", "both"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_handler_of_the_program_s_own_is_called_as_often() -> None:
    caught: list[int] = []

    def handle(number: int, frame: FrameType | None) -> None:
        caught.append(number)

    previous = signal.signal(signal.SIGINT, handle)
    try:
        with undisturbed():
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)
            assert caught == []
        assert caught == [signal.SIGINT] * 2
        assert signal.getsignal(signal.SIGINT) is handle
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        with undisturbed(), patient():
            assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, previous)


def test_other_threads_change_no_handler() -> None:
    seen: list[object] = []

    def other() -> None:
        with undisturbed():
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=other)
    thread.start()
    thread.join()
    assert seen == [signal.default_int_handler]


def test_not_even_a_second_ctrl_c_ends_an_update(monkeypatch: pytest.MonkeyPatch) -> None:
    model = _model()
    model.train_on_batch(X, Y)
    assert model.optimizer is not None
    update = model.optimizer.update

    def pressed_twice(*arguments: Any) -> None:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        update(*arguments)

    monkeypatch.setattr(model.optimizer, "update", pressed_twice)
    twin = _model()
    for _ in range(2):
        twin.train_on_batch(X, Y)
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, Y, batch_size=16, shuffle=False, verbose=0)
    assert _state(model) == _state(twin)
