"""A network of the cases in Keras's terms, which are gpunet's too."""

from __future__ import annotations

from typing import Any

from bench.cases import models


def sequential(network: models.Network, library: Any) -> Any:
    """Return the network, compiled, from a library with Keras's names: `keras` or `gpunet`."""
    layers = library.layers
    model = library.Sequential([layers.Input(network.input_shape)])
    for layer in network.layers:
        last = layer is network.layers[-1]
        match layer:
            case models.Conv(filters, padding):
                model.add(layers.Conv2D(filters, 3, padding=padding, activation="relu"))
            case models.Pool():
                model.add(layers.MaxPooling2D(2, padding="same"))
            case models.Flatten():
                model.add(layers.Flatten())
            case models.Dense(units):
                model.add(layers.Dense(units, activation="softmax" if last else "relu"))
    model.set_weights([array for pair in network.weights() for array in pair])
    optimizer = library.optimizers.Adam(models.LEARNING_RATE, epsilon=models.EPSILON)
    model.compile(optimizer, "sparse_categorical_crossentropy")
    return model
