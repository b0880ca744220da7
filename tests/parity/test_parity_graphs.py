"""Graphs of layers, and the layers that merge inputs, against Keras 3: outputs, gradients, orders, the summary."""

from __future__ import annotations

import functools
import itertools
import json
from typing import Any

import checks
import numpy as np
import pytest
from keras_side import assert_close, host, tensor

import gpunet
import gpunet.models
from gpunet import layers
from gpunet.backend.arrays import Device, HostArray

MERGING = ["Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum", "Concatenate", "Dot"]


def _compare(ours: Any, theirs: Any, xs: list[HostArray], device: Device, seed: int = 0) -> None:
    """Run a built layer or model on both sides, and back, and compare outputs and all gradients."""
    inputs = [tensor(x, gradient=True) for x in xs]
    expected = theirs(inputs if len(inputs) > 1 else inputs[0])
    expected = expected if isinstance(expected, list) else [expected]
    rng = np.random.default_rng(seed + 1)
    dys = [rng.standard_normal(tuple(y.shape)) for y in expected]
    sum((y * tensor(dy)).sum() for y, dy in zip(expected, dys, strict=True)).backward()
    placed = [checks.on(device, x) for x in xs]
    ours.prepare_gradients(True)
    y, backward = ours.apply(placed if len(placed) > 1 else placed[0], False)
    ys = y if isinstance(y, list) else [y]
    for actual, wanted in zip(ys, expected, strict=True):
        assert_close(checks.host(actual), host(wanted), "y")
    given = [checks.on(device, dy) for dy in dys]
    dx = backward(given if len(given) > 1 else given[0])
    for actual, x in zip(dx if isinstance(dx, list) else [dx], inputs, strict=True):
        assert_close(checks.host(actual), host(x.grad), "dx")
    for weight, other in zip(ours.weights, theirs.weights, strict=True):
        assert_close(checks.host(weight.gradient), host(other.value.grad), weight.path)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("name", MERGING)
@pytest.mark.usefixtures("in_double")
def test_merging_layers(device: Device, name: str, seed: int) -> None:
    import keras

    rng = np.random.default_rng([seed, *map(ord, name)])
    count = 2 if name in ("Subtract", "Dot") else int(rng.integers(2, 6))
    shape = tuple(int(size) for size in rng.integers(1, 5, size=rng.integers(2, 5)))
    arguments: dict[str, Any] = {}
    shapes = [shape] * count
    if name == "Concatenate":
        axis = int(rng.integers(1, len(shape))) if len(shape) > 1 else 1
        arguments["axis"] = axis - len(shape) * int(rng.integers(2))
        shapes = [(*shape[:axis], int(rng.integers(1, 5)), *shape[axis + 1 :]) for _ in range(count)]
    elif name == "Dot":
        second = (shape[0], *(int(size) for size in rng.integers(1, 5, size=rng.integers(1, 3))))
        axes = int(rng.integers(1, len(shape))), int(rng.integers(1, len(second)))
        second = (*second[: axes[1]], shape[axes[0]], *second[axes[1] + 1 :])
        shapes, arguments = [shape, second], {"axes": axes, "normalize": bool(rng.integers(2))}
    else:  # some sizes are 1, some inputs have fewer axes
        shapes = [(shape[0], *(1 if rng.integers(4) == 0 else size for size in shape[1:])) for _ in range(count)]
        shapes[0] = shape
        if rng.integers(2) and len(shape) > 2:
            shapes[1] = (shape[0], *shape[2:])
    xs = [rng.standard_normal(one) for one in shapes]
    ours = getattr(layers, name)(dtype="float64", **arguments)
    theirs = getattr(keras.layers, name)(dtype="float64", **arguments)
    theirs.build(shapes)
    _compare(ours, theirs, xs, device, seed)
    open_shapes = [(None, *one[1:]) for one in shapes]
    assert ours.compute_output_shape(open_shapes) == tuple(theirs.compute_output_shape(open_shapes))


class _InDouble:
    """The layers of a library, in float64."""

    def __init__(self, library: Any) -> None:
        self._library = library

    def __getattr__(self, name: str) -> Any:
        return functools.partial(getattr(self._library, name), dtype="float64")


def _random_graph(library: Any, models: Any, seed: int) -> Any:
    """Return a model of random layers between random tensors, some of them shared, with one or two of each end."""
    rng, kinds = np.random.default_rng(seed), _InDouble(library)
    inputs = [kinds.Input((4,), name=f"in_{number}") for number in range(int(rng.integers(1, 3)))]
    tensors = list(inputs)
    shared = kinds.Dense(4, activation="tanh", name="shared")
    for number in range(8):
        a, b = (tensors[int(i)] for i in rng.integers(max(0, len(tensors) - 4), len(tensors), size=2))
        kind = int(rng.integers(5))
        if kind == 0:
            made = shared(a)
        elif kind == 1:
            made = kinds.Dense(4, activation="relu", name=f"dense_{number}")(a)
        elif kind == 2:
            both = kinds.Concatenate(name=f"both_{number}")([a, b])
            made = kinds.Dense(4, name=f"narrow_{number}")(both)
        elif kind == 3:
            x = kinds.Input((4,), name=f"inner_{number}")
            h = kinds.Dense(4, name=f"hidden_{number}", activation="sigmoid")(x)
            inside = models.Model(x, kinds.Add(name=f"skip_{number}")([x, h]), name=f"model_{number}")
            made = inside(a)
        else:
            made = kinds.Multiply(name=f"product_{number}")([a, b])
        tensors.append(made)
    last = kinds.Add(name="last")([*inputs, *tensors[-2:]])
    outputs = [last, tensors[-3]] if seed % 2 and tensors[-3] not in inputs else last
    return models.Model(inputs if len(inputs) > 1 else inputs[0], outputs, name="graph")


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.usefixtures("in_double")
def test_random_graphs(device: Device, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Outputs and gradients, the order of layers and weights, names, and the table of the summary are Keras's."""
    import keras

    monkeypatch.setenv("COLUMNS", "140")
    with gpunet.device(str(device)):
        ours = _random_graph(layers, gpunet.models, seed)
    theirs = _random_graph(keras.layers, keras.models, seed)
    assert [layer.name for layer in ours.layers] == [layer.name for layer in theirs.layers]
    assert [tuple(weight.shape) for weight in ours.weights] == [tuple(weight.shape) for weight in theirs.weights]
    rng = np.random.default_rng(seed)
    weights = [rng.standard_normal(weight.shape) / 2 for weight in ours.weights]
    theirs.set_weights(weights)
    ours.set_weights(weights)
    assert ours.output_names == theirs.output_names
    assert ours.input_names == [one.name for one in theirs.inputs]
    _compare(ours, theirs, [rng.standard_normal((3, 4)) for _ in ours.inputs], device, seed)
    _compare_summaries(ours, theirs)
    keys = ("input_layers", "output_layers")
    config, other = ours.get_config(), theirs.get_config()
    for key in keys:
        assert _places(config[key]) == [
            [name, call - name.startswith("model_"), output]  # calls of models count from 1 in Keras
            for name, call, output in _places(other[key])
        ]
    entries = zip(config["layers"], other["layers"], strict=True)
    assert all(one["name"] == its["name"] and one["class_name"] == its["class_name"] for one, its in entries)


def _places(places: Any) -> list[list[Any]]:
    found: list[list[Any]] = json.loads(json.dumps(places))
    return [found] if isinstance(found[0], str) else found


def _compare_summaries(ours: Any, theirs: Any) -> None:
    options = itertools.product((None, 80, 120), (False, True), (False, True))
    for length, nested, trainable in options:
        texts = []
        for model in (ours, theirs):
            lines: list[str] = []
            model.summary(line_length=length, expand_nested=nested, show_trainable=trainable, print_fn=lines.append)
            texts.append("\n".join(lines).rstrip())
        assert texts[0] == texts[1]


@pytest.mark.usefixtures("in_double")
def test_the_summary_of_several_inputs_and_outputs(monkeypatch: pytest.MonkeyPatch) -> None:
    import keras

    monkeypatch.setenv("COLUMNS", "140")

    def made(layers: Any, models: Any) -> Any:
        library = _InDouble(layers)
        base = models.Sequential([library.Input((6,)), library.Dense(4, name="low")], name="base")
        x = library.Input((4,), name="x")
        two = models.Model(x, [library.Dense(3, name="p")(x), library.Dense(5, name="q")(x)], name="two")
        a, b = library.Input((6,), name="a"), library.Input((6,), name="b")
        (p, q), (r, s) = two(base(a)), two(base(b))
        return models.Model([a, b], [library.Add(name="sum")([p, r]), library.Subtract(name="rest")([q, s])], name="m")

    _compare_summaries(made(layers, gpunet.models), made(keras.layers, keras.models))


@pytest.mark.parametrize("name", [*MERGING, "InputLayer"])
def test_arguments_are_those_of_keras(name: str) -> None:
    import inspect

    import keras

    ours = inspect.signature(getattr(layers, name)).parameters
    theirs = inspect.signature(getattr(keras.layers, name)).parameters
    shared = [key for key in theirs if key in ours and key != "kwargs"]
    assert [key for key in ours if key in theirs and key != "kwargs"] == shared
    assert all(ours[key].default == theirs[key].default for key in shared)
    if name in MERGING:
        plain = [key for key, value in theirs.items() if value.kind is not value.VAR_KEYWORD]
        assert [key for key in plain if key not in ours] == []


def test_clones_ask_for_what_keras_asks_for() -> None:
    import inspect

    import keras

    ours, theirs = (inspect.signature(one) for one in (gpunet.models.clone_model, keras.models.clone_model))
    plain = [key for key, value in theirs.parameters.items() if value.kind is not value.VAR_KEYWORD]
    assert list(ours.parameters) == plain
    assert all(ours.parameters[key].default == theirs.parameters[key].default for key in plain)
