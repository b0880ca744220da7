"""Every layer against Keras 3: y, dx, the weights' gradients, losses of regularizers, output shapes, arguments."""

from __future__ import annotations

import inspect
from functools import partial
from typing import Any

import numpy as np
import pytest
from keras_side import compare, compare_layers

from gpunet import activations, layers
from gpunet.backend.arrays import Device, HostArray

pytestmark = pytest.mark.usefixtures("in_double")

ACTIVATIONS = [None, "linear", "relu", "leaky_relu", "sigmoid", "tanh", "softmax", "elu", "gelu", "silu", "softplus"]
REGULARIZERS = [None, "l1", "l2", "L1L2"]


def _input(rng: np.random.Generator, *shape: int) -> HostArray:
    return rng.standard_normal(shape)


def _choose(rng: np.random.Generator, options: list[Any]) -> Any:
    return options[int(rng.integers(len(options)))]


@pytest.mark.parametrize("seed", range(12))
def test_dense(device: Device, seed: int) -> None:
    rng = np.random.default_rng(seed)
    shape = tuple(int(size) for size in rng.integers(1, 6, size=rng.integers(2, 5)))
    compare_layers(
        "Dense",
        _input(rng, *shape),
        device,
        seed=seed,
        units=int(rng.integers(1, 40)),
        activation=ACTIVATIONS[seed % len(ACTIVATIONS)],
        use_bias=bool(rng.integers(2)),
        kernel_regularizer=_choose(rng, REGULARIZERS),
        bias_regularizer=_choose(rng, REGULARIZERS),
        activity_regularizer=_choose(rng, REGULARIZERS),
    )


@pytest.mark.parametrize("seed", range(24))
def test_conv2d(device: Device, seed: int) -> None:
    rng = np.random.default_rng(seed)
    groups = int(rng.integers(1, 4))
    dilated = bool(rng.integers(2))  # Keras takes strides or dilation, not both
    kernel = tuple(int(size) for size in rng.integers(1, 4, size=2))
    ones = (1, 1)
    compare_layers(
        "Conv2D",
        _input(rng, 2, int(rng.integers(7, 10)), int(rng.integers(7, 10)), groups * int(rng.integers(1, 4))),
        device,
        seed=seed,
        filters=groups * int(rng.integers(1, 4))
        + (groups == 1),  # PyTorch cannot differentiate one filter of one group
        kernel_size=kernel,
        strides=ones if dilated else tuple(int(size) for size in rng.integers(1, 4, size=2)),
        dilation_rate=tuple(int(size) for size in rng.integers(1, 4, size=2)) if dilated else ones,
        padding=_choose(rng, ["valid", "same"]),
        groups=groups,
        activation=ACTIVATIONS[seed % len(ACTIVATIONS)],
        use_bias=bool(rng.integers(2)),
        kernel_regularizer=_choose(rng, REGULARIZERS),
        bias_regularizer=_choose(rng, REGULARIZERS),
        activity_regularizer=_choose(rng, REGULARIZERS),
    )


@pytest.mark.parametrize("seed", range(16))
def test_max_pooling(device: Device, seed: int) -> None:
    rng = np.random.default_rng(seed)
    compare_layers(
        "MaxPooling2D",
        _input(rng, 2, int(rng.integers(4, 9)), int(rng.integers(4, 9)), int(rng.integers(1, 4))),
        device,
        pool_size=tuple(int(size) for size in rng.integers(1, 4, size=2)),
        strides=_choose(rng, [None, 1, 2, (2, 1), (3, 2)]),
        padding=_choose(rng, ["valid", "same"]),
    )


@pytest.mark.parametrize("seed", range(16))
def test_average_pooling(device: Device, seed: int) -> None:
    """Where 'same' pads both sides alike: else Keras on PyTorch, and only there, repeats the border."""
    rng = np.random.default_rng(seed)
    size, pool, stride = [(7, 3, 2), (7, 3, 1), (6, 2, 2), (8, 5, 1), (9, 3, 3), (7, 1, 2), (5, 5, 2), (9, 5, 4)][
        seed % 8
    ]
    compare_layers(
        "AveragePooling2D",
        _input(rng, 2, size, size, int(rng.integers(1, 4))),
        device,
        pool_size=pool,
        strides=_choose(rng, [stride, (stride, stride)]),
        padding=["valid", "same"][seed // 8],
    )


@pytest.mark.parametrize("keepdims", [False, True])
def test_global_average_pooling(device: Device, keepdims: bool) -> None:
    compare_layers("GlobalAveragePooling2D", _input(np.random.default_rng(0), 3, 5, 4, 7), device, keepdims=keepdims)


@pytest.mark.parametrize("shape", [(3, 2), (2, 3, 4), (2, 3, 4, 5)])
def test_flatten(device: Device, shape: tuple[int, ...]) -> None:
    compare_layers("Flatten", _input(np.random.default_rng(0), *shape), device)


@pytest.mark.parametrize("target", [(24,), (4, 6), (-1, 3), (2, -1, 2)])
def test_reshape(device: Device, target: tuple[int, ...]) -> None:
    compare_layers("Reshape", _input(np.random.default_rng(0), 2, 3, 8), device, target_shape=target)


@pytest.mark.parametrize("activation", ACTIVATIONS[1:])
def test_activation(device: Device, activation: str) -> None:
    compare_layers("Activation", 3 * _input(np.random.default_rng(0), 4, 3, 5), device, activation=activation)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("relu", {"max_value": 1.0, "negative_slope": 0.1, "threshold": 0.25}),
        ("leaky_relu", {"negative_slope": 0.3}),
        ("elu", {"alpha": 0.3}),
        ("elu", {"alpha": -1.5}),
        ("gelu", {"approximate": True}),
        ("softmax", {"axis": 1}),
    ],
)
def test_activation_with_arguments(device: Device, name: str, arguments: dict[str, Any]) -> None:
    import keras

    theirs = keras.layers.Activation(partial(getattr(keras.activations, name), **arguments), dtype="float64")
    ours = layers.Activation(partial(getattr(activations, name), **arguments), dtype="float64")
    compare(ours, theirs, 3 * _input(np.random.default_rng(0), 4, 3, 5), device, training=True)


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
    compare_layers("ReLU", 2 * _input(np.random.default_rng(0), 4, 15), device, **arguments)


@pytest.mark.parametrize("axis", [-1, 1, 2])
def test_softmax(device: Device, axis: int) -> None:
    compare_layers("Softmax", 3 * _input(np.random.default_rng(0), 4, 3, 5), device, axis=axis)


@pytest.mark.parametrize("rate", [0.0, 0.4])
def test_dropout_in_inference(device: Device, rate: float) -> None:
    compare_layers("Dropout", _input(np.random.default_rng(0), 4, 15), device, rate=rate)


def test_dropout_in_training_keeps_and_scales_as_keras_does(device: Device) -> None:
    import keras
    from keras_side import host, tensor

    x = np.ones((100, 200))
    ours = layers.Dropout(0.3, seed=1, dtype="float64")(x, training=True)
    theirs = host(keras.layers.Dropout(0.3, seed=1, dtype="float64")(tensor(x), training=True))
    for y in (ours, theirs):
        np.testing.assert_allclose(np.unique(y), [0, 1 / 0.7], rtol=1e-6)
        assert abs((y == 0).mean() - 0.3) < 5 * np.sqrt(0.3 * 0.7 / y.size)


NAMES = ["Dense", "Conv2D", "MaxPooling2D", "AveragePooling2D", "GlobalAveragePooling2D", "Flatten", "Reshape"]


@pytest.mark.parametrize("name", [*NAMES, "Activation", "ReLU", "Softmax", "Dropout"])
def test_arguments_have_keras_names_order_and_defaults(name: str) -> None:
    import keras

    own = inspect.signature(getattr(layers, name)).parameters
    for position, theirs in enumerate(inspect.signature(getattr(keras.layers, name)).parameters.values()):
        if theirs.kind is theirs.VAR_KEYWORD or theirs.name in LATER:
            continue
        assert theirs.name in own, f"{name} lacks {theirs.name}"
        # AveragePooling2D's pool_size has MaxPooling2D's default here, and none in Keras.
        same = own[theirs.name].default == theirs.default or theirs.default is theirs.empty
        assert same, f"{name}: default of {theirs.name}"
        assert list(own).index(theirs.name) == position or theirs.kind is theirs.KEYWORD_ONLY


# Arguments of Keras that belong to features of later issues.
LATER = {"lora_rank", "lora_alpha", "quantization_config"}
