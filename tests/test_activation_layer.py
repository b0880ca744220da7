"""Activation, ReLU and Softmax layers."""

from __future__ import annotations

from typing import Any

import checks
import numpy as np
import pytest
from layer_checks import assert_config_comes_back, assert_layer_gradients

from gpunet import activations
from gpunet.backend.arrays import Device
from gpunet.layers import Activation, ReLU, Softmax

NAMES = ["linear", "relu", "leaky_relu", "sigmoid", "tanh", "elu", "gelu", "silu", "softplus", "softmax"]


@pytest.mark.parametrize("name", NAMES)
def test_activation(device: Device, name: str) -> None:
    layer = Activation(name, dtype="float64")
    x = checks.normal(3, 2, 5, dtype=np.float64)
    np.testing.assert_allclose(layer(x), activations.get(name)(x), rtol=1e-12)
    assert layer.compute_output_shape((None, 2, 5)) == (None, 2, 5)
    assert_layer_gradients(layer, x, device)
    assert Activation(activations.get(name)).activation is layer.activation


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"max_value": 1.0},
        {"negative_slope": 0.3},
        {"threshold": 0.5},
        {"max_value": 2.0, "negative_slope": 0.1, "threshold": 0.25},
    ],
)
def test_relu(device: Device, arguments: dict[str, float]) -> None:
    layer = ReLU(**arguments, dtype="float64")
    x = 2 * checks.normal(4, 15, dtype=np.float64)
    slope, threshold = arguments.get("negative_slope", 0), arguments.get("threshold", 0)
    expected = np.where(x > threshold, np.minimum(x, arguments.get("max_value", np.inf)), slope * (x - threshold))
    np.testing.assert_allclose(layer(x), expected, rtol=1e-12)
    assert_layer_gradients(layer, x, device)


@pytest.mark.parametrize("axis", [-1, 1, 0, 2])
def test_softmax(device: Device, axis: int) -> None:
    layer = Softmax(axis, dtype="float64")
    x = checks.normal(3, 2, 5, dtype=np.float64)
    np.testing.assert_allclose(layer(x), np.exp(x) / np.exp(x).sum(axis=axis, keepdims=True), rtol=1e-12)
    assert_layer_gradients(layer, x, device)


def test_which_end_in_a_softmax(device: Device) -> None:
    x = checks.on(device, checks.normal(3, 2))
    for layer in (Softmax(), Activation("softmax")):
        assert layer.ends_in_softmax
        logits, backward = layer.forward_logits(x, training=True)
        checks.assert_same_bits(logits, x)
        checks.assert_same_bits(backward(x), x)
    for other in (Softmax(axis=1), Softmax(activity_regularizer="l1"), Activation("relu"), ReLU()):
        assert not other.ends_in_softmax
        with pytest.raises(ValueError, match="forward_logits must be called on a layer that ends in a softmax"):
            other.forward_logits(x, training=True)


def test_configurations() -> None:
    assert_config_comes_back(Activation("gelu", name="act"))
    assert_config_comes_back(ReLU(6.0, 0.1, 0.5, dtype="float64"))
    assert_config_comes_back(Softmax(1, trainable=False))


@pytest.mark.parametrize(
    "call, error, message",
    [
        (lambda: Activation("rellu"), ValueError, "Activation 'activation.*': activation must be one of.*got 'rellu'"),
        (lambda: Activation(3), TypeError, "Activation 'activation.*': activation must be a name or a function; got 3"),
        (
            lambda: Activation(np.tanh)([1.0]),
            TypeError,
            r"Activation 'activation.*': activation must return y and the closure .*; tanh returned ndarray",
        ),
        (lambda: ReLU(max_value=-1), ValueError, "ReLU 're_lu.*': max_value must be finite and at least 0; got -1"),
        (lambda: ReLU(negative_slope=-1), ValueError, "negative_slope must be finite and at least 0; got -1"),
        (lambda: ReLU(threshold=None), TypeError, "threshold must be a number; got None"),
        (
            lambda: Softmax(axis=2)(np.zeros((2, 3))),
            ValueError,
            "Softmax 'softmax.*': axis must be one of.*2 axes; got 2",
        ),
        (lambda: Softmax(axis=(1, 2)), TypeError, "axis must be an integer"),
    ],
)
def test_bad_arguments(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()
