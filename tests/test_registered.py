"""Own classes and functions that were registered: they need no custom_objects."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import checks
import numpy as np
import pytest

import gpunet
from gpunet import activations, constraints, identifiers, initializers, optimizers, regularizers, saving
from gpunet.layers import Lambda, Layer
from gpunet.models import save_model
from gpunet.optimizers import SGD


class Scale(Layer):
    def forward(self, x: Any, training: bool) -> Any:
        return 2 * x, lambda dy: 2 * dy


class Half(regularizers.L2):
    pass


class Twos(initializers.Constant):
    pass


class Clipped(constraints.Constraint):
    def apply(self, w: Any) -> None:
        np.clip(w, -0.1, 0.1, out=w)


class Slower(SGD):
    pass


def cube(x: Any) -> Any:
    return x * x * x, lambda dy: 3 * dy * x * x


@pytest.fixture(autouse=True)
def _registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test registers what it needs."""
    monkeypatch.setattr(identifiers, "_registered", {})
    monkeypatch.setattr(identifiers, "_names", {})


def test_a_model_of_registered_parts_is_loaded_without_custom_objects(tmp_path: Path) -> None:
    for own in (Scale, Half, Twos, Clipped, Slower):
        assert saving.register_serializable("Tests")(own) is own
    saving.register_serializable(name="third_power")(cube)
    parts = {"kernel_regularizer": Half(0.1), "kernel_initializer": Twos(2.0), "kernel_constraint": Clipped()}
    model = gpunet.Sequential([gpunet.Input((3,)), Scale(), gpunet.Dense(2, cube, **parts), Lambda(cube)])
    model.compile(Slower(0.5), "mse")
    path = tmp_path / "model.gpunet"
    save_model(model, path)
    again = gpunet.load_model(path)
    assert type(again.optimizer) is Slower and again.optimizer.learning_rate == 0.5
    assert type(optimizers.get("Tests>Slower")) is Slower and type(optimizers.get("SGD")) is SGD
    x = checks.normal(4, 3)
    np.testing.assert_array_equal(again.predict(x, verbose=0), model.predict(x, verbose=0))
    scale, dense, function = again.layers
    assert type(scale) is Scale and dense.activation is cube and function.function is cube
    found = (dense.kernel_regularizer, dense.kernel_initializer, dense.kernel_constraint)
    assert [type(part) for part in found] == [Half, Twos, Clipped]
    identifiers._registered.clear()
    with pytest.raises(ValueError, match=r"got 'Tests>Scale'; pass custom_objects=\{'Tests>Scale': the class\}"):
        gpunet.load_model(path)
    by_name = {own.__name__: own for own in (Scale, Half, Twos, Clipped, Slower)}
    own = by_name | {"third_power": cube}  # by the names alone
    np.testing.assert_array_equal(gpunet.load_model(path, own).predict(x, verbose=0), model.predict(x, verbose=0))


def test_names() -> None:
    assert saving.get_registered_name(Scale) == "Scale"
    saving.register_serializable()(Scale)
    saving.register_serializable("Mine", "s")(cube)
    assert saving.get_registered_name(Scale) == "Custom>Scale" and saving.get_registered_name(cube) == "Mine>s"
    assert saving.get_registered_object("Custom>Scale") is Scale and saving.get_registered_object("Scale") is None
    assert saving.get_registered_object("a", {"a": 1}, {"a": 2}) == 1
    assert saving.get_registered_object("a", None, {"a": 2}) == 2
    assert activations.get("Mine>s") is cube and activations.serialize(cube)["config"] == "Mine>s"
    saving.register_serializable("Mine", "s")(np.square)  # the last one registered counts, as in a notebook


def test_a_scope_goes_before_what_is_registered() -> None:
    saving.register_serializable("Mine")(cube)
    with saving.custom_object_scope({"Mine>cube": Scale, "relu": cube}):
        assert saving.get_registered_object("Mine>cube") is Scale
        assert activations.get("relu") is cube
    assert saving.get_registered_object("Mine>cube") is cube
    assert activations.get("relu") is activations.relu


@pytest.mark.parametrize(
    "call, error, message",
    [
        (lambda: saving.register_serializable(3), TypeError, "register_serializable: package must be a string; got 3"),
        (
            lambda: saving.register_serializable(name=3),
            TypeError,
            "name must be a string; got 3",
        ),
        (lambda: saving.register_serializable()(3), TypeError, "object must be a class or a function; got 3"),
        (lambda: saving.register_serializable()(dict), ValueError, "class must have get_config; got dict"),
    ],
)
def test_errors(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()
