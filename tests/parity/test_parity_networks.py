"""Networks as tutorials write them, the same code for Keras and for gpunet: sizes, outputs, training, the summary."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from example_networks import EXAMPLES
from keras_side import assert_close

import gpunet

TORCH_CANNOT_TRAIN = {"autoencoder"}  # a convolution to one channel, in float64: "grad_weight must be contiguous"


@pytest.fixture
def keras(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Keras, its automatic names starting anew as ours do."""
    import keras

    monkeypatch.setenv("COLUMNS", "140")
    keras.utils.clear_session()
    gpunet.utils.clear_session()
    return keras


def _table(model: Any) -> str:
    lines: list[str] = []
    model.summary(line_length=120, print_fn=lambda text, **_: lines.append(text))
    return "\n".join(lines).rstrip()


@pytest.mark.parametrize("name", EXAMPLES)
def test_sizes_and_summary_in_full_size(keras: Any, name: str) -> None:
    example = EXAMPLES[name]
    ours, theirs = example.make(gpunet), example.make(keras)
    assert ours.count_params() == theirs.count_params() == example.parameters
    assert [layer.name for layer in ours.layers] == [layer.name for layer in theirs.layers]
    assert [weight.shape for weight in ours.weights] == [tuple(weight.shape) for weight in theirs.weights]
    assert ours.output_shape == theirs.output_shape
    assert _table(ours) == _table(theirs)


@pytest.fixture
def ours_in_double() -> Iterator[None]:
    gpunet.set_floatx("float64")
    yield
    gpunet.set_floatx("float32")


@pytest.mark.parametrize("name", EXAMPLES)
@pytest.mark.usefixtures("in_double", "ours_in_double")
def test_outputs_and_losses(keras: Any, name: str) -> None:
    """In float64, so that a relu next to 0 is the same; without dropout, whose masks are others.

    Batches are of all samples: Keras takes some means in float32, which few numbers to normalize make large.
    """
    example = EXAMPLES[name]
    ours, theirs = (example.make(library, **example.small) for library in (gpunet, keras))
    rng = np.random.default_rng(0)
    weights = [
        rng.random(weight.shape) + 0.5 if len(weight.shape) == 1 else rng.standard_normal(weight.shape) / 4
        for weight in ours.weights
    ]
    x = rng.standard_normal((6, *ours.input_shape[1:]))
    if example.loss == "sparse_categorical_crossentropy":
        y: Any = np.arange(6) % 4
    else:
        y = np.round(rng.random((6, *ours.output_shape[1:])))
    results = []
    for library, model in ((gpunet, ours), (keras, theirs)):
        model.set_weights(weights)
        for layer in model.layers:
            if isinstance(layer, library.layers.Dropout):
                layer.rate = 0
        predicted = model.predict(x, verbose=0)
        if name in TORCH_CANNOT_TRAIN:
            results.append((predicted, np.zeros(0), model.get_weights()))
            continue
        model.compile(optimizer=library.optimizers.SGD(0.01), loss=example.loss)
        losses = model.fit(x, y, batch_size=6, epochs=3, shuffle=False, verbose=0).history["loss"]
        results.append((predicted, np.array(losses), model.get_weights()))
    (ours_predicted, our_losses, our_weights), (predicted, losses, their_weights) = results
    assert_close(ours_predicted, predicted, "prediction", 1e-6)
    assert_close(our_losses, losses, "losses", 1e-5)
    for actual, expected, weight in zip(our_weights, their_weights, ours.weights, strict=True):
        assert_close(actual, expected, weight.path, 1e-4)
