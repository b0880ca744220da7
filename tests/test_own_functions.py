"""Activations with arguments, own functions and layers where layers take an activation; own initializers."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import checks
import numpy as np
import pytest
from layer_checks import assert_config_comes_back, assert_layer_gradients

from gpunet import Input, Sequential, activations, load_model
from gpunet.activations import elu, gelu, leaky_relu, relu, softmax
from gpunet.backend.arrays import Array, Device
from gpunet.initializers import Initializer
from gpunet.layers import Activation, Conv2D, Dense, Flatten, Layer, ReLU, Softmax
from gpunet.ops.activation import Activation as Operation


def cube(x: Array) -> Any:
    return x * x * x, lambda dy: 3 * dy * x * x


class Scale(Layer):
    """y = a x: an activation with a weight."""

    def build(self, input_shape: Any) -> None:
        self.a = self.add_weight((input_shape[-1],), "ones", name="a")

    def forward(self, x: Array, training: bool) -> Any:
        a = self.a.value

        def backward(dy: Array) -> Array:
            self.a.add_gradient((dy * x).reshape(-1, x.shape[-1]).sum(axis=0))
            return dy * a

        return x * a, backward

    def compute_output_shape(self, input_shape: Any) -> Any:
        return input_shape


WITH_ARGUMENTS = [
    partial(relu, max_value=0.5),
    partial(relu, negative_slope=0.2),
    partial(relu, negative_slope=0.3, threshold=0.1),
    partial(leaky_relu, negative_slope=0.3),
    partial(leaky_relu, negative_slope=0),
    partial(elu, alpha=0.5),
    partial(elu, alpha=1),
    partial(gelu, approximate=True),
    partial(gelu, approximate=False),
    partial(softmax, axis=1),
    partial(activations.log_softmax, axis=1),
    partial(activations.sparsemax, axis=1),
    partial(activations.celu, alpha=0.5),
    partial(activations.hard_shrink, threshold=0.3),
    partial(activations.soft_shrink, threshold=0.3),
    partial(activations.squareplus, b=1),
    partial(activations.threshold, threshold=0.2, default_value=-1.0),
    activations.relu6,
    activations.mish,
]


def _title(activation: Any) -> str:
    """Return a name that is the same in every process."""
    return (
        f"{activation.func.__name__}-{activation.keywords}" if isinstance(activation, partial) else activation.__name__
    )


@pytest.mark.parametrize("activation", WITH_ARGUMENTS, ids=_title)
def test_activations_with_arguments(device: Device, activation: Any) -> None:
    x = checks.normal(2, 3, 4, dtype=np.float64)
    layer = Dense(5, activation, dtype="float64")
    layer.build(x.shape)
    y, _ = layer.apply(checks.on(device, x), True)
    np.testing.assert_allclose(checks.host(y), activation(x @ layer.kernel.numpy()), rtol=1e-10, atol=1e-14)
    assert_layer_gradients(Dense(5, activation, dtype="float64"), x, device)
    assert_layer_gradients(Activation(activation, dtype="float64"), x, device)
    again = assert_config_comes_back(Dense(5, activation)).activation
    np.testing.assert_array_equal(again(x), activation(x))


def test_which_are_fused() -> None:
    for activation, operation in (
        (partial(gelu, approximate=True), Operation.GELU_TANH),
        (partial(gelu), Operation.GELU),
        (partial(relu, max_value=6), None),
        (partial(activations.tanh), Operation.TANH),
        (cube, None),
    ):
        assert activations.operation(activations.get(activation)) is operation


def test_own_functions(device: Device) -> None:
    x = checks.normal(3, 4, dtype=np.float64)
    layer = Dense(2, cube, dtype="float64")
    layer.build(x.shape)
    y, _ = layer.apply(checks.on(device, x), True)
    np.testing.assert_allclose(checks.host(y), (x @ layer.kernel.numpy()) ** 3, rtol=1e-12)
    assert layer.activation is cube
    assert_layer_gradients(Dense(2, cube, activity_regularizer="l2", dtype="float64"), x, device)
    assert_layer_gradients(Activation(cube, dtype="float64"), x, device)
    assert_layer_gradients(Conv2D(2, 2, activation=cube, dtype="float64"), x.reshape(1, 3, 2, 2), device)


@pytest.mark.parametrize("make", [lambda: ReLU(0.5, 0.1, dtype="float64"), lambda: Scale(dtype="float64")])
def test_layers_as_activations(device: Device, make: Any) -> None:
    x = checks.normal(3, 4, dtype=np.float64)
    layer = Dense(2, make(), dtype="float64")
    assert_layer_gradients(layer, x, device)
    assert_layer_gradients(Activation(make(), dtype="float64"), x, device)
    z = x @ layer.kernel.numpy() + layer.weights[1].numpy()
    np.testing.assert_allclose(layer(x), layer.activation(z), rtol=1e-12)


def test_weights_of_an_activation_belong_to_the_layer() -> None:
    model = Sequential([Input((3,)), Dense(2, Scale(name="scale"), name="dense")])
    assert list(model.parameters_by_path) == ["dense/kernel", "dense/bias", "dense/scale/a"]
    model.layers[0].trainable = False
    assert model.trainable_weights == []
    assert model.count_params() == 10


def test_a_softmax_layer_is_left_to_the_loss(device: Device) -> None:
    x = checks.on(device, checks.normal(3, 4))
    for make in (Dense, Activation):
        layer = make(activation=Softmax()) if make is Activation else make(2, Softmax())
        layer.build(x.shape)
        assert layer.ends_in_softmax
        logits, _ = layer.forward_logits(x, True)
        checks.assert_same_bits(activations.softmax(logits), layer.forward(x, True)[0])
    assert not Dense(2, Softmax(axis=1)).ends_in_softmax and not Dense(2, ReLU()).ends_in_softmax


def test_a_model_with_all_of_them_is_saved_and_loaded(tmp_path: Path) -> None:
    def tenth(shape: Any, dtype: Any = None) -> Any:
        return np.full(shape, 0.1)

    class Half(Initializer):
        def __call__(self, shape: Any, dtype: Any = None) -> Any:
            return np.full(shape, 0.5, dtype)

    model = Sequential([Input((3,)), Dense(4, cube, kernel_initializer=tenth, bias_initializer=Half())])
    model.add(Dense(4, partial(elu, alpha=0.3)))
    model.add(Dense(4, ReLU(max_value=2)))
    model.add(Dense(2, Scale()))
    model.compile("sgd", "mse")
    assert model.get_weights()[0].dtype == np.float32 and (model.get_weights()[0] == np.float32(0.1)).all()
    x = checks.normal(8, 3)
    model.fit(x, checks.normal(8, 2), verbose=0)
    model.save(tmp_path / "model.gpunet")
    custom = {"cube": cube, "tenth": tenth, "Half": Half, "Scale": Scale}
    loaded = load_model(tmp_path / "model.gpunet", custom_objects=custom)
    checks.assert_same_bits(loaded.predict(x, verbose=0), model.predict(x, verbose=0))
    assert loaded.get_config() == model.get_config()
    assert loaded.layers[0].activation is cube and loaded.layers[0].kernel_initializer is tenth
    for missing in custom:
        with pytest.raises(ValueError, match=rf"load_model: .*{missing}"):
            load_model(tmp_path / "model.gpunet", {name: value for name, value in custom.items() if name != missing})


def test_an_own_function_is_not_taken_for_one_of_the_same_name() -> None:
    def tanh(x: Array) -> Any:
        return x, lambda dy: dy

    config = Dense(2, tanh).get_config()
    with pytest.raises(ValueError, match=r"activation must be an own function that is known here; got 'tanh'"):
        Dense.from_config(config)


def _fit(activation: Any) -> None:
    model = Sequential([Input((3,)), Dense(2), Dense(2, activation, name="last")])
    model.compile("sgd", "mse")
    model.fit(np.zeros((4, 3)), np.zeros((4, 2)), verbose=0)


@pytest.mark.parametrize(
    "call, error, message",
    [
        (lambda: _fit(np.tanh), TypeError, r"Dense 'last': activation must return y and .*; tanh returned ndarray"),
        (lambda: _fit(lambda x: (x, lambda dy: None)), TypeError, "Dense 'last': backward of the activation must ret"),
        (lambda: Dense(2, Flatten()).build((None, 3, 4)), ValueError, r"activation must keep the shape \(None, 3, 2\)"),
        (lambda: Dense(2, ReLU(dtype="float64")), TypeError, "must have dtype float32; got a layer of float64"),
        (lambda: Dense(2, {"class_name": "Relu", "config": {}}), ValueError, "class_name must be one of .*Activation"),
        (
            lambda: Dense(2, kernel_initializer=lambda shape, dtype: np.zeros(3)).build((None, 4)),
            ValueError,
            r"initializer of kernel must return shape \(4, 2\); got \(3,\)",
        ),
        (
            lambda: Dense(2, kernel_initializer=lambda shape, dtype: "zeros").build((None, 4)),
            TypeError,
            "initializer of kernel: x must hold real numbers",
        ),
    ],
)
def test_errors(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()
