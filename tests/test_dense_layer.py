"""Dense: values, gradients, arguments."""

from __future__ import annotations

from typing import Any

import checks
import numpy as np
import pytest
from layer_checks import assert_config_comes_back, assert_layer_gradients

from gpunet import activations
from gpunet.backend.arrays import Device
from gpunet.layers import Dense
from gpunet.regularizers import L2

ACTIVATIONS = ["linear", "relu", "leaky_relu", "sigmoid", "tanh", "elu", "gelu", "silu", "softplus", "softmax"]


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_values_and_gradients_of_every_activation(device: Device, activation: str) -> None:
    layer = Dense(5, activation=activation, bias_initializer="ones", dtype="float64")
    x = checks.normal(4, 3, dtype=np.float64)
    y = layer(x)
    w, b = layer.get_weights()
    np.testing.assert_allclose(y, activations.get(activation)(x @ w + b), rtol=1e-12)
    assert_layer_gradients(Dense(5, activation=activation, dtype="float64"), x, device)


@pytest.mark.parametrize("shape", [(4, 3), (2, 5, 3), (2, 3, 2, 3), (1, 1)])
@pytest.mark.parametrize("use_bias", [True, False])
@pytest.mark.parametrize("activation", ["tanh", "softmax"])
def test_any_rank(device: Device, shape: tuple[int, ...], use_bias: bool, activation: str) -> None:
    layer = Dense(4, activation, use_bias=use_bias, bias_initializer="normal", dtype="float64")
    x = checks.normal(*shape, dtype=np.float64)
    y = layer(x)
    z = np.einsum("...k,kn->...n", x, layer.get_weights()[0])
    if use_bias:
        z += layer.get_weights()[1]
    np.testing.assert_allclose(y, activations.get(activation)(z), rtol=1e-12)
    assert layer.compute_output_shape((None, *shape[1:])) == (None, *shape[1:-1], 4)
    assert len(layer.weights) == 1 + use_bias
    assert_layer_gradients(Dense(4, activation, use_bias=use_bias, dtype="float64"), x, device)


def test_activity_regularizer(device: Device) -> None:
    for activation in ("linear", "softmax"):
        layer = Dense(3, activation, activity_regularizer=L2(0.3), dtype="float64")
        x = checks.normal(4, 2, dtype=np.float64)
        y = layer(x)
        assert float(checks.host(layer.activity_losses[0])[0]) == pytest.approx(0.3 * (y**2).sum() / 4)
        assert not layer.ends_in_softmax
        layer(x)
        assert len(layer.activity_losses) == 1
        assert_layer_gradients(Dense(3, activation, activity_regularizer="l1_l2", dtype="float64"), x, device)


def test_logits_stop_before_the_softmax(device: Device) -> None:
    layer = Dense(3, "softmax")
    x = checks.on(device, checks.normal(4, 2))
    layer.build((None, 2))
    assert layer.ends_in_softmax and not Dense(3, "relu").ends_in_softmax
    logits, backward = layer.forward_logits(x, training=True)
    np.testing.assert_allclose(activations.softmax(checks.host(logits)), checks.host(layer(x)), rtol=1e-5)
    assert backward(checks.on(device, np.ones((4, 3), np.float32))).shape == (4, 2)
    with pytest.raises(ValueError, match="forward_logits must be called on a layer that ends in a softmax"):
        Dense(3, "relu").forward_logits(x, training=True)


def _refuse(*arguments: Any) -> Any:
    raise AssertionError("this gradient is not needed")


def test_only_what_is_needed_is_computed(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    layer = Dense(3, dtype="float64")
    layer.build((None, 2))
    x, dy = checks.on(device, np.ones((4, 2)), np.ones((4, 3)))
    layer.kernel.trainable = False
    _, backward = layer.forward(x, training=True)
    assert backward(dy) is not None
    assert layer.kernel.gradient is None and layer.bias is not None and layer.bias.gradient is not None
    layer.trainable = False
    assert layer.bias.gradient is None
    layer.needs_input_gradient = False
    assert not layer.needs_backward
    monkeypatch.setattr("gpunet.layers.dense.dense_kernel_gradient", _refuse)
    monkeypatch.setattr("gpunet.layers.dense.dense_input_gradient", _refuse)
    assert layer.forward(x, training=True)[1](dy) is None
    assert layer.kernel.gradient is None and layer.bias.gradient is None


def test_parameters_and_names(device: Device) -> None:
    layer = Dense(10 * 10 * 256, use_bias=False, input_shape=(100,))
    assert layer.input_shape_argument == (100,)
    assert layer(np.zeros((1, 100))).shape == (1, 25_600)
    assert layer.count_params() == 100 * 25_600
    wide = Dense(128)
    wide.build((None, 1600))
    assert wide.count_params() == 204_928
    assert [w.path for w in wide.weights] == [f"{wide.name}/kernel", f"{wide.name}/bias"]
    assert wide.kernel.device == device
    np.testing.assert_array_equal(wide.get_weights()[1], np.zeros(128))


def test_configuration_with_every_argument() -> None:
    layer = Dense(
        3,
        activation="gelu",
        use_bias=False,
        kernel_initializer="he_normal",
        bias_initializer="ones",
        kernel_regularizer="l1",
        bias_regularizer="l2",
        activity_regularizer="l1_l2",
        kernel_constraint="max_norm",
        bias_constraint="non_neg",
        trainable=False,
        dtype="float64",
        name="mine",
    )
    again = assert_config_comes_back(layer)
    assert isinstance(again, Dense)
    assert (again.units, again.use_bias, again.name, again.dtype, again.trainable) == (
        3,
        False,
        "mine",
        "float64",
        False,
    )
    assert again.activation is activations.gelu
    assert type(again.kernel_constraint).__name__ == "MaxNorm" and type(again.bias_constraint).__name__ == "NonNeg"
    again.build((None, 2))
    assert type(again.kernel.regularizer).__name__ == "L1" and type(again.kernel.constraint).__name__ == "MaxNorm"
    assert again.non_trainable_weights == again.weights


@pytest.mark.parametrize(
    "call, error, message",
    [
        (lambda: Dense(0), ValueError, "Dense 'dense.*': units must be at least 1; got 0"),
        (lambda: Dense(2.5), TypeError, "units must be an integer; got 2.5"),
        (lambda: Dense(3, activation="rellu"), ValueError, "Dense 'dense.*': activation must be one of.*got 'rellu'"),
        (lambda: Dense(3, use_bias=1), TypeError, "use_bias must be True or False; got 1"),
        (lambda: Dense(3, kernel_initializer="x"), ValueError, "kernel_initializer.*must be one of.*got 'x'"),
        (lambda: Dense(3, bias_regularizer="x"), ValueError, "bias_regularizer.*must be one of.*got 'x'"),
        (lambda: Dense(3, kernel_constraint="x"), ValueError, "kernel_constraint.*must be one of.*got 'x'"),
        (lambda: Dense(3, lora_rank=2), TypeError, "Dense: arguments must be among units, activation.*got lora_rank"),
        (lambda: Dense(3, quantization_config=None), TypeError, "got quantization_config"),
        (lambda: Dense(3, dtype="float16"), TypeError, "Dense: dtype must be 'float32' or 'float64'; got 'float16'"),
        (lambda: Dense(3)(np.zeros(4)), ValueError, r"input must have shape \(batch, ..., features\); got \(4,\)"),
        (lambda: Dense(3).build((None, None)), ValueError, "last axis of the input must be known"),
        (lambda: Dense(3).kernel, AttributeError, "must be built before its kernel is used"),
        (lambda: Dense(3).bias, AttributeError, "must be built before its bias is used"),
        (lambda: Dense(3).count_params(), ValueError, "must be built before its parameters are counted"),
    ],
)
def test_bad_arguments(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()


def test_inputs_of_another_shape_are_refused() -> None:
    layer = Dense(3, name="head")
    layer.build((None, 5))
    with pytest.raises(ValueError, match=r"Dense 'head': input must have shape \(batch, ..., 5\); got \(2, 4\)"):
        layer(np.zeros((2, 4)))
    with pytest.raises(ValueError, match="got \\(None, 4\\)"):
        layer.compute_output_shape((None, 4))
