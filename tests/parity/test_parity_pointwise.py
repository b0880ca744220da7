"""Activations, noise and small layers, and the parts by name, against Keras 3: random arguments, outputs, gradients."""

from __future__ import annotations

import inspect
from functools import partial
from typing import Any

import checks
import numpy as np
import pytest
from keras_side import assert_close, compare_layers, host, tensor

import gpunet
from gpunet import activations, identifiers
from gpunet.backend.arrays import Device
from gpunet.layers import Activation

pytestmark = pytest.mark.usefixtures("in_double")

RNG = np.random.default_rng(5)
ALL = [
    *("relu6", "selu", "celu", "softsign", "hard_sigmoid", "hard_silu", "hard_tanh", "tanh_shrink", "hard_shrink"),
    *("soft_shrink", "squareplus", "sparse_plus", "sparse_sigmoid", "mish", "log_sigmoid", "exponential", "threshold"),
    *("log_softmax", "sparsemax", "glu"),
]
ARGUMENTS: dict[str, dict[str, Any]] = {
    "celu": {"alpha": RNG.uniform(0.2, 2)},
    "hard_shrink": {"threshold": RNG.uniform(0, 1)},
    "soft_shrink": {"threshold": RNG.uniform(0, 1)},
    "squareplus": {"b": RNG.uniform(0, 5)},
    "threshold": {"threshold": RNG.uniform(-1, 1), "default_value": -2.0},
    "log_softmax": {"axis": 1},
    "glu": {"axis": 1},
}


# Keras 3.15 adds up the running sums of what stays, so that a row of its sparsemax sums up to less than 1.
COMPARED = [name for name in ALL if name != "sparsemax"]


@pytest.mark.parametrize("arguments", ["defaults", "others"])
@pytest.mark.parametrize("name", COMPARED)
def test_activations(device: Device, name: str, arguments: str) -> None:
    import keras

    given = ARGUMENTS.get(name, {}) if arguments == "others" or name == "threshold" else {}
    x = 2 * np.random.default_rng(0).standard_normal((5, 6, 4))
    x_tensor = tensor(x, gradient=True)
    expected = getattr(keras.activations, name)(x_tensor, **given)
    dy = np.random.default_rng(1).standard_normal(tuple(expected.shape))
    (expected * tensor(dy)).sum().backward()
    layer = Activation(partial(getattr(activations, name), **given), dtype="float64")
    y, backward = layer.apply(checks.on(device, x), True)
    assert_close(checks.host(y), host(expected), name)
    assert_close(checks.host(backward(checks.on(device, dy))), host(x_tensor.grad), f"gradient of {name}")


def test_every_name_of_keras_is_known() -> None:
    import keras

    names = [name for name in dir(keras.activations) if not name.startswith("_")]
    functions = {name for name in names if inspect.isfunction(getattr(keras.activations, name))}
    assert functions - {"deserialize", "get", "serialize"} <= set(activations.NAMES)
    for name in functions & set(ALL):
        own = inspect.signature(getattr(activations, name)).parameters
        theirs = inspect.signature(getattr(keras.activations, name)).parameters
        assert [(p.name, p.default) for p in own.values()] == [(p.name, p.default) for p in theirs.values()], name


@pytest.mark.parametrize(
    "name, arguments",
    [
        *(("LeakyReLU", {}), ("LeakyReLU", {"negative_slope": 0.05}), ("ELU", {}), ("ELU", {"alpha": 0.3})),
        *(
            ("PReLU", {}),
            ("PReLU", {"shared_axes": [1, 2]}),
            ("PReLU", {"shared_axes": [2], "alpha_regularizer": "l2"}),
        ),
        *(("Identity", {}), ("ActivityRegularization", {"l1": 0.1, "l2": 0.3})),
    ],
)
def test_layers(device: Device, name: str, arguments: dict[str, Any]) -> None:
    x = np.random.default_rng(2).standard_normal((3, 4, 5, 6))
    ours, theirs = compare_layers(name, x, device, training=True, **arguments)
    config = theirs.get_config()
    assert set(config) - set(ours.get_config()) <= {"quantization_config"}


@pytest.mark.parametrize("name", ["GaussianNoise", "GaussianDropout", "AlphaDropout"])
def test_noise_has_the_same_distribution(name: str) -> None:
    import keras

    x = np.full((300, 1000), 1.5)
    ours = getattr(gpunet.layers, name)(0.3, dtype="float64")(x, training=True)
    theirs = host(getattr(keras.layers, name)(0.3, dtype="float64")(tensor(x), training=True))
    assert abs(ours.mean() - theirs.mean()) < 6 * theirs.std() * np.sqrt(2 / x.size)
    assert abs(ours.std() / theirs.std() - 1) < 6 / np.sqrt(x.size)
    if name == "AlphaDropout":
        np.testing.assert_allclose(np.unique(ours), np.unique(theirs), rtol=1e-6)
    else:
        at = np.linspace(0.01, 0.99, 33)
        np.testing.assert_allclose(np.quantile(ours, at), np.quantile(theirs, at), atol=0.02 * theirs.std())


@pytest.mark.parametrize("name, shape", [("SpatialDropout1D", (90, 4, 30)), ("SpatialDropout2D", (90, 2, 2, 30))])
def test_spatial_dropout_drops_whole_channels(name: str, shape: tuple[int, ...]) -> None:
    import keras

    for y in (
        getattr(gpunet.layers, name)(0.4)(np.ones(shape), training=True),
        host(getattr(keras.layers, name)(0.4)(tensor(np.ones(shape, np.float32)), training=True)),
    ):
        channels = y.reshape(shape[0], -1, shape[-1])
        assert (channels == channels[:, :1]).all()
        np.testing.assert_allclose(np.unique(channels), [0, 1 / 0.6], rtol=1e-6)
        assert abs((channels[:, 0] == 0).mean() - 0.4) < 6 * np.sqrt(0.24 / channels[:, 0].size)


@pytest.mark.parametrize("mode", ["rows", "columns"])
@pytest.mark.parametrize("shape", [(5, 7), (7, 3)])
def test_orthogonal_regularizer(device: Device, shape: tuple[int, int], mode: str) -> None:
    import keras

    w = np.random.default_rng(0).standard_normal(shape)
    variable = tensor(w, gradient=True)
    expected = keras.regularizers.OrthogonalRegularizer(0.3, mode)(variable)
    expected.backward()
    ours = gpunet.regularizers.OrthogonalRegularizer(0.3, mode)
    assert_close(
        checks.host(ours.value(checks.on(device, w)))[0], host(expected), mode, 1e-6
    )  # their factor is float32
    dw = checks.on(device, np.zeros_like(w))
    ours.add_gradient(checks.on(device, w), dw)
    assert_close(checks.host(dw), host(variable.grad), f"gradient of {mode}", 1e-6)


@pytest.mark.parametrize("family", ["initializers", "regularizers", "constraints"])
def test_families_are_complete(family: str) -> None:
    """Every class of Keras, and every name by which Keras knows one, but for STFT."""
    import importlib

    theirs = importlib.import_module(f"keras.src.{family}").ALL_OBJECTS_DICT
    ours = getattr(gpunet, family)
    bases = {"Initializer", "initializer", "Regularizer", "regularizer", "Constraint", "constraint"}
    for name, cls in theirs.items():
        if name in bases or "stft" in name.lower():
            continue
        made = ours.get(name)
        assert type(made).__name__ == cls.__name__, name
        own = inspect.signature(type(made)).parameters.values()
        expected = inspect.signature(cls).parameters.values()
        assert [(p.name, p.default) for p in own][: len(expected)] == [(p.name, p.default) for p in expected], name


@pytest.mark.parametrize(
    "name",
    [
        *("LeakyReLU", "PReLU", "ELU", "Identity", "Lambda", "ActivityRegularization", "SpatialDropout1D"),
        *("SpatialDropout2D", "SpatialDropout3D", "GaussianNoise", "GaussianDropout", "AlphaDropout"),
    ],
)
def test_arguments_of_layers(name: str) -> None:
    import keras

    own = list(inspect.signature(getattr(gpunet.layers, name)).parameters.values())
    theirs = inspect.signature(getattr(keras.layers, name)).parameters.values()
    expected = [(p.name, p.default) for p in theirs if p.kind is not p.VAR_KEYWORD and p.name not in ("name", "dtype")]
    assert [(p.name, p.default) for p in own if p.kind is p.POSITIONAL_OR_KEYWORD] == expected
    assert identifiers.snake_case(name) == keras.src.utils.naming.to_snake_case(name)
