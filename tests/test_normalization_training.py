"""Batch normalization in training: moving statistics that move, or do not, in steps of every kind, and come back."""

from __future__ import annotations

import contextlib
from functools import partial
from pathlib import Path
from typing import Any

import checks
import numpy as np
import pytest
from small_models import bits

from gpunet import Conv2D, Dense, Dropout, Flatten, Input, Sequential, layers, load_model
from gpunet.backend.arrays import CPU, Device
from gpunet.backend.random import set_random_seed
from gpunet.backend.streaming import Layout
from gpunet.callbacks import BackupAndRestore, Callback
from gpunet.optimizers import SGD
from gpunet.training.capture import Captures
from gpunet.training.memory import bytes_of_step

X, Y = checks.normal(22, 6, 6, 2), np.arange(22) % 3


def _model(optimizer: Any = "adam", **options: Any) -> Sequential:
    set_random_seed(2)
    model = Sequential(
        [
            Input((6, 6, 2)),
            Conv2D(4, 3, use_bias=False, name="conv"),
            layers.BatchNormalization(momentum=0.7, gamma_regularizer="l2", name="images"),
            layers.ReLU(name="relu"),
            Flatten(name="flatten"),
            Dropout(0.2, name="dropout"),
            Sequential([Dense(8, name="dense"), layers.BatchNormalization(momentum=0.5, name="inner")], name="block"),
            layers.LayerNormalization(name="samples"),
            Dense(3, activation="softmax", name="last"),
        ],
        name="model",
    )
    model.compile(optimizer, "sparse_categorical_crossentropy", ["accuracy"], **options)
    return model


def _fit(model: Sequential, **options: Any) -> Any:
    set_random_seed(3)  # of the shuffles
    return model.fit(X, Y, **{"batch_size": 8, "epochs": 3, "validation_split": 0.2, "verbose": 0} | options)


def _batch_layers(model: Sequential) -> list[Any]:
    return [model.get_layer("images"), model.get_layer("block").get_layer("inner")]  # type: ignore[attr-defined]


def test_a_network_learns_and_its_statistics_move(device: Device) -> None:
    model = _model(SGD(0.2))
    before = bits(model)
    losses = _fit(model, epochs=8, validation_split=0.0).history["loss"]
    assert losses[-1] < 0.6 * losses[0]
    assert all(one != other for one, other in zip(bits(model), before, strict=True))
    for _ in range(60):  # with weights that stand still, moving statistics come to those of the data
        model.layers[1](checks.host(model.layers[0](X)), training=True)
    z = model.layers[0](X)
    mean, variance = z.mean(axis=(0, 1, 2)), z.var(axis=(0, 1, 2))
    np.testing.assert_allclose(_batch_layers(model)[0].moving_mean.numpy(), mean, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(_batch_layers(model)[0].moving_variance.numpy(), variance, rtol=1e-4)


def test_evaluation_and_prediction_change_nothing(device: Device) -> None:
    model = _model()
    before = bits(model)
    model.evaluate(X, Y, verbose=0)
    model.predict(X, verbose=0)
    model.memory(batch_size=8)
    model.warmup(batch_size=8)
    model.profile(X, Y, batch_size=8, steps=1)
    assert bits(model) == before


def test_what_a_rehearsed_step_moves_is_put_back(device: Device) -> None:
    model = _model()
    model.train_on_batch(X, Y)
    before = bits(model)
    rehearse = partial(model._new_step().rehearse, training=True)
    batch = [Layout((8, 6, 6, 2), np.dtype(np.float32)), Layout((8,), np.dtype(np.int32))]
    assert bytes_of_step(model, model.device, rehearse, batch, 8) > 0
    assert bits(model) == before


def test_a_frozen_layer_stays_as_it_is(device: Device) -> None:
    """And is run as in inference, in training too; thawed, it moves again."""
    model = _model()
    _fit(model, epochs=1)
    frozen = _batch_layers(model)
    for layer in frozen:
        layer.trainable = False
    model.compile("adam", "sparse_categorical_crossentropy")
    assert not any(weight in model.trainable_weights for layer in frozen for weight in layer.weights)
    before = [weight.numpy() for layer in frozen for weight in layer.weights]
    others = bits(model)
    _fit(model)
    for weight, value in zip((w for layer in frozen for w in layer.weights), before, strict=True):
        checks.assert_same_bits(weight.numpy(), value)
    assert bits(model) != others
    x = checks.normal(5, 4, 4, 4)
    checks.assert_same_bits(frozen[0](x, training=True), frozen[0](x, training=False))
    frozen[0].trainable = True
    frozen[0](x, training=True)
    assert (frozen[0].moving_mean.numpy() != before[2]).all()


def test_gamma_frozen_alone_leaves_the_statistics_moving(device: Device) -> None:
    model = _model()
    layer = _batch_layers(model)[0]
    layer.gamma.trainable = False
    before = [weight.numpy() for weight in layer.weights]
    _fit(model, epochs=1)
    changed = [(weight.numpy() != value).any() for weight, value in zip(layer.weights, before, strict=True)]
    assert changed == [False, True, True, True]


def test_captured_steps_have_the_same_bits(device: Device, captures: list[Captures]) -> None:
    if device == CPU:
        pytest.skip("the CPU captures nothing")
    captured, eager = _model(), _model(run_eagerly=True)
    for model in (captured, eager):
        _fit(model)
    assert bits(captured) == bits(eager)
    assert sum(one.graphs for one in captures) > 0


def test_devices_agree(device: Device) -> None:
    """Weights and statistics after three epochs, on this device and on the CPU."""
    import gpunet

    model = _model(SGD(0.01))
    with gpunet.device(CPU):
        other = _model(SGD(0.01))
    for each in (model, other):
        _fit(each)
    for one, two in zip(model.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-3, atol=1e-4)


def test_each_part_of_a_batch_is_a_batch_to_the_statistics(device: Device) -> None:
    def model(**options: Any) -> Sequential:
        one = Sequential([Input((4,)), layers.BatchNormalization(momentum=0.5)])
        one.compile(SGD(0.0), "mse", **options)
        return one

    x = checks.normal(8, 4)
    parts, halves = model(batch_parts=2), model()
    parts.train_on_batch(x, x)
    halves.train_on_batch(x[:4], x[:4])
    halves.train_on_batch(x[4:], x[4:])
    assert bits(parts) == bits(halves)


def test_a_step_that_is_not_finite_is_taken_back_with_the_statistics(device: Device) -> None:
    """Of a step run as it is, and of a captured one."""
    for batch in (1, 4):
        model, before = _model(nonfinite="raise"), _model()
        x = np.concatenate([X] * 3)[:48]
        y = np.concatenate([Y] * 3)[:48]
        options: Any = {"epochs": 1, "shuffle": False, "validation_split": 0.0}
        before.fit(x[: 8 * batch], y[: 8 * batch], batch_size=8, verbose=0, epochs=1, shuffle=False)
        x = x.copy()
        x[8 * batch + 3, 0, 0, 0] = 1e30  # whose square is infinite
        with pytest.raises(FloatingPointError, match="the model is as it was before that step"):
            model.fit(x, y, batch_size=8, verbose=0, **options)
        assert bits(model) == bits(before)


class _Stop(Callback):
    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        if self.model.optimizer.iterations == 4:
            raise InterruptedError


def test_saved_and_resumed_the_bits_are_the_same(device: Device, tmp_path: Path) -> None:
    whole, cut = _model(), _model()
    _fit(whole)
    with contextlib.suppress(InterruptedError):
        _fit(cut, callbacks=[BackupAndRestore(tmp_path / "backup", save_freq=1), _Stop()])
    resumed = _model()
    _fit(resumed, callbacks=[BackupAndRestore(tmp_path / "backup", save_freq=1)])
    assert bits(resumed) == bits(whole)
    whole.save(tmp_path / "model.gpunet")
    again = load_model(tmp_path / "model.gpunet")
    assert bits(again) == bits(whole)
    checks.assert_same_bits(again.predict(X, verbose=0), whole.predict(X, verbose=0))
    for model in (again, whole):
        model.train_on_batch(X, Y)
    assert bits(again) == bits(whole)
