"""What the tests of watched training share: layers that overflow, data with one number that makes them, models."""

from __future__ import annotations

from typing import Any

import checks
import numpy as np
import pytest

from gpunet import Dense, Dropout, Input, Sequential
from gpunet.backend.arrays import Array, HostArray
from gpunet.backend.random import set_random_seed
from gpunet.layers import Layer

SAMPLES, SIZE, PER_EPOCH = 42, 8, 6  # the last batch has 2
FIRST, MIDDLE, LAST = 0, 3, 5  # batches
HUGE = np.float32(1e30)  # whose square is infinite
ADVICE = "the model is as it was before that step; a smaller learning_rate, or clipnorm, may help"


class Square(Layer):
    """y = x^2."""

    def forward(self, x: Array, training: bool) -> Any:
        return x * x, lambda dy: 2 * x * dy


class Steep(Layer):
    """y = 1e-30 a x, of which backward says that the gradient of a is the sum of x^2 dy."""

    def build(self, input_shape: Any) -> None:
        self.a = self.add_weight((input_shape[-1],), "ones", name="a")

    def forward(self, x: Array, training: bool) -> Any:
        factor = self.a.value * np.float32(1e-30)

        def backward(dy: Array) -> Array:
            self.a.add_gradient((dy * (x * x)).sum(axis=0))
            return dy * factor

        return x * factor, backward


class Pass(Layer):
    """y = x."""

    def forward(self, x: Array, training: bool) -> Any:
        return x, lambda dy: dy


def new_data() -> tuple[HostArray, HostArray]:
    rng = np.random.default_rng(0)
    return rng.random((SAMPLES, 4), np.float32), rng.random((SAMPLES, 2), np.float32)


def new_model(*layers: Layer, nonfinite: str = "raise", optimizer: Any = "adam", **options: Any) -> Sequential:
    """Return a compiled model with `layers` on its input, which therefore see single samples."""
    set_random_seed(3)
    rest = [Dense(5, "relu", name="a"), Dropout(0.4, name="p"), Dense(2, name="b", kernel_regularizer="l2")]
    model = Sequential([Input((4,)), *layers, *rest], name="net")
    model.compile(optimizer, "mse", nonfinite=nonfinite, **options)
    return model


def fit(model: Sequential, x: HostArray, y: HostArray, **options: Any) -> Any:
    return model.fit(x, y, **{"batch_size": SIZE, "shuffle": False, "verbose": 0} | options)


def _state(model: Sequential) -> dict[str, HostArray]:
    """Return all that training changes in a model."""
    assert model.optimizer is not None
    state = {f"optimizer: {name}": checks.host(array) for name, array in model.optimizer.variables.items()}
    state |= {parameter.path: parameter.numpy() for parameter in model.weights}
    return state | {f"stream {n}": np.array(stream.step) for n, stream in enumerate(model.streams)}


def assert_same_state(model: Sequential, other: Sequential) -> None:
    states = _state(model), _state(other)
    assert states[0].keys() == states[1].keys()
    for name, array in states[0].items():
        checks.assert_same_bits(array, states[1][name])


def error_of(model: Sequential, *data: Any, **options: Any) -> str:
    with pytest.raises(FloatingPointError) as caught:
        fit(model, *data, **options)
    assert isinstance(caught.value, ArithmeticError)
    return str(caught.value)


# What is planted into sample 1 of a batch of x or y, into which layer it goes, and what is found.
PLANTS: dict[str, tuple[type[Layer], str, str, str]] = {
    "forward": (Square, "x", "outputs", "inf in the output of own at index (1, 2)"),
    "loss": (Pass, "y", "loss", "inf in the loss"),
    "backward": (Steep, "x", "gradients", "inf in the gradient of own/a at index (2,)"),
}


def planted(kind: str, batch: int) -> tuple[HostArray, HostArray]:
    x, y = new_data()
    if PLANTS[kind][1] == "y":
        y[SIZE * batch + 1, 0] = HUGE
    else:
        x[SIZE * batch + 1, 2] = HUGE
    return x, y


def trained_until(batch: int, layer: type[Layer], x: HostArray, y: HostArray) -> Sequential:
    """Return a model trained, without being watched, on the batches before number `batch`."""
    model = new_model(layer(name="own"), nonfinite="ignore")
    if batch:
        fit(model, x[: SIZE * batch], y[: SIZE * batch])
    else:
        assert model.optimizer is not None
        model.optimizer.build(model.weights)
    return model
