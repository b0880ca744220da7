"""Dropout: masks that NumPy can draw too, the same on every device."""

from __future__ import annotations

from typing import Any

import checks
import numpy as np
import pytest
from layer_checks import assert_config_comes_back

from gpunet.backend.arrays import Device
from gpunet.backend.random import Purpose, generator, set_random_seed
from gpunet.layers import Dropout


def test_inference_changes_nothing(device: Device) -> None:
    x = checks.normal(4, 5)
    np.testing.assert_array_equal(Dropout(0.5)(x), x)
    np.testing.assert_array_equal(Dropout(0.0)(x, training=True), x)


def test_anyone_can_draw_the_masks(device: Device) -> None:
    layer = Dropout(0.3, seed=11, dtype="float64")
    x = checks.normal(6, 7, dtype=np.float64)
    for step in range(3):
        kept = generator(11, Purpose.DROPOUT, step).random(x.size, dtype=np.float32).reshape(x.shape) >= np.float32(0.3)
        np.testing.assert_array_equal(layer(x, training=True), np.where(kept, x * (1 / (1 - 0.3)), 0))


def test_layers_draw_different_masks_and_a_seed_brings_them_back() -> None:
    x = np.ones((8, 8), np.float32)
    set_random_seed(4)
    first, second = Dropout(0.5), Dropout(0.5)
    masks = [first(x, training=True), second(x, training=True), first(x, training=True)]
    assert not any(np.array_equal(masks[i], masks[j]) for i, j in ((0, 1), (0, 2), (1, 2)))
    set_random_seed(4)
    np.testing.assert_array_equal(Dropout(0.5)(x, training=True), masks[0])


@pytest.mark.parametrize("rate, noise_shape", [(0.4, None), (0.4, (None, 1, 3)), (0.4, (2, 1, 1)), (1.0, None)])
def test_gradient_has_the_mask_of_its_forward(
    device: Device, rate: float, noise_shape: tuple[int | None, ...] | None
) -> None:
    layer = Dropout(rate, noise_shape, dtype="float64")
    x, dy = checks.normal(2, 4, 3, dtype=np.float64), checks.normal(2, 4, 3, seed=1, dtype=np.float64)
    y, backward = layer.apply(checks.on(device, x), True)
    layer.apply(checks.on(device, x), True)
    factor = checks.host(y) / x
    np.testing.assert_allclose(checks.host(backward(checks.on(device, dy))), factor * dy, rtol=1e-12)


def test_the_step_is_counted_on_the_device_and_can_be_set(device: Device) -> None:
    layer, x = Dropout(0.5, seed=3), checks.on(device, np.ones((4, 5), np.float32))
    masks = [checks.host(layer.apply(x, True)[0]).copy() for _ in range(3)]
    assert layer.stream.step == 3
    layer.stream.step = 1
    np.testing.assert_array_equal(checks.host(layer.apply(x, True)[0]), masks[1])
    np.testing.assert_array_equal(layer(np.ones((4, 5), np.float32), training=True), masks[2])
    assert layer.stream.step == 3


def test_noise_shape_is_drawn_once_for_whole_axes(device: Device) -> None:
    layer = Dropout(0.5, noise_shape=(None, 1, 3), seed=2)
    y = layer(np.ones((2, 4, 3)), training=True)
    kept = generator(2, Purpose.DROPOUT, 0).random((2, 1, 3), dtype=np.float32) >= 0.5
    np.testing.assert_array_equal(y, np.broadcast_to(kept, (2, 4, 3)) * np.float32(2))


def test_rate_one_drops_all(device: Device) -> None:
    assert not Dropout(1)(np.ones((3, 4)), training=True).any()


def test_configuration() -> None:
    again = assert_config_comes_back(Dropout(0.2, (None, 1), seed=5, name="drop", dtype="float64"))
    assert isinstance(again, Dropout) and (again.rate, again.noise_shape, again.seed) == (0.2, (None, 1), 5)


@pytest.mark.parametrize(
    "call, error, message",
    [
        (lambda: Dropout(1.5), ValueError, "Dropout 'dropout.*': rate must be from 0 to 1; got 1.5"),
        (lambda: Dropout("a"), TypeError, "rate must be a number; got 'a'"),
        (lambda: Dropout(0.5, noise_shape=3), TypeError, "noise_shape must be a tuple of integers"),
        (lambda: Dropout(0.5, noise_shape=(0, 1)), ValueError, "noise_shape must be at least 1; got 0"),
        (lambda: Dropout(0.5, seed=-1), ValueError, "seed must be from 0"),
        (lambda: Dropout(0.5, (1, 2))(np.zeros((3, 4))), ValueError, r"input's size, \(3, 4\); got \(1, 2\)"),
    ],
)
def test_bad_arguments(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()
