"""A small model with a layer that is faulty on devices, and its parity."""

from __future__ import annotations

from typing import Any

import checks
import numpy as np
from emulated_kernel import require_emulator

from gpunet import Dense, Input, Sequential
from gpunet.backend.arrays import CPU, Array, device_of
from gpunet.inspection import Parity, parity
from gpunet.layers import Layer
from gpunet.layers.base import Forward

X, Y = checks.normal(6, 5), np.arange(6) % 3


class Faulty(Layer):
    """y = 2 x; on a device that is not the CPU y and dx are spoiled by `forward_by` and `backward_by`."""

    def __init__(self, forward_by: float = 0, backward_by: float = 0, gradient_by: float = 0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.faults = (forward_by, backward_by, gradient_by)

    def build(self, input_shape: Any) -> None:
        self.a = self.add_weight((input_shape[-1],), "ones", name="a")

    def forward(self, x: Array, training: bool) -> Forward:
        forward_by, backward_by, gradient_by = (0.0, 0.0, 0.0) if device_of(x) == CPU else self.faults
        a = self.a.value

        def backward(dy: Array) -> Array:
            self.a.add_gradient((dy * x).sum(axis=0) * (1 + gradient_by))
            return dy * a * (1 + backward_by)

        return x * a * (1 + forward_by), backward


def small_model(*middle: Layer, optimizer: Any = "sgd") -> Sequential:
    layers = [Dense(4, "tanh", name="first"), *middle, Dense(3, activation="softmax", name="last")]
    model = Sequential([Input((5,)), *layers], name="net")
    model.compile(optimizer, "sparse_categorical_crossentropy", ["accuracy"])
    return model


def compared(model: Sequential, **options: Any) -> Parity:
    require_emulator()
    return parity(model, X, Y, device="emulated", **{"steps": 2, **options})
