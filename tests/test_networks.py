"""Networks as tutorials write them (example_networks.py): sizes, training on all devices, files, copies."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import checks
import numpy as np
import pytest
from emulated_kernel import require_emulator
from example_networks import EXAMPLES, SMALL_IMAGE, autoencoder, base, discriminator, generator, transfer

import gpunet
from gpunet.backend.arrays import Device, HostArray
from gpunet.inspection import parity
from gpunet.models import Model, clone_model, load_model
from gpunet.optimizers import SGD, Adam

LARGE = 5_000_000  # parameters, whose initial values take a second to draw
BATCH = 6


def _made(name: str) -> tuple[Any, HostArray, HostArray]:
    """Return a small network, compiled, and data for it."""
    example = EXAMPLES[name]
    model = example.make(gpunet, **example.small)
    model.compile(optimizer=Adam(0.005), loss=example.loss)
    x = checks.normal(BATCH, *model.input_shape[1:])
    kinds = np.arange(BATCH) % 4
    x += _spread(kinds, x.shape)
    if example.loss == "sparse_categorical_crossentropy":
        return model, x, kinds
    return model, x, _spread(kinds // 2, (BATCH, *model.output_shape[1:]))


def _spread(values: HostArray, shape: tuple[int, ...]) -> HostArray:
    """Return a number for each sample, all over the sample."""
    return np.broadcast_to(values.reshape(-1, *[1] * (len(shape) - 1)), shape).astype(np.float32)


@pytest.mark.parametrize("name", [name for name, example in EXAMPLES.items() if example.parameters < LARGE])
def test_the_well_known_numbers_of_parameters(name: str) -> None:
    model = EXAMPLES[name].make(gpunet)
    assert model.count_params() == EXAMPLES[name].parameters


@pytest.mark.parametrize("name", EXAMPLES)
def test_trained_saved_loaded_and_cloned(name: str, device: Device, tmp_path: Path) -> None:
    model, x, y = _made(name)
    assert model.device == device
    losses = model.fit(x, y, batch_size=BATCH, epochs=4, verbose=0).history["loss"]
    assert losses[-1] < losses[0], losses
    predicted = model.predict(x, verbose=0)
    assert np.isfinite(predicted).all() and predicted.shape == (BATCH, *model.output_shape[1:])

    model.save(tmp_path / "model.gpunet")
    checks.assert_same_bits(load_model(tmp_path / "model.gpunet").predict(x, verbose=0), predicted)
    copy = clone_model(model)
    copy.set_weights(model.get_weights())
    checks.assert_same_bits(copy.predict(x, verbose=0), predicted)

    model.save_weights(tmp_path / "weights.gpunet")
    second, _, _ = _made(name)  # the same code, whose layers are numbered on
    second.load_weights(tmp_path / "weights.gpunet")
    described = gpunet.models.model_from_json(model.to_json())
    described.load_weights(tmp_path / "model.gpunet")
    for other in (second, described):
        for actual, expected in zip(other.get_weights(), model.get_weights(), strict=True):
            checks.assert_same_bits(actual, expected)


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_devices_agree(name: str) -> None:
    require_emulator()
    model, x, y = _made(name)
    found = parity(model, x, y, device="emulated", against="cpu", steps=1)
    assert found.within_tolerance, found.verdict


@pytest.mark.parametrize("loss", ["mse", "binary_crossentropy"])
def test_an_autoencoder_is_trained_on_its_own_input(loss: str) -> None:
    """Both are computed on the CPU and on the emulator from the same weights; the losses are near each other."""
    require_emulator()
    x = (np.arange(BATCH * 64).reshape(BATCH, 8, 8, 1) % 7 / 7).astype(np.float32)
    losses = []
    for place in ("cpu", "emulated"):
        gpunet.set_random_seed(0)
        with gpunet.device(place):
            model = autoencoder(gpunet, (8, 8, 1), 4)
            model.compile(optimizer="adam", loss=loss)
            fitted = model.fit(x=x, y=x, epochs=3, batch_size=BATCH, shuffle=True, validation_data=(x, x), verbose=0)
        losses.append(fitted.history["loss"])
        assert fitted.history["val_loss"][-1] < losses[-1][0]
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-5)
    expected = np.mean((model.predict(x, verbose=0) - x) ** 2)
    if loss == "mse":
        np.testing.assert_allclose(model.evaluate(x, x, verbose=0), expected, rtol=1e-5)


def test_a_dcgan(device: Device) -> None:
    """The generator is trained through the frozen discriminator, and each is left alone by the other's step."""
    maker, judge = generator(gpunet, 2, 2, 5), discriminator(gpunet, 8, 2)
    judge.compile(loss="binary_crossentropy", optimizer=Adam(0.002, 0.5), metrics=["accuracy"])
    judge.trainable = False
    noise = gpunet.Input(shape=(5,))
    combined = Model(noise, judge(maker(noise)))
    combined.compile(loss="binary_crossentropy", optimizer=Adam(0.02, 0.5))
    assert len(combined.trainable_weights) == len(maker.trainable_weights) == 10

    real, z = np.tanh(checks.normal(4, 8, 8, 1)), checks.normal(4, 5)
    valid, fake = np.ones((4, 1)), np.zeros((4, 1))
    fooled = []
    for _ in range(3):
        before = maker.get_weights()
        judged = judge.get_weights()
        judge.trainable = True
        images = maker.predict(z, verbose=0)
        loss_real = judge.train_on_batch(real, valid)
        loss_fake = judge.train_on_batch(images, fake)
        assert len(loss_real) == 2 and np.isfinite([*loss_real, *loss_fake]).all()
        for a, b in zip(before, maker.get_weights(), strict=True):
            checks.assert_same_bits(a, b)
        assert all((a != b).any() for a, b in zip(judged, judge.get_weights(), strict=True))

        judge.trainable = False
        judged = judge.get_weights()
        fooled.append(float(combined.train_on_batch(z, valid)))
        for a, b in zip(judged, judge.get_weights(), strict=True):
            checks.assert_same_bits(a, b)
        assert all((a != b).any() for a, b in zip(before, maker.get_weights(), strict=True))
    assert np.isfinite(fooled).all()


def test_transfer_learning(device: Device) -> None:
    """A frozen base keeps weights and statistics and normalizes as in inference; unfrozen, its kernels are trained."""
    pretrained = base(gpunet, SMALL_IMAGE, 2)
    rng = np.random.default_rng(0)
    pretrained.set_weights([rng.random(weight.shape, np.float32) + 0.1 for weight in pretrained.weights])
    model = transfer(gpunet, pretrained, SMALL_IMAGE)
    model.compile(Adam(0.01), gpunet.losses.BinaryCrossentropy(from_logits=True))
    assert [weight.name for weight in model.trainable_weights] == ["kernel", "bias"]
    x, y = checks.normal(8, *SMALL_IMAGE), np.arange(8) % 2
    features, weights = pretrained.predict(x, verbose=0), pretrained.get_weights()
    losses = model.fit(x, y, epochs=4, verbose=0).history["loss"]
    assert losses[-1] != losses[0]
    for a, b in zip(weights, pretrained.get_weights(), strict=True):
        checks.assert_same_bits(a, b)
    checks.assert_same_bits(pretrained.predict(x, verbose=0), features)

    pretrained.trainable = True
    model.compile(SGD(1e-3), gpunet.losses.BinaryCrossentropy(from_logits=True))
    assert len(model.trainable_weights) == 8
    top = model.layers[-1].get_weights()[0]
    model.fit(x, y, epochs=1, verbose=0)
    assert (model.layers[-1].get_weights()[0] != top).any()
    for weight, before in zip(pretrained.weights, weights, strict=True):  # training=False still: no statistics move
        if "moving" in weight.name:
            checks.assert_same_bits(weight.numpy(), before)
        else:
            moved = np.abs(weight.numpy() - before).max()
            assert 0 < moved < 0.02, weight.path
