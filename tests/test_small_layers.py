"""Identity, ActivityRegularization, LeakyReLU, ELU, Lambda; glu, which halves an axis, in layers."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import checks
import numpy as np
import pytest
from layer_checks import assert_config_comes_back, assert_layer_gradients

from gpunet import Dense, Input, Sequential, activations, load_model
from gpunet.backend.arrays import Device
from gpunet.layers import ELU, Activation, ActivityRegularization, Identity, Lambda, LeakyReLU
from gpunet.ops.activation import Activation as Operation

X = checks.normal(4, 6, dtype=np.float64)


def double(x: Any, factor: float = 2.0) -> Any:
    return factor * x, lambda dy: factor * dy


def halved(x: Any, training: bool) -> Any:
    return x[:, :3] * (2 if training else 1)


@pytest.mark.parametrize(
    "make, expected",
    [
        (Identity, X),
        (partial(LeakyReLU, 0.3), np.where(X > 0, X, 0.3 * X)),
        (partial(ELU, 0.5), np.where(X > 0, X, 0.5 * np.expm1(X))),
        (partial(ActivityRegularization, 0.1, 0.2), X),
    ],
)
def test_layers(device: Device, make: Any, expected: Any) -> None:
    layer = make(dtype="float64")
    y, _ = layer.apply(checks.on(device, X), False)
    np.testing.assert_allclose(checks.host(y), expected, rtol=1e-14)
    assert_layer_gradients(make(dtype="float64"), X, device)
    assert_config_comes_back(layer)
    assert layer.compute_output_shape((None, 6)) == (None, 6)


def test_activity_regularization_adds_to_the_loss(device: Device) -> None:
    layer = ActivityRegularization(0.1, 0.2, dtype="float64")
    layer.apply(checks.on(device, X), True)
    (loss,) = layer.activity_losses
    assert checks.host(loss)[0] == pytest.approx((0.1 * abs(X).sum() + 0.2 * (X * X).sum()) / 4)
    assert "activity_regularizer" not in layer.get_config()


def test_which_become_one_op_with_a_product() -> None:
    assert [layer.as_operation for layer in (LeakyReLU(0.2), LeakyReLU(0), ELU(1), LeakyReLU(), ELU(0.5))] == [
        *(Operation.LEAKY_RELU, Operation.RELU, Operation.ELU),
        *(None, None),
    ]
    with pytest.warns(DeprecationWarning, match="LeakyReLU: alpha is the old name; say negative_slope"):
        assert LeakyReLU(alpha=0.1).negative_slope == 0.1


def test_a_lambda_is_trained_through(device: Device) -> None:
    assert_layer_gradients(Lambda(double, arguments={"factor": 3.0}, dtype="float64"), X, device)
    forward_only = Lambda(halved, name="half", dtype="float64")
    assert forward_only.compute_output_shape((None, 6)) == (None, 3)
    x = checks.on(device, X)
    np.testing.assert_array_equal(checks.host(forward_only.apply(x, False)[0]), X[:, :3])
    y, backward = forward_only.apply(x, True)
    np.testing.assert_array_equal(checks.host(y), 2 * X[:, :3])
    with pytest.raises(TypeError, match=r"Lambda 'half': function must return y and the closure .*trainable=False"):
        backward(y)
    forward_only.prepare_gradients(False)
    assert backward(y) is None


def test_shapes_of_a_lambda() -> None:
    assert Lambda(double, (3, None)).compute_output_shape((None, 4)) == (None, 3, None)
    assert Lambda(double, lambda shape: (shape[0], 7)).compute_output_shape((5, 4)) == (5, 7)
    with pytest.raises(ValueError, match="input_shape must be known but for the batch"):
        Lambda(double).compute_output_shape((None, None))


def test_a_lambda_with_nothing_trained_below(device: Device) -> None:
    """Its function needs no way back there, in `fit` either."""
    model = Sequential([Input((6,)), Lambda(halved), Dense(1)])
    model.compile("sgd", "mse")
    model.fit(X, X[:, :1], epochs=1, verbose=0)
    model = Sequential([Input((6,)), Dense(6), Lambda(halved), Dense(1)])
    model.compile("sgd", "mse")
    with pytest.raises(TypeError, match="function must return y and the closure backward"):
        model.fit(X, X[:, :1], epochs=1, verbose=0)


def test_a_file_holds_the_name_of_a_lambdas_function(tmp_path: Path) -> None:
    path = tmp_path / "model.gpunet"
    model = Sequential([Input((6,)), Lambda(double, arguments={"factor": 3.0}), Dense(2)])
    model.save(path)
    with pytest.raises(ValueError, match=r"Lambda: function must be an own function .*'double'.*custom_objects"):
        load_model(path)
    again = load_model(path, custom_objects={"double": double})
    np.testing.assert_array_equal(again.predict(X, verbose=0), model.predict(X, verbose=0))


@pytest.mark.parametrize(
    "call, error, message",
    [
        (lambda: Lambda("x"), TypeError, "Lambda '.*': function must be callable; got 'x'"),
        (lambda: Lambda(double, mask=3), ValueError, "Lambda '.*': mask must be None"),
        (
            lambda: Lambda(double, arguments=[1]),
            TypeError,
            r"arguments must be a dict by names; got \[1\]",
        ),
        (lambda: LeakyReLU(-1), ValueError, "LeakyReLU '.*': negative_slope must be finite and at least 0; got -1"),
        (lambda: ELU("1"), TypeError, "ELU '.*': alpha must be a number; got '1'"),
        (lambda: Dense(4, "glu"), ValueError, r"Dense '.*': activation must keep the shape .*Activation\('glu'\)"),
        (lambda: Activation("glu").compute_output_shape((None, 5)), ValueError, "glu: x must have an even size along"),
    ],
)
def test_bad_arguments(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize("axis", [1, -1])
def test_glu_halves_an_axis(device: Device, axis: int) -> None:
    layer = Activation(partial(activations.glu, axis=axis), dtype="float64")
    x = checks.normal(3, 4, 6, dtype=np.float64)
    assert_layer_gradients(layer, x, device)
    assert_config_comes_back(layer)
    half = {1: (None, 2, 6), -1: (None, 4, 3)}[axis]
    assert layer.compute_output_shape((None, 4, 6)) == half
    assert layer(x).shape[1:] == half[1:]
