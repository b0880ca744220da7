"""Normalization layers: weights, arguments, data that are adapted to. Numbers: test_normalization.py, and parity."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import checks
import numpy as np
import pytest
from layer_checks import assert_config_comes_back, assert_layer_gradients

import gpunet
from gpunet import Dense, Input, Sequential, layers, load_model
from gpunet.backend.arrays import CPU, Device, HostArray
from gpunet.layers import Layer

IN_DOUBLE: Any = {"dtype": "float64"}
DATA = checks.normal(2500, 3, 2, dtype=np.float64) * 3 + 50


@pytest.mark.parametrize(
    "layer",
    [
        lambda: layers.LayerNormalization([1, 3], gamma_initializer="random_normal", **IN_DOUBLE),
        lambda: layers.GroupNormalization(2, gamma_initializer="random_normal", activity_regularizer="l2", **IN_DOUBLE),
        lambda: layers.RMSNormalization(**IN_DOUBLE),
        lambda: layers.UnitNormalization((1, 2), **IN_DOUBLE),
        lambda: layers.Normalization(mean=1.0, variance=[1.0, 2.0, 3.0, 4.0], **IN_DOUBLE),
        lambda: layers.Rescaling([2.0, 3.0, 4.0, 5.0], -1, **IN_DOUBLE),
    ],
)
def test_gradients(device: Device, layer: Callable[[], Layer]) -> None:
    assert_layer_gradients(layer(), checks.normal(3, 2, 3, 4, dtype=np.float64), device, training=True)


@pytest.mark.parametrize("training", [True, False])
def test_gradients_of_batch_normalization(device: Device, training: bool) -> None:
    layer = layers.BatchNormalization(axis=1, **IN_DOUBLE)
    x, dy = (checks.normal(5, 3, 2, seed=seed, dtype=np.float64) for seed in (1, 2))
    layer.build(x.shape)
    layer.set_weights([np.float64([0.5, 2, -1]), np.float64([1, 2, 3]), np.zeros(3), np.float64([1, 2, 3])])
    _, backward = layer.apply(checks.on(device, x), training)
    dx = backward(checks.on(device, dy))
    assert dx is not None
    checks.assert_gradient(lambda x: (layer(x, training) * dy).sum(), x, dx)
    for parameter in layer.trainable_weights:

        def value_at(w: HostArray, parameter: Any = parameter) -> float:
            parameter.assign(w)
            return float((layer(x, training) * dy).sum())

        start, gradient = parameter.numpy(), parameter.gradient
        assert gradient is not None
        checks.assert_gradient(value_at, start, gradient)
        parameter.assign(start)
    layer.prepare_gradients(needs_input_gradient=False)
    before = [checks.host(parameter.gradient).copy() for parameter in layer.trainable_weights]
    assert layer.apply(checks.on(device, x), training)[1](checks.on(device, dy)) is None
    for parameter, once in zip(layer.trainable_weights, before, strict=True):
        np.testing.assert_allclose(checks.host(parameter.gradient), 2 * once, rtol=1e-12)


@pytest.mark.parametrize(
    "layer",
    [
        layers.BatchNormalization(1, momentum=0.5, scale=False, gamma_regularizer="l2", moving_mean_initializer="ones"),
        layers.LayerNormalization([1, -1], center=False, beta_constraint="non_neg"),
        layers.GroupNormalization(-1, axis=2, epsilon=0.1),
        layers.RMSNormalization((1, 2)),
        layers.UnitNormalization(1),
        layers.Normalization(None, mean=np.float32(1), variance=2),
        layers.Normalization((1, 2), mean=np.ones((3, 2)), variance=np.ones((3, 2)), invert=True),
        layers.Rescaling(np.ones(3), offset=2),
    ],
)
def test_configurations_come_back(layer: Layer) -> None:
    again = assert_config_comes_back(layer)
    x = checks.normal(4, 3, 2) if not isinstance(layer, layers.Rescaling) else checks.normal(4, 2, 3)
    checks.assert_same_bits(again(x), layer(x))


def test_weights_are_keras_in_order_and_shape() -> None:
    def weights(layer: Layer) -> dict[str, tuple[int, ...]]:
        layer.build((None, 6, 5, 4))
        return {weight.name: weight.shape for weight in layer.weights}

    moving = {"moving_mean": (4,), "moving_variance": (4,)}
    layer = layers.BatchNormalization()
    assert list(weights(layer).items()) == list(({"gamma": (4,), "beta": (4,)} | moving).items())
    assert [weight.name for weight in layer.fixed_weights] == list(moving)
    assert weights(layers.BatchNormalization(center=False, scale=False)) == moving
    assert weights(layers.LayerNormalization(axis=(-1, 1))) == {"gamma": (6, 4), "beta": (6, 4)}
    assert weights(layers.GroupNormalization(3, axis=1)) == {"gamma": (6,), "beta": (6,)}
    assert weights(layers.RMSNormalization(axis=2)) == {"scale": (5,)}
    assert weights(layers.Normalization(axis=(1, 3))) == {"mean": (6, 4), "variance": (6, 4)}
    assert weights(layers.Normalization(mean=1, variance=1)) == weights(layers.UnitNormalization()) == {}


BAD: list[tuple[Callable[[], Any], type[Exception], str]] = [
    (lambda: layers.BatchNormalization(renorm=True), ValueError, "renorm must be False; got True"),
    (lambda: layers.BatchNormalization(synchronized=True), ValueError, "synchronized must be False; got True"),
    (lambda: layers.BatchNormalization(momentum=2), ValueError, "momentum must be from 0 to 1; got 2"),
    (lambda: layers.BatchNormalization([1]), TypeError, r"axis must be an integer; got \[1\]"),  # type: ignore[arg-type]
    (lambda: layers.BatchNormalization(4)(DATA), ValueError, "axis must be among the input's 3 axes; got 4"),
    (lambda: layers.BatchNormalization(0)(DATA), ValueError, "axis must not be that of the batch, 0; got 0 of 3 axes"),
    (lambda: layers.BatchNormalization().moving_mean, ValueError, "must be built before its statistics are used"),
    (lambda: layers.LayerNormalization([1, -2])(DATA), ValueError, r"axis must not name an axis of \(2500, 3, 2\) twi"),
    (lambda: layers.LayerNormalization(rms_scaling=True), ValueError, "rms_scaling must be False; got True; use RMSN"),
    (lambda: layers.LayerNormalization([]), ValueError, r"axis must be an integer or some; got \[\]"),
    (lambda: layers.GroupNormalization(0), ValueError, "groups must be at least 1, or -1 for one for each channel"),
    (lambda: layers.GroupNormalization(4)(DATA), ValueError, r"groups must divide the 2 channels of .*; got 4"),
    (lambda: layers.RMSNormalization().build((None, 3, None)), ValueError, "input must have known sizes along axis -1"),
    (lambda: layers.Normalization(mean=1), ValueError, "mean and variance must be given both or not at all"),
    (lambda: layers.Normalization(mean=1, variance=-1), ValueError, "variance must have finite numbers of at least 0"),
    (lambda: layers.Normalization(mean=[1, 2, 3], variance=1)(DATA), ValueError, r"mean must broadcast to \(2,\), the"),
    (lambda: layers.Normalization(mean=1, variance=1).adapt(DATA), ValueError, "adapt: must not be called where mean"),
    (lambda: layers.Normalization().adapt([]), ValueError, "adapt: data must have at least one batch; got none"),
    (lambda: layers.Normalization().adapt(3), TypeError, "adapt: data must be an array, or make batches; got 3"),
    (lambda: layers.Normalization().adapt([[1.0, 2.0]]), TypeError, r"adapt: data must be an array, or batches that "),
    (lambda: layers.Normalization().adapt(np.array(["a"])), TypeError, "adapt: data must hold real numbers; got dtype"),
    (lambda: layers.Rescaling([1, 2], [1, 2, 3]), ValueError, "scale and offset must have shapes that broadcast; got "),
    (lambda: layers.Rescaling([1, 2, 3])(DATA), ValueError, r"scale and offset must broadcast to a sample of .*\(3,\)"),
    (lambda: layers.Rescaling("a"), TypeError, "scale must be a number or an array of numbers; got 'a'"),
]


@pytest.mark.parametrize(("act", "error", "text"), BAD, ids=[text for _, _, text in BAD])
def test_what_cannot_be_done_is_refused(act: Callable[[], Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        act()


def test_other_sizes_than_those_built_for_are_refused() -> None:
    layer = layers.BatchNormalization()
    layer.build((None, None, 4))
    layer(checks.normal(2, 7, 4))
    for shape in ((2, 7, 5), (2, 4)):
        with pytest.raises(ValueError, match=r"input must have 3 axes, and 4 along axis 2; got shape"):
            layer(checks.normal(*shape))


class _Sequence:
    """What PyDataset is: pairs of data and targets, by number."""

    def __len__(self) -> int:
        return 3

    def __getitem__(self, number: int) -> tuple[HostArray, int]:
        return DATA[1000 * number : 1000 * number + 1000], 1


class _Stored:
    """What a data set of a file is: an array in slices alone."""

    shape, dtype = DATA.shape, DATA.dtype

    def __getitem__(self, rows: slice) -> HostArray:
        assert rows.stop - rows.start <= 1024
        return DATA[rows]


def _generated() -> Iterator[HostArray]:
    for start in (0, 5, 1700):
        yield DATA[start : {0: 5, 5: 1700, 1700: 2500}[start]]


SOURCES: list[Callable[[Device], Any]] = [
    lambda device: DATA,
    lambda device: checks.on(device, DATA),
    lambda device: _generated(),
    lambda device: list(_generated()),
    lambda device: _Sequence(),
    lambda device: _Stored(),
]


@pytest.mark.parametrize("source", SOURCES, ids=["host", "device", "generator", "list", "sequence", "stored"])
def test_data_of_all_kinds_are_adapted_to(device: Device, source: Callable[[Device], Any]) -> None:
    layer = layers.Normalization(**IN_DOUBLE)
    for _ in range(2):  # what was known before is forgotten
        layer.adapt(source(device))
    mean, variance = layer.get_weights()
    np.testing.assert_allclose(mean, DATA.mean(axis=(0, 1)), rtol=1e-14)
    np.testing.assert_allclose(variance, DATA.var(axis=(0, 1)), rtol=1e-12)
    assert layer.device == device
    y = layer(DATA)
    np.testing.assert_allclose(y, (DATA - mean) / np.sqrt(variance), rtol=1e-10, atol=1e-12)


def test_adapted_statistics_are_saved(device: Device, tmp_path: Path) -> None:
    normalization = layers.Normalization(input_shape=(3, 2))
    normalization.adapt(DATA)
    model = Sequential([normalization, layers.Rescaling(2.0), Dense(2)])
    model.save(tmp_path / "model.gpunet")
    again = load_model(tmp_path / "model.gpunet")
    checks.assert_same_bits(again.predict(DATA[:9], verbose=0), model.predict(DATA[:9], verbose=0))
    kept = normalization.get_weights()
    model.compile("sgd", "mse")
    model.fit(DATA[:9], np.zeros((9, 3, 2), np.float32), verbose=0)
    for before, after in zip(kept, normalization.get_weights(), strict=True):
        checks.assert_same_bits(after, before)


def test_given_numbers_serve_any_device(device: Device) -> None:
    """Without weights a layer runs where its input is."""
    x = checks.normal(4, 3)
    for layer in (layers.Normalization(mean=[1, 2, 3], variance=4), layers.Rescaling([1, 2, 3], 1)):
        with gpunet.device(CPU):
            expected = layer(x)
        checks.assert_same_bits(layer(checks.on(device, x)), expected)
    model = Sequential([Input((3,)), layers.Rescaling(0.5)])
    checks.assert_same_bits(model.predict(x, verbose=0), x / 2)
