"""The networks that `gpunet train` trains on the digits, each with its images and its number of epochs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from gpunet.backend.arrays import HostArray
from gpunet.datasets import digits, resize
from gpunet.layers import Conv2D, Dense, Dropout, Flatten, Input, MaxPooling2D
from gpunet.models import Sequential


@dataclass(frozen=True)
class Recipe:
    """A network, the height and width of its images, and how long it takes to learn the digits."""

    network: Callable[[], Sequential]
    image_size: int
    epochs: int

    def images(self, x: HostArray) -> HostArray:
        """Return the images x, of 8 x 8 pixels from 0 to 16, in the network's size, as float32 from 0 to 1."""
        scaled = x / np.float32(digits.LARGEST_PIXEL)
        return scaled if self.image_size == x.shape[1] else resize(scaled, self.image_size)


def _cnn() -> Sequential:
    """Three convolutions and two Dense layers: 89,546 parameters, 660,000 multiplications an image."""
    return Sequential(
        [
            Input((8, 8, 1)),
            Conv2D(16, 3, padding="same", activation="relu"),
            Conv2D(32, 3, padding="same", activation="relu"),
            MaxPooling2D(2),
            Conv2D(64, 3, padding="same", activation="relu"),
            Dropout(0.3),
            Flatten(),
            Dense(64, activation="relu"),
            Dropout(0.4),
            Dense(digits.CLASSES, activation="softmax"),
        ],
        name="cnn",
    )


def _mlp() -> Sequential:
    """Three Dense layers: 17,226 parameters."""
    return Sequential(
        [
            Input((8, 8, 1)),
            Flatten(),
            Dense(128, activation="relu"),
            Dropout(0.3),
            Dense(64, activation="relu"),
            Dropout(0.3),
            Dense(digits.CLASSES, activation="softmax"),
        ],
        name="mlp",
    )


def _cnn50() -> Sequential:
    """Three convolutions and two Dense layers, for images of 50 x 50 pixels: 229,514 parameters."""
    return Sequential(
        [
            Input((50, 50, 1)),
            Conv2D(16, 3, activation="relu"),
            MaxPooling2D(2, padding="same"),
            Conv2D(32, 3, activation="relu"),
            MaxPooling2D(2, padding="same"),
            Conv2D(64, 3, activation="relu"),
            MaxPooling2D(2, padding="same"),
            Flatten(),
            Dense(128, activation="relu"),
            Dense(digits.CLASSES, activation="softmax"),
        ],
        name="cnn50",
    )


RECIPES = {
    "cnn": Recipe(_cnn, image_size=8, epochs=30),
    "mlp": Recipe(_mlp, image_size=8, epochs=60),
    "cnn50": Recipe(_cnn50, image_size=50, epochs=10),
}
