"""Random matrices, and the layers that see images through them: augmentation.cu, on every device."""

from __future__ import annotations

from typing import Any

import checks
import numpy as np
import oracle_moves as oracle
import pytest
from layer_checks import assert_config_comes_back, assert_layer_gradients

from gpunet.backend.arrays import CPU, Device, HostArray
from gpunet.backend.random import Purpose
from gpunet.layers import Layer, RandomCrop, RandomFlip, RandomRotation, RandomTranslation, RandomZoom
from gpunet.ops.augmentation import THREADS, Augmentation, Ranges, random_matrices

KINDS: dict[str, Ranges] = {
    "flip": Ranges(Augmentation.FLIP, (-1.0, -1.0), (1.0, 1.0)),
    "crop": Ranges(Augmentation.CROP, (0.0, 4.0), (0.0, 2.0)),
    "translation": Ranges(Augmentation.TRANSLATION, (-0.3, 0.2), (0.1, 0.5)),
    "rotation": Ranges(Augmentation.ROTATION, (-1.0, 1.0)),
    "zoom": Ranges(Augmentation.ZOOM, (0.5, 0.9), (1.1, 1.8)),
}


def _uniform(n: int, key: tuple[int, int, int]) -> HostArray:
    """What the documentation promises: NumPy's draws for (seed, purpose, step)."""
    bits = np.random.Philox(key=list(key[:2]), counter=[0, 0, 0, key[2]])
    return np.random.Generator(bits).random(n, dtype=np.float32).astype(np.float64)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("together", [False, True])
def test_matrices_are_those_of_numpys_numbers(device: Device, kind: str, together: bool) -> None:
    n, size, key, ranges = THREADS + 3, (7, 9), (12, 5, 4), KINDS[kind]._replace(together=together)
    together = together and kind != "crop"
    expected = oracle.random_matrices(_uniform(2 * n, key), n, size, kind, ranges.rows, ranges.columns, together)
    ranges = ranges._replace(together=together)
    matrices = random_matrices(n, size, ranges, key, "float64", device)
    np.testing.assert_allclose(checks.host(matrices), expected, rtol=0, atol=1e-14)
    single = random_matrices(n, size, ranges, (12, 5, checks.on(device, np.array([4]))), "float32", device)
    checks.assert_same_bits(single, random_matrices(n, size, ranges, key, "float32", CPU))
    checks.assert_same_bits(single, checks.host(matrices).astype(np.float32))


LAYERS: list[tuple[Layer, str, Any, Any]] = [
    (RandomFlip(seed=3), "flip", (-1, -1), (-1, -1)),
    (RandomFlip("horizontal", seed=3), "flip", (1, 1), (-1, -1)),
    (RandomFlip("vertical", seed=3), "flip", (-1, -1), (1, 1)),
    (RandomTranslation(0.3, (0.1, -0.2), seed=3), "translation", (-0.3, 0.3), (-0.2, 0.1)),
    (RandomRotation((-0.1, 0.3), "wrap", "nearest", seed=3), "rotation", (-0.1, 0.3), (0, 0)),
    (RandomZoom((-0.5, -0.2), 0.3, "constant", fill_value=0.5, seed=3), "zoom", (0.5, 0.8), (0.7, 1.3)),
    (RandomZoom(-0.4, None, "nearest", seed=3), "zoom", (0.6, 1.4), (0.6, 1.4)),
]


@pytest.mark.parametrize(("layer", "kind", "rows", "columns"), LAYERS, ids=lambda value: type(value).__name__)
def test_training_sees_images_through_random_matrices(
    device: Device, layer: Layer, kind: str, rows: Any, columns: Any
) -> None:
    layer = assert_config_comes_back(layer)
    x, n = checks.normal(5, 6, 7, 2), 5
    np.testing.assert_array_equal(layer(x), x)
    how = [getattr(layer, name) for name in ("interpolation", "fill_mode", "fill_value")]
    together = isinstance(layer, RandomZoom) and layer.width_factor is None
    for step in range(2):
        u = _uniform(2 * n, (3, Purpose.AUGMENTATION, step))
        matrices = oracle.random_matrices(u, n, (6, 7), kind, rows, columns, together)
        expected = oracle.affine(x.astype(np.float64), matrices, (6, 7), *how)
        np.testing.assert_allclose(layer(x, training=True), expected, atol=2e-5)
    assert layer.compute_output_shape((None, 6, 7, 2)) == (None, 6, 7, 2)


def test_every_image_is_flipped_by_itself(device: Device) -> None:
    x = checks.normal(64, 3, 4, 2)
    y = RandomFlip("horizontal")(x, training=True)
    flipped = [np.array_equal(after, before[:, ::-1]) for before, after in zip(x, y, strict=True)]
    kept = [np.array_equal(after, before) for before, after in zip(x, y, strict=True)]
    assert np.logical_xor(flipped, kept).all() and 16 < sum(flipped) < 48


def test_crops_are_windows_at_any_place(device: Device) -> None:
    x = checks.normal(2, 5, 4, 3)
    layer, places = RandomCrop(4, 3, seed=1), set()
    for _ in range(20):
        y = layer(x, training=True)
        (place,) = [(h, w) for h in range(2) for w in range(2) if np.array_equal(y, x[:, h : h + 4, w : w + 3])]
        places.add(place)
    assert len(places) == 4
    assert layer.compute_output_shape((None, 5, 4, 3)) == (None, 4, 3, 3)


def test_crops_that_do_not_fit_or_are_not_trained_take_the_largest_window(device: Device) -> None:
    x = checks.normal(2, 8, 6, 1)
    np.testing.assert_array_equal(RandomCrop(6, 6)(x), x[:, 1:7])
    y = RandomCrop(2, 12)(x, training=True)  # of one row by six pixels
    expected = oracle.resample(oracle.resample(x[:, 3:4].astype(np.float64), 1, 2, "bilinear"), 2, 12, "bilinear")
    np.testing.assert_allclose(y, expected, atol=1e-6)


@pytest.mark.parametrize("name", ["RandomRotation", "RandomZoom", "RandomCrop"])
def test_gradients(device: Device, name: str) -> None:
    """At the numbers of one step, to which the stream is set back."""

    made: dict[str, Layer] = {
        "RandomRotation": RandomRotation(0.2, seed=1, dtype="float64"),
        "RandomZoom": RandomZoom(0.3, 0.2, "constant", seed=1, dtype="float64"),
        "RandomCrop": RandomCrop(3, 2, seed=1, dtype="float64"),
    }
    layer = made[name]
    forward = layer.forward

    def still(x: Any, training: bool) -> Any:
        layer.stream.step = 5  # type: ignore[attr-defined]
        return forward(x, training)

    layer.forward = still  # type: ignore[method-assign]
    assert_layer_gradients(layer, checks.normal(2, 4, 5, 2, dtype=np.float64), device, training=True)


def test_backward_is_not_run_for_nothing(device: Device) -> None:
    layer = RandomRotation(0.2)
    layer.prepare_gradients(needs_input_gradient=False)
    y, backward = layer.apply(checks.on(device, checks.normal(2, 4, 5, 2)), True)
    assert backward(y) is None


@pytest.mark.parametrize(
    "call, error, message",
    [
        (lambda: RandomFlip("both"), ValueError, "RandomFlip 'random_flip.*': mode must be one of"),
        (lambda: RandomFlip(seed=-1), ValueError, "seed must be from 0"),
        (lambda: RandomTranslation(1.5, 0), ValueError, "height_factor must be from -1 to 1; got 1.5"),
        (lambda: RandomTranslation(0, (0.1,)), ValueError, "width_factor must be one number or two"),
        (lambda: RandomRotation("a"), TypeError, "factor must be a number; got 'a'"),
        (lambda: RandomRotation(0.1, "mirror"), ValueError, "fill_mode must be one of .*; got 'mirror'"),
        (lambda: RandomRotation(0.1, "wrap", "bicubic"), ValueError, "interpolation must be one of"),
        (lambda: RandomZoom(-1.0), ValueError, "height_factor must be above -1"),
        (lambda: RandomZoom(0.1, (-1, 0)), ValueError, "width_factor must be above -1"),
        (lambda: RandomCrop(0, 3), ValueError, "height must be at least 1"),
        (lambda: RandomFlip()(np.zeros((3, 4))), ValueError, r"input must have shape \(batch, height, width"),
    ],
)
def test_bad_arguments(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()
