"""The data that fit, evaluate, predict and the on_batch methods take, and what they return."""

from __future__ import annotations

import math
from typing import Any

import checks
import numpy as np
import pytest
from small_models import bits, column, digits, linear, small_cnn

from gpunet import Dense, Dropout, Input, Sequential
from gpunet.backend.arrays import Device, device_of

# Data


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.float64, np.float16, np.bool_])
def test_inputs_are_cast(dtype: Any) -> None:
    x = np.array([[0], [1]], dtype)
    assert linear().evaluate(x, x.astype(np.float32), verbose=0) == 0


def test_user_data_is_not_changed() -> None:
    x, y = digits(20)
    kept = x.copy(), y.copy()
    x.flags.writeable = y.flags.writeable = False
    model = small_cnn()
    model.fit(x, y, verbose=0, shuffle=False)
    model.predict(x, verbose=0)
    checks.assert_same_bits(x, kept[0])
    checks.assert_same_bits(y, kept[1])


def test_arrays_of_a_device_are_taken(device: Device) -> None:
    x, y = checks.on(device, column(1, 2), column(1, 2))
    assert linear().fit(x, y, verbose=0).history["loss"] == [0.0]


def test_a_model_without_input_shape_is_built_by_its_first_data(device: Device) -> None:
    for first in ("fit", "evaluate", "train_on_batch", "test_on_batch"):
        model = Sequential([Dense(1)])
        model.compile("sgd", "mse")
        getattr(model, first)(column(1), column(1))
        assert model.output_shape == (None, 1)
    for first in ("predict", "predict_on_batch"):
        model = Sequential([Dense(1)])
        assert getattr(model, first)(column(1)).shape == (1, 1)


def test_a_failing_fit_leaves_the_model_as_it_was() -> None:
    model = Sequential([Dense(3, activation="softmax")])
    model.compile("sgd", "sparse_categorical_crossentropy")
    with pytest.raises(ValueError, match="labels from 0 to 2; got 1 other label, such as 7"):
        model.fit(np.zeros((4, 2)), [0, 1, 2, 7], verbose=0)
    assert not model.built and model.weights == []
    with pytest.raises(ValueError, match="validation_data: x and y must have as many samples"):
        model.fit(np.zeros((4, 2)), [0, 1, 2, 2], validation_data=(np.zeros((4, 2)), [0]), verbose=0)
    assert not model.built and model.weights == []
    model.fit(np.zeros((4, 5)), [0, 1, 2, 2], verbose=0)  # so other data may build it
    before = bits(model)
    with pytest.raises(ValueError, match="labels from 0 to 2"):
        model.fit(np.zeros((4, 5)), [0, 1, 2, 3], verbose=0)
    assert bits(model) == before and model.optimizer.iterations == 1


# Evaluation and prediction


def test_evaluate_returns_what_keras_does() -> None:
    x, y = digits(10)
    model = small_cnn()
    loss, accuracy = model.evaluate(x, y, verbose=0)
    assert model.evaluate(x, y, verbose=0, return_dict=True) == {"loss": loss, "accuracy": accuracy}
    assert model.metrics_names == ["loss", "accuracy"]
    assert isinstance(linear().evaluate(column(1), column(1), verbose=0), float)


def test_predict_returns_the_kind_of_array_it_was_given(device: Device) -> None:
    x = digits(10)[0]
    model = small_cnn()
    y = model.predict(x, batch_size=4, verbose=0)
    assert type(y) is np.ndarray and y.shape == (10, 10)
    np.testing.assert_allclose(y.sum(axis=1), 1, rtol=1e-5)
    there = model.predict(checks.on(device, x), batch_size=4, verbose=0)
    assert device_of(there) == device
    checks.assert_same_bits(there, y)
    assert type(model.predict(x.tolist(), verbose=0)) is np.ndarray
    assert device_of(model.predict_on_batch(checks.on(device, x))) == device
    np.testing.assert_allclose(model.predict_on_batch(x), y, rtol=1e-5)


def test_on_batch_methods_return_loss_and_metrics(device: Device) -> None:
    x, y = digits(10)
    model = small_cnn()
    tested = model.test_on_batch(x, y)
    assert tested == pytest.approx(model.evaluate(x, y, verbose=0))
    assert model.test_on_batch(x, y, return_dict=True) == {"loss": tested[0], "accuracy": tested[1]}
    assert math.isfinite(model.train_on_batch(x, y, return_dict=True)["loss"])
    assert model.optimizer.iterations == 1
    assert isinstance(linear().train_on_batch(column(1), column(1)), float)


def test_dropout_works_in_training_only() -> None:
    model = Sequential([Input((1000,)), Dropout(0.5)])
    model.compile("sgd", "mse")
    x = np.ones((1, 1000), np.float32)
    assert model.evaluate(x, x, verbose=0) == 0
    assert model.train_on_batch(x, x) == 1  # dropped: (0 - 1)^2, kept: (2 - 1)^2
