"""Layers of one's own: a subclass with build and forward."""

from __future__ import annotations

from typing import Any

import checks
import numpy as np
import pytest
from layer_checks import assert_config_comes_back, assert_layer_gradients

from gpunet.backend.arrays import Array, Device
from gpunet.layers import Dense, Layer
from gpunet.layers.base import Forward
from gpunet.layers.serialization import deserialize, serialize
from gpunet.networks.sequential import SequentialNetwork


class Scale(Layer):
    """y = a x, with one a per feature."""

    def build(self, input_shape: Any) -> None:
        self.a = self.add_weight((input_shape[-1],), "ones", name="a")

    def forward(self, x: Array, training: bool) -> Forward:
        a = self.a.value

        def backward(dy: Array) -> Array:
            self.a.add_gradient((dy * x).sum(axis=tuple(range(x.ndim - 1))))
            return dy * a

        return x * a, backward


class Halve(Layer):
    """y = the first half of the features; it has no weights and no compute_output_shape."""

    def forward(self, x: Array, training: bool) -> Forward:
        half = x.shape[-1] // 2

        def backward(dy: Array) -> Array:
            dx = 0 * x
            dx[..., :half] = dy
            return dx

        return x[..., :half] + 0, backward


class Twice(Layer):
    """y = dense(dense(x)) + shift, the same Dense twice: a layer inside a layer, and a weight that is not trained."""

    def __init__(self, units: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.dense = Dense(units, "tanh", activity_regularizer="l2", dtype=self.dtype, name="inner")
        self.units = units

    def build(self, input_shape: Any) -> None:
        self.shift = self.add_weight((), "ones", name="shift", trainable=False)
        self.dense.build(input_shape)

    def forward(self, x: Array, training: bool) -> Forward:
        h, back_first = self.dense.apply(x, training)
        y, back_second = self.dense.apply(h, training)

        def backward(dy: Array) -> Array | None:
            dh = back_second(dy)
            assert dh is not None
            return back_first(dh)

        return y + self.shift.value, backward

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "units": self.units}


def test_values_and_gradients(device: Device) -> None:
    x = checks.normal(4, 3, dtype=np.float64)
    layer = Scale(dtype="float64")
    np.testing.assert_array_equal(layer(x), x)
    layer.set_weights([[1, 2, 3]])
    np.testing.assert_array_equal(layer(x), x * [1, 2, 3])
    assert_layer_gradients(Scale(dtype="float64"), x, device)
    assert layer.name.startswith("scale") and layer.count_params() == 3


def test_layers_inside_layers(device: Device) -> None:
    layer = Twice(3, name="twice", dtype="float64")
    x = checks.normal(4, 3, dtype=np.float64)
    layer.build(x.shape)
    assert [w.path for w in layer.weights] == ["twice/shift", "inner/kernel", "inner/bias"]
    assert [w.name for w in layer.trainable_weights] == ["kernel", "bias"]
    assert [w.name for w in layer.non_trainable_weights] == ["shift"]
    y, backward = layer.apply(checks.on(device, x), True)
    assert len(layer.activity_losses) == 2
    backward(y)
    assert layer.shift.gradient is None and layer.dense.kernel.gradient is not None
    layer.trainable = False
    assert layer.trainable_weights == [] and not layer.dense.trainable
    layer.trainable = True
    assert not layer.shift.trainable and layer.dense.kernel.trainable
    model = SequentialNetwork([Dense(3, input_shape=(3,), dtype="float64"), layer])
    assert [w.path for w in model.weights][2:] == ["twice/shift", "twice/inner/kernel", "twice/inner/bias"]


class Stack(Layer):
    """Layers kept in lists and tuples, some put there late."""

    def __init__(self, name: str = "stack", inner: str | None = None) -> None:
        super().__init__(name=name)
        self.late: list[Layer] = []
        self.pair = (Scale(name="p"), 3)
        self.late.append(Scale(name="q"))
        self.late.append(Scale(name=inner or "r"))

    def build(self, input_shape: Any) -> None:
        for layer in self.sublayers:
            layer.build(input_shape)

    def forward(self, x: Array, training: bool) -> Forward:
        return x, lambda dy: dy


def test_layers_in_lists_are_found() -> None:
    layer = Stack()
    layer.build((None, 2))
    assert [inner.name for inner in layer.sublayers] == ["q", "r", "p"]
    assert layer.count_params() == 6
    layer.pair = ()  # type: ignore[assignment]
    assert [inner.name for inner in layer.sublayers] == ["q", "r"]
    with pytest.raises(ValueError, match="names of layers inside a layer must be unique; got two 'stack/q/a'"):
        SequentialNetwork([Dense(2, input_shape=(2,)), Stack(inner="q")])


def test_in_a_network(device: Device) -> None:
    model = SequentialNetwork([Dense(6, input_shape=(5,), name="d"), Scale(name="s"), Halve(), Dense(2, name="e")])
    assert model.output_shape == (None, 2)
    assert [model.layer_output_shape(i) for i in range(4)] == [(None, 6), (None, 6), (None, 3), (None, 2)]
    assert [w.path for w in model.weights] == ["d/kernel", "d/bias", "s/a", "e/kernel", "e/bias"]
    assert "s (Scale)" in model.summary_text()
    model.prepare_gradients()
    y, backward = model.forward(checks.on(device, checks.normal(4, 5)), training=True)
    assert backward(y) is None
    assert all(w.gradient is not None for w in model.trainable_weights)


def test_configurations() -> None:
    assert_config_comes_back(Scale(name="s", dtype="float64"))
    again = assert_config_comes_back(Twice(4, name="t"))
    assert isinstance(again, Twice) and again.units == 4
    layer = Twice(4, name="t")
    assert type(deserialize(serialize(layer), {"Twice": Twice})) is Twice
    model = SequentialNetwork([Dense(4, input_shape=(3,)), Scale()])
    with pytest.raises(ValueError, match=r"got 'Scale'; pass custom_objects={'Scale': the class}"):
        SequentialNetwork.from_config(model.get_config())
    assert type(SequentialNetwork.from_config(model.get_config(), {"Scale": Scale}).layers[1]) is Scale


class NoConfig(Layer):
    def __init__(self, size: int) -> None:
        super().__init__()

    def forward(self, x: Array, training: bool) -> Forward:
        return x, lambda dy: dy


class NoSuper(Layer):
    def __init__(self) -> None:
        self.size = 3


class NoPair(Layer):
    def forward(self, x: Array, training: bool) -> Any:
        return x


class NoGradient(Layer):
    def forward(self, x: Array, training: bool) -> Forward:
        return x, lambda dy: None


def _names_twice() -> None:
    layer = Halve()
    layer.add_weight((2,), name="w")
    layer.add_weight((2,), name="w")


def _backward_through_a_gap() -> None:
    model = SequentialNetwork([Dense(3, input_shape=(2,)), NoGradient(name="gap")])
    _, backward = model.forward(np.zeros((1, 2), np.float32), training=True)
    backward(np.zeros((1, 3), np.float32))


@pytest.mark.parametrize(
    "call, error, message",
    [
        (
            lambda: NoConfig(3).get_config(),
            NotImplementedError,
            "NoConfig 'no_config.*': get_config must be defined, and r",
        ),
        (lambda: NoSuper()(np.ones((1, 2))), RuntimeError, r"NoSuper: __init__ must call super\(\).__init__\(\) first"),
        (lambda: SequentialNetwork([NoSuper()]), RuntimeError, "NoSuper: __init__ must call super"),
        (
            lambda: NoPair()(np.ones((1, 2))),
            TypeError,
            r"NoPair 'no_pair.*': forward must return \(y, backward\); got nd",
        ),
        (lambda: Layer()(np.ones((1, 2))), NotImplementedError, "Layer 'layer.*': forward must be defined"),
        (lambda: Halve().compute_output_shape((None, None)), ValueError, "define compute_output_shape for other cases"),
        (lambda: Scale().compute_output_shape((None, 3)), ValueError, "built=False; define compute_output_shape"),
        (_names_twice, ValueError, "name of a weight must be unique in its layer; got 'w' twice"),
        (_backward_through_a_gap, TypeError, "NoGradient 'gap': backward must return dx"),
        (lambda: Halve().add_weight((0,)), ValueError, "shape of weight must be at least 1; got 0"),
        (lambda: Halve().add_weight((2,), "x"), ValueError, "initializer of weight.*must be one of.*got 'x'"),
        (lambda: Halve().add_weight((2,), dtype="int32"), TypeError, "dtype must be 'float32' or 'float64'"),
    ],
)
def test_mistakes_are_named(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()


class _BuildsElsewhere:
    def build(self, input_shape: Any) -> None:
        self.w = self.add_weight((input_shape[-1],), "ones", name="w")  # type: ignore[attr-defined]


class Mixed(_BuildsElsewhere, Scale):
    """Its build comes from a class that is no layer, and calls none above it."""

    def forward(self, x: Array, training: bool) -> Forward:
        return x * self.w.value, lambda dy: dy * self.w.value


class Doubled(Scale):
    """Its build calls the one above it."""

    def build(self, input_shape: Any) -> None:
        super().build(input_shape)
        self.b = self.add_weight((2,), "zeros", name="b")


def test_builds_that_are_inherited() -> None:
    for layer, names in ((Mixed(), ["w"]), (Doubled(), ["a", "b"])):
        assert not layer.built
        assert layer(np.ones((3, 2))).shape == (3, 2)
        assert layer.built and [w.name for w in layer.weights] == names


def test_weights_without_names_are_numbered() -> None:
    layer = Halve()
    assert [layer.add_weight((2,)).name for _ in range(3)] == ["weight", "weight_1", "weight_2"]
    assert layer.get_weights()[0].shape == (2,)


def test_a_layer_may_keep_arrays_of_its_run_in_a_tuple(device: Device) -> None:
    class Keeping(Layer):
        def forward(self, x: Array, training: bool) -> Any:
            self.seen = (x, x)
            return x, lambda dy: dy

    layer, x = Keeping(), np.ones((2, 3), np.float32)
    for _ in range(2):
        checks.assert_same_bits(layer(checks.on(device, x)), x)
