"""Convolution and pooling layers against Keras 3, with random arguments: y, dx, the weights' gradients, shapes."""

from __future__ import annotations

import inspect
import zlib
from typing import Any

import numpy as np
import pytest
from keras_side import compare_layers

from gpunet import layers
from gpunet.backend.arrays import Device

pytestmark = pytest.mark.usefixtures("in_double")

ACTIVATIONS = [None, "relu", "tanh", "softmax", "gelu"]
CONVOLUTIONS = [
    *("Conv1D", "DepthwiseConv1D", "DepthwiseConv2D", "SeparableConv1D", "SeparableConv2D"),
    *("Conv1DTranspose", "Conv2DTranspose"),
]
POOLINGS = ["MaxPooling1D", "AveragePooling1D"]
GLOBALS = ["GlobalMaxPooling1D", "GlobalMaxPooling2D", "GlobalAveragePooling1D"]
ALIASES = {
    **{f"Convolution{rank}D{end}": f"Conv{rank}D{end}" for rank in (1, 2) for end in ("", "Transpose")},
    **{f"SeparableConvolution{rank}D": f"SeparableConv{rank}D" for rank in (1, 2)},
    **{
        f"{kind}Pool{rank}D": f"{name}Pooling{rank}D"
        for kind, name in [("Max", "Max"), ("Avg", "Average")]
        for rank in (1, 2)
    },
    **{
        f"Global{kind}Pool{rank}D": f"Global{name}Pooling{rank}D"
        for kind, name in [("Max", "Max"), ("Avg", "Average")]
        for rank in (1, 2)
    },
}


def _sizes(rng: np.random.Generator, rank: int, low: int, high: int) -> Any:
    sizes = tuple(int(size) for size in rng.integers(low, high + 1, size=rank))
    return sizes[0] if rank == 1 else sizes


def _choose(rng: np.random.Generator, *options: Any) -> Any:
    return options[int(rng.integers(len(options)))]


def _arguments(name: str, rank: int, rng: np.random.Generator) -> dict[str, Any]:
    """Return random arguments that Keras on PyTorch can do too."""
    dilated = bool(rng.integers(2))  # Keras takes strides or dilation, not both
    found = {
        "kernel_size": _sizes(rng, rank, 1, 4),
        "strides": 1 if dilated else _sizes(rng, rank, 1, 3),
        "dilation_rate": _sizes(rng, rank, 1, 3) if dilated else 1,
        "padding": _choose(rng, "valid", "same", *(["causal"] if name == "Conv1D" else [])),
        "activation": _choose(rng, *ACTIVATIONS),
        "use_bias": bool(rng.integers(2)),
    }
    if name.startswith(("Depthwise", "Separable")):
        found["depth_multiplier"] = int(rng.integers(1, 4))
    if not name.startswith("Depthwise"):
        found["filters"] = 2 * int(rng.integers(1, 4))
    if name == "Conv1D":
        found["groups"] = _choose(rng, 1, 2)
    if name.endswith("Transpose") and rng.integers(2):
        strides = found["strides"]
        found["output_padding"] = strides - 1 if rank == 1 or dilated else tuple(stride - 1 for stride in strides)
    return found


@pytest.mark.parametrize("name", CONVOLUTIONS)
@pytest.mark.parametrize("seed", range(12))
def test_convolution(device: Device, name: str, seed: int) -> None:
    rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
    rank = 1 if "1D" in name else 2
    x = rng.standard_normal((2, *rng.integers(10, 13, size=rank), 2 * int(rng.integers(1, 3))))
    compare_layers(name, x, device, seed=seed, **_arguments(name, rank, rng))


@pytest.mark.parametrize("name", ["Conv1D", "Conv2D", *CONVOLUTIONS[1:]])
@pytest.mark.parametrize("size", [9, 10])
@pytest.mark.parametrize("kernel", [2, 3, 5])
def test_same_with_strides_of_2(device: Device, name: str, size: int, kernel: int) -> None:
    """An odd pixel of padding goes behind the image, which makes other frameworks' weights give other results."""
    rank = 1 if "1D" in name else 2
    x = np.random.default_rng(0).standard_normal((2, *(size,) * rank, 3))
    more = {} if name.startswith("Depthwise") else {"filters": 2}
    compare_layers(name, x, device, kernel_size=kernel, strides=2, padding="same", **more)


@pytest.mark.parametrize("name", POOLINGS)
@pytest.mark.parametrize("seed", range(12))
def test_pooling(device: Device, name: str, seed: int) -> None:
    rng = np.random.default_rng([seed, 7])
    size, pool, stride = _choose(rng, (7, 3, 2), (7, 3, 1), (6, 2, 2), (8, 5, 1), (9, 3, 3), (5, 5, 2))
    # Where 'same' pads both sides alike: else Keras's means on PyTorch, and only there, repeat the border.
    if name == "MaxPooling1D":
        size, stride = size + int(rng.integers(2)), int(rng.integers(1, 4))
    x = rng.standard_normal((2, size, 3))
    compare_layers(name, x, device, pool_size=pool, strides=stride, padding=_choose(rng, "valid", "same"))


@pytest.mark.parametrize("name", GLOBALS)
@pytest.mark.parametrize("keepdims", [False, True])
def test_global_pooling(device: Device, name: str, keepdims: bool) -> None:
    shape = (3, 5, 4, 7) if "2D" in name else (3, 5, 7)
    compare_layers(name, np.random.default_rng(0).standard_normal(shape), device, keepdims=keepdims)
    ties = np.random.default_rng(0).integers(0, 2, shape).astype(np.float64)  # several maxima share the gradient
    compare_layers(name, ties, device, keepdims=keepdims)


@pytest.mark.parametrize("name", [*CONVOLUTIONS, *POOLINGS, *GLOBALS])
def test_arguments_and_configurations(name: str) -> None:
    import keras

    own, theirs = getattr(layers, name), getattr(keras.layers, name)
    parameters = inspect.signature(own).parameters
    for position, argument in enumerate(inspect.signature(theirs).parameters.values()):
        if argument.kind is argument.VAR_KEYWORD:
            continue
        assert list(parameters).index(argument.name) == position, argument.name
        # AveragePooling1D's pool_size has MaxPooling1D's default here, and none in Keras.
        same = parameters[argument.name].default == argument.default or argument.default is argument.empty
        assert same, f"default of {argument.name}"
    values = {"filters": 2, "kernel_size": 3, "pool_size": 2}
    given = {key: values[key] for key in parameters if key in values}
    ours, known = own(**given).get_config(), theirs(**given).get_config()
    assert set(known) - set(ours) <= {"activity_regularizer"} and set(ours) <= set(known)
    for key in ("kernel_size", "strides", "dilation_rate", "padding", "output_padding", "pool_size", "keepdims"):
        value = known.get(key)
        assert ours.get(key) == (list(value) if isinstance(value, tuple) else value)


@pytest.mark.parametrize(("alias", "name"), list(ALIASES.items()))
def test_aliases(alias: str, name: str) -> None:
    import keras

    assert getattr(keras.layers, alias) is getattr(keras.layers, name)
    assert getattr(layers, alias) is getattr(layers, name)
