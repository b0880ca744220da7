"""The functions of gpunet.activations: values, dtypes, devices, names."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import checks
import numpy as np
import pytest

from gpunet import activations
from gpunet.backend.arrays import Device, device_of
from gpunet.ops.activation import Activation


def _gelu(x: float) -> float:
    return x * (1 + math.erf(x / math.sqrt(2))) / 2


FORMULAS = {
    "linear": lambda x: x,
    "relu": lambda x: max(x, 0.0),
    "leaky_relu": lambda x: x if x > 0 else 0.2 * x,
    "sigmoid": lambda x: 1 / (1 + math.exp(-x)),
    "tanh": math.tanh,
    "elu": lambda x: x if x > 0 else math.expm1(x),
    "gelu": _gelu,
    "silu": lambda x: x / (1 + math.exp(-x)),
    "softplus": lambda x: math.log1p(math.exp(x)),
    "relu6": lambda x: min(max(x, 0.0), 6.0),
    "selu": lambda x: 1.0507009873554805 * (x if x > 0 else 1.6732632423543772 * math.expm1(x)),
    "celu": lambda x: x if x > 0 else math.expm1(x),
    "softsign": lambda x: x / (1 + abs(x)),
    "hard_sigmoid": lambda x: min(max(x / 6 + 0.5, 0.0), 1.0),
    "hard_silu": lambda x: x * min(max(x / 6 + 0.5, 0.0), 1.0),
    "hard_tanh": lambda x: min(max(x, -1.0), 1.0),
    "tanh_shrink": lambda x: x - math.tanh(x),
    "hard_shrink": lambda x: x if abs(x) > 0.5 else 0.0,
    "soft_shrink": lambda x: math.copysign(max(abs(x) - 0.5, 0.0), x),
    "squareplus": lambda x: (x + math.sqrt(x * x + 4)) / 2,
    "sparse_plus": lambda x: 0.0 if x <= -1 else x if x >= 1 else (x + 1) ** 2 / 4,
    "sparse_sigmoid": lambda x: min(max((x + 1) / 2, 0.0), 1.0),
    "mish": lambda x: x * math.tanh(math.log1p(math.exp(x))),
    "log_sigmoid": lambda x: -math.log1p(math.exp(-x)),
    "exponential": math.exp,
}


@pytest.mark.parametrize("name", FORMULAS)
def test_values(device: Device, name: str) -> None:
    x = np.linspace(-5, 5, 21).reshape(3, 7)
    y = activations.get(name)(checks.on(device, x))
    assert device_of(y) == device and y.dtype == np.float64
    expected = np.vectorize(FORMULAS[name], otypes=[float])(x)
    np.testing.assert_allclose(checks.host(y), expected, rtol=1e-12, atol=1e-15)


def test_softmax(device: Device) -> None:
    x = checks.normal(2, 3, 4, dtype=np.float64)
    for axis in (-1, 0, 1):
        y = checks.host(activations.softmax(checks.on(device, x), axis=axis))
        np.testing.assert_allclose(y, np.exp(x) / np.exp(x).sum(axis=axis, keepdims=True), rtol=1e-12)


def test_relu_with_every_argument(device: Device) -> None:
    x = checks.on(device, np.array([-2.0, 0.5, 1.0, 1.5, 9.0]))
    y = activations.relu(x, negative_slope=0.5, max_value=6.0, threshold=1.0)
    np.testing.assert_allclose(checks.host(y), [-1.5, -0.25, 0.0, 1.5, 6.0])
    np.testing.assert_allclose(checks.host(activations.leaky_relu(x, negative_slope=0.5))[0], -1.0)


def test_elu_and_gelu_with_every_argument(device: Device) -> None:
    x = np.linspace(-5, 5, 21)
    elu = np.where(x > 0, x, 0.5 * np.expm1(x))
    np.testing.assert_allclose(checks.host(activations.elu(checks.on(device, x), alpha=0.5)), elu, rtol=1e-14)
    gelu = x / 2 * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
    y = checks.host(activations.gelu(checks.on(device, x), approximate=True))
    np.testing.assert_allclose(y, gelu, rtol=1e-10, atol=1e-15)


@pytest.mark.parametrize(
    "x, dtype",
    [
        ([1, -2], np.float32),
        ([1.0, -2.0], np.float32),
        (np.array([1, -2]), np.float32),
        (np.array([True, False]), np.float32),
        (np.array([1, 200], np.uint8), np.float32),
        (np.array([1.0, -2.0]), np.float64),
        (np.array([1.0, -2.0], np.float16), np.float32),
    ],
)
def test_dtypes(x: Any, dtype: type) -> None:
    assert activations.relu(x).dtype == dtype


def test_names_come_back() -> None:
    for name in [*FORMULAS, "softmax", "log_softmax", "sparsemax", "glu"]:
        function = getattr(activations, name)
        assert activations.get(name) is function and activations.get(function) is function
        assert activations.serialize(function) == name and activations.deserialize(name) is function
    assert activations.get(None) is activations.linear
    assert activations.get("swish") is activations.silu and activations.get("hard_swish") is activations.hard_silu
    threshold = partial(activations.threshold, threshold=0.5, default_value=-1.0)
    again = activations.deserialize(activations.serialize(activations.get(threshold)))
    np.testing.assert_array_equal(again([0.0, 0.5, 2.0]), [-1, -1, 2])
    assert activations.operation(activations.gelu) is Activation.GELU
    assert activations.operation(activations.softmax) is None


@pytest.mark.parametrize(
    "call, error, message",
    [
        (lambda: activations.get("rellu"), ValueError, "activation must be one of 'linear', 'relu'.*; got 'rellu'"),
        (lambda: activations.get(3), TypeError, "activation must be a name or a function; got 3"),
        (lambda: activations.get(Activation), TypeError, "must be a name or a function; got <enum 'Activation'>"),
        (lambda: activations.get({"class_name": "relu"}), ValueError, "must have 'class_name' and 'config'"),
        (lambda: activations.get(partial(activations.elu, beta=1)), TypeError, "elu must fit; .*argument 'beta'"),
        (lambda: activations.get(partial(activations.tanh, [1.0])), TypeError, "tanh must fit; too many positional"),
        (lambda: activations.get(partial(activations.elu, x=[1.0])), TypeError, "elu must fit; multiple values"),
        (lambda: activations.relu(np.array([1j])), TypeError, "relu: x must hold real numbers; got dtype complex128"),
        (lambda: activations.tanh(["a"]), TypeError, "tanh: x must hold real numbers"),
        (lambda: activations.elu([1.0], alpha="2"), TypeError, "elu: alpha must be a number; got '2'"),
        (lambda: activations.relu([1.0], max_value="2"), TypeError, "relu: max_value must be a number; got '2'"),
        (lambda: activations.relu([1.0], threshold=None), TypeError, "relu: threshold must be a number; got None"),
        (lambda: activations.leaky_relu([1.0], None), TypeError, "negative_slope must be a number; got None"),
        (lambda: activations.gelu([1.0], approximate=1), TypeError, "gelu: approximate must be True or False; got 1"),
        (
            lambda: activations.get("threshold"),
            TypeError,
            "threshold must fit; missing a required argument",
        ),
        (lambda: activations.celu([1.0], alpha=0), ValueError, r"celu: alpha must be above 0; got 0\.0"),
        (
            lambda: activations.hard_shrink([1.0], -1),
            ValueError,
            "threshold must be finite and at least 0; got -1",
        ),
        (lambda: activations.squareplus([1.0], -1), ValueError, "squareplus: b must be finite and at least 0; got -1"),
        (lambda: activations.softmax(np.zeros((2, 3)), axis=2), ValueError, "softmax: axis must be one of the 2 axes"),
        (lambda: activations.sigmoid(np.zeros((0, 3))), ValueError, "must have at least one element"),
    ],
)
def test_bad_arguments(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()
