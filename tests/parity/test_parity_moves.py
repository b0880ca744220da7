"""Layers that move data and augment images against Keras 3: y, dx, gradients, shapes; transforms of random ones."""

from __future__ import annotations

import inspect
from typing import Any

import checks
import numpy as np
import pytest
from keras_side import assert_close, compare_layers, tensor

import gpunet
from gpunet.backend.arrays import Device, HostArray
from gpunet.backend.random import Purpose, generator
from gpunet.ops.affine import FILL_MODES, INTERPOLATIONS, affine, affine_gradient

pytestmark = pytest.mark.usefixtures("in_double")


def _images(rng: np.random.Generator) -> HostArray:
    return rng.standard_normal((2, int(rng.integers(5, 9)), int(rng.integers(5, 9)), int(rng.integers(1, 4))))


def _sides(rng: np.random.Generator) -> Any:
    number, pair = int(rng.integers(3)), tuple(int(n) for n in rng.integers(0, 3, 2))
    pairs = tuple(tuple(int(n) for n in rng.integers(0, 3, 2)) for _ in range(2))
    return [number, pair, pairs][int(rng.integers(3))]


@pytest.mark.parametrize("seed", range(6))
def test_padding_and_cropping(device: Device, seed: int) -> None:
    rng = np.random.default_rng(seed)
    compare_layers("ZeroPadding2D", _images(rng), device, padding=_sides(rng))
    compare_layers("Cropping2D", _images(rng), device, cropping=_sides(rng))
    both = tuple(int(n) for n in rng.integers(0, 3, 2))
    compare_layers("ZeroPadding1D", rng.standard_normal((2, 6, 3)), device, padding=both)
    compare_layers("Cropping1D", rng.standard_normal((2, 6, 3)), device, cropping=both)


@pytest.mark.parametrize("seed", range(4))
def test_permutation_and_repetition(device: Device, seed: int) -> None:
    rng = np.random.default_rng(seed)
    dims = tuple(int(n) + 1 for n in rng.permutation(3))
    compare_layers("Permute", rng.standard_normal((2, 3, 4, 5)), device, dims=dims)
    n = int(rng.integers(1, 5))
    compare_layers("RepeatVector", rng.standard_normal((2, 3)), device, n=n)
    size = tuple(int(n) for n in rng.integers(1, 4, 2))
    compare_layers("UpSampling2D", _images(rng), device, size=size)


def test_repeated_steps(device: Device) -> None:
    x = np.random.default_rng(0).standard_normal((2, 3, 4))
    import keras

    y = gpunet.layers.UpSampling1D(3, dtype="float64")(x)
    assert_close(y, keras.layers.UpSampling1D(3, dtype="float64")(x).numpy(), "y")


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear"])
@pytest.mark.parametrize("how", [{}, {"crop_to_aspect_ratio": True}, {"pad_to_aspect_ratio": True, "fill_value": 0.5}])
def test_resizing(device: Device, interpolation: str, how: dict[str, Any]) -> None:
    """Bicubic interpolation is JAX's and TensorFlow's: PyTorch's has other weights (tests/test_resampling.py)."""
    for seed in range(3):
        rng = np.random.default_rng(seed)
        size = {"height": int(rng.integers(1, 14)), "width": int(rng.integers(1, 14))}
        compare_layers("Resizing", _images(rng), device, **size, interpolation=interpolation, **how)


@pytest.mark.parametrize("seed", range(4))
def test_center_crop_and_bilinear_upsampling(device: Device, seed: int) -> None:
    rng = np.random.default_rng(seed)
    compare_layers("CenterCrop", _images(rng), device, height=int(rng.integers(1, 8)), width=int(rng.integers(1, 8)))
    compare_layers("UpSampling2D", _images(rng), device, size=(2, 3), interpolation="bilinear")


@pytest.mark.parametrize("shape", [(5,), (3, 4), (2, 3, 2)])
def test_embedding(device: Device, shape: tuple[int, ...]) -> None:
    x = np.random.default_rng(0).integers(0, 6, shape).astype(np.float64)
    compare_layers("Embedding", x, device, input_dim=6, output_dim=3, embeddings_regularizer="l2")


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
@pytest.mark.parametrize("mode", FILL_MODES)
def test_images_through_any_matrix(device: Device, mode: str, interpolation: str) -> None:
    import keras

    rng = np.random.default_rng(0)
    x = _images(rng)
    matrices = rng.standard_normal((2, 6)) * [1, 1, 5, 1, 1, 5]
    given = tensor(x, gradient=True)
    y = keras.ops.image.affine_transform(
        given, tensor(np.pad(matrices, ((0, 0), (0, 2)))), interpolation=interpolation, fill_mode=mode, fill_value=0.25
    )
    dy = rng.standard_normal(y.shape)
    (y * tensor(dy)).sum().backward()
    how = interpolation, mode
    actual = affine(*checks.on(device, x, matrices), (x.shape[1], x.shape[2]), *how, 0.25)
    assert_close(checks.host(actual), y.detach().numpy(), "y")
    dx = affine_gradient(*checks.on(device, dy, matrices), x.shape, *how)
    assert_close(checks.host(dx), given.grad.numpy(), "dx")


RANDOM: dict[str, dict[str, Any]] = {
    "RandomFlip": {"mode": "horizontal"},
    "RandomTranslation": {"height_factor": 0.3, "width_factor": (-0.1, 0.4)},
    "RandomRotation": {"factor": (-0.2, 0.4), "fill_mode": "constant", "fill_value": 0.5},
    "RandomZoom": {"height_factor": 0.3, "width_factor": (-0.3, 0.1), "fill_mode": "wrap"},
}


@pytest.mark.parametrize("name", RANDOM)
def test_random_layers_do_the_same_with_the_same_numbers(
    device: Device, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Keras is handed the uniform numbers that our stream draws, first those for rows, then those for columns."""
    import keras

    x = _images(np.random.default_rng(1)).astype(np.float32).astype(np.float64)
    n = len(x)
    theirs = getattr(keras.layers, name)(dtype="float64", **RANDOM[name])
    u = generator(5, Purpose.AUGMENTATION, 0).random(2 * n, dtype=np.float32).astype(np.float64)
    draws = iter((u[:n], u[n:]))

    def uniform(shape: Any, minval: float = 0.0, maxval: float = 1.0, **_: Any) -> Any:
        return tensor((minval + (maxval - minval) * next(draws)).reshape(tuple(shape)))

    monkeypatch.setattr(theirs.backend.random, "uniform", uniform)
    expected = theirs(x, training=True)
    y = getattr(gpunet.layers, name)(dtype="float64", seed=5, **RANDOM[name])(x, training=True)
    assert_close(y, np.asarray(expected), "y", tolerance=1e-5)  # Keras's matrices are float32


NAMES = [
    "CenterCrop",
    "Cropping1D",
    "Cropping2D",
    "Embedding",
    "Permute",
    "RandomCrop",
    "RandomRotation",
    "RepeatVector",
]


@pytest.mark.parametrize("name", [*NAMES, *RANDOM, "Resizing", "UpSampling2D", "ZeroPadding1D", "ZeroPadding2D"])
def test_arguments_have_keras_names_order_and_defaults(name: str) -> None:
    import keras

    own = inspect.signature(getattr(gpunet.layers, name)).parameters
    for position, theirs in enumerate(inspect.signature(getattr(keras.layers, name)).parameters.values()):
        if theirs.kind is not theirs.VAR_KEYWORD:
            assert list(own).index(theirs.name) == position and own[theirs.name].default == theirs.default, theirs.name
    given = {key: value for key, value in ARGUMENTS.items() if key in own and own[key].default is own[key].empty}
    theirs = getattr(keras.layers, name)(**given).get_config()
    assert set(theirs) - set(getattr(gpunet.layers, name)(**given).get_config()) <= LEFT_OUT, name


LEFT_OUT = {"bounding_box_format", "quantization_config", "activity_regularizer"}  # not taken; and None is not noted
ARGUMENTS: dict[str, Any] = {
    **{"height": 3, "width": 4, "input_dim": 5, "output_dim": 2, "dims": (2, 1), "n": 2},
    **{"factor": 0.1, "height_factor": 0.1, "width_factor": 0.2},
}
