"""Every method of a model that takes data or settings, given anything at all, leaves it as it was when it fails.

Either it works, or a ValueError or TypeError names the argument; then weights, optimizer, streams and built state are
what they were, and so are the bits that the next `fit` gives. The arguments are found by `inspect`; data is small, and
what only takes long is left out: `fit` ends after a step, `profile` and `warmup` once they have checked all. With
GPUNET_TEST_LONG=1 many more examples are drawn.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Iterator
from typing import Any

import hypothesis
import junk
import numpy as np
import pytest
from hypothesis import strategies as st
from small_models import bits

import gpunet
from gpunet import Dense, Dropout, Input, Sequential
from gpunet.backend import random
from gpunet.backend.random import Stream
from gpunet.callbacks import Callback
from gpunet.inspection import inspected

X = np.linspace(-1, 1, 18, dtype=np.float32).reshape(6, 3)
Y = np.arange(6) % 2
METHODS = (
    *("compile", "fit", "evaluate", "predict", "train_on_batch", "test_on_batch", "predict_on_batch"),
    *("profile", "warmup"),
)
STATES = ("unbuilt", "built", "trained")
CASES = [(method, state) for method in METHODS for state in STATES if (method, state) != ("warmup", "unbuilt")]
SAID = {"x": ("input",), "y": ("y_true",)}  # what errors call an argument that a layer or the loss refuses


class _Stop(Callback):
    """Ends a `fit` after its first step, however long it was to be."""

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.model.stop_training = True

    def wants_logs(self, hook: str) -> bool:
        return False


@pytest.fixture(autouse=True)
def _nothing_takes_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inspected, "measure", lambda *_: "measured")
    monkeypatch.setattr(inspected, "warm_up", lambda *_: "warm")


class _Batches:
    """A data set of three batches, as x takes it."""

    def __len__(self) -> int:
        return 3

    def __getitem__(self, index: int) -> Any:
        return X[2 * index : 2 * index + 2], Y[2 * index : 2 * index + 2]


def _model(state: str) -> Sequential:
    gpunet.set_random_seed(1)
    layers = [Dense(4, "relu", name="a"), Dropout(0.5, name="b"), Dense(2, "softmax", name="c")]
    model = Sequential([*([] if state == "unbuilt" else [Input((3,))]), *layers], name="net")
    model.compile("adam", "sparse_categorical_crossentropy", ["accuracy"])
    if state == "trained":
        model.fit(X, Y, verbose=0)
    return model


def _arguments(method: str) -> list[str]:
    return [name for name in inspect.signature(getattr(Sequential, method)).parameters if name != "self"]


def _call(model: Sequential, method: str, given: dict[str, Any], batches: bool = False) -> str | None:
    """Call a method with valid arguments but for those `given`; return a complaint, 'failed', or None if it worked."""
    known = _arguments(method)
    data = {"x": _Batches(), "y": None} if batches else {"x": X, "y": Y}
    valid = {**data, "verbose": 0, "callbacks": _Stop() if method == "fit" else None, "loss": "mse"}
    arguments = {name: value for name, value in valid.items() if name in known} | given
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            getattr(model, method)(**arguments)
    except (ValueError, TypeError) as error:
        if any(junk.names(error, name) for argument in given for name in (argument, *SAID.get(argument, ()))):
            return "failed"
        return f"{type(error).__name__} does not name the argument: {error}"
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return None


def _fingerprint(model: Sequential) -> tuple[Any, ...]:
    """Return everything that a failed call must leave alone."""
    assert model.optimizer is not None
    variables = {name: np.array(value).tobytes() for name, value in model.optimizer.variables.items()}
    parts = model.optimizer, model.loss, model._wanted, model.history, model.layers
    counts = dict(random._state.counts)
    flags = model.built, model.compiled, model.optimizer.built, model.run_eagerly, model.stop_training
    return bits(model), variables, flags, counts, _steps(model), [id(part) for part in parts[:-1]]


def _steps(model: Sequential) -> list[int]:
    return [value.step for layer in model.layers for value in vars(layer).values() if isinstance(value, Stream)]


def _trained_after(model: Sequential) -> list[bytes]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(X, Y, batch_size=2, verbose=0)
    return bits(model)


def _complaints(state: str, method: str, argument: str, batches: bool = False) -> Iterator[str]:
    """Call a method with every value for an argument, on one model as long as it fails; yield what is wrong."""
    model, failing = _model(state), []
    for make in junk.MAKERS:
        value = make()
        before = _fingerprint(model)
        complaint = _call(model, method, {argument: value}, batches)
        if complaint is None:
            model = _model(state)
            continue
        failing.append(make)
        if complaint != "failed":
            yield f"{method}({argument}={junk.shown(value)}): {complaint:.200}"
        if _fingerprint(model) != before:
            yield f"{method}({argument}={junk.shown(value)}) fails and changes the model"
            model = _model(state)
    model = _model(state)
    for make in failing:
        _call(model, method, {argument: make()}, batches)
    if _trained_after(model) != _trained_after(_model(state)):
        yield f"{method}({argument}=...) fails {len(failing)} times, and the next fit gives other bits"


@pytest.mark.parametrize(("method", "state"), CASES)
def test_one_argument_of_a_wrong_kind(method: str, state: str) -> None:
    wrong: list[str] = []
    for argument in _arguments(method):
        wrong += _complaints(state, method, argument)
    assert not wrong, f"{len(wrong)} complaints\n" + "\n".join(wrong)


@pytest.mark.parametrize(("method", "state"), [("fit", "unbuilt"), ("fit", "trained"), ("evaluate", "built")])
def test_one_argument_of_a_wrong_kind_beside_a_data_set(method: str, state: str) -> None:
    wrong: list[str] = []
    for argument in _arguments(method):
        if argument != "x":
            wrong += _complaints(state, method, argument, batches=True)
    assert not wrong, f"{len(wrong)} complaints\n" + "\n".join(wrong)


@junk.examples(300)
@hypothesis.given(st.data())
def test_several_arguments_of_wrong_kinds(data: st.DataObject) -> None:
    method, state = data.draw(st.sampled_from(CASES))
    chosen = data.draw(st.lists(st.sampled_from(_arguments(method)), min_size=1, max_size=3, unique=True))
    given = {argument: data.draw(junk.VALUES, label=argument) for argument in chosen}
    model = _model(state)
    before = _fingerprint(model)
    complaint = _call(model, method, given)
    assert complaint in (None, "failed")
    if complaint == "failed":
        assert _fingerprint(model) == before
        assert _trained_after(model) == _trained_after(_model(state))


def test_the_methods_take_what_they_should() -> None:
    for method, state in CASES:
        assert _call(_model(state), method, {}) is None
    assert {"x", "y", "batch_size", "epochs", "callbacks", "validation_data"} <= set(_arguments("fit"))
    assert len(junk.MAKERS) > 100
