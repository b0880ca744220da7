"""Graphs of layers: forward, back, several inputs and outputs, shared layers, fusion, and models cut out of models."""

from __future__ import annotations

from typing import Any

import checks
import graph_models
import numpy as np
import pytest

import gpunet
from gpunet.backend.arrays import CPU, Array, Device, HostArray
from gpunet.layers import Add, Concatenate, Dense, Dropout, Input, Layer, ReLU
from gpunet.models import Functional, Model, Sequential
from gpunet.optimizers import SGD


def _data(model: Functional, batch: int = 3, dtype: Any = np.float64) -> list[HostArray]:
    shapes = [[size or batch for size in shape] for shape in model.input_shapes]
    return [checks.normal(*shape, seed=number, dtype=dtype) for number, shape in enumerate(shapes)]


def _run(model: Functional, xs: list[HostArray], device: Device, training: bool = False) -> Any:
    """Return the outputs, in a list, and the closure from a list of gradients to a list of gradients."""
    placed = [checks.on(device, x) for x in xs]
    no_logits = [False] * len(model.output_names)
    y, backward = model.run(placed if len(placed) > 1 else placed[0], training, no_logits)
    ys = y if isinstance(y, list) else [y]

    def back(dys: list[HostArray]) -> list[Array]:
        given = [checks.on(device, dy) for dy in dys]
        dx = backward(given if len(given) > 1 else given[0])
        for dy, one in zip(dys, given, strict=True):
            checks.assert_same_bits(one, dy)  # whoever handed it over may still hold it
        return dx if isinstance(dx, list) else [dx]

    return ys, back


@pytest.mark.parametrize("name", [*graph_models.MODELS, "two_and_two"])
def test_gradients_of_inputs_and_weights(device: Device, name: str) -> None:
    with gpunet.device(str(device)):
        model: Functional = getattr(graph_models, name)("float64")
    model.prepare_gradients(needs_input_gradient=True)
    xs = _data(model)
    ys, back = _run(model, xs, device)
    dys = [checks.normal(*y.shape, seed=9 + number, dtype=np.float64) for number, y in enumerate(ys)]

    def value() -> float:
        return sum(float((checks.host(y) * dy).sum()) for y, dy in zip(_run(model, xs, device)[0], dys, strict=True))

    dxs = back(dys)
    for number, dx in enumerate(dxs):

        def of_input(x: HostArray, number: int = number) -> float:
            xs[number], before = x, xs[number]
            try:
                return value()
            finally:
                xs[number] = before

        checks.assert_gradient(of_input, xs[number], dx, directions=2, elements=2)
    for parameter in model.weights:
        start = parameter.numpy()

        def of_weight(w: HostArray, parameter: Any = parameter) -> float:
            parameter.assign(w)
            return value()

        assert parameter.gradient is not None, parameter.path
        checks.assert_gradient(of_weight, start, parameter.gradient, directions=2, elements=1)
        parameter.assign(start)


def test_steps_by_hand_are_the_same_on_all_devices(device: Device) -> None:
    """Two inputs, two outputs, three steps: what training does with a network, without it."""
    losses = []
    with gpunet.device("cpu"):
        host = graph_models.two_and_two()
    with gpunet.device(str(device)):
        model = graph_models.two_and_two()
    model.set_weights(host.get_weights())
    xs = _data(model, 8, np.float32)
    for network, place in ((host, CPU), (model, device)):
        optimizer = SGD(0.01, momentum=0.9)
        optimizer.build(network.weights)
        network.prepare_gradients()
        trace = []
        for _ in range(4):
            optimizer.arrange(network.trainable_parameters)
            for parameter in network.weights:
                parameter.gradient = None
            ys, back = _run(network, xs, place, training=True)
            goals = [np.float32([[1, 0, 0]]), np.float32([[2]])]
            dys = [checks.host(y) - goal for y, goal in zip(ys, goals, strict=True)]
            trace.append(sum(float((dy**2).sum()) for dy in dys))
            assert back(dys) == [None]
            optimizer.apply(network.trainable_parameters)
        losses.append(trace)
    assert losses[1][-1] < losses[1][0]
    np.testing.assert_allclose(losses[1], losses[0], rtol=2e-5)
    for ours, theirs in zip(model.get_weights(), host.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("training", [False, True])
def test_neighbours_run_as_one_where_nobody_else_takes_what_they_give(device: Device, training: bool) -> None:
    with gpunet.device(str(device)):
        model = graph_models.fusible()
    lines = dict(line.split("  ", 1) for line in model.explain_fusion().splitlines())
    assert lines["conv + relu + pool"].strip() == "one op: relu is applied and maxima are taken where the product ends"
    assert lines["shared"].strip() == "by itself" and "after" in lines
    assert lines["out"].strip().startswith("its softmax is one op with the loss")
    assert model.softmax_outputs == [True]
    xs = _data(model, 2, np.float32)
    results = []
    for fuse in (True, False):
        model.fuse = fuse
        model.prepare_gradients(needs_input_gradient=True)
        for parameter in model.weights:
            parameter.gradient = None
        ys, back = _run(model, xs, device, training)
        dx = back([checks.normal(*ys[0].shape, seed=5)])
        results.append([*ys, *dx, *(parameter.gradient for parameter in model.weights)])
    for fused, plain in zip(*results, strict=True):
        np.testing.assert_allclose(checks.host(fused), checks.host(plain), rtol=1e-5, atol=1e-6)
    assert model.softmax_outputs == [False]


def test_logits_of_some_outputs(device: Device) -> None:
    """An output that is a softmax can be stopped before it, unless another layer takes it too."""
    with gpunet.device(str(device)):
        x = Input((4,))
        h = Dense(3, activation="softmax")(x)
        model = Model(x, [Dense(2, activation="softmax")(h), h, Dense(2)(h)])
    assert model.softmax_outputs == [True, False, False]
    data = checks.on(device, checks.normal(2, 4))
    ys, _ = model.run(data, False, [False, False, False])
    zs, _ = model.run(data, False, [True, False, False])
    e = np.exp(checks.host(zs[0]))
    np.testing.assert_allclose(checks.host(ys[0]), e / e.sum(axis=1, keepdims=True), rtol=1e-5)
    checks.assert_same_bits(zs[1], ys[1])


def test_a_layer_called_several_times_adds_up_its_gradients(device: Device) -> None:
    with gpunet.device(str(device)):
        layer, x = Dense(2, kernel_initializer="ones", use_bias=False), Input((2,))
        model = Model(x, Add()([layer(layer(x)), x, layer(x)]))
    model.prepare_gradients(needs_input_gradient=True)
    ys, back = _run(model, [np.float32([[1, 2]])], device)
    assert checks.host(ys[0]).tolist() == [[10, 11]]
    dx = back([np.float32([[1, 10]])])
    assert checks.host(dx[0]).tolist() == [[34, 43]]
    assert checks.host(layer.kernel.gradient).tolist() == [[15, 51], [27, 72]]


def test_a_call_keeps_what_it_was_told_of_training() -> None:
    """A part that was called with training=False stays in inference while the rest is trained."""
    x = Input((50,))
    dropout = Dropout(0.5)
    model = Model(x, [dropout(x, training=False), Dropout(0.5)(x), Sequential([dropout])(x, training=True)])
    data = np.ones((2, 50), np.float32)
    kept, dropped, forced = model(data, training=True)
    assert (kept == 1).all() and 0 < (dropped == 0).mean() < 1 and (forced == 0).any()
    kept, dropped, forced = model(data)
    assert (kept == 1).all() and (dropped == 1).all() and (forced == 0).any()


def test_what_needs_no_gradient_is_left_out() -> None:
    """Below the lowest trained weight nothing runs back; a frozen part between trained ones passes gradients on."""
    first, middle, last = Dense(3, name="first"), Dense(3, name="middle"), Dense(2, name="last")
    x = Input((3,))
    model = Model(x, last(middle(first(x))))
    middle.trainable = False
    model.prepare_gradients()
    assert [layer.needs_input_gradient for layer in (first, middle, last)] == [False, True, True]
    _run(model, _data(model, 2, np.float32), CPU)[1]([np.ones((2, 2), np.float32)])
    assert [layer.kernel.gradient is not None for layer in (first, middle, last)] == [True, False, True]
    first.trainable = False
    model.prepare_gradients()
    assert not middle.needs_input_gradient and not last.needs_input_gradient


class Halves(Layer):
    """Two outputs, the halves of the features."""

    def compute_output_shape(self, input_shape: Any) -> Any:
        return [(input_shape[0], input_shape[1] // 2)] * 2

    def forward(self, x: Array, training: bool) -> Any:
        half = x.shape[1] // 2
        return [x[:, :half].copy(), x[:, half:].copy()], lambda dys: np.concatenate(dys, axis=1)


def test_a_layer_with_several_outputs() -> None:
    """An output that nobody takes has the gradient 0."""
    x = Input((4,))
    left, right = Halves()(x)
    model = Model(x, [Add()([left, right]), right])
    model.prepare_gradients(needs_input_gradient=True)
    (total, second), back = _run(model, [np.float64([[1, 2, 3, 4]])], CPU)
    assert (total.tolist(), second.tolist()) == ([[4, 6]], [[3, 4]])
    assert back([np.float64([[1, 2]]), np.float64([[10, 20]])])[0].tolist() == [[1, 2, 11, 22]]
    model = Model(x, ReLU()(right))
    model.prepare_gradients(needs_input_gradient=True)
    _, back = _run(model, [np.float64([[1, 2, 3, 4]])], CPU)
    assert back([np.float64([[1, 2]])])[0].tolist() == [[0, 0, 1, 2]]
    assert model.layers[1].calls.nodes[0].output_shapes == [(None, 2), (None, 2)]


def test_models_inside_models_and_cut_out_of_them() -> None:
    base = graph_models.residual()
    features = Model(base.input, base.get_layer("mean").output, name="features")
    head = Sequential([Dense(2, activation="relu"), Dense(1)], name="head")
    image = Input((6, 6, 2))
    model = Model(image, head(features(image, training=False)), name="whole")
    assert [layer.name for layer in model.layers][1:] == ["features", "head"]
    x = checks.normal(2, 6, 6, 2)
    checks.assert_same_bits(model(x), head(features(x)))
    assert len(model.weights) == len(features.weights) + 4 and features.weights[0] is base.weights[0]
    upper = Model(base.get_layer("mean").output, base.output, name="upper")
    checks.assert_same_bits(upper(features(x)), base(x))
    both = Model(head.input, [head.layers[0].output, head.output])
    code = features(x)
    checks.assert_same_bits(both(code)[1], head(code))
    checks.assert_same_bits(both(code)[0], head.layers[0](code))
    features.trainable = False
    assert [weight.path for weight in model.trainable_weights] == [weight.path for weight in head.weights]


def test_inputs_and_outputs_by_name() -> None:
    a, b = Input((2,), name="a"), Input((2,), name="b")
    model = Model({"second": b, "first": a}, {"sum": Add()([a, b]), "both": Concatenate()([a, b])})
    assert (model.input_names, model.output_names) == (["first", "second"], ["both", "sum"])
    assert model.input == {"first": a, "second": b}
    assert (model.input_shape, model.output_shape) == ([(None, 2)] * 2, [(None, 4), (None, 2)])
    x = {"first": np.float32([[1, 2]]), "second": np.float32([[10, 20]])}
    y = model(x)
    assert (y["sum"].tolist(), y["both"].tolist()) == ([[11, 22]], [[1, 2, 10, 20]])
    y = model([x["first"], x["second"]])
    assert list(y) == ["both", "sum"] and y["sum"].tolist() == [[11, 22]]
    nested = Model([a, b], model({"first": a, "second": b})["sum"])
    assert nested(list(x.values())).tolist() == [[11, 22]]
    with pytest.raises(ValueError, match=r"inputs must have the names \['first', 'second'\]; got \['first'\]"):
        model({"first": x["first"]})


def test_what_is_no_graph_is_refused() -> None:
    a, b, h = Input((2,), name="a"), Input((2,), name="b"), Dense(2, name="h")
    y = Add(name="y")([h(a), b])
    for inputs, outputs, message in (
        (a, y, "outputs must depend on inputs alone; got an output that needs the Input 'b' too; add it to inputs"),
        ([a, b], h.output, "inputs must all lead to outputs; got 'b', which leads to none"),
        ([a, a], h.output, "inputs must differ; got 'a' twice"),
        ([], y, "inputs must have a tensor; got none"),
        (a, Dense(2, name="h")(h.output), "names of layers must be unique; got two 'h'; pass name="),
    ):
        with pytest.raises(ValueError, match=message):
            Model(inputs, outputs)
    with pytest.raises(TypeError, match="inputs must be symbolic tensors, one, or a list or dict of them; got 3"):
        Model(3, y)
    model = Model([a, b], y, name="m")
    for data, message in (
        ([np.ones((1, 2))], r"inputs must be 2, \['a', 'b'\]; got 1"),
        ([np.ones((1, 2)), np.ones((1, 3))], r"Functional 'm': input 'b' must have shape \(None, 2\); got \(1, 3\)"),
    ):
        with pytest.raises(ValueError, match=message):
            model(data)
    with pytest.raises(TypeError, match="inputs must all be symbolic tensors, or all arrays; got both"):
        model([a, np.ones((1, 2))])


def test_what_cannot_be_called_on_a_tensor_is_refused() -> None:
    x = Input((2,), name="x")
    with pytest.raises(ValueError, match=r"Dense 'd': input must be one array or tensor; got a list of 2"):
        Dense(2, name="d")([x, x])
    with pytest.raises(ValueError, match=r"Add 'a': inputs must be a list of arrays or tensors; got one of shape"):
        Add(name="a")(x)
    with pytest.raises(TypeError, match=r"Dense 'e': input must have dtype float64; got <SymbolicTensor shape"):
        Dense(2, name="e", dtype="float64")(Dense(2)(x))
    with pytest.raises(TypeError, match="stands for data and has none"):
        np.asarray(x)
    layer = Dense(2, name="l")
    with pytest.raises(AttributeError, match="Dense 'l': output must be that of one call on a symbolic tensor; got 0"):
        layer.output  # noqa: B018
    once, again = layer(x), layer(x)
    assert once != again
    with pytest.raises(AttributeError, match="Dense 'l': input must be that of one call on a symbolic tensor; got 2"):
        layer.input  # noqa: B018
    del again
    assert layer.output == once and layer.input == x
