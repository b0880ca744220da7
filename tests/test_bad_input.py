"""Bad input to models: each a clear error that says what was expected and what was given, before anything changes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import gpunet
from gpunet import Conv2D, Dense, Flatten, Input, Sequential

X = np.zeros((6, 4, 4, 1), np.float32)
Y = np.arange(6) % 3


def _model() -> Sequential:
    model = Sequential(
        [Input((4, 4, 1)), Conv2D(2, 3, name="first"), Flatten(), Dense(3, activation="softmax")], name="net"
    )
    model.compile("sgd", "sparse_categorical_crossentropy", ["accuracy"])
    return model


def _with(x: Any, index: Any, value: float) -> Any:
    x = np.array(x, np.float32)
    x[index] = value
    return x


SHAPE = r"Sequential 'net': input must have shape \(None, 4, 4, 1\), the input of Conv2D 'first'; got "


@pytest.mark.parametrize(
    ("x", "y", "error", "message"),
    [
        (np.zeros((6, 5, 4, 1)), Y, ValueError, SHAPE + r"\(6, 5, 4, 1\)"),
        (np.zeros((6, 4, 4)), Y, ValueError, SHAPE + r"\(6, 4, 4\); add the channel axis"),
        (np.zeros((6, 4, 4, 3)), Y, ValueError, SHAPE + r"\(6, 4, 4, 3\)"),
        (np.zeros((0, 4, 4, 1)), Y, ValueError, r"x must have no size 0; got shape \(0, 4, 4, 1\)"),
        (X, Y[:0], ValueError, r"y must have no size 0; got shape \(0,\)"),
        (X, Y[:5], ValueError, "x and y must have as many samples; got 6 in x and 5 in y"),
        (
            _with(X, (2, 1, 0, 0), np.nan),
            Y,
            ValueError,
            r"x must be finite in float32; got nan at index \(2, 1, 0, 0\)",
        ),
        (
            _with(X, (5, 3, 3, 0), np.inf),
            Y,
            ValueError,
            r"x must be finite in float32; got inf at index \(5, 3, 3, 0\)",
        ),
        (X.astype("complex64"), Y, TypeError, "x must be an array of real numbers; got an array of complex64"),
        (X.astype(object), Y, TypeError, "got an array of object"),
        (X, list("abcdef"), TypeError, "y must be an array of real numbers; got a list"),
        (X, [0, 1, 2, 3, 9, -1], ValueError, r"labels from 0 to 2; got 3 other labels, such as 3 at index \(3,\)"),
        (X, [0, 1, 2, 0, 1, 0.5], ValueError, r"y_true must hold whole numbers; got 0.5 at index \(5,\)"),
        (X, _with(Y, 4, np.nan), ValueError, r"y_true must be finite in float32; got nan at index \(4,\)"),
        (X, np.eye(3)[Y], ValueError, "for one-hot targets use 'categorical_crossentropy'"),
        (None, Y, TypeError, "x must be an array; got None"),
        (X, None, TypeError, "y must be an array; got None"),
    ],
)
@pytest.mark.parametrize("method", ["fit", "evaluate", "train_on_batch", "test_on_batch"])
def test_bad_data(method: str, x: Any, y: Any, error: type[Exception], message: str) -> None:
    model = _model()
    before = [weight.tobytes() for weight in model.get_weights()]
    with pytest.raises(error, match=message):
        getattr(model, method)(x, y)
    assert [weight.tobytes() for weight in model.get_weights()] == before
    assert model.history is None and model.optimizer.iterations == 0


@pytest.mark.parametrize("method", ["predict", "predict_on_batch"])
def test_bad_data_to_predict(method: str) -> None:
    model = _model()
    for x, message in (
        (np.zeros((6, 5, 4, 1)), SHAPE),
        (np.zeros((0, 4, 4, 1)), f"Sequential 'net'.{method}: x must have no size 0"),
        (_with(X, (0, 0, 0, 0), -np.inf), f"Sequential 'net'.{method}: x must be finite in float32; got -inf at index"),
    ):
        with pytest.raises(ValueError, match=message):
            getattr(model, method)(x)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"batch_size": 0}, ValueError, "batch_size must be at least 1; got 0"),
        ({"batch_size": 2.5}, TypeError, "batch_size must be an integer; got 2.5"),
        ({"epochs": -1}, ValueError, "epochs must be at least 0; got -1"),
        ({"initial_epoch": -1}, ValueError, "initial_epoch must be at least 0"),
        ({"verbose": 3}, ValueError, "verbose must be one of 'auto', 0, 1, 2; got 3"),
        ({"validation_split": 1.5}, ValueError, "validation_split must be from 0 to 1; got 1.5"),
        ({"validation_split": 0.99}, ValueError, "must leave at least one of 6 samples on either side; got 0.99"),
        ({"validation_data": X}, ValueError, r"validation_data must be a pair \(x, y\), or .*; got one object"),
        ({"validation_data": (X,)}, ValueError, r"validation_data must be a pair \(x, y\), or .*; got 1 of them"),
        ({"validation_data": (X, Y[:2])}, ValueError, "validation_data: x and y must have as many samples"),
        ({"validation_data": (X[:, :3], Y)}, ValueError, SHAPE),
        ({"validation_freq": 0}, ValueError, "validation_freq must be at least 1; got 0"),
        ({"validation_freq": "often"}, TypeError, "validation_freq must be an integer; got 'often'"),
        ({"steps_per_epoch": 0}, ValueError, "steps_per_epoch must be at least 1"),
        ({"validation_batch_size": -2}, ValueError, "validation_batch_size must be at least 1; got -2"),
        ({"shuffle": "batch"}, TypeError, "shuffle must be True or False; got 'batch'"),
        ({"callbacks": [1]}, TypeError, "callbacks must be instances of gpunet.callbacks.Callback; got 1"),
        ({"class_weight": {0: "a"}}, TypeError, "class_weight must be a number; got 'a'"),
    ],
)
def test_bad_arguments_of_fit(arguments: Any, error: type[Exception], message: str) -> None:
    model = _model()
    before = [weight.tobytes() for weight in model.get_weights()]
    with pytest.raises(error, match=message):
        model.fit(X, Y, **arguments)
    assert [weight.tobytes() for weight in model.get_weights()] == before and model.history is None


@pytest.mark.parametrize("method", ["fit", "evaluate", "train_on_batch", "test_on_batch"])
def test_a_model_must_be_compiled_first_and_with_a_loss(method: str) -> None:
    model = Sequential([Input((2,)), Dense(1)])
    with pytest.raises(ValueError, match=rf"{method}: the model must be compiled first; call compile"):
        getattr(model, method)(np.zeros((1, 2)), np.zeros((1, 1)))
    model.compile("sgd")
    with pytest.raises(ValueError, match=rf"{method}: loss must be given to compile; got None"):
        getattr(model, method)(np.zeros((1, 2)), np.zeros((1, 1)))


def test_a_model_used_before_it_was_built() -> None:
    model = Sequential([Dense(1)])
    uses: list[Callable[[], Any]] = [
        lambda: model.output_shape,
        lambda: model.count_params(),
        lambda: model.save("never.gpunet"),
    ]
    for use in uses:
        with pytest.raises((ValueError, AttributeError), match=r"Sequential 'sequential.*buil[dt]"):
            use()


def test_an_empty_model() -> None:
    model = Sequential()
    with pytest.raises(ValueError, match=r"Sequential 'sequential.*': must have a layer to be built"):
        model.predict(np.zeros((1, 2)))


def test_a_kernel_bigger_than_its_input() -> None:
    model = Sequential([Conv2D(2, 5)])
    with pytest.raises(ValueError, match=r"Conv2D 'conv2d.*'"):
        model.predict(np.zeros((1, 4, 4, 1)))
    assert not model.built


def test_an_unknown_device() -> None:
    with pytest.raises(ValueError, match="'auto', 'cpu', 'cuda', 'cuda:N' or 'emulated'; got 'gpu'"):
        gpunet.set_device("gpu")
    with pytest.raises(RuntimeError, match=r"device: cuda:99 is not usable here: "):
        gpunet.set_device("cuda:99")


def test_arrays_of_devices_do_not_mix() -> None:
    model = _model()
    x = gpunet.to_device(X, "emulated")
    with pytest.raises(
        TypeError, match=r"x must be on cpu, where the layer is, or on the host; got an array on emulated"
    ):
        model(x)
