"""The public models that are graphs, or have a forward of their own: trained, saved, copied, described."""

from __future__ import annotations

import copy
import gc
import json
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import checks
import graph_models
import numpy as np
import pytest

import gpunet
from gpunet.backend import shortage
from gpunet.backend.arrays import Array, Device
from gpunet.layers import Add, Dense, Dropout, Input, Layer
from gpunet.models import Functional, Model, Sequential, clone_model, load_model, model_from_json

X = np.random.default_rng(0).random((20, 6, 6, 2), np.float32)
Y = np.arange(20) % 3


def _trained(device: Device, **options: Any) -> Functional:
    gpunet.set_random_seed(3)
    with gpunet.device(str(device)):
        model = graph_models.residual()
    model.compile("adam", "sparse_categorical_crossentropy", ["accuracy"], **options)
    model.fit(X, Y, batch_size=8, epochs=3, verbose=0)
    return model


def test_fit_evaluate_predict(device: Device) -> None:
    """A captured step of a graph has the bits of one that runs as it is."""
    model = _trained(device)
    eager = _trained(device, run_eagerly=True)
    for one, other in zip(model.get_weights(), eager.get_weights(), strict=True):
        checks.assert_same_bits(one, other)
    assert model.history is not None
    losses = model.history.history["loss"]
    assert losses[-1] < losses[0]
    assert model.evaluate(X, Y, verbose=0) == eager.evaluate(X, Y, verbose=0)
    assert model.predict(X, verbose=0).shape == (20, 3)
    assert model.memory(8).total > 0


def _same(one: Functional, other: Any) -> None:
    assert type(other) is type(one) and other.get_config() == one.get_config()
    assert [layer.name for layer in other.layers] == [layer.name for layer in one.layers]
    assert not set(map(id, other.weights)) & set(map(id, one.weights))


@pytest.mark.parametrize("name", [*graph_models.MODELS, "two_and_two", "fusible"])
def test_the_configuration_comes_back(name: str) -> None:
    model: Functional = getattr(graph_models, name)()
    config = model.get_config()
    assert json.loads(json.dumps(config)) == config
    for again in (Functional.from_config(config), model_from_json(model.to_json()), clone_model(model)):
        _same(model, again)
        again.set_weights(model.get_weights())
        x = [checks.normal(2, *shape[1:], seed=number) for number, shape in enumerate(model.input_shapes)]
        x = x if len(x) > 1 else x[0]  # type: ignore[assignment]
        for ours, theirs in zip(_listed(again(x)), _listed(model(x)), strict=True):
            checks.assert_same_bits(ours, theirs)
    assert [set(entry) for entry in config["layers"]] == [{"class_name", "config", "name", "inbound_nodes"}] * len(
        model.layers
    )


def _listed(y: Any) -> list[Array]:
    return y if isinstance(y, list) else [y]


def test_training_of_a_call_and_shared_layers_are_kept() -> None:
    x, layer = Input((4,)), Dense(4, name="shared")
    h = layer(x)
    inner = Sequential([Dropout(0.5, name="drop")], name="inner")
    model = Model(x, Add(name="sum")([layer(h), inner(h, training=False), h]))
    again = Functional.from_config(model.get_config())
    assert [weight.path for weight in again.weights] == ["shared/kernel", "shared/bias"]
    assert [node.training for node in again.nodes if node.layer.name == "inner"] == [False]
    shared = next(entry for entry in model.get_config()["layers"] if entry["name"] == "shared")
    calls = [call["args"][0]["config"]["keras_history"] for call in shared["inbound_nodes"]]
    assert calls == [["input_layer" if x.name == "input_layer" else x.name, 0, 0], ["shared", 0, 0]]


def test_damaged_configurations_are_refused() -> None:
    config = graph_models.residual().get_config()

    def damaged(change: Callable[[Any], None]) -> Any:
        copied = copy.deepcopy(config)
        change(copied)
        return copied

    def set_history(value: Any) -> Callable[[Any], None]:
        def change(config: Any) -> None:
            config["layers"][1]["inbound_nodes"][0]["args"][0]["config"]["keras_history"] = value

        return change

    for change, message in (
        (lambda config: config.pop("layers"), "configuration must have input_layers, layers, name, output_layers"),
        (set_history(["classes", 0, 0]), "layers must be called on what others return; got none of that for"),
        (set_history(["unknown", 0, 0]), "a tensor must be .layer, call, output. of a layer that there is"),
        (set_history(["image", 0, 3]), "image must have an output 3; it has 1"),
        (lambda config: config.update(output_layers=["classes", 5, 0]), "must name calls that there are"),
        (
            lambda config: config["layers"][1]["inbound_nodes"][0]["kwargs"].update(mask=1),
            "a call must have one argument, and training",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            Functional.from_config(damaged(change))


def test_a_file_brings_a_graph_back(tmp_path: Path, device: Device) -> None:
    model = _trained(device)
    model.save(tmp_path / "model.gpunet")
    with gpunet.device(str(device)):
        again: Any = load_model(tmp_path / "model.gpunet")
    _same(model, again)
    for one in (model, again):
        one.fit(X, Y, batch_size=8, epochs=1, verbose=0, shuffle=False)
    for ours, theirs in zip(again.get_weights(), model.get_weights(), strict=True):
        checks.assert_same_bits(ours, theirs)  # the optimizer came back too


def test_weights_have_their_names_in_each_model(tmp_path: Path) -> None:
    """A layer that is part of several models is called, in each of them, what it is called there."""
    base = graph_models.residual()
    base.save_weights(tmp_path / "before")
    image = Input((6, 6, 2), name="outer")
    whole = Model(image, base(image), name="whole")
    assert next(iter(whole.parameters_by_path)) == "residual/first_0/kernel"
    base.save_weights(tmp_path / "after")
    assert (tmp_path / "before").read_bytes() == (tmp_path / "after").read_bytes()
    base.load_weights(tmp_path / "before")


def test_clones(tmp_path: Path) -> None:
    model = graph_models.siamese()
    model.compile("sgd", "mse")
    whole = clone_model(model)
    assert isinstance(whole, Functional) and whole.compiled and whole.get_layer("encoder") is not model.layers[2]
    asked: list[str] = []

    def clone(layer: Layer) -> Layer:
        asked.append(layer.name)
        return type(layer).from_config(layer.get_config())

    clone_model(model, clone_function=clone)
    assert sorted(asked) == ["apart", "cosine", "difference", "encoder", "result"]
    asked.clear()
    clone_model(model, clone_function=clone, recursive=True)
    assert sorted(asked) == ["apart", "code", "cosine", "difference", "hidden", "result"]

    def call(layer: Layer, *args: Any, **kwargs: Any) -> Any:
        y = layer(*args, **kwargs)
        return Dropout(0.5)(y) if isinstance(layer, Dense) else y

    longer = clone_model(model, clone_function=lambda layer: layer, call_function=call)
    assert len(longer.layers) == len(model.layers) + 1 and longer.weights == model.weights
    a, b = Input((5,), name="a"), Input((5,), name="b")
    assert clone_model(model, [a, b]).input_names == ["a", "b"]  # type: ignore[attr-defined]
    stack = Sequential([Input((4,)), Dense(2)])
    assert clone_model(stack, Input((4,), name="other")).input_names == ["other"]
    with pytest.raises(ValueError, match="input_tensors must be 2; got 1"):
        clone_model(model, a)
    with pytest.raises(ValueError, match="model must be a Functional, for a call_function; got <Sequential"):
        clone_model(stack, call_function=call)
    with pytest.raises(TypeError, match="clone_function must return a layer; got 3"):
        clone_model(stack, clone_function=lambda layer: 3)  # type: ignore[arg-type, return-value]


def test_copies_share_nothing() -> None:
    model = graph_models.two_and_two()
    again = copy.deepcopy(model)
    _same(model, again)
    assert again.get_layer("conv").output == again.nodes[[n.layer.name for n in again.nodes].index("conv")].outputs
    x = [checks.normal(2, 4, 4, 1), checks.normal(2, 3)]
    for ours, theirs in zip(again(x), model(x), strict=True):
        checks.assert_same_bits(ours, theirs)


def test_deep_graphs() -> None:
    """Nothing goes from node to node by recursion: 2000 layers, twice what Python allows of that."""
    x = y = Input((1,))
    layer = Dropout(0.1)
    for _ in range(2000):
        y = layer(y)
    model = Model(x, y)
    again = copy.deepcopy(model)
    assert again([[3.0]]).tolist() == [[3.0]]
    assert Functional.from_config(model.get_config()).output_shape == (None, 1)


def test_a_graph_is_freed_when_it_is_dropped() -> None:
    gc.collect()
    gc.disable()
    try:
        model = _trained(Device(gpunet.backend.arrays.Kind.CPU))
        layers = [weakref.ref(layer) for layer in model.layers]
        assert len(layers) > 5
        del model
        assert [layer() for layer in layers] == [None] * len(layers)
    finally:
        gc.enable()


def test_memory_that_is_not_there_is_laid_to_the_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    model = graph_models.residual()
    add = model.get_layer("add_1")

    def fail(x: Any, training: bool) -> Any:
        raise MemoryError("none left")

    monkeypatch.setattr(add, "forward", fail)
    with pytest.raises(MemoryError) as caught:
        model.run(X, False, [False])
    assert shortage.of(caught.value).place == "the forward pass of Add 'add_1'"


class Doubled(Model):
    """y = out(dense(dense(x))); its layers are built as they are first run."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.dense = Dense(2, name="dense")
        self.out = Dense(3, activation="softmax", name="out")

    def forward(self, x: Array, training: bool) -> Any:
        h, back_first = self.dense.apply(x, training)
        g, back_second = self.dense.apply(h, training)
        y, back_out = self.out.apply(g, training)
        return y, lambda dy: back_first(back_second(back_out(dy)))


def test_a_model_with_a_forward_of_its_own(tmp_path: Path, device: Device) -> None:
    x, y = X[:, 0, 0], Y
    with gpunet.device(str(device)):
        model, again = Doubled(), Doubled()
        again.build((None, 2))
    assert not model.built and model.weights == []
    model.compile("adam", "sparse_categorical_crossentropy", ["accuracy"])
    history = model.fit(x, y, batch_size=8, epochs=4, verbose=0).history
    assert history["loss"][-1] < history["loss"][0]
    assert (model.input_shape, model.output_shape, model.output_names) == ((None, 2), (None, 3), ["output_1"])
    model.save_weights(tmp_path / "weights")
    again.load_weights(tmp_path / "weights")
    checks.assert_same_bits(again.predict(x, verbose=0), model.predict(x, verbose=0))
    assert [layer.name for layer in model.layers] == ["dense", "out"] and "out (Dense)" in model.summary_text()
    model.save(tmp_path / "model")
    with gpunet.device(str(device)):
        loaded = load_model(tmp_path / "model", custom_objects={"Doubled": Doubled})
    assert type(loaded) is Doubled and loaded.name == model.name
    assert loaded.evaluate(x, y, verbose=0) == model.evaluate(x, y, verbose=0)
    with pytest.raises(ValueError, match=r"or a model among the custom objects; got 'Doubled'; pass custom_objects"):
        load_model(tmp_path / "model")
    with gpunet.device(str(device)):
        tensor = Input((2,))
        whole = Model(tensor, Doubled(name="inner")(tensor))
    whole.set_weights(model.get_weights())
    checks.assert_same_bits(whole.predict(x, verbose=0), model.predict(x, verbose=0))
    made = Functional.from_config(whole.get_config(), custom_objects={"Doubled": Doubled})
    assert [weight.path for weight in made.weights][:1] == ["inner/dense/kernel"]


def test_which_class_a_model_is() -> None:
    x = Input((2,))
    assert type(Model(x, x)) is Functional and type(Model(inputs=x, outputs=x)) is Functional
    assert isinstance(Model(x, x), Model) and isinstance(Sequential(), Model)
    with pytest.raises(ValueError, match="json_string must describe a model; got Dense"):
        model_from_json('{"class_name": "Dense", "config": {"units": 2}}')
    for text in ("[", "3", '{"class_name": "Sequential", "config": 3}'):
        with pytest.raises(ValueError, match=r"model_from_json|layer: configuration|Expecting"):
            model_from_json(text)


def test_the_optimizer_knows_weights_by_their_names_in_its_model(tmp_path: Path) -> None:
    """A model that was cut out later calls them otherwise."""
    base, image = graph_models.residual(), Input((6, 6, 2), name="outer")
    whole = Model(image, base(image), name="whole")
    whole.compile("adam", "sparse_categorical_crossentropy")
    Model(base.input, base.get_layer("mean").output)
    whole.fit(X, Y, verbose=0)
    whole.save(tmp_path / "model")
    again = load_model(tmp_path / "model")
    assert again.optimizer is not None and "residual/first_0/kernel/velocity" in again.optimizer.variables
