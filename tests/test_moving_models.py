"""A model of the layers that move data, trained on every device: captured, by kernels alone, with the same bits."""

from __future__ import annotations

from typing import Any

import checks
import numpy as np
import pytest

from gpunet import layers
from gpunet.backend.arrays import CPU, Device
from gpunet.backend.emulated_array import EmulatedArray
from gpunet.backend.random import set_random_seed
from gpunet.models import Sequential
from gpunet.training.capture import Captures

RNG = np.random.default_rng(0)
X, Y = RNG.random((20, 9, 10, 2), np.float32), RNG.integers(0, 3, 20)


def _images(eager: bool) -> Any:
    set_random_seed(3)
    model = Sequential(
        [
            layers.Input((9, 10, 2)),
            layers.RandomFlip(),
            layers.Conv2D(2, 1),  # so that the gradients of all that follow are asked for
            layers.RandomTranslation(0.2, 0.1),
            layers.RandomRotation(0.1, fill_mode="constant"),
            layers.RandomZoom(0.2, fill_mode="wrap", interpolation="nearest"),
            layers.RandomCrop(8, 8),
            layers.ZeroPadding2D(1),
            layers.UpSampling2D((1, 2)),
            layers.Resizing(7, 6, "bicubic", antialias=True),
            layers.Cropping2D(((1, 0), (0, 1))),
            layers.CenterCrop(5, 4),
            layers.Permute((3, 1, 2)),
            layers.Reshape((10, 4)),
            layers.UpSampling1D(2),
            layers.ZeroPadding1D(1),
            layers.Cropping1D((0, 3)),
            layers.Flatten(),
            layers.RepeatVector(2),
            layers.Flatten(),
            layers.Dense(3, activation="softmax"),
        ]
    )
    model.compile("sgd", "sparse_categorical_crossentropy", run_eagerly=eager)
    return model


def _words(eager: bool) -> Any:
    set_random_seed(3)
    model = Sequential(
        [layers.Input((4,)), layers.Embedding(50, 3), layers.Flatten(), layers.Dense(3, activation="softmax")]
    )
    model.compile("sgd", "sparse_categorical_crossentropy", run_eagerly=eager)
    return model


def _forbid(self: EmulatedArray, ufunc: np.ufunc, *_: Any, **__: Any) -> Any:
    raise AssertionError(f"{ufunc.__name__} ran outside a kernel")


@pytest.mark.parametrize("make", [_images, _words], ids=["images", "words"])
def test_a_captured_run_draws_anew_and_has_the_bits_of_a_plain_one(
    device: Device, make: Any, captures: list[Captures], monkeypatch: pytest.MonkeyPatch
) -> None:
    if device == CPU:
        pytest.skip("the CPU captures nothing")
    monkeypatch.setattr(EmulatedArray, "__array_ufunc__", _forbid)
    x = X if make is _images else RNG.integers(0, 50, (20, 4))
    runs = []
    for eager in (True, False):
        model = make(eager)
        history = model.fit(x, Y, batch_size=5, epochs=2, shuffle=False, verbose=0)
        runs.append((model.get_weights(), history.history["loss"]))
        assert captures[-1].graphs == (0 if eager else 1)
        assert model.predict(x, verbose=0).shape == (20, 3)
    for one, other in zip(*(weights for weights, _ in runs), strict=True):
        checks.assert_same_bits(one, other)
    assert runs[0][1] == runs[1][1]


def test_a_models_file_brings_its_layers_back(device: Device, tmp_path: Any) -> None:
    from gpunet.models import load_model

    for make, x in ((_images, X), (_words, RNG.integers(0, 50, (20, 4)))):
        model = make(True)
        model.save(tmp_path / "model.gpunet")
        again = load_model(tmp_path / "model.gpunet")
        np.testing.assert_array_equal(again.predict(x, verbose=0), model.predict(x, verbose=0))
        assert [layer.get_config() for layer in again.layers] == [layer.get_config() for layer in model.layers]
