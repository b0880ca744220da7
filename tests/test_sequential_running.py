"""SequentialNetwork: running forward and back, freezing, networks inside networks."""

from __future__ import annotations

from typing import Any

import checks
import numpy as np
import pytest
from small_models import named_network

from gpunet.backend.arrays import Device
from gpunet.default_dtype import set_floatx
from gpunet.layers import (
    Activation,
    Dense,
    Dropout,
    Input,
    ReLU,
    Softmax,
)
from gpunet.networks.sequential import SequentialNetwork


def test_gradients_of_a_whole_network(device: Device) -> None:
    set_floatx("float64")
    try:
        model = named_network()
    finally:
        set_floatx("float32")
    assert model.dtype == "float64"
    x = checks.normal(3, 6, 5, 2, dtype=np.float64)
    y, backward = model.forward(checks.on(device, x), training=False)
    dy = checks.normal(3, 3, seed=5, dtype=np.float64)

    def value(x: Any) -> float:
        y, _ = model.forward(checks.on(device, x), training=False)
        (loss,) = model.activity_losses
        return float((checks.host(y) * dy).sum() + checks.host(loss)[0])

    checks.assert_gradient(value, x, backward(checks.on(device, dy)))
    for parameter in model.weights:
        start = parameter.numpy()

        def value_at(w: Any, parameter: Any = parameter) -> float:
            parameter.assign(w)
            return value(x)

        checks.assert_gradient(value_at, start, parameter.gradient)
        parameter.assign(start)
    np.testing.assert_allclose(checks.host(y), model(x), rtol=1e-12)


def test_the_final_softmax_can_be_left_to_the_loss(device: Device) -> None:
    model = named_network()
    x = checks.on(device, checks.normal(3, 6, 5, 2))
    assert model.ends_in_softmax
    logits, backward = model.forward_logits(x, training=False)
    probabilities = np.exp(checks.host(logits)) / np.exp(checks.host(logits)).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(checks.host(model(x)), probabilities, rtol=1e-5)
    assert backward(logits).shape == x.shape and len(model.activity_losses) == 1
    for last in (Dense(2), Softmax(axis=1), Dropout(0.1)):
        model.add(last)
        assert not model.ends_in_softmax
        with pytest.raises(ValueError, match="forward_logits must be called on a layer that ends in a softmax"):
            model.forward_logits(x, training=False)
    model.add(SequentialNetwork([Activation("softmax")]))
    assert model.ends_in_softmax
    assert model.forward_logits(x, training=False)[0].shape == (3, 2)


def test_backward_stops_where_nothing_below_is_trained(device: Device) -> None:
    model = named_network()
    first, second, third = model.get_layer("a"), model.get_layer("b"), model.get_layer("c")
    x = checks.on(device, checks.normal(3, 6, 5, 2))

    def needs() -> list[bool]:
        model.prepare_gradients()
        y, backward = model.forward(x, training=True)
        assert backward(y) is None
        return [layer.needs_input_gradient for layer in model.layers]

    assert needs() == [False] + [True] * 5
    first.trainable = False
    assert needs() == [False] * 4 + [True] * 2
    second.trainable = False
    assert needs() == [False] * 6
    for layer, has_gradient in ((first, False), (second, False), (third, True)):
        assert all((w.gradient is not None) == has_gradient for w in layer.weights)
    third.trainable = False
    assert needs() == [False] * 6
    model.prepare_gradients(needs_input_gradient=True)
    y, backward = model.forward(x, training=True)
    assert backward(y).shape == x.shape
    assert all(w.gradient is None for w in model.weights)


def test_freezing_a_network_freezes_its_layers() -> None:
    inner = SequentialNetwork([Dense(3), Dense(2)])
    model = SequentialNetwork([Input((4,)), inner, Dense(2)], trainable=False)
    assert model.trainable_weights == [] and len(model.non_trainable_weights) == 6
    assert not inner.layers[0].trainable and not inner.layers[0].weights[0].trainable
    model.trainable = True
    assert len(model.trainable_parameters) == 6
    inner.trainable = False
    assert len(model.trainable_parameters) == 2


def test_networks_inside_networks(device: Device) -> None:
    inner = SequentialNetwork([Dense(4, activation="tanh", activity_regularizer="l2", name="d"), ReLU()], name="inner")
    model = SequentialNetwork([Input((3,)), inner, Dense(2, name="d")], name="outer")
    assert inner.built and inner.output_shape == (None, 4)
    assert [w.path for w in model.weights] == ["inner/d/kernel", "inner/d/bias", "d/kernel", "d/bias"]
    assert list(model.parameters_by_path) == [w.path for w in model.weights]
    x = checks.normal(5, 3)
    np.testing.assert_allclose(model(x), model.layers[1](inner(x)), rtol=1e-6)
    model.prepare_gradients()
    y, backward = model.forward(checks.on(device, x), training=True)
    assert len(model.activity_losses) == 1
    assert backward(y) is None and all(w.gradient is not None for w in model.weights)
    assert not inner.layers[0].needs_input_gradient and inner.layers[1].needs_input_gradient


def test_a_layer_may_be_used_twice(device: Device) -> None:
    set_floatx("float64")
    try:
        dense = Dense(3, activation="tanh", activity_regularizer="l1", name="twice")
        model = SequentialNetwork([Input((3,)), dense, ReLU(negative_slope=0.5), dense])
    finally:
        set_floatx("float32")
    assert len(model.layers) == 3 and len(model.weights) == 2
    x, dy = checks.normal(4, 3, dtype=np.float64), checks.normal(4, 3, seed=1, dtype=np.float64)
    model.prepare_gradients()
    _, backward = model.forward(checks.on(device, x), training=True)
    assert len(model.activity_losses) == 2
    backward(checks.on(device, dy))
    start = dense.kernel.numpy()

    def value(w: Any) -> float:
        dense.kernel.assign(w)
        y, _ = model.forward(checks.on(device, x), training=True)
        return float((checks.host(y) * dy).sum() + sum(checks.host(loss)[0] for loss in model.activity_losses))

    checks.assert_gradient(value, start, dense.kernel.gradient)
