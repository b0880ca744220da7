"""Training of networks with several inputs and outputs: losses, logs, data in every form, checkpoints."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import checks
import numpy as np
import pytest

import gpunet
from gpunet import Dense, Input, load_model
from gpunet.backend.arrays import Device
from gpunet.backend.random import set_random_seed
from gpunet.callbacks import BackupAndRestore, Callback
from gpunet.layers import Concatenate, Dropout
from gpunet.models import Model
from gpunet.training.capture import Captures
from gpunet.training.dataset import PyDataset

N = 10
X = [checks.normal(N, 3), checks.normal(N, 2)]
Y = [checks.normal(N, 1), np.arange(N) % 4]
W = [np.linspace(0.5, 2, N).astype(np.float32), np.linspace(2, 0.25, N).astype(np.float32)]
LOSSES = {"one": "mse", "two": "sparse_categorical_crossentropy"}


def _model(loss: Any = LOSSES, **arguments: Any) -> Model:
    set_random_seed(3)
    a, b = Input((3,), name="a"), Input((2,), name="b")
    h = Dropout(0.2, name="drop")(Dense(4, activation="tanh", name="h")(Concatenate(name="both")([a, b])))
    model = Model([a, b], [Dense(1, name="one")(h), Dense(4, activation="softmax", name="two")(h)])
    model.compile("adam", loss, **arguments)
    return model


def _bits(model: Model) -> list[bytes]:
    return [weight.tobytes() for weight in model.get_weights()]


def test_a_step_goes_down_the_weighted_sum_of_the_losses(device: Device) -> None:
    x = Input((1,), name="x")
    plain: dict[str, Any] = {"use_bias": False, "kernel_initializer": "ones"}
    model = Model(x, [Dense(1, name="one", **plain)(x), Dense(1, name="two", **plain)(x)])
    model.compile(gpunet.optimizers.SGD(1.0), "mse", loss_weights=[0.5, 0.25])
    inputs, first, second = np.array([[1.0], [2.0]]), np.array([[0.0], [1.0]]), np.array([[3.0], [2.0]])
    logs = model.train_on_batch(inputs, [first, second], return_dict=True)
    # errors are (1, 1) and (-2, 0): the losses 1 and 2, the gradients 1 + 2 = 3 and -2
    assert logs == {"loss": 0.5 * 1 + 0.25 * 2, "one_loss": 1.0, "two_loss": 2.0}
    assert [float(weight[0, 0]) for weight in model.get_weights()] == [1 - 0.5 * 3, 1 + 0.25 * 2]


def test_an_output_without_a_loss_is_left_alone() -> None:
    model = _model(["mse", None], metrics={"one": ["binary_accuracy"]})
    before = dict(zip(model.parameters_by_path, model.get_weights(), strict=True))
    logs = model.train_on_batch(X, Y[0], return_dict=True)
    assert list(logs) == ["loss", "one_binary_accuracy"]
    after = dict(zip(model.parameters_by_path, model.get_weights(), strict=True))
    unchanged = {path for path in after if np.array_equal(before[path], after[path])}
    assert unchanged == {"two/kernel", "two/bias"}
    assert model.train_on_batch(X, [Y[0], None], return_dict=True)["loss"] < logs["loss"]


class _Batches(PyDataset):
    def __len__(self) -> int:
        return 3

    def __getitem__(self, index: int) -> Any:
        rows = slice(4 * index, 4 * index + 4)
        return tuple([array[rows] for array in arrays] for arrays in (X, Y, W))


def _endless() -> Iterator[Any]:
    while True:
        yield from _Batches()


def _named(model: Model) -> None:
    names = {"b": X[1], "a": X[0], "unused": X[0]}, {"two": Y[1], "one": Y[0]}
    model.fit(*names, 4, 3, sample_weight={"one": W[0], "two": W[1]}, shuffle=False, verbose=0)


def _on_device(model: Model) -> None:
    x, y = ([gpunet.to_device(array, str(model.device)) for array in arrays] for arrays in (X, Y))
    model.fit(x, y, 4, 3, sample_weight=W, shuffle=False, verbose=0)


def _by_hand(model: Model) -> None:
    for _ in range(3):
        for x, y, w in _Batches():
            model.train_on_batch(x, y, w)


WAYS: dict[str, Callable[[Model], object]] = {
    "by name": _named,
    "on the device": _on_device,
    "data set": lambda model: model.fit(_Batches(workers=2), epochs=3, shuffle=False, verbose=0),
    "generator": lambda model: model.fit(_endless(), steps_per_epoch=3, epochs=3, verbose=0),
    "by hand": _by_hand,
}


def test_the_same_samples_give_the_same_bits_however_they_come(device: Device, captures: list[Captures]) -> None:
    expected = _model()
    expected.fit(X, Y, 4, 3, sample_weight=W, shuffle=False, verbose=0)
    assert str(device) == "cpu" or captures[-1].graphs == 2, "of full batches and of the last ones"
    for way, train in WAYS.items():
        model = _model()
        train(model)
        assert _bits(model) == _bits(expected), way
    unweighted = _model()
    unweighted.fit(X, Y, 4, 3, shuffle=False, verbose=0)
    assert _bits(unweighted) != _bits(expected)


def test_predictions_are_a_list_and_evaluations_in_keras_s_order() -> None:
    model = _model(metrics=[["binary_accuracy"], ["accuracy"]])
    one, two = model.predict(X, batch_size=4, verbose=0)
    whole = model.predict_on_batch({"a": X[0], "b": X[1]})
    np.testing.assert_allclose(one, whole[0], rtol=1e-5)
    np.testing.assert_allclose(two, whole[1], rtol=1e-5)
    listed = model.evaluate(X, Y, batch_size=4, verbose=0)
    named = model.evaluate(X, Y, batch_size=4, verbose=0, return_dict=True)
    assert model.metrics_names == ["loss", "one_loss", "two_loss", "one_binary_accuracy", "two_accuracy"]
    assert listed == [named[name] for name in model.metrics_names] and list(named) == sorted(named)
    assert named["two_accuracy"] == pytest.approx(np.mean(two.argmax(axis=1) == Y[1]))
    assert named["one_loss"] == pytest.approx(np.mean((one - Y[0]) ** 2), rel=1e-5)
    assert named["loss"] == pytest.approx(named["one_loss"] + named["two_loss"], rel=1e-6)
    assert model.get_metrics_result() == named
    model.reset_metrics()
    assert set(model.get_metrics_result().values()) == {0.0}


def test_outputs_of_a_dict_are_predicted_as_one() -> None:
    x = Input((3,))
    model = Model(x, {"p": Dense(1)(x), "q": Dense(2)(x)})
    assert {name: y.shape for name, y in model.predict(X[0], verbose=0).items()} == {"p": (N, 1), "q": (N, 2)}


def test_parts_of_a_batch_add_up_to_the_whole() -> None:
    trained = []
    for parts in (1, 3):
        model = _model(loss_weights=[0.5, 2], batch_parts=parts)
        model.get_layer("drop").rate = 0.0
        logs = model.train_on_batch(X, Y, W, return_dict=True)
        trained.append((logs, model.get_weights()))
    for name, value in trained[0][0].items():
        assert trained[1][0][name] == pytest.approx(value, rel=1e-5), name
    for one, other in zip(trained[0][1], trained[1][1], strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)


class _Stop(Callback):
    def __init__(self, batches: int) -> None:
        self._left = batches

    def wants_logs(self, hook: str) -> bool:
        return False

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self._left -= 1
        if not self._left:
            raise InterruptedError


def test_a_training_that_was_cut_off_goes_on_with_the_same_bits(tmp_path: Path) -> None:
    def fit(folder: str, *callbacks: Callback) -> tuple[Model, dict[str, list[float]]]:
        model = _model(loss_weights={"one": 0.5, "two": 1})
        backup = BackupAndRestore(tmp_path / folder, 1)
        arguments: dict[str, Any] = {"sample_weight": W, "validation_split": 0.2, "verbose": 0}
        history = model.fit(X, Y, 3, 3, callbacks=[*callbacks, backup], **arguments).history
        return model, history

    expected, history = fit("whole")
    with contextlib.suppress(InterruptedError):
        fit("cut", _Stop(5))
    model, resumed = fit("cut")
    assert _bits(model) == _bits(expected) and resumed == history


def test_a_saved_model_is_compiled_as_it_was(tmp_path: Path) -> None:
    model = _model(loss_weights={"one": 0.5, "two": 2}, metrics={"two": ["accuracy"]}, weighted_metrics=[[], []])
    model.fit(X, Y, 4, verbose=0)
    model.save(tmp_path / "model.gpunet")
    loaded = load_model(tmp_path / "model.gpunet")
    assert loaded.get_compile_config() == model.get_compile_config()
    assert loaded.evaluate(X, Y, verbose=0) == model.evaluate(X, Y, verbose=0)
    for one in (model, loaded):
        one.fit(X, Y, 4, shuffle=False, verbose=0)
    assert _bits(loaded) == _bits(model)


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (
            {"loss": {"one": "mse"}},
            r"compile: loss must be a list of 2 losses, for one, two, .*; got a dict without two",
        ),
        ({"loss": {**LOSSES, "three": "mse"}}, r"compile: loss must have no names but one, two; got 'three'"),
        ({"loss": ["mse"]}, r"compile: loss must be a list of 2 losses, .*; got a list of 1"),
        ({"loss": LOSSES, "loss_weights": 0.5}, r"compile: loss_weights must be a list of 2 numbers.*; got a float"),
        ({"loss": LOSSES, "loss_weights": [1, "x"]}, r"compile: loss_weights must be a number; got 'x'"),
        ({"loss": LOSSES, "metrics": ["accuracy"]}, r"compile: metrics must be a list of 2 lists of metrics, for one"),
        (
            {"loss": LOSSES, "metrics": {"x": ["accuracy"]}},
            r"compile: metrics must have no names but one, two; got 'x'",
        ),
    ],
)
def test_compile_refuses_what_does_not_fit_the_outputs(arguments: dict[str, Any], match: str) -> None:
    model = _model()
    before = model.get_compile_config()
    with pytest.raises((ValueError, TypeError), match=match):
        model.compile("sgd", **arguments)
    assert model.get_compile_config() == before


@pytest.mark.parametrize(
    ("data", "match"),
    [
        ((X[0], Y), r"fit: x must be a list of 2 arrays, for a, b, or a dict by these names; got an array of shape"),
        (({"a": X[0]}, Y), r"fit: x must be .*; got a dict without b"),
        ((X, [Y[0]]), r"fit: y must be a list of 2 arrays, for one, two.*; got a list of 1"),
        ((X, {"one": Y[0], "two": Y[1], "c": 1}), r"fit: y must have no names but one, two; got 'c'"),
        (([X[0], X[1][:4]], Y), r"fit: x\['a'\] and x\['b'\] must have as many samples; got 10 in x\['a'\] and 4 in"),
        (([X[1], X[0]], Y), r"input 'a' must have shape \(None, 3\); got \(10, 2\)"),
        ((X, [Y[0], Y[1] + 1]), r"fit: y\['two'\]: .*y_true must hold labels from 0 to 3"),
        ((X, [Y[0], Y[1][:3]]), r"fit: x\['a'\] and y\['two'\] must have as many samples"),
    ],
)
def test_data_that_does_not_fit_is_refused_by_name(data: Any, match: str) -> None:
    model = _model()
    before = _bits(model)
    with pytest.raises(ValueError, match=match):
        model.fit(*data, verbose=0)
    assert _bits(model) == before


def test_a_loss_that_is_not_finite_is_found_behind_either_output() -> None:
    model = _model({"one": "mse", "two": "mse"}, nonfinite="raise")
    before = _bits(model)
    targets = [np.zeros((N, 1)), np.full((N, 4), 1e30)]
    with pytest.raises(FloatingPointError, match=r"loss must be finite; got inf in the loss.*, in step 1"):
        model.fit(X, targets, N, verbose=0)
    assert _bits(model) == before


def test_a_dataset_without_an_end_needs_a_number_of_steps() -> None:
    class Endless(_Batches):
        num_batches = None  # type: ignore[assignment]

        def __getitem__(self, index: int) -> Any:
            return super().__getitem__(index % 3)

    history = _model().fit(Endless(), steps_per_epoch=4, epochs=2, verbose=0)
    assert history.params["steps"] == 4 and len(history.history["one_loss"]) == 2
    with pytest.raises(ValueError, match=r"Endless: max_queue_size must be at least 1; got 0"):
        Endless(max_queue_size=0)
