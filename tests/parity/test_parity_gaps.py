"""Arithmetic on symbolic tensors, names and loss scaling, against Keras 3."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import checks
import numpy as np
import pytest
from keras_side import assert_close, host, tensor

import gpunet
from gpunet.backend.arrays import Device

EXPRESSIONS: list[Callable[[Any, Any], Any]] = [
    lambda x, y: (x + y) * (x - y) / y,
    lambda x, y: 2 / (x + 3) - (-x) / 4 + (5 - y),
    lambda x, y: (1 - x) * 0.5 * y / (x * x + 1),
]


@pytest.mark.parametrize("number", range(len(EXPRESSIONS)))
@pytest.mark.usefixtures("in_double")
def test_arithmetic_on_symbolic_tensors(device: Device, number: int) -> None:
    import keras

    made: list[Any] = []
    for library in (keras, gpunet):
        x, y = (library.layers.Input(shape, dtype="float64") for shape in ((2, 3), (1, 3)))
        made.append(library.models.Model([x, y], EXPRESSIONS[number](x, y)))
    rng = np.random.default_rng(number)
    xs = [rng.uniform(0.5, 2, (4, *shape)) for shape in ((2, 3), (1, 3))]
    inputs = [tensor(x, gradient=True) for x in xs]
    expected = made[0](inputs)
    dy = rng.standard_normal(tuple(expected.shape))
    (expected * tensor(dy)).sum().backward()
    made[1].prepare_gradients(True)
    actual, backward = made[1].apply([checks.on(device, x) for x in xs], False)
    assert_close(checks.host(actual), host(expected), "y")
    for dx, given in zip(backward(checks.on(device, dy)), inputs, strict=True):
        assert_close(checks.host(dx), host(given.grad), "dx")
    assert made[1].output_shape == made[0].output_shape


@pytest.mark.parametrize("module", ["initializers", "activations"])
def test_names_are_those_of_keras(module: str) -> None:
    """All but those of what there is not here: a Fourier transform."""
    import keras

    ours, theirs = getattr(gpunet, module), getattr(keras, module)
    for name in (name for name in dir(theirs) if name[0] != "_" and not name.lower().startswith("stft")):
        assert hasattr(ours, name), f"{module}.{name}"
        assert getattr(getattr(ours, name), "__name__", name) == getattr(theirs, name).__name__
    assert gpunet.layers.deserialize(gpunet.layers.serialize(gpunet.layers.Dense(3))).units == 3
