"""Small models and data that several test files share."""

from __future__ import annotations

from typing import Any

import numpy as np

import gpunet
from gpunet import Conv2D, Dense, Dropout, Flatten, Input, Sequential
from gpunet.backend.arrays import HostArray
from gpunet.datasets import load_digits
from gpunet.layers import MaxPooling2D
from gpunet.networks.sequential import SequentialNetwork


def digits(n: int) -> tuple[HostArray, HostArray]:
    (x, y), _ = load_digits()
    return x[:n] / np.float32(16), y[:n]


def small_cnn() -> Sequential:
    model = Sequential(
        [
            Input((8, 8, 1)),
            Conv2D(8, 3, strides=2, activation="relu"),
            Flatten(),
            Dropout(0.1),
            Dense(10, activation="softmax"),
        ]
    )
    model.compile(gpunet.optimizers.Adam(0.01), "sparse_categorical_crossentropy", ["accuracy"])
    return model


def linear(loss: Any = "mse", **arguments: Any) -> Sequential:
    """Return y = w x with w = 1, trained by plain gradient descent."""
    model = Sequential([Input((1,)), Dense(1, use_bias=False, kernel_initializer="ones", **arguments)])
    model.compile(gpunet.optimizers.SGD(0.5), loss)
    return model


def column(*values: float) -> HostArray:
    return np.array(values, np.float32)[:, None]


def bits(model: Sequential) -> list[bytes]:
    return [weight.tobytes() for weight in model.get_weights()]


def named_network(**arguments: Any) -> SequentialNetwork:
    return SequentialNetwork(
        [
            Input((6, 5, 2)),
            Conv2D(3, 2, activation="tanh", name="a"),
            MaxPooling2D(2, padding="same"),
            Flatten(),
            Dense(4, activation="gelu", activity_regularizer="l2", name="b"),
            Dropout(0.5, seed=1),
            Dense(3, activation="softmax", name="c"),
        ],
        **arguments,
    )
