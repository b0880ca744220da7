"""What every layer does: names, dtypes, devices, weights, calls on arrays of any kind."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import checks
import numpy as np
import pytest

from gpunet import layers
from gpunet.backend import devices
from gpunet.backend.arrays import EMULATED, Device, device_of
from gpunet.default_dtype import floatx, set_floatx
from gpunet.initializers import Initializer, TruncatedNormal
from gpunet.layers import Dense, Flatten, Layer, ReLU
from gpunet.layers.naming import clear_session
from gpunet.layers.serialization import deserialize, serialize


@pytest.fixture
def double() -> Iterator[None]:
    set_floatx("float64")
    yield
    set_floatx("float32")


def _every_layer() -> list[Layer]:
    return [
        layers.Dense(2),
        layers.Conv2D(2, 1),
        layers.MaxPooling2D(),
        layers.AveragePooling2D(),
        layers.GlobalAveragePooling2D(),
        layers.Flatten(),
        layers.Reshape((-1,)),
        layers.Activation("relu"),
        layers.ReLU(),
        layers.Softmax(),
        layers.Dropout(0.5),
        layers.InputLayer((2, 2, 2)),
    ]


def test_names_are_those_of_keras() -> None:
    clear_session()
    names = [layer.name for layer in _every_layer()]
    assert names == [
        "dense",
        "conv2d",
        "max_pooling2d",
        "average_pooling2d",
        "global_average_pooling2d",
        "flatten",
        "reshape",
        "activation",
        "re_lu",
        "softmax",
        "dropout",
        "input_layer",
    ]
    assert (Dense(1).name, Dense(1).name, Dense(1, name="head").name) == ("dense_1", "dense_2", "head")
    clear_session()
    assert Dense(1).name == "dense"
    assert repr(ReLU(name="r")) == "<ReLU name=r, built=True>"


def test_layers_come_back_from_their_configurations() -> None:
    for layer in _every_layer():
        again = deserialize(serialize(layer))
        assert type(again) is type(layer) and again.get_config() == layer.get_config()
    with pytest.raises(ValueError, match=r"class_name must be one of .*Activation.*got 'Mine'; pass custom_objects"):
        deserialize({"class_name": "Mine", "config": {}}, {})
    with pytest.raises(ValueError, match="configuration must have 'class_name' and 'config'"):
        deserialize({"class_name": "Dense"}, {})


@pytest.mark.parametrize("layer", _every_layer(), ids=lambda layer: type(layer).__name__)
def test_a_call_takes_and_returns_any_kind_of_array(device: Device, layer: Layer) -> None:
    layer = type(layer).from_config(layer.get_config())
    x = checks.normal(3, 2, 2, 2)
    copy = x.copy()
    y = layer(x)
    assert type(y) is np.ndarray and y.dtype == np.float32
    np.testing.assert_array_equal(layer(x.tolist()), y)
    on_device = layer(checks.on(device, x))
    assert device_of(on_device) == device
    checks.assert_same_bits(on_device, y)
    np.testing.assert_array_equal(x, copy)
    assert not np.shares_memory(y, x)
    assert layer.compute_output_shape((None, 2, 2, 2)) == (None, *y.shape[1:])


@pytest.mark.parametrize("layer", _every_layer(), ids=lambda layer: type(layer).__name__)
def test_empty_batches_are_refused_by_name(layer: Layer) -> None:
    with pytest.raises(ValueError, match=f"{type(layer).__name__} '{layer.name}': .*at least 1.*got"):
        layer(np.zeros((0, 2, 2, 2), np.float32))


def test_integers_become_floats() -> None:
    images = np.arange(8, dtype=np.uint8).reshape(2, 4)
    layer = Dense(3)
    np.testing.assert_array_equal(layer(images), layer(images.astype(np.float32)))
    np.testing.assert_array_equal(layer(images > 3), layer((images > 3).astype(np.float32)))


@pytest.mark.parametrize("x", [np.array([[1j]]), np.array([["a"]]), np.array([[None]]), [[object()]], "text"])
def test_other_types_are_refused(x: Any) -> None:
    with pytest.raises(TypeError, match=r"Dense 'dense.*': x must hold real numbers; got dtype"):
        Dense(3)(x)


def test_float64(double: None) -> None:
    assert floatx() == "float64"
    layer = Dense(3)
    assert layer.dtype == "float64" and layer([[1, 2]]).dtype == np.float64 and layer.kernel.dtype == np.float64
    assert Dense(3, dtype="float32")([[1, 2]]).dtype == np.float32


def test_floatx_takes_two_dtypes() -> None:
    assert floatx() == "float32"
    with pytest.raises(TypeError, match="set_floatx: dtype must be 'float32' or 'float64'; got 'float16'"):
        set_floatx("float16")


def test_one_seed_gives_the_same_weights_on_every_device(device: Device) -> None:
    with devices.device("cpu"):
        expected = Dense(5, kernel_initializer=TruncatedNormal(seed=3))
        expected.build((None, 4))
    layer = Dense(5, kernel_initializer=TruncatedNormal(seed=3))
    layer.build((None, 4))
    assert layer.device == device
    checks.assert_same_bits(layer.kernel.value, expected.kernel.value)


def test_a_layer_stays_on_the_device_it_was_built_on() -> None:
    if not devices.examine(EMULATED).usable:
        pytest.skip("no emulator")
    layer = Dense(3, name="here")
    layer.build((None, 2))
    x = checks.on(EMULATED, checks.normal(4, 2))
    with devices.device("emulated"):
        assert layer(checks.normal(4, 2)).shape == (4, 3)
        with pytest.raises(
            TypeError, match=r"Dense 'here': x must be on cpu.* got an array on emulated; copy it with gp"
        ):
            layer(x)
        there = Dense(3, name="there")
        assert device_of(there(x)) == EMULATED
    with pytest.raises(TypeError, match="Dense 'new': x must be on cpu"):
        Dense(3, name="new")(x)
    assert there(checks.normal(4, 2)).shape == (4, 3)
    assert device_of(ReLU()(x)) == EMULATED


def test_weights_can_be_read_and_set(device: Device) -> None:
    layer = Dense(2, name="d")
    assert layer.get_weights() == [] and layer.weights == []
    layer.build((None, 3))
    w, b = np.arange(6.0).reshape(3, 2), np.array([1, 2])
    layer.set_weights([w, b])
    w[0, 0] = 9
    np.testing.assert_array_equal(layer.get_weights()[0], np.arange(6).reshape(3, 2))
    layer.get_weights()[0][:] = 0
    np.testing.assert_array_equal(layer([[1.0, 0, 0]]), [[1, 3]])
    for bad, message in (
        ([w], "weights must be 2 arrays; got 1"),
        ([np.zeros((3, 2)), np.zeros(3)], r"d/bias: value must have shape \(2,\); got \(3,\)"),
    ):
        with pytest.raises(ValueError, match=message):
            layer.set_weights(bad)
    np.testing.assert_array_equal(layer.get_weights()[0], np.arange(6).reshape(3, 2))


class _Kept(Initializer):
    """Hands out an array that it keeps."""

    def __init__(self) -> None:
        self.w = np.ones((3, 2), np.float32)

    def __call__(self, shape: Any, dtype: Any = None) -> Any:
        return self.w


def test_weights_have_memory_of_their_own() -> None:
    kept = _Kept()
    layer = Dense(2, kernel_initializer=kept)
    layer.build((None, 3))
    layer.set_weights([np.zeros((3, 2)), np.zeros(2)])
    assert kept.w.all()
    with pytest.raises(ValueError, match=r"initializer of kernel must return shape \(4, 2\); got \(3, 2\)"):
        Dense(2, kernel_initializer=kept).build((None, 4))


def test_freezing() -> None:
    layer = Dense(2)
    layer.build((None, 3))
    assert layer.trainable_weights == layer.weights and layer.non_trainable_weights == []
    layer.trainable = False
    assert layer.trainable_weights == [] and layer.non_trainable_weights == layer.weights
    assert not any(weight.trainable for weight in layer.weights)
    layer.trainable = True
    assert layer.trainable_weights == layer.weights
    early = Dense(2, trainable=False)
    early.build((None, 3))
    assert not early.kernel.trainable
    with pytest.raises(TypeError, match="trainable must be True or False; got 1"):
        layer.trainable = 1  # type: ignore[assignment]


def test_a_failed_build_leaves_the_layer_unbuilt() -> None:
    def broken(shape: Any, dtype: Any = None) -> Any:
        raise OSError("no numbers today")

    layer = Dense(3)
    layer.bias_initializer = broken
    with pytest.raises(OSError, match="no numbers today"):
        layer.build((None, 4))
    assert not layer.built and layer.weights == []
    layer.bias_initializer = TruncatedNormal(seed=3)
    layer.build((None, 5))
    assert layer.kernel.shape == (5, 3)


@pytest.mark.parametrize(
    "call, error, message",
    [
        (lambda: Dense(3, name="a/b"), ValueError, "Dense: name must be a string without '/'; got 'a/b'"),
        (lambda: Dense(3, name=3), ValueError, "Dense: name must be a string"),  # type: ignore[arg-type]
        (lambda: Dense(3, trainable=1), TypeError, "Dense: trainable must be True or False; got 1"),  # type: ignore[arg-type]
        (lambda: Dense(3, input_shape=3), TypeError, "Dense: input_shape must be a tuple of integers"),  # type: ignore[arg-type]
        (lambda: Dense(3).build(4), TypeError, "input_shape must be a tuple of integers, such as .None, 16.; got 4"),
        (lambda: Dense(3).build((None, 0)), ValueError, "input_shape must be at least 1; got 0"),
        (lambda: Flatten(activity_regularizer="l3"), ValueError, "activity_regularizer.*must be one of.*got 'l3'"),
        (lambda: Flatten(units=3), TypeError, "Flatten: arguments must be among data_format, trainable.*got units"),  # type: ignore[call-arg]
    ],
)
def test_bad_arguments(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()


def test_a_built_layer_is_not_built_again() -> None:
    layer = Dense(3, name="d")
    layer.build((None, 4))
    weights = layer.get_weights()
    with pytest.raises(ValueError, match="Dense 'd': add_weight must be called in the first build"):
        layer.build((None, 4))
    assert layer.built
    np.testing.assert_array_equal(layer.get_weights()[0], weights[0])


def test_input_dim_is_an_input_shape() -> None:
    assert Dense(3, input_dim=5).input_shape_argument == (5,)
    assert Dense(3).input_shape_argument is None
