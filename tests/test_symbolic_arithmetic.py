"""Arithmetic on symbolic tensors: each operation is a layer, in values, gradients, files and clones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import checks
import numpy as np
import pytest
from layer_checks import assert_config_comes_back, assert_layer_gradients

import gpunet
from gpunet.backend.arrays import Device
from gpunet.layers import Add, Dense, Divide, Input, InputLayer, Ratio
from gpunet.models import Functional, Model, clone_model, load_model

EXPRESSIONS: dict[str, tuple[Callable[[Any, Any], Any], list[str]]] = {
    "tensors": (lambda x, y: (x + y) * (x - y) / y, ["Add", "Subtract", "Multiply", "Divide"]),
    "sums with numbers": (lambda x, y: (x + 2) + (np.float32(0.5) + y), ["Rescaling", "Rescaling", "Add"]),
    "differences": (lambda x, y: (x - 2) - (3 - y), ["Rescaling", "Rescaling", "Subtract"]),
    "products": (lambda x, y: (2 * x) + (y * 3) + -x, ["Rescaling", "Rescaling", "Add", "Rescaling", "Add"]),
    "quotients": (lambda x, y: x / 3 + 2 / y, ["Ratio", "Ratio", "Add"]),
    "one tensor twice": (lambda x, y: x * x + y, ["Multiply", "Add"]),
}


def _data() -> list[Any]:
    rng = np.random.default_rng(0)
    return [rng.uniform(0.5, 2, (4, 2, 3)), rng.uniform(0.5, 2, (4, 1, 3))]


def _model(expression: Callable[[Any, Any], Any]) -> Functional:
    x, y = Input((2, 3), dtype="float64"), Input((1, 3), dtype="float64")
    return Model([x, y], expression(x, y))


@pytest.mark.parametrize("name", EXPRESSIONS)
def test_values_and_gradients(device: Device, name: str) -> None:
    expression, kinds = EXPRESSIONS[name]
    with gpunet.device(str(device)):
        model = _model(expression)
    found = [type(layer).__name__ for layer in model.layers if not isinstance(layer, InputLayer)]
    assert sorted(found) == sorted(kinds)
    xs = _data()
    model.prepare_gradients(needs_input_gradient=True)
    out, backward = model.apply([checks.on(device, x) for x in xs], False)
    np.testing.assert_allclose(checks.host(out), expression(*xs), rtol=1e-14)
    assert model.output_shape == (None, *out.shape[1:])
    dy = checks.normal(*out.shape, dtype=np.float64)
    for number, dx in enumerate(backward(checks.on(device, dy))):

        def value(x: Any, number: int = number) -> float:
            return float((expression(*[*xs[:number], x, *xs[number + 1 :]]) * dy).sum())

        checks.assert_gradient(value, xs[number], dx)


@pytest.mark.parametrize("layer", [Ratio(3.0, dtype="float64"), Ratio(-2.0, inverse=True, dtype="float64")])
def test_ratios_to_a_number(device: Device, layer: Ratio) -> None:
    """A quotient is rounded once, as a reciprocal would not be; a division by 0 is infinite without a warning."""
    again: Any = assert_config_comes_back(layer)
    with gpunet.device(str(device)):
        assert_layer_gradients(again, _data()[0], device)
    x = np.float32([[0.1, 0.7, 1.3, 7.0]])
    single = Ratio(layer.number, layer.inverse)
    expected = np.float32(layer.number) / x if layer.inverse else x / np.float32(layer.number)
    y, _ = single.apply(checks.on(device, x), False)
    checks.assert_same_bits(y, expected)
    y, _ = single.apply(checks.on(device, np.zeros((1, 1), np.float32)), False)
    assert checks.host(y).tolist() == ([[-np.inf]] if layer.inverse else [[0]])


def test_files_clones_and_training(tmp_path: Path, device: Device) -> None:
    with gpunet.device(str(device)):
        x = Input((3,))
        h = Dense(3, activation="tanh")(x)
        model = Model(x, (1 - h) / (2 + h * h) - x / 2)
    model.compile("sgd", "mse")
    data = checks.normal(8, 3)
    history = model.fit(data, data, epochs=4, verbose=0).history["loss"]  # captured from the third step on
    assert history[-1] < history[0]
    model.save(tmp_path / "model")
    with gpunet.device(str(device)):
        copies = load_model(tmp_path / "model"), clone_model(model)
    copies[1].set_weights(model.get_weights())
    for copy in copies:
        checks.assert_same_bits(copy.predict(data, verbose=0), model.predict(data, verbose=0))


def test_what_there_is_no_layer_for_is_refused() -> None:
    x: Any = Input((3,), name="x")
    for refused, message in (
        (lambda: x[:, 0], "got indexing; use a layer: Cropping1D"),
        (lambda: list(x), "got indexing"),
        (lambda: x**2, r"got \*\*; use a layer: Multiply"),
        (lambda: 2**x, r"got \*\*"),
        (lambda: x @ x, "got @; use a layer: Dot"),
        (lambda: x < 1, "got comparison"),
        (lambda: x + np.ones(3), "x [+] y: y must be a number; got .*; arrays of constants are for Rescaling"),
        (lambda: np.ones(3) / x, "y / x: y must be a number"),
        (lambda: x * "2", "must be a number; got '2'"),
    ):
        with pytest.raises(TypeError, match=message):
            refused()
    with pytest.raises(ValueError, match=r"x \+ y: tensors must have one number of axes; got shapes \(None, 3\) and"):
        x + Input((2, 3))
    with pytest.raises(ValueError, match=r"Ratio 'ratio.*': number must not be 0"):
        x / 0
    with pytest.raises(ValueError, match=r"inputs must have the same sizes, or 1; got shapes"):
        x / Input((4,))
    with pytest.raises(ValueError, match="inputs must be a list of 2; got 3 of them"):
        Divide()([x, x, x])
    assert x == x and x != Input((3,)) and len({x, x}) == 1  # tensors are still told apart
    assert isinstance((Input((3,), dtype="uint8") + x).layer, Add)
