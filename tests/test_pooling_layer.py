"""Pooling layers: values against loops, gradients, shapes, arguments."""

from __future__ import annotations

from typing import Any

import checks
import numpy as np
import pytest
from layer_checks import assert_config_comes_back, assert_layer_gradients

from gpunet import layers
from gpunet.backend.arrays import Device
from gpunet.layers import (
    AveragePooling1D,
    AveragePooling2D,
    GlobalAveragePooling1D,
    GlobalAveragePooling2D,
    GlobalMaxPooling1D,
    GlobalMaxPooling2D,
    MaxPooling1D,
    MaxPooling2D,
)

CASES: list[dict[str, Any]] = [
    {},
    {"pool_size": 3, "strides": 1, "padding": "same"},
    {"pool_size": (2, 3), "strides": (3, 2), "padding": "SAME"},
    {"pool_size": (3, 2)},
]


def _pool(x: np.ndarray, layer: MaxPooling2D | AveragePooling2D, reduce: Any) -> np.ndarray:
    n, height, width, channels = x.shape
    windows = []
    for size, pool, stride in zip((height, width), layer.pool_size, layer.strides, strict=True):
        same = layer.padding == "same"
        out = -(-size // stride) if same else (size - pool) // stride + 1
        before = max((out - 1) * stride + pool - size, 0) // 2 if same else 0
        starts = [p * stride - before for p in range(out)]
        windows.append([slice(max(start, 0), start + pool) for start in starts])
    y = np.empty((n, len(windows[0]), len(windows[1]), channels))
    for p, rows in enumerate(windows[0]):
        for q, columns in enumerate(windows[1]):
            y[:, p, q] = reduce(x[:, rows, columns], axis=(1, 2))
    return y


@pytest.mark.parametrize("cls, reduce", [(MaxPooling2D, np.max), (AveragePooling2D, np.mean)])
@pytest.mark.parametrize("arguments", CASES)
def test_values_and_gradients(device: Device, cls: Any, reduce: Any, arguments: dict[str, Any]) -> None:
    layer = cls(**arguments, dtype="float64")
    x = checks.normal(2, 5, 7, 3, dtype=np.float64)
    y = layer(x)
    np.testing.assert_allclose(y, _pool(x, layer, reduce), rtol=1e-12)
    assert layer.compute_output_shape((None, 5, 7, 3)) == (None, *y.shape[1:])
    assert layer.compute_output_shape((None, None, 7, None)) == (None, None, y.shape[2], None)
    assert_layer_gradients(layer, x, device)
    layer.needs_input_gradient = False
    assert not layer.needs_backward


@pytest.mark.parametrize("cls, other", [(MaxPooling1D, MaxPooling2D), (AveragePooling1D, AveragePooling2D)])
@pytest.mark.parametrize("arguments", [{}, {"pool_size": (3,), "strides": 2, "padding": "same"}])
def test_sequences_are_images_of_one_row(device: Device, cls: Any, other: Any, arguments: dict[str, Any]) -> None:
    layer, x = cls(**arguments, dtype="float64"), checks.normal(2, 8, 3, dtype=np.float64)
    image = {"pool_size": (1, layer.pool_size[0]), "strides": (1, layer.strides[0]), "padding": layer.padding}
    y = layer(x)
    checks.assert_same_bits(y, other(**image, dtype="float64")(x[:, None])[:, 0])
    assert layer.compute_output_shape((None, 8, 3)) == (None, *y.shape[1:])
    assert layer.compute_output_shape((None, None, None)) == (None, None, None)
    assert_layer_gradients(layer, x, device)


@pytest.mark.parametrize("keepdims", [False, True])
@pytest.mark.parametrize(
    "cls, reduce",
    [
        (GlobalAveragePooling2D, np.mean),
        (GlobalAveragePooling1D, np.mean),
        (GlobalMaxPooling2D, np.max),
        (GlobalMaxPooling1D, np.max),
    ],
)
def test_global_pooling(device: Device, cls: Any, reduce: Any, keepdims: bool) -> None:
    layer = cls(keepdims=keepdims, dtype="float64")
    x = checks.normal(2, 5, *(() if cls.__name__.endswith("1D") else (3,)), 4, dtype=np.float64)
    y = layer(x)
    axes = tuple(range(1, x.ndim - 1))
    np.testing.assert_allclose(y, reduce(x, axis=axes, keepdims=keepdims), rtol=1e-12)
    assert layer.compute_output_shape(x.shape) == y.shape
    assert_layer_gradients(layer, x, device)


def test_names_and_configurations() -> None:
    assert layers.MaxPool2D is MaxPooling2D and layers.AvgPool2D is AveragePooling2D
    assert layers.GlobalAvgPool2D is GlobalAveragePooling2D
    for cls in (MaxPooling2D, AveragePooling2D):
        assert cls().strides == cls().pool_size == (2, 2)
        again = assert_config_comes_back(cls((3, 2), 1, "same", "channels_last", "pool", activity_regularizer="l1"))
        assert (again.name, again.pool_size, again.strides) == ("pool", (3, 2), (1, 1))  # type: ignore[attr-defined]
    for cls in (MaxPooling1D, AveragePooling1D):
        assert cls().strides == cls().pool_size == (2,)
        again = assert_config_comes_back(cls(3, 1, "same", "channels_last", "pool", activity_regularizer="l1"))
        assert (again.name, again.pool_size, again.strides) == ("pool", (3,), (1,))  # type: ignore[attr-defined]
    for kind in (GlobalAveragePooling1D, GlobalAveragePooling2D, GlobalMaxPooling1D, GlobalMaxPooling2D):
        assert_config_comes_back(kind("channels_last", keepdims=True, dtype="float64"))
    assert MaxPooling2D().built and MaxPooling2D().count_params() == 0


@pytest.mark.parametrize(
    "call, error, message",
    [
        (lambda: MaxPooling2D(0), ValueError, "MaxPooling2D 'max_pooling2d.*': pool_size must be at least 1; got 0"),
        (lambda: MaxPooling2D(2, strides=0), ValueError, "strides must be at least 1"),
        (lambda: MaxPooling2D(2, padding="full"), ValueError, "padding must be one of 'valid', 'same'; got 'full'"),
        (lambda: AveragePooling2D(2, data_format="channels_first"), ValueError, "must be 'channels_last'"),
        (lambda: GlobalAveragePooling2D("channels_first"), ValueError, "must be 'channels_last'"),
        (lambda: GlobalAveragePooling2D(keepdims=1), TypeError, "keepdims must be True or False"),
        (lambda: MaxPooling2D(2)(np.zeros((2, 5, 5))), ValueError, r"input must have shape \(batch, height, width, ch"),
        (lambda: MaxPooling2D(4)(np.zeros((1, 3, 5, 1))), ValueError, "must be at most"),
        (lambda: MaxPooling2D(4).compute_output_shape((None, 3, 5, 1)), ValueError, "MaxPooling2D 'max_.*at most 3"),
        (lambda: MaxPooling1D((2, 2)), ValueError, r"pool_size must be one integer; got \(2, 2\)"),
        (
            lambda: MaxPooling1D(2)(np.zeros((2, 5))),
            ValueError,
            r"input must have shape \(batch, steps, channels\); got",
        ),
        (lambda: AveragePooling1D(4)(np.zeros((1, 3, 1))), ValueError, "must be at most 3"),
        (
            lambda: GlobalMaxPooling1D()(np.zeros((1, 3, 1, 1))),
            ValueError,
            r"must have shape \(batch, steps, channels\)",
        ),
        (lambda: GlobalMaxPooling2D("channels_first"), ValueError, "must be 'channels_last'"),
        (lambda: MaxPooling2D(2, pool=3), TypeError, "MaxPooling2D: arguments must be among pool_size.*got pool"),
    ],
)
def test_bad_arguments(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()
