"""Whole models against Keras 3: the README's network, training on the same data, the summary's text."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from keras_side import assert_close

import gpunet
from gpunet.backend.arrays import Device


def _readme_network(library: Any, classes: int = 10) -> Any:
    layers = library.layers
    model = library.Sequential()
    if library is not gpunet:
        model.add(library.Input((50, 50, 1)))
        first = layers.Conv2D(16, (3, 3), activation="relu")
    else:
        first = layers.Conv2D(16, (3, 3), input_shape=(50, 50, 1), activation="relu")
    model.add(first)
    model.add(layers.MaxPooling2D((2, 2), padding="same"))
    model.add(layers.Conv2D(32, (3, 3), activation="relu"))
    model.add(layers.MaxPooling2D((2, 2), padding="same"))
    model.add(layers.Conv2D(64, (3, 3), activation="relu"))
    model.add(layers.MaxPooling2D((2, 2), padding="same"))
    model.add(layers.Flatten())
    model.add(layers.Dense(128, activation="relu"))
    model.add(layers.Dense(classes, activation="softmax"))
    return model


def _small_network(library: Any) -> Any:
    layers = library.layers
    return library.Sequential(
        [
            library.Input((8, 8, 2)),
            layers.Conv2D(4, 3, padding="same", activation="relu", kernel_regularizer="l2"),
            layers.MaxPooling2D(2, padding="same"),
            layers.Conv2D(6, 3, strides=2, activation="gelu"),
            layers.AveragePooling2D(2, strides=1, padding="same"),
            layers.Flatten(),
            layers.Dense(16, activation="tanh", activity_regularizer="l2", kernel_constraint="max_norm"),
            layers.Dense(3, activation="softmax"),
        ]
    )


def _data(labels: bool = True) -> tuple[Any, Any]:
    rng = np.random.default_rng(0)
    x = rng.random((50, 8, 8, 2), np.float32)
    y = (x.mean(axis=(1, 2, 3)) * 30).astype(int) % 3
    return x, y if labels else np.eye(3, dtype=np.float32)[y]


@pytest.fixture
def keras() -> Any:
    """Keras, its automatic names starting anew as ours do."""
    import keras

    keras.utils.clear_session()
    return keras


def test_readme_network_has_keras_layers_and_counts(keras: Any) -> None:
    ours, theirs = _readme_network(gpunet), _readme_network(keras)
    assert [layer.name.rsplit("_", 1)[0] for layer in ours.layers]
    for our, their in zip(ours.layers, theirs.layers, strict=True):
        assert type(our).__name__ == type(their).__name__
        assert our.count_params() == their.count_params()
        assert [tuple(w.shape) for w in our.weights] == [tuple(w.shape) for w in their.weights]
    assert ours.count_params() == theirs.count_params()
    assert ours.layers[-2].count_params() == 204_928
    weights = theirs.get_weights()
    ours.set_weights(weights)
    x = np.random.default_rng(0).random((3, 50, 50, 1), np.float32)
    assert_close(ours.predict(x, verbose=0), theirs.predict(x, verbose=0), "prediction", 1e-5)


def _lines(print_summary: Any) -> list[str]:
    lines: list[str] = []
    print_summary(print_fn=lambda text, **_: lines.extend(text.splitlines()))
    return [line.rstrip() for line in lines if line.strip()]


def test_summary_is_keras_text(keras: Any) -> None:
    ours, theirs = _readme_network(gpunet), _readme_network(keras)
    theirs.name = ours.name
    for our, their in zip(ours.layers, theirs.layers, strict=True):
        their.name = our.name
    assert _lines(ours.summary) == _lines(theirs.summary)


def test_summary_of_a_frozen_layer_counts_as_keras_does(keras: Any) -> None:
    ours, theirs = _readme_network(gpunet), _readme_network(keras)
    for model in (ours, theirs):
        model.layers[0].trainable = False
    counted = [re.findall(r"params: ([\d,]+)", "\n".join(_lines(model.summary))) for model in (ours, theirs)]
    assert counted[0] == counted[1] and len(counted[0]) == 3


@pytest.mark.parametrize(
    "optimizer, sparse",
    [("adam", True), ("sgd", False), (("SGD", {"learning_rate": 0.05, "momentum": 0.9, "nesterov": True}), True)],
)
def test_fit_on_the_same_data(keras: Any, device: Device, optimizer: Any, sparse: bool) -> None:
    x, y = _data(labels=sparse)
    loss = "sparse_categorical_crossentropy" if sparse else "categorical_crossentropy"
    theirs, ours = _small_network(keras), _small_network(gpunet)
    ours.set_weights(theirs.get_weights())
    histories = []
    for library, model in ((keras, theirs), (gpunet, ours)):
        chosen = optimizer
        if isinstance(optimizer, tuple):
            chosen = getattr(library.optimizers, optimizer[0])(**optimizer[1])
        model.compile(optimizer=chosen, loss=loss, metrics=["accuracy"])
        history = model.fit(x, y, batch_size=16, epochs=3, shuffle=False, validation_split=0.2, verbose=0)
        histories.append(history.history)
    theirs_history, ours_history = histories
    assert set(ours_history) == set(theirs_history)
    for key, values in theirs_history.items():
        np.testing.assert_allclose(ours_history[key], values, rtol=2e-4, err_msg=key)
    np.testing.assert_allclose(ours.evaluate(x, y, verbose=0), theirs.evaluate(x, y, verbose=0), rtol=2e-4)
    assert_close(ours.predict(x, verbose=0), theirs.predict(x, verbose=0), "prediction", 2e-4)
    for our, their in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        assert_close(our, their, "weights", 1e-3)


def test_train_on_batch(keras: Any, device: Device) -> None:
    x, y = _data()
    theirs, ours = _small_network(keras), _small_network(gpunet)
    ours.set_weights(theirs.get_weights())
    for model in (theirs, ours):
        model.compile(optimizer="adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    for _ in range(3):
        expected = np.array([float(value) for value in theirs.train_on_batch(x[:20], y[:20])])
        np.testing.assert_allclose(np.asarray(ours.train_on_batch(x[:20], y[:20]), float), expected, rtol=1e-4)
