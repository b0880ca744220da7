"""Conv2D: values against a loop in float64, gradients, shapes, arguments."""

from __future__ import annotations

from typing import Any

import checks
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from layer_checks import assert_config_comes_back, assert_layer_gradients

from gpunet import activations
from gpunet.backend.arrays import Device, HostArray
from gpunet.layers import Conv2D

CASES: list[tuple[tuple[int, int, int], dict[str, Any]]] = [
    ((5, 6, 2), {"filters": 3, "kernel_size": 3}),
    ((5, 6, 2), {"filters": 3, "kernel_size": (3, 2), "padding": "same", "use_bias": False}),
    ((7, 6, 1), {"filters": 2, "kernel_size": 2, "strides": (3, 2), "padding": "same"}),
    ((9, 8, 2), {"filters": 2, "kernel_size": (2, 3), "dilation_rate": (3, 2)}),
    ((9, 8, 2), {"filters": 2, "kernel_size": 3, "dilation_rate": 2, "padding": "SAME"}),
    ((4, 4, 4), {"filters": 6, "kernel_size": 2, "groups": 2}),
    ((1, 1, 1), {"filters": 1, "kernel_size": 1}),
]


def _convolve(layer: Conv2D, x: HostArray) -> HostArray:
    """Return z, pixel by pixel, by Keras's rules for shapes and padding."""
    w = layer.get_weights()[0]
    n, height, width, _ = x.shape
    r, s, depth, filters = w.shape
    spans = [(size - 1) * rate + 1 for size, rate in zip((r, s), layer.dilation_rate, strict=True)]
    sizes, before = [], []
    for size, span, stride in zip((height, width), spans, layer.strides, strict=True):
        out = -(-size // stride) if layer.padding == "same" else (size - span) // stride + 1
        needed = max((out - 1) * stride + span - size, 0) if layer.padding == "same" else 0
        sizes.append(out)
        before.append(needed // 2)
    z = np.zeros((n, *sizes, filters))
    for p, q, i, j in np.ndindex(*sizes, r, s):
        h = p * layer.strides[0] - before[0] + i * layer.dilation_rate[0]
        v = q * layer.strides[1] - before[1] + j * layer.dilation_rate[1]
        if 0 <= h < height and 0 <= v < width:
            for f in range(filters):
                first = f // (filters // layer.groups) * depth
                z[:, p, q, f] += x[:, h, v, first : first + depth] @ w[i, j, :, f]
    return z + layer.get_weights()[1] if layer.use_bias else z


@pytest.mark.parametrize("image, arguments", CASES)
def test_values_and_gradients(device: Device, image: tuple[int, int, int], arguments: dict[str, Any]) -> None:
    layer = Conv2D(**arguments, activation="tanh", bias_initializer="normal", dtype="float64")
    x = checks.normal(2, *image, dtype=np.float64)
    y = layer(x)
    np.testing.assert_allclose(y, np.tanh(_convolve(layer, x)), rtol=1e-11, atol=1e-13)
    assert layer.compute_output_shape((None, *image)) == (None, *y.shape[1:])
    assert_layer_gradients(Conv2D(**arguments, activation="tanh", dtype="float64"), x, device)


@given(
    image=st.tuples(st.integers(1, 7), st.integers(1, 7)),
    kernel=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    steps=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    dilated=st.booleans(),
    padding=st.sampled_from(["valid", "same"]),
    groups=st.integers(1, 2),
)
def test_any_geometry(
    device: Device,
    image: tuple[int, int],
    kernel: tuple[int, int],
    steps: tuple[int, int],
    dilated: bool,
    padding: str,
    groups: int,
) -> None:
    strides, rates = ((1, 1), steps) if dilated else (steps, (1, 1))
    spans = [(size - 1) * rate + 1 for size, rate in zip(kernel, rates, strict=True)]
    assume(padding == "same" or all(span <= size for span, size in zip(spans, image, strict=True)))
    layer = Conv2D(
        2 * groups, kernel, strides, padding, dilation_rate=rates, groups=groups, use_bias=False, dtype="float64"
    )
    x = checks.normal(2, *image, 3 * groups, dtype=np.float64)
    y = layer(x)
    np.testing.assert_allclose(y, _convolve(layer, x), rtol=1e-10, atol=1e-12)
    assert layer.compute_output_shape((2, *x.shape[1:])) == y.shape


@pytest.mark.parametrize("activation", ["relu", "gelu", "softmax"])
def test_activations(device: Device, activation: str) -> None:
    layer = Conv2D(4, 2, activation=activation, activity_regularizer="l2", dtype="float64")
    x = checks.normal(2, 3, 4, 2, dtype=np.float64)
    np.testing.assert_allclose(layer(x), activations.get(activation)(_convolve(layer, x)), rtol=1e-11)
    again = Conv2D(4, 2, activation=activation, activity_regularizer="l2", dtype="float64")
    assert_layer_gradients(again, x, device)


def _refuse(*arguments: Any) -> Any:
    raise AssertionError("this gradient is not needed")


def test_only_what_is_needed_is_computed(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    layer = Conv2D(3, 2, trainable=False)
    layer.build((None, 3, 3, 1))
    layer.needs_input_gradient = False
    monkeypatch.setattr("gpunet.layers.convolution.convolution_kernel_gradient", _refuse)
    monkeypatch.setattr("gpunet.layers.convolution.convolution_input_gradient", _refuse)
    monkeypatch.setattr("gpunet.layers.convolution.convolution_gradients", _refuse)
    y, backward = layer.forward(checks.on(device, np.ones((2, 3, 3, 1), np.float32)), training=True)
    assert backward(y) is None
    assert all(w.gradient is None for w in layer.weights)


@pytest.mark.parametrize(
    "arguments, shape, expected, count",
    [
        ({"filters": 16, "kernel_size": (3, 3)}, (None, 50, 50, 1), (None, 48, 48, 16), 160),
        ({"filters": 32, "kernel_size": 3}, (None, 24, 24, 16), (None, 22, 22, 32), 4_640),
        ({"filters": 8, "kernel_size": 3, "strides": 2, "padding": "same"}, (4, 7, 8, 2), (4, 4, 4, 8), 152),
        ({"filters": 8, "kernel_size": 5, "dilation_rate": 2}, (None, 20, 20, 3), (None, 12, 12, 8), 608),
        ({"filters": 8, "kernel_size": 3, "groups": 4, "use_bias": False}, (None, 8, 8, 4), (None, 6, 6, 8), 72),
        ({"filters": 8, "kernel_size": 3}, (None, None, None, 3), (None, None, None, 8), 224),
    ],
)
def test_shapes_and_counts(
    arguments: dict[str, Any], shape: tuple[int | None, ...], expected: tuple[int | None, ...], count: int
) -> None:
    layer = Conv2D(**arguments)
    assert layer.compute_output_shape(shape) == expected
    layer.build(shape)
    assert layer.count_params() == count


def test_images_of_another_size_are_taken_and_of_other_channels_refused() -> None:
    layer = Conv2D(2, 3, name="eye")
    assert layer(np.zeros((1, 5, 5, 3))).shape == (1, 3, 3, 2)
    assert layer(np.zeros((1, 7, 6, 3))).shape == (1, 5, 4, 2)
    with pytest.raises(ValueError, match=r"Conv2D 'eye': input must have shape \(batch, height, width, 3\); got"):
        layer(np.zeros((1, 5, 5, 1)))


def test_configuration_with_every_argument() -> None:
    layer = Conv2D(
        4,
        (3, 2),
        strides=(2, 1),
        padding="same",
        data_format="channels_last",
        dilation_rate=1,
        groups=2,
        activation="relu",
        use_bias=False,
        kernel_initializer="he_uniform",
        bias_initializer="ones",
        kernel_regularizer="l1",
        bias_regularizer="l2",
        activity_regularizer="l1",
        kernel_constraint="unit_norm",
        bias_constraint="non_neg",
        name="eye",
    )
    again = assert_config_comes_back(layer)
    assert isinstance(again, Conv2D)
    assert (again.kernel_size, again.strides, again.padding, again.groups) == ((3, 2), (2, 1), "same", 2)
    dilated = assert_config_comes_back(Conv2D(4, 3, dilation_rate=(2, 3)))
    assert isinstance(dilated, Conv2D) and dilated.dilation_rate == (2, 3)


@pytest.mark.parametrize(
    "call, error, message",
    [
        (lambda: Conv2D(0, 3), ValueError, "Conv2D 'conv2d.*': filters must be at least 1; got 0"),
        (lambda: Conv2D(4, (3, 3, 3)), ValueError, r"kernel_size must be one integer or two; got \(3, 3, 3\)"),
        (lambda: Conv2D(4, 0), ValueError, "kernel_size must be at least 1; got 0"),
        (lambda: Conv2D(4, 3, strides=0), ValueError, "strides must be at least 1; got 0"),
        (lambda: Conv2D(4, 3, padding="full"), ValueError, "padding must be one of 'valid', 'same'; got 'full'"),
        (
            lambda: Conv2D(4, 3, data_format="channels_first"),
            ValueError,
            "must be 'channels_last'; got 'channels_first'",
        ),
        (lambda: Conv2D(4, 3, groups=3), ValueError, "filters must be a multiple of groups, 3; got 4"),
        (
            lambda: Conv2D(4, 3, strides=2, dilation_rate=2),
            ValueError,
            "strides must be 1 where dilation_rate is above 1",
        ),
        (
            lambda: Conv2D(4, 3, groups=2)(np.zeros((1, 5, 5, 3))),
            ValueError,
            "channels of the input must be a multiple",
        ),
        (lambda: Conv2D(4, 3)(np.zeros((2, 5, 5))), ValueError, r"got \(2, 5, 5\); add the channel axis"),
        (lambda: Conv2D(4, 6)(np.zeros((2, 5, 5, 1))), ValueError, "Conv2D 'conv2d.*: kernel size must be at most 5"),
        (lambda: Conv2D(4, 3).build((None, 5, 5, None)), ValueError, "channels of the input must be known"),
        (lambda: Conv2D(4, 3, lora_rank=1), TypeError, "Conv2D: arguments must be among filters.*got lora_rank"),
    ],
)
def test_bad_arguments(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()
