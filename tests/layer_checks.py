"""Checks of layers: all their gradients against finite differences, configurations that come back."""

from __future__ import annotations

import json
from typing import Any

import checks
import numpy as np

from gpunet.backend.arrays import Device, HostArray
from gpunet.layers import Layer


def assert_layer_gradients(layer: Layer, x: HostArray, device: Device, training: bool = False) -> None:
    """Check dx and every parameter's gradient of a float64 `layer`, at random dy, against central differences.

    What is differentiated is sum(y dy) plus the activity losses.
    """
    layer.build(x.shape)
    y, backward = layer.apply(checks.on(device, x), training)
    dy = checks.normal(*y.shape, seed=7, dtype=np.float64)

    def value(x: HostArray) -> float:
        layer.clear_activity_losses()
        y, _ = layer.apply(checks.on(device, x), training)
        losses = sum(float(checks.host(loss)[0]) for loss in layer.activity_losses)
        return float((checks.host(y) * dy).sum()) + losses

    dx = backward(checks.on(device, dy))
    assert dx is not None and dx.shape == x.shape
    checks.assert_gradient(value, x, dx)
    for parameter in layer.weights:
        start = parameter.numpy()

        def value_at(w: HostArray, parameter: Any = parameter) -> float:
            parameter.assign(w)
            return value(x)

        assert parameter.gradient is not None, f"{parameter.path} has no gradient"
        checks.assert_gradient(value_at, start, parameter.gradient)
        parameter.assign(start)


def assert_config_comes_back(layer: Layer) -> Layer:
    """Check that the configuration survives JSON and describes the layer in full; return the layer made from it."""
    config = layer.get_config()
    assert json.loads(json.dumps(config)) == config
    again = type(layer).from_config(config)
    assert again.get_config() == config
    return again
