"""SequentialNetwork: building, shapes, refusals, configurations."""

from __future__ import annotations

import json
from typing import Any

import checks
import numpy as np
import pytest
from small_models import named_network

from gpunet.backend import devices
from gpunet.backend.arrays import EMULATED, Array, Device
from gpunet.backend.random import set_random_seed
from gpunet.layers import (
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    GlobalAveragePooling2D,
    Input,
    InputLayer,
    Layer,
    MaxPooling2D,
    ReLU,
    Reshape,
)
from gpunet.layers.base import Forward
from gpunet.networks.sequential import SequentialNetwork


def readme_network(classes: int = 10) -> SequentialNetwork:
    model = SequentialNetwork()
    model.add(Conv2D(16, (3, 3), input_shape=(50, 50, 1), activation="relu"))
    model.add(MaxPooling2D((2, 2), padding="same"))
    model.add(Conv2D(32, (3, 3), activation="relu"))
    model.add(MaxPooling2D((2, 2), padding="same"))
    model.add(Conv2D(64, (3, 3), activation="relu"))
    model.add(MaxPooling2D((2, 2), padding="same"))
    model.add(Flatten())
    model.add(Dense(128, activation="relu"))
    model.add(Dense(classes, activation="softmax"))
    return model


def test_the_network_of_the_readme() -> None:
    model = readme_network()
    assert model.built and model.input_shape == (None, 50, 50, 1) and model.output_shape == (None, 10)
    shapes = [model.layer_output_shape(index) for index in range(9)]
    assert shapes == [
        (None, 48, 48, 16),
        (None, 24, 24, 16),
        (None, 22, 22, 32),
        (None, 11, 11, 32),
        (None, 9, 9, 64),
        (None, 5, 5, 64),
        (None, 1600),
        (None, 128),
        (None, 10),
    ]
    assert model.layers[7].count_params() == 204_928
    assert model.count_params() == 229_514


def test_ways_to_give_the_input_shape() -> None:
    for model in (
        SequentialNetwork([Input((16,)), Dense(32)]),
        SequentialNetwork([Input(batch_shape=(None, 16)), Dense(32)]),
        SequentialNetwork([InputLayer((16,)), Dense(32)]),
        SequentialNetwork([Dense(32, input_shape=(16,))]),
        SequentialNetwork([Dense(32, input_dim=16)]),
        SequentialNetwork([SequentialNetwork([Input((16,)), Dense(32)])]),
    ):
        assert model.built and (model.input_shape, model.output_shape) == ((None, 16), (None, 32))
        assert len(model.layers) == 1 and len(model.weights) == 2
    model = SequentialNetwork([Input((16,), batch_size=8), Dense(32)])
    assert (model.input_shape, model.output_shape) == ((8, 16), (8, 32))
    assert model(np.zeros((3, 16))).shape == (3, 32)


def test_the_first_data_build_a_network_of_unknown_shape() -> None:
    model = SequentialNetwork([Dense(4), ReLU(), Dense(2)])
    assert not model.built and model.weights == []
    for name in ("input_shape", "output_shape"):
        with pytest.raises(AttributeError, match=f"{name} must be known first; give it an Input, call build"):
            getattr(model, name)
    with pytest.raises(
        ValueError, match=r"SequentialNetwork 'seq.*': must be built before it is used; give it an Input"
    ):
        model.forward(np.zeros((1, 3), np.float32), training=False)
    with pytest.raises(ValueError, match="must be built before its parameters are counted"):
        model.count_params()
    assert model(np.zeros((5, 3))).shape == (5, 2)
    assert model.built and model.input_shape == (None, 3) and len(model.weights) == 4
    later = SequentialNetwork([Dense(4), Dense(2)])
    later.build((None, 7))
    assert later.input_shape == (None, 7)
    later.build((None, 7))
    with pytest.raises(ValueError, match=r"input must have shape \(None, 7\)"):
        later.build((None, 8))


def test_layers_are_added_to_a_built_network_and_taken_off() -> None:
    model = SequentialNetwork([Input((3,)), Dense(4)])
    w = model.get_weights()
    model.add(Dense(5))
    assert model.output_shape == (None, 5) and len(model.weights) == 4
    np.testing.assert_array_equal(model.get_weights()[0], w[0])
    last = model.layers[-1]
    assert model.pop() is last and model.output_shape == (None, 4)
    model.add(last)
    assert model.output_shape == (None, 5)
    model.pop()
    model.pop()
    assert not model.built and model.layers == []
    with pytest.raises(ValueError, match="must have a layer to pop; it has none"):
        model.pop()
    model.add(Dense(2))
    assert model.output_shape == (None, 2)


def _state(model: SequentialNetwork) -> Any:
    return model.layers, model.built, [w.path for w in model.weights], model._shapes, model._input


def test_a_refused_layer_leaves_the_network_as_it_was() -> None:
    model = SequentialNetwork([Input((8, 8, 1)), Conv2D(2, 3)])
    before = _state(model)
    big = Conv2D(2, 9)
    for layer, message in (
        (big, "kernel size must be at most 6"),
        (MaxPooling2D(7), "must be at most 6"),
        (Reshape((5,)), "input must have 5 elements"),
        (Conv2D(4, 1, groups=4), "channels of the input must be a multiple of groups"),
    ):
        with pytest.raises(ValueError, match=message):
            model.add(layer)
        assert _state(model) == before
    assert not big.built and big.weights == []
    SequentialNetwork([Input((20, 20, 3)), big])
    clumsy = _Clumsy()
    with pytest.raises(OSError, match="no"):
        model.add(clumsy)
    assert _state(model) == before and not clumsy.built and clumsy.weights == []


class _Clumsy(Layer):
    """Can be built, but not run, so that its output's shape cannot be found."""

    def build(self, input_shape: Any) -> None:
        self.w = self.add_weight((2,), "ones")

    def forward(self, x: Array, training: bool) -> Forward:
        raise OSError("no")


def test_refused_data_leave_a_network_unbuilt() -> None:
    model = SequentialNetwork([Conv2D(2, 3), MaxPooling2D(4), Flatten(), Dense(3)])
    with pytest.raises(ValueError, match="must be at most 3"):
        model(np.zeros((1, 5, 5, 2)))
    assert not model.built and model.weights == [] and not any(layer.built for layer in model.layers[::3])
    assert model(np.zeros((1, 9, 9, 1))).shape == (1, 3)
    assert model.layers[0].weights[0].shape == (3, 3, 1, 2)


def test_inputs_of_another_shape_are_refused_by_name() -> None:
    model = SequentialNetwork([Input((8, 8, 1)), Conv2D(2, 3, name="eye")], name="net")
    expected = r"SequentialNetwork 'net': input must have shape \(None, 8, 8, 1\), the input of Conv2D 'eye'; got "
    for shape, hint in (
        ((3, 8, 8), "; add the channel axis with x.*None"),
        ((3, 8, 9, 1), "$"),
        ((3, 64), "$"),
        ((3, 8, 8, 1, 1), "$"),
    ):
        with pytest.raises(ValueError, match=expected + r"\(.*\)" + hint):
            model(np.zeros(shape))
    with pytest.raises(ValueError, match=r"sizes of at least 1; got shape \(0, 8, 8, 1\)"):
        model(np.zeros((0, 8, 8, 1)))


def test_images_of_any_size() -> None:
    model = SequentialNetwork([Input((None, None, 2)), Conv2D(3, 3), GlobalAveragePooling2D(), Dense(2)])
    assert model.output_shape == (None, 2) and model.layer_output_shape(0) == (None, None, None, 3)
    for size in (4, 9):
        assert model(np.zeros((1, size, size + 1, 2))).shape == (1, 2)
    with pytest.raises(ValueError, match="last axis of the input must be known to build"):
        SequentialNetwork([Input((None, 2, 2)), Flatten(), Dense(3)])


def test_layers_are_found_by_name_and_index() -> None:
    model = named_network()
    assert model.get_layer("b") is model.layers[3] is model.get_layer(index=3) is model.get_layer(index=-3)
    for arguments, message in (
        ({}, "either name or index must be given"),
        ({"name": "b", "index": 1}, "either name or index"),
        ({"name": "x"}, r"name must be one of \['a'.*; got 'x'"),
        ({"index": 6}, "index must be below 6; got 6"),
    ):
        with pytest.raises(ValueError, match=message):
            model.get_layer(**arguments)  # type: ignore[arg-type]


def test_weights_of_the_whole_network() -> None:
    model, other = named_network(), named_network()
    other.set_weights(model.get_weights())
    x = checks.normal(2, 6, 5, 2)
    np.testing.assert_array_equal(other(x), model(x))
    weights = model.get_weights()
    weights[-1] = np.zeros(7)
    weights[0] += 1
    with pytest.raises(ValueError, match=r"c/bias: value must have shape \(3,\); got \(7,\)"):
        model.set_weights(weights)
    np.testing.assert_array_equal(other(x), model(x))


def test_one_seed_gives_the_same_network_on_every_device(device: Device) -> None:
    set_random_seed(7)
    model = named_network()
    set_random_seed(7)
    with devices.device("cpu"):
        expected = named_network()
    assert model.device == device
    for ours, theirs in zip(model.get_weights(), expected.get_weights(), strict=True):
        checks.assert_same_bits(ours, theirs)


@pytest.mark.parametrize("built", [True, False])
def test_a_configuration_comes_back(built: bool) -> None:
    inner = SequentialNetwork([Dense(3, activation="relu"), Dropout(0.5, seed=1)], name="inner")
    first = [Input((4,), dtype="uint8")] if built else []
    model = SequentialNetwork([*first, inner, Dense(2, activation="softmax", kernel_regularizer="l2")], name="net")
    inner.layers[0].trainable = False
    config = model.get_config()
    assert json.loads(json.dumps(config)) == config
    assert json.loads(model.to_json()) == {"class_name": "SequentialNetwork", "config": config}
    again = SequentialNetwork.from_config(json.loads(model.to_json(indent=1))["config"])
    assert again.get_config() == config and again.built is built
    assert not again.layers[0].layers[0].trainable and again.trainable  # type: ignore[attr-defined]
    model.trainable = False
    assert not SequentialNetwork.from_config(model.get_config()).trainable
    if built:
        again.set_weights(model.get_weights())
        x = checks.normal(5, 4)
        np.testing.assert_array_equal(again(x), model(x))


def test_layers_stay_on_the_device_of_the_network() -> None:
    if not devices.examine(EMULATED).usable:
        pytest.skip("no emulator")
    model = SequentialNetwork([Input((3,)), Dense(4)])
    with devices.device("emulated"):
        model.add(Dense(2))
        foreign = Dense(2, name="foreign")
        foreign.build((None, 2))
    assert {str(w.device) for w in model.weights} == {"cpu"}
    with pytest.raises(TypeError, match=r"all layers must be on one device; got .*Dense 'foreign' on emulated"):
        model.add(foreign)
    assert model.output_shape == (None, 2) and foreign.built


def _itself() -> None:
    model = SequentialNetwork(name="m")
    model.add(model)


@pytest.mark.parametrize(
    "call, error, message",
    [
        (
            lambda: SequentialNetwork([Dense(2, name="d"), Dense(3, name="d")]),
            ValueError,
            "got a second 'd'; pass name=",
        ),
        (lambda: SequentialNetwork([Dense]), TypeError, "layers must be Layers, after an Input or none; got <class"),
        (lambda: SequentialNetwork(Dense(3)), TypeError, "layers must be a list of layers; got <Dense"),
        (lambda: SequentialNetwork([Dense(3), Input((2,))]), ValueError, "Input must come first"),
        (lambda: SequentialNetwork([Input((3,)), Input((2,))]), ValueError, r"once; got it after \(None, 3\)"),
        (lambda: SequentialNetwork().build((None, 3)), ValueError, r"must have a layer to be built; call add\(layer\)"),
        (lambda: SequentialNetwork()(np.zeros((1, 3))), ValueError, "must have a layer to be built"),
        (
            lambda: SequentialNetwork([Dense(2), Dense(3, name="e", dtype="float64")]),
            TypeError,
            "all layers must have one dtype; got Dense 'e' of float64 after float32; gpunet.set_floatx sets it",
        ),
        (_itself, ValueError, "layer must be another one; got the network itself"),
        (
            lambda: SequentialNetwork.from_config({"layers": []}),
            ValueError,
            "configuration must have 'name' and 'layers'",
        ),
        (lambda: Input(), ValueError, "Input: either shape or batch_shape must be given; got None and None"),
        (lambda: Input((2,), batch_shape=(None, 2)), ValueError, "either shape or batch_shape"),
        (lambda: Input(batch_size=3, batch_shape=(3, 2)), ValueError, "batch_size must be given with shape only"),
        (lambda: Input(16), TypeError, r"Input: shape must be a tuple of integers, such as \(None, 16\); got 16"),
        (lambda: Input((2,), dtype="complex64"), TypeError, "Input: dtype must be that of real numbers"),
        (lambda: Input((2,), dtype="flot32"), TypeError, "Input: dtype must be that of real numbers.*got 'flot32'"),
    ],
)
def test_bad_arguments(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()


def test_input_tells_what_it_stands_for() -> None:
    given = Input((3, None), batch_size=4, dtype="uint8", name="images")
    assert (given.shape, given.dtype, given.name) == ((4, 3, None), "uint8", "images")
    assert InputLayer.from_config(given.layer.get_config()).get_config() == given.layer.get_config()
    with pytest.raises(ValueError, match=r"InputLayer 'images': input must have shape \(4, 3, None\); got \(1, 2, 2\)"):
        given.layer(np.zeros((1, 2, 2)))
