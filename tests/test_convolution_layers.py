"""Conv1D, depthwise, separable and transposed convolutions as layers: values, gradients, shapes, arguments."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import checks
import numpy as np
import oracle_convolution as oracle
import pytest
from layer_checks import assert_config_comes_back, assert_layer_gradients

from gpunet import Sequential, layers, set_random_seed
from gpunet.backend.arrays import CPU, Device, HostArray
from gpunet.layers import (
    Conv1D,
    Conv1DTranspose,
    Conv2D,
    Conv2DTranspose,
    DepthwiseConv1D,
    DepthwiseConv2D,
    Dropout,
    Layer,
    MaxPooling1D,
    ReLU,
    SeparableConv1D,
    SeparableConv2D,
)

# A layer's class, the shape of x, its arguments: every padding, strides, dilation, groups and multipliers.
CASES: list[tuple[Any, tuple[int, ...], dict[str, Any]]] = [
    (Conv1D, (7, 2), {"filters": 3, "kernel_size": 3}),
    (Conv1D, (8, 4), {"filters": 2, "kernel_size": 2, "strides": 2, "padding": "same", "groups": 2}),
    (Conv1D, (7, 2), {"filters": 3, "kernel_size": (3,), "dilation_rate": 2, "padding": "CAUSAL"}),
    (Conv1D, (2, 1), {"filters": 1, "kernel_size": 4, "strides": 3, "padding": "causal", "use_bias": False}),
    (DepthwiseConv1D, (8, 3), {"kernel_size": 3, "strides": 2, "padding": "same", "depth_multiplier": 2}),
    (DepthwiseConv2D, (6, 5, 3), {"kernel_size": 3, "padding": "same"}),
    (DepthwiseConv2D, (7, 8, 2), {"kernel_size": (2, 3), "strides": (2, 3), "dilation_rate": 2, "depth_multiplier": 3}),
    (DepthwiseConv2D, (4, 4, 1), {"kernel_size": 2, "depth_multiplier": 2, "use_bias": False}),
    (SeparableConv1D, (8, 3), {"filters": 2, "kernel_size": 3, "strides": 2, "padding": "same"}),
    (SeparableConv2D, (6, 5, 3), {"filters": 4, "kernel_size": 3, "padding": "same", "depth_multiplier": 2}),
    (SeparableConv2D, (6, 6, 2), {"filters": 3, "kernel_size": 2, "strides": 2, "padding": "same", "use_bias": False}),
    (Conv1DTranspose, (4, 3), {"filters": 2, "kernel_size": 3, "strides": 2, "padding": "same"}),
    (Conv1DTranspose, (4, 3), {"filters": 2, "kernel_size": 2, "strides": 3}),
    (Conv2DTranspose, (3, 4, 2), {"filters": 3, "kernel_size": 3, "strides": 2, "padding": "same"}),
    (Conv2DTranspose, (3, 4, 2), {"filters": 2, "kernel_size": (2, 4), "dilation_rate": 2, "padding": "same"}),
    (Conv2DTranspose, (2, 3, 3), {"filters": 2, "kernel_size": (3, 2), "strides": (3, 2), "output_padding": (2, 1)}),
    (
        Conv2DTranspose,
        (3, 2, 2),
        {"filters": 1, "kernel_size": 4, "strides": 2, "padding": "same", "output_padding": 1, "use_bias": False},
    ),
]


def _pairs(layer: Any) -> tuple[tuple[int, int], tuple[int, int], str]:
    def of_image(sizes: tuple[int, ...]) -> tuple[int, int]:
        return (1, *sizes) if len(sizes) == 1 else sizes  # type: ignore[return-value]

    return of_image(layer.strides), of_image(layer.dilation_rate), layer.padding


def _expected(layer: Any, x: HostArray) -> HostArray:
    """Return the layer's y, without its activation, by loops over images; a sequence is one of a row."""
    weights = layer.get_weights()
    is_sequence = x.ndim == 3
    if is_sequence:
        x = x[:, None]
        weights = [w[None] if w.ndim == 3 else w for w in weights]
    how = _pairs(layer)
    if isinstance(layer, (SeparableConv1D, SeparableConv2D)):
        z = oracle.depthwise_z(x, weights[0], *how)
        z = oracle.grouped_z(z, weights[1], (1, 1), (1, 1), "valid", 1)
    elif isinstance(layer, (DepthwiseConv1D, DepthwiseConv2D)):
        z = oracle.depthwise_z(x, weights[0], *how)
    elif isinstance(layer, (Conv1DTranspose, Conv2DTranspose)):
        more = layer.output_padding
        z = oracle.transposed_layer_z(x, weights[0], *how, (0, *more) if more and is_sequence else more)
    else:
        z = oracle.grouped_z(x, weights[0], *how, layer.groups)
    z = z + weights[-1] if layer.use_bias else z
    return z[:, 0] if is_sequence else z


# One of each kind: what layers make of their arguments is the same on every device, and ops have tests of their own.
ON_EVERY_DEVICE = {1, 2, 6, 9, 11, 15}


@pytest.mark.parametrize("case", range(len(CASES)))
def test_values_and_gradients(device: Device, case: int) -> None:
    if device != CPU and case not in ON_EVERY_DEVICE:
        pytest.skip("is run on the CPU alone")
    cls, shape, arguments = CASES[case]
    layer = cls(**arguments, activation="tanh", bias_initializer="normal", dtype="float64")
    x = checks.normal(2, *shape, dtype=np.float64)
    y = layer(x)
    np.testing.assert_allclose(y, np.tanh(_expected(layer, x)), rtol=1e-11, atol=1e-13)
    assert layer.compute_output_shape((None, *shape)) == (None, *y.shape[1:])
    unknown = layer.compute_output_shape((None,) * (len(shape) + 1))
    assert unknown[:-1] == (None,) * len(shape)
    assert_layer_gradients(cls(**arguments, activation="tanh", dtype="float64"), x, device)


@pytest.mark.parametrize(
    ("cls", "activation"),
    [
        (DepthwiseConv2D, "softmax"),
        (SeparableConv2D, "relu"),
        (Conv2DTranspose, "relu"),
        (Conv2DTranspose, "softmax"),
    ],
)
def test_activations(device: Device, cls: Any, activation: str) -> None:
    """Both those that the kernel applies and others, with the regularizer of the output."""
    filters = {} if cls is DepthwiseConv2D else {"filters": 3}
    how = {**filters, "kernel_size": 2, "activation": activation, "activity_regularizer": "l2", "dtype": "float64"}
    assert_layer_gradients(cls(**how), checks.normal(2, 3, 4, 3, dtype=np.float64), device)


def test_a_causal_convolution_sees_no_later_step(device: Device) -> None:
    layer, x = Conv1D(2, 3, padding="causal", dilation_rate=2), checks.normal(1, 9, 2)
    before = layer(x)
    x[:, 5:] = 9
    np.testing.assert_array_equal(layer(x)[:, :5], before[:, :5])
    assert not np.array_equal(layer(x)[:, 5], before[:, 5])


def test_same_with_strides_of_2_pads_an_odd_step_behind(device: Device) -> None:
    """With 4 steps and a kernel of 3 there is one zero, after the last step; PyTorch would put one on each side."""
    x, ones = np.arange(1.0, 5).reshape(1, 4, 1), {"kernel_initializer": "ones", "use_bias": False, "dtype": "float64"}
    assert Conv1D(1, 3, 2, "same", **ones)(x).ravel().tolist() == [1 + 2 + 3, 3 + 4]
    depthwise = DepthwiseConv1D(3, 2, "same", depthwise_initializer="ones", use_bias=False, dtype="float64")
    assert depthwise(x).ravel().tolist() == [6, 7]
    assert MaxPooling1D(3, 2, "same", dtype="float64")(x).ravel().tolist() == [3, 4]
    spread = Conv1DTranspose(1, 3, 2, "same", **ones)(x[:, :2])
    assert spread.ravel().tolist() == [1, 1, 1 + 2, 2]  # one more 2 would lie behind


TRAINED: list[tuple[Callable[[], Any], tuple[int, ...], int]] = [
    (lambda: SeparableConv2D(2, 2, dtype="float64"), (4, 4, 2), 3),
    (lambda: DepthwiseConv2D(2, dtype="float64"), (4, 4, 2), 2),
    (lambda: Conv2DTranspose(2, 2, dtype="float64"), (4, 4, 2), 2),
]


@pytest.mark.parametrize(("make", "shape", "count"), TRAINED)
def test_only_what_is_trained_gets_gradients(device: Device, make: Any, shape: tuple[int, ...], count: int) -> None:
    """Frozen weights change no other gradient, with and without the gradient of the input."""
    x = checks.on(device, checks.normal(2, *shape, dtype=np.float64))

    def gradients(frozen: list[int], needed: bool) -> tuple[Any, list[Any]]:
        layer = make()
        layer.build((None, *shape))
        assert len(layer.weights) == count
        for number, weight in enumerate(layer.weights):
            weight.assign(checks.normal(*weight.shape, seed=number, dtype=np.float64))
            weight.trainable = number not in frozen
        layer.needs_input_gradient = needed
        y, backward = layer.apply(x, True)
        dx = backward(checks.on(device, checks.normal(*y.shape, seed=9, dtype=np.float64)))
        return dx, [weight.gradient for weight in layer.weights]

    expected_dx, expected = gradients([], True)
    for frozen in ([], [0], list(range(1, count)), list(range(count))):
        for needed in (True, False):
            dx, found = gradients(frozen, needed)
            assert (dx is None) == (not needed)
            if needed:
                checks.assert_same_bits(dx, expected_dx)
            for number, gradient in enumerate(found):
                assert (gradient is None) == (number in frozen)
                if gradient is not None:
                    checks.assert_same_bits(gradient, expected[number])


@pytest.mark.parametrize("cls", [Conv1D, SeparableConv2D, Conv2DTranspose])
def test_activations_and_dropouts_behind_are_one_op(device: Device, cls: Any) -> None:
    """Fused or not, a training step has the same bits."""
    if device != CPU and cls is Conv1D:
        pytest.skip("is run on the CPU alone: its op is that of Conv2D")
    shape = (6, 4) if cls is Conv1D else (6, 6, 4)
    x, y = checks.normal(4, *shape), checks.normal(4, 3, seed=1)
    results = []
    for fuse in (True, False):
        set_random_seed(0)
        first = cls(kernel_size=3, strides=2, padding="same", filters=4)
        behind = [ReLU(), Dropout(0.5, seed=1), layers.Flatten(), layers.Dense(3)]
        model = Sequential([layers.Input(shape), first, *behind])
        model.fuse = fuse
        model.compile("sgd", "mse")
        if fuse:
            assert "relu is applied, and in training elements are dropped" in model.explain_fusion()
        model.fit(x, y, batch_size=4, epochs=2, verbose=0)
        results.append(model.get_weights())
    for one, other in zip(*results, strict=True):
        checks.assert_same_bits(one, other)


def test_only_images_are_pooled_with_their_convolution() -> None:
    for first, pool in [
        (Conv1D(4, 3), MaxPooling1D(2)),
        (DepthwiseConv2D(3), layers.MaxPooling2D(2)),
        (Conv2DTranspose(4, 3), layers.MaxPooling2D(2)),
    ]:
        shape = (12, 4) if isinstance(first, Conv1D) else (12, 12, 4)
        model = Sequential([layers.Input(shape), first, pool])
        assert "maxima" not in model.explain_fusion()
        assert model.predict(np.ones((2, *shape)), verbose=0).shape == (
            2,
            *pool.compute_output_shape(first.compute_output_shape((2, *shape)))[1:],
        )
    fused = Sequential([layers.Input((12, 12, 4)), Conv2D(4, 3), layers.MaxPooling2D(2)])
    assert "maxima" in fused.explain_fusion()


@pytest.mark.parametrize("cls", [cls for number, (cls, *_) in enumerate(CASES) if cls is not CASES[number - 1][0]])
def test_configurations(cls: Any) -> None:
    arguments = next(arguments for made, _, arguments in CASES if made is cls)
    given = {**arguments, "bias_regularizer": "l2", "activity_regularizer": "l1", "activation": "relu", "name": "one"}
    kinds = {Conv1D: "kernel", Conv1DTranspose: "kernel", Conv2DTranspose: "kernel"}
    prefixes = [kinds.get(cls, "depthwise"), *(["pointwise"] if cls in (SeparableConv1D, SeparableConv2D) else [])]
    for prefix in prefixes:
        given |= {
            f"{prefix}_initializer": "he_normal",
            f"{prefix}_regularizer": "l2",
            f"{prefix}_constraint": "unit_norm",
        }
    layer = cls(**given)
    config = assert_config_comes_back(layer).get_config()
    for prefix in prefixes:
        assert config[f"{prefix}_initializer"]["class_name"] == "HeNormal"
        assert config[f"{prefix}_regularizer"]["class_name"] == "L2"
        assert config[f"{prefix}_constraint"]["class_name"] == "UnitNorm"


def test_names_of_weights() -> None:
    def names(layer: Layer, *shape: int) -> dict[str, tuple[int, ...]]:
        layer.build((None, *shape))
        return {weight.name: weight.shape for weight in layer.weights}

    assert names(Conv1D(6, 5, groups=2), 9, 4) == {"kernel": (5, 2, 6), "bias": (6,)}
    assert names(DepthwiseConv2D((2, 3), depth_multiplier=4), 5, 5, 3) == {"kernel": (2, 3, 3, 4), "bias": (12,)}
    assert names(SeparableConv1D(6, 3, depth_multiplier=2), 9, 4) == {
        "depthwise_kernel": (3, 4, 2),
        "pointwise_kernel": (1, 8, 6),
        "bias": (6,),
    }
    assert names(Conv2DTranspose(6, (2, 3)), 5, 5, 4) == {"kernel": (2, 3, 6, 4), "bias": (6,)}


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: Conv1D(2, (3, 3)), ValueError, r"Conv1D 'conv1d.*': kernel_size must be one integer; got \(3, 3\)"),
        (
            lambda: Conv1D(2, 3, padding="full"),
            ValueError,
            "padding must be one of 'valid', 'same', 'causal'; got 'full'",
        ),
        (lambda: Conv2D(2, 3, padding="causal"), ValueError, "padding must be one of 'valid', 'same'; got 'causal'"),
        (lambda: Conv1D(3, 3, groups=2), ValueError, "filters must be a multiple of groups, 2; got 3"),
        (lambda: Conv1D(2, 3, 2, dilation_rate=2), ValueError, "strides must be 1 where dilation_rate is above 1"),
        (lambda: Conv1D(2, 3)(np.ones((2, 5))), ValueError, r"input must have shape \(batch, steps, channels\); got"),
        (lambda: Conv1D(2, 6)(np.ones((1, 5, 1))), ValueError, "kernel size must be at most 5, its input's; got 6"),
        (lambda: DepthwiseConv2D(3, depth_multiplier=0), ValueError, "depth_multiplier must be at least 1; got 0"),
        (lambda: DepthwiseConv2D(3, depthwise_initializer="no"), ValueError, "depthwise_initializer must be"),
        (lambda: SeparableConv2D(2, 3, pointwise_regularizer="no"), ValueError, "pointwise_regularizer must be"),
        (lambda: SeparableConv2D(2, 3).kernel, AttributeError, "must be built before its kernel is used"),
        (lambda: SeparableConv2D(2, 3).depthwise_kernel, AttributeError, "must be built before its kernels are used"),
        (
            lambda: Conv2DTranspose(2, 3, 2, output_padding=2),
            ValueError,
            r"output_padding must be below strides, \(2, 2\)",
        ),
        (
            lambda: Conv2DTranspose(2, 3, 2, dilation_rate=2),
            ValueError,
            "strides must be 1 where dilation_rate is above",
        ),
        (
            lambda: Conv1DTranspose(2, 2, 2, "same", 0).compute_output_shape((None, 1, 1)),
            ValueError,
            r"output must have sizes of at least 1; got \(0,\) for input \(None, 1, 1\); use a bigger input",
        ),
        (
            lambda: DepthwiseConv2D(3, kernel_initializer="zeros"),
            TypeError,
            "among kernel_size.*got kernel_initializer",
        ),
        (lambda: Conv2DTranspose(2, 3, data_format="channels_first"), ValueError, "must be 'channels_last'"),
    ],
)
def test_bad_arguments(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()


def test_another_number_of_channels_is_refused(device: Device) -> None:
    for layer in (Conv1D(2, 1), DepthwiseConv1D(1), SeparableConv1D(2, 1), Conv1DTranspose(2, 1)):
        layer.build((None, 4, 3))
        with pytest.raises(ValueError, match=r"input must have shape \(batch, steps, 3\); got \(1, 4, 2\)"):
            layer(np.ones((1, 4, 2)))
