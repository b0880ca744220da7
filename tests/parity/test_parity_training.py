"""Training of several inputs and outputs, sample and class weights against Keras 3: logs, their order, and weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from keras_side import assert_close

import gpunet
from gpunet.backend.arrays import HostArray
from gpunet.models import Model

_R = np.random.default_rng(0)
N = 11
X = [_R.random((N, 3)), _R.random((N, 2))]
Y = [_R.random((N, 1)), _R.integers(0, 4, N)]
W = [_R.random(N) + 0.1, _R.random(N) + 0.1]
CROSS_ENTROPY = "sparse_categorical_crossentropy"


def _two_headed(library: Any, **arguments: Any) -> Any:
    layers, double = library.layers, {"dtype": "float64"}
    a, b = (library.Input((size,), name=name, **double) for size, name in ((3, "in_a"), (2, "in_b")))
    h = layers.Concatenate(**double)([a, b])
    one = layers.Dense(1, name="one", **double)(h)
    two = layers.Dense(4, activation="softmax", name="two", **double)(h)
    model = _model_class(library)([a, b], [one, two])
    return _compiled(library, model, **arguments)


def _model_class(library: Any) -> Any:
    return Model if library is gpunet else library.Model


def _one_headed(library: Any, **arguments: Any) -> Any:
    layer = library.layers.Dense(4, activation="softmax", name="only", dtype="float64")
    model = library.Sequential([library.Input((3,), dtype="float64"), layer])
    return _compiled(library, model, **arguments)


def _compiled(library: Any, model: Any, **arguments: Any) -> Any:
    rng = np.random.default_rng(5)
    model.set_weights([rng.standard_normal(weight.shape) for weight in model.get_weights()])
    model.compile(library.optimizers.SGD(0.1), **arguments)
    return model


def _same(ours: Any, theirs: Any, what: str) -> None:
    """Check nested lists and dicts of numbers, and the order of names."""
    if isinstance(theirs, dict):
        assert list(ours) == list(theirs), what
        for name, value in theirs.items():
            _same(ours[name], value, f"{what}: {name}")
        return
    assert_close(np.asarray(ours, np.float64), np.asarray(theirs, np.float64), what)


def _compare(make: Callable[..., Any], compiling: dict[str, Any], act: Callable[[Any], Any]) -> None:
    import keras

    ours, theirs = make(gpunet, **compiling), make(keras, **compiling)
    _same(act(ours), act(theirs), f"{compiling}")
    for one, other in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        assert_close(one, other, "weights")


COMPILED: list[dict[str, Any]] = [
    {"loss": ["mse", CROSS_ENTROPY]},
    {"loss": {"two": CROSS_ENTROPY, "one": "mse"}, "loss_weights": {"one": 0.5, "two": 2.0}, "metrics": {"two": "acc"}},
    {
        "loss": ["mse", CROSS_ENTROPY],
        "loss_weights": [0.25, 1.0],
        "metrics": [["binary_accuracy"], ["accuracy", "sparse_categorical_accuracy"]],
        "weighted_metrics": [["binary_accuracy"], "accuracy"],
    },
    {"loss": ["mse", None], "metrics": [["binary_accuracy"], None], "loss_weights": [0.5, 1.0]},
]


@pytest.mark.parametrize("compiling", COMPILED, ids=str)
@pytest.mark.parametrize("weights", [None, W, W[0]], ids=["plain", "two weights", "one weight"])
def test_logs_and_weights_of_two_outputs(in_double: None, compiling: dict[str, Any], weights: Any) -> None:
    def act(model: Any) -> Any:
        history = model.fit(
            X, Y, sample_weight=weights, batch_size=4, epochs=2, shuffle=False, validation_split=0.3, verbose=0
        ).history
        listed = model.evaluate(X, Y, sample_weight=weights, batch_size=4, verbose=0)
        named = model.evaluate(X, Y, sample_weight=weights, batch_size=4, verbose=0, return_dict=True)
        step = model.train_on_batch(X, Y, sample_weight=weights)
        tested = model.test_on_batch(X, Y, sample_weight=weights, return_dict=True)
        result = {name: float(value) for name, value in sorted(model.get_metrics_result().items())}
        found = {"history": history, "listed": listed, "named": named, "step": step, "tested": tested, "result": result}
        return found | {"predicted": dict(enumerate(model.predict(X, verbose=0)))}

    _compare(_two_headed, compiling, act)


def test_data_by_name_and_batches_with_weights(in_double: None) -> None:
    names = {"in_b": X[1], "in_a": X[0]}, {"two": Y[1], "one": Y[0]}

    def batches() -> Any:
        for start in range(0, N, 4):
            rows = slice(start, start + 4)
            yield tuple(tuple(array[rows] for array in arrays) for arrays in (X, Y, W))

    def act(model: Any) -> Any:
        first = model.fit(*names, batch_size=4, shuffle=False, verbose=0, validation_data=(X, Y, W)).history
        second = model.fit(batches(), verbose=0).history
        return {"first": first, "second": second, "listed": model.evaluate(*names, batch_size=5, verbose=0)}

    _compare(_two_headed, COMPILED[2], act)


ONE: list[dict[str, Any]] = [
    {"loss": CROSS_ENTROPY, "metrics": ["accuracy"], "weighted_metrics": ["accuracy", "sparse_categorical_accuracy"]},
    {"loss": CROSS_ENTROPY, "metrics": ["accuracy", "accuracy"], "weighted_metrics": ["accuracy"], "loss_weights": 0.5},
]


@pytest.mark.parametrize("compiling", ONE, ids=str)
@pytest.mark.parametrize("weighing", [{}, {"sample_weight": W[0]}, {"class_weight": {0: 0.5, 2: 3.0}}], ids=str)
def test_logs_and_weights_of_one_output(in_double: None, compiling: dict[str, Any], weighing: dict[str, Any]) -> None:
    def act(model: Any) -> Any:
        history = model.fit(
            X[0], Y[1], batch_size=4, epochs=2, shuffle=False, validation_split=0.3, verbose=0, **weighing
        ).history
        step = model.train_on_batch(X[0], Y[1], return_dict=True, **weighing)
        weights = {name: value for name, value in weighing.items() if name == "sample_weight"}
        return {"history": history, "step": step, "listed": model.evaluate(X[0], Y[1], verbose=0, **weights)}

    _compare(_one_headed, compiling, act)


def test_class_weights_of_one_hot_targets(in_double: None) -> None:
    one_hot: HostArray = np.eye(4)[Y[1]]

    def act(model: Any) -> Any:
        return model.fit(X[0], one_hot, class_weight={1: 2.0, 3: 0.25}, batch_size=4, shuffle=False, verbose=0).history

    _compare(_one_headed, {"loss": "categorical_crossentropy", "metrics": ["accuracy"]}, act)
