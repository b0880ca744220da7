"""Classes of models of one's own: made functional by their constructors, saved, loaded, cloned, copied."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import checks
import numpy as np
import pytest

import gpunet
from gpunet.backend.arrays import Device
from gpunet.layers import Dense, Dropout, Input
from gpunet.models import Functional, Model, Sequential, clone_model, load_model, model_from_json

X = np.random.default_rng(0).random((20, 4), np.float32)
Y = np.arange(20) % 3


class Classifier(Model):
    """A graph made in the constructor, with layers as attributes, and a method of its own."""

    def __init__(self, classes: int, units: int = 5) -> None:
        self.hidden = Dense(units, activation="relu", name="hidden")
        x = Input((4,), name="x")
        h = Dropout(0.2, name="drop")(self.hidden(x))
        super().__init__(inputs=x, outputs=Dense(classes, activation="softmax", name="out")(h))
        self.classes = classes

    def winners(self, x: Any) -> Any:
        return self.predict(x, verbose=0).argmax(axis=1)


class Wider(Classifier):
    """A class derived from one that is made functional."""

    def __init__(self, name: str = "wider") -> None:
        super().__init__(3, units=9)
        self._name = name


class Named(Model):
    """One whose constructor takes the ends, as that of Functional does."""

    def __init__(self, inputs: Any, outputs: Any, name: str | None = None) -> None:
        super().__init__(inputs, outputs, name=name)


class Stack(Sequential):
    """A Sequential that makes its layers itself."""

    def __init__(self, units: int) -> None:
        super().__init__([Dense(units, name="first"), Dense(3, activation="softmax", name="last")])


OWN = {cls.__name__: cls for cls in (Classifier, Wider, Named, Stack)}


def _named() -> Named:
    x = Input((4,))
    return Named(x, Dense(3, activation="softmax")(x), name="both")


@pytest.mark.parametrize("make", [lambda: Classifier(3), Wider, _named, lambda: Stack(6)], ids=list(OWN))
def test_trained_saved_loaded_and_copied(tmp_path: Path, device: Device, make: Any) -> None:
    with gpunet.device(str(device)):
        model = make()
        twin = make()  # the second of a class whose bases the first has changed
    assert isinstance(model, Functional) != isinstance(model, Sequential) and type(twin) is type(model)
    model.compile("adam", "sparse_categorical_crossentropy", ["accuracy"])
    model.fit(X, Y, batch_size=10, epochs=2, verbose=0)
    model.save(tmp_path / "model")
    with gpunet.device(str(device)):
        loaded: Any = load_model(tmp_path / "model", custom_objects=OWN)
        clone: Any = clone_model(model)
        again: Any = model_from_json(model.to_json(), custom_objects=OWN)
    assert (type(loaded), loaded.name) == (type(model), model.name) and loaded.get_config() == model.get_config()
    assert (type(again), again.name) == (type(model), model.name)
    clone.set_weights(model.get_weights())
    expected = model.predict(X, verbose=0)
    for other in (loaded, clone, copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        checks.assert_same_bits(other.predict(X, verbose=0), expected)
    for network in (model, loaded):
        network.fit(X, Y, batch_size=10, shuffle=False, verbose=0)
    for one, other in zip(model.get_weights(), loaded.get_weights(), strict=True):
        checks.assert_same_bits(one, other)


def test_what_is_special_about_the_class_is_kept(tmp_path: Path) -> None:
    model = Classifier(3)
    assert type(model) is Classifier and isinstance(model, Functional) and model.classes == 3
    assert model.winners(X).shape == (20,)
    assert [layer.name for layer in model.layers] == ["x", "hidden", "drop", "out"] and model.hidden is model.layers[1]
    assert len(model.weights) == 4 and model.get_config() == {"name": model.name, "trainable": True, "classes": 3}
    model.trainable = False
    again = Classifier.from_config(model.get_config())
    assert not again.trainable and again.trainable_weights == []
    inside = Sequential([Input((4,)), Classifier(2, units=3)])
    inside.save(tmp_path / "inside")
    assert load_model(tmp_path / "inside", custom_objects=OWN).output_shape == (None, 2)


class Told(Model):
    """A forward of its own, and arguments that no file can hold, of which it tells itself."""

    def __init__(self, layer: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.layer = layer

    def forward(self, x: Any, training: bool) -> Any:
        return self.layer.apply(x, training)


class Telling(Told):
    def get_config(self) -> dict[str, Any]:
        return {"name": self.name, "units": self.layer.units}

    @classmethod
    def from_config(cls, config: Any, custom_objects: Any = None) -> Telling:
        return cls(Dense(config["units"], name="inner"), name=config["name"])


def test_arguments_that_no_file_can_hold(tmp_path: Path) -> None:
    untold, telling = Told(Dense(2)), Telling(Dense(2, name="inner"))
    for model in (untold, telling):
        model.build((None, 4))
    with pytest.raises(
        ValueError, match=r"save: the model must tell its arguments; .* get_config must be defined, and r"
    ):
        untold.save(tmp_path / "untold")
    telling.save(tmp_path / "telling")
    loaded = load_model(tmp_path / "telling", custom_objects={"Telling": Telling})
    checks.assert_same_bits(loaded.predict(X, verbose=0), telling.predict(X, verbose=0))


def test_a_forward_beside_a_graph_is_refused() -> None:
    class Both(Model):
        def __init__(self) -> None:
            x = Input((4,))
            super().__init__(inputs=x, outputs=Dense(2)(x))

        def forward(self, x: Any, training: bool) -> Any:
            return x, lambda dy: dy

    with pytest.raises(TypeError, match="Both: inputs and outputs must not be given by a class with a forward of its"):
        Both()
