"""Every normalization layer against Keras 3: y, dx, the weights' gradients, statistics that move, arguments."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pytest
from keras_side import assert_close, assert_same_run, compare_layers, run_gpunet, run_keras, tensor

from gpunet import layers
from gpunet.backend.arrays import Device, HostArray

pytestmark = pytest.mark.usefixtures("in_double")

# Keras computes these layers in float32, whatever dtype they have.
IN_SINGLE = 2e-5

SCALED = ["BatchNormalization", "LayerNormalization", "GroupNormalization"]


def _shape(rng: np.random.Generator, rank: int, multiple: int = 1) -> tuple[int, ...]:
    """Return sizes of at least 3: for two elements all but nothing is left of dx, whose rounding is Keras's result."""
    return (int(rng.integers(4, 7)), *(multiple * int(size) for size in rng.integers(3, 6, size=rank - 1)))


def _flags(rng: np.random.Generator) -> dict[str, Any]:
    regularizers = [None, "l1", "l2"]
    return {
        "epsilon": float(rng.uniform(1e-3, 0.1)),
        "center": bool(rng.integers(4)),
        "scale": bool(rng.integers(4)),
        "gamma_regularizer": regularizers[int(rng.integers(3))],
        "beta_regularizer": regularizers[int(rng.integers(3))],
        "activity_regularizer": regularizers[int(rng.integers(3))],
    }


def _pair(name: str, shape: tuple[int, ...], seed: int, **arguments: Any) -> tuple[Any, Any]:
    """Return layer `name` of both sides, built, with the same weights; those of variances are positive."""
    import keras

    both = [getattr(side, name)(dtype="float64", **arguments) for side in (layers, keras.layers)]
    rng = np.random.default_rng(seed)
    for layer in both:
        layer.build(shape)
    weights = [rng.uniform(0.5, 2, tuple(weight.shape)) for weight in both[1].weights]
    for layer in both:
        layer.set_weights(weights)
    return both[0], both[1]


def _dy(shape: tuple[int, ...]) -> HostArray:
    return np.random.default_rng(1).standard_normal(shape)


@pytest.mark.parametrize("seed", range(12))
def test_batch_normalization(device: Device, seed: int) -> None:
    """Three steps of training, each of which moves the statistics, then inference; the last one frozen."""
    rng = np.random.default_rng(seed)
    rank = int(rng.integers(2, 6))
    shape = _shape(rng, rank)
    momentum = float(rng.uniform(0, 1))
    ours, theirs = _pair(
        "BatchNormalization", shape, seed, axis=int(rng.integers(1, rank)) - rank * (seed % 2), momentum=momentum,
        **_flags(rng),
    )  # fmt: skip
    for training, trainable in ((True, True), (True, True), (True, True), (False, True), (True, False)):
        ours.trainable = theirs.trainable = trainable
        for weight in ours.trainable_weights:
            weight.gradient = None
        for weight in theirs.trainable_weights:
            weight.value.grad = None
        x = rng.standard_normal(shape) + 0.5
        assert_same_run(run_gpunet(ours, x, _dy, device, training), run_keras(theirs, x, _dy, training), IN_SINGLE)
        for one, other in zip(ours.get_weights(), theirs.get_weights(), strict=True):
            assert_close(one, other, "weights", IN_SINGLE)


@pytest.mark.parametrize("seed", range(12))
def test_layer_normalization(device: Device, seed: int) -> None:
    rng = np.random.default_rng(seed)
    rank = int(rng.integers(2, 5))
    # On PyTorch Keras takes neighbouring axes for the last ones, wherever they are.
    axes = list(range(int(rng.integers(1, rank)), rank)) if seed % 3 or rank < 4 else [1, 3]
    axis: Any = axes if len(axes) > 1 else axes[0] - rank * (seed % 2)
    x = rng.standard_normal(_shape(rng, rank))
    compare_layers("LayerNormalization", x, device, True, seed, IN_SINGLE, axis=axis, **_flags(rng))


@pytest.mark.parametrize("seed", range(12))
def test_group_normalization(device: Device, seed: int) -> None:
    rng = np.random.default_rng(seed)
    rank = int(rng.integers(2, 6))
    groups = [1, 2, 3, -1][seed % 4]
    axis = int(rng.integers(1, rank)) - rank * int(rng.integers(2))
    x = rng.standard_normal(_shape(rng, rank, multiple=abs(groups)))
    compare_layers("GroupNormalization", x, device, True, seed, IN_SINGLE, groups=groups, axis=axis, **_flags(rng))


@pytest.mark.parametrize(
    ("name", "axis"),
    [
        # Keras broadcasts the scale of other axes to the last ones.
        *(("RMSNormalization", axis) for axis in (-1, 3, [2, 3], [1, 2, 3])),
        *(("UnitNormalization", axis) for axis in (-1, 1, [1, 2], [1, 3], [0, 2], 0)),
    ],
)
def test_without_a_mean(device: Device, name: str, axis: Any) -> None:
    x = np.random.default_rng(0).standard_normal((3, 4, 2, 5))
    compare_layers(name, x, device, tolerance=IN_SINGLE, axis=axis)


@pytest.mark.parametrize("axis", [-1, 1, None, (1, 2), (1, 3)])
@pytest.mark.parametrize("invert", [False, True])
def test_adapted_normalization(device: Device, axis: Any, invert: bool) -> None:
    import keras

    rng = np.random.default_rng(0)
    data = rng.standard_normal((50, 3, 4, 5)) * 3 + 100
    data[:, 0] = 7  # without a deviation
    x = rng.standard_normal((6, 3, 4, 5))
    batches = [data[:7], data[7:32], data[32:]]
    for given in (data, batches):  # Keras needs TensorFlow to look at batches
        ours = layers.Normalization(axis=axis, invert=invert, dtype="float64")
        theirs = keras.layers.Normalization(axis=axis, invert=invert, dtype="float64")
        ours.adapt(given)
        theirs.adapt(tensor(data))
        for one, other in zip(ours.weights, theirs.weights[:2], strict=True):  # Keras's third one is never used
            assert_close(one.numpy(), other.value.detach().numpy(), "statistics")
        assert_same_run(run_gpunet(ours, x, _dy, device), run_keras(theirs, x, _dy))


@pytest.mark.parametrize(
    "arguments",
    [
        {"mean": 3.0, "variance": 2.0},
        {"mean": [1.0, 2.0, 3.0], "variance": [0.5, 1.0, 1.5], "invert": True},
        {"axis": (1, 2), "mean": [1.0, 2.0, 3.0], "variance": [0.5, 1.0, 1.5]},
        {"axis": None, "mean": 0.5, "variance": 0.0},
    ],
)
def test_given_normalization(device: Device, arguments: dict[str, Any]) -> None:
    compare_layers("Normalization", np.random.default_rng(0).standard_normal((4, 2, 3)), device, **arguments)


@pytest.mark.parametrize(
    "arguments", [{"scale": 1 / 255}, {"scale": 2.0, "offset": -1.0}, {"scale": [1.0, 2.0, 3.0], "offset": 0.5}]
)
def test_rescaling(device: Device, arguments: dict[str, Any]) -> None:
    compare_layers("Rescaling", np.random.default_rng(0).standard_normal((4, 2, 3)), device, **arguments)


@pytest.mark.parametrize("name", [*SCALED, "RMSNormalization", "UnitNormalization", "Normalization", "Rescaling"])
def test_arguments_and_configuration_are_keras(name: str) -> None:
    import keras

    own, theirs = (getattr(side, name) for side in (layers, keras.layers))
    plain = [
        [(each.name, each.default) for each in inspect.signature(cls).parameters.values()
         if each.kind is each.POSITIONAL_OR_KEYWORD]
        for cls in (own, theirs)
    ]  # fmt: skip
    assert plain[0] == plain[1]
    required = {"scale": 2.0} if name == "Rescaling" else {}
    assert set(theirs(**required).get_config()) <= set(own(**required).get_config()) | {"autocast"}
