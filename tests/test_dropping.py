"""Dropout where a matrix product ends (kernels/dropping.cuh): as the product and dropout one after the other."""

from __future__ import annotations

from typing import Any

import checks
import numpy as np
import pytest

from gpunet import Conv2D, Dense, Dropout, Flatten, Input, MaxPooling2D, ReLU, Sequential
from gpunet.backend.arrays import CPU, Array, Device, device_of, empty_like
from gpunet.backend.random import set_random_seed
from gpunet.networks import fusion
from gpunet.ops.activation import Activation
from gpunet.ops.convolution import convolution, convolution_input_gradient, convolution_kernel_gradient
from gpunet.ops.convolution_sizes import Geometry
from gpunet.ops.dense import dense, dense_input_gradient, dense_kernel_gradient
from gpunet.ops.dropout import dropout, dropout_gradient
from gpunet.ops.dropping import Dropping

RELU = Activation.RELU
RATE, KEY = 0.3, (7, 3, 2**33 + 5)

# (m, k, n): less than a block of Philox, packs that straddle two, several tiles, a sum that is split.
DENSE = [(1, 1, 1), (3, 4, 5), (5, 7, 8), (9, 5, 11), (40, 3, 70), (130, 5, 129), (4, 2000, 10)]
CONVOLUTION = [
    ((2, 5, 6, 3), (3, 3, 3, 4), Geometry()),  # few channels
    ((2, 5, 6, 5), (3, 3, 5, 4), Geometry()),
    ((2, 5, 6, 4), (2, 3, 2, 6), Geometry(strides=(2, 1), pads=((1, 1), (0, 1)), groups=2)),
    ((1, 3, 3, 200), (3, 3, 200, 5), Geometry()),  # a sum that is split
]


def _results(device: Device, forward: Any, gradients: Any, dy: Array, is_fused: bool) -> list[Array]:
    """Return y, and what `gradients(dy, saved, scale)` does."""
    if is_fused:
        dropping = Dropping(RATE, KEY)
        y, saved = forward(dropping)
        return [y, *gradients(dy, saved, dropping.scale)]
    y, saved = forward(None)
    dropped, mask = dropout(y, RATE, KEY)
    return [dropped, *gradients(dropout_gradient(dy, mask, RATE), saved, 1.0)]


def _assert_same(fused: list[Array], plain: list[Array]) -> None:
    for one, other in zip(fused, plain, strict=True):  # adding 0 takes the sign off a zero
        checks.assert_same_bits(checks.host(one) + 0, checks.host(other) + 0)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("m, k, n", DENSE)
def test_dense(device: Device, m: int, k: int, n: int, dtype: Any) -> None:
    x, w, b, dy = (checks.normal(*shape, seed=s, dtype=dtype) for s, shape in enumerate([(m, k), (k, n), (n,), (m, n)]))
    x, w, b, dy = checks.on(device, x, w, b, dy)

    def gradients(dy: Array, saved: Array, scale: float) -> list[Array]:
        dw, db = empty_like(w), empty_like(b)
        dense_kernel_gradient(x, dy, saved, RELU, dw, db, scale)
        return [dense_input_gradient(dy, saved, w, RELU, scale), dw, db]

    results = [_results(device, lambda d: dense(x, w, b, RELU, d), gradients, dy, fused) for fused in (True, False)]
    _assert_same(*results)
    assert m * n < 8 or 0 < np.count_nonzero(checks.host(results[0][0])) < m * n


@pytest.mark.parametrize("x_shape, w_shape, geometry", CONVOLUTION)
def test_convolution(device: Device, x_shape: Any, w_shape: Any, geometry: Geometry) -> None:
    x, w, b = checks.on(
        device, checks.normal(*x_shape), checks.normal(*w_shape, seed=1), checks.normal(w_shape[3], seed=2)
    )
    y, _ = convolution(x, w, b, RELU, geometry)
    dy = checks.on(device, checks.normal(*y.shape, seed=3))

    def gradients(dy: Array, saved: Array, scale: float) -> list[Array]:
        dw, db = empty_like(w), empty_like(b)
        convolution_kernel_gradient(x, dy, saved, RELU, geometry, dw, db, scale)
        return [convolution_input_gradient(dy, saved, w, RELU, geometry, x.shape, scale), dw, db]

    def forward(dropping: Dropping | None) -> tuple[Array, Array]:
        return convolution(x, w, b, RELU, geometry, dropping)

    _assert_same(*[_results(device, forward, gradients, dy, fused) for fused in (True, False)])


def test_the_step_may_lie_on_the_device(device: Device) -> None:
    x, w, step = checks.on(device, checks.normal(5, 4), checks.normal(4, 6, seed=1), np.array([KEY[2]]))
    one, _ = dense(x, w, None, RELU, Dropping(RATE, (*KEY[:2], step)))
    other, _ = dense(x, w, None, RELU, Dropping(RATE, KEY))
    checks.assert_same_bits(one, other)


def test_only_after_relu(device: Device) -> None:
    x, w = checks.on(device, checks.normal(5, 4), checks.normal(4, 6, seed=1))
    with pytest.raises(ValueError, match="dense: activation must be relu to drop elements after it; got tanh"):
        dense(x, w, None, Activation.TANH, Dropping(RATE, KEY))
    with pytest.raises(ValueError, match="convolution: activation must be relu to drop elements after it; got linear"):
        images, filters = checks.on(device, checks.normal(1, 2, 2, 1), checks.normal(1, 1, 1, 1))
        convolution(images, filters, None, Activation.LINEAR, Geometry(), Dropping(RATE, KEY))


def _model() -> Sequential:
    set_random_seed(5)
    return Sequential(
        [
            Input((6, 5, 2)),
            Conv2D(3, 3, activation="relu", name="c"),
            Dropout(0.4, name="p"),
            Flatten(),
            Dense(7, name="d"),
            ReLU(name="r"),
            Dropout(0.25, name="q"),
            Dense(2, name="e"),
        ]
    )


def test_a_network_has_the_same_results_fused_or_not(device: Device) -> None:
    runs = []
    for fuse in (True, False):
        model = _model()
        model.fuse = fuse
        x = checks.on(device, checks.normal(3, 6, 5, 2))
        model.prepare_gradients(needs_input_gradient=True)
        results = []
        for training in (True, True, False):
            y, backward = model.forward(x, training)
            results += [y, backward(checks.on(device, checks.normal(3, 2, seed=9)))]
        results += [weight.gradient for weight in model.trainable_weights]
        assert len(fusion.units(model.layers, fuse)) == (4 if fuse else 7)
        assert [layer.stream.step for layer in model.layers if isinstance(layer, Dropout)] == [2, 2]
        runs.append(results)
    _assert_same(*runs)


def test_no_kernel_of_dropout_is_launched(device: Device) -> None:
    if device == CPU:
        pytest.skip("the CPU launches no kernels")
    model = _model()
    x = checks.on(device, checks.normal(3, 6, 5, 2))
    with checks.recorded_launches() as launches:
        y, backward = model.forward(x, True)
        backward(checks.on(device_of(x), checks.normal(*y.shape)))
    assert not any(launch.file == "dropout.cu" for launch in launches)


@pytest.mark.parametrize(
    "layers, reason",
    [
        ([Dense(3, "relu"), Dropout(0.5, name="p")], None),
        ([Dense(3), ReLU(), Dropout(0.5, name="p")], None),
        ([Flatten(name="f"), Dropout(0.5, name="p")], "Flatten 'f' ends in no matrix product"),
        (
            [Conv2D(3, 3, activation="relu"), MaxPooling2D(name="m"), Dropout(0.5, name="p")],
            "'m' ends in no matrix pro",
        ),
        ([Dense(3, "tanh", name="d"), Dropout(0.5, name="p")], "Dense 'd' does not end in relu, which alone leaves 0"),
        ([Dense(3, name="d"), Dropout(0.5, name="p")], "Dense 'd' does not end in relu"),
        ([Dense(3, "relu"), Dropout(0.5, (None, 1), name="p")], "Dropout 'p' has a noise_shape, or a rate of 0 or 1"),
        ([Dense(3, "relu"), Dropout(0.0, name="p")], "Dropout 'p' has a noise_shape, or a rate of 0 or 1"),
        (
            [Dense(3, "relu", activity_regularizer="l1", name="d"), Dropout(0.5, name="p")],
            "has an activity regularizer",
        ),
    ],
)
def test_which_dropouts_are_fused_and_why_not(layers: Any, reason: str | None) -> None:
    model = Sequential([Input((8, 8, 2)), *([Flatten()] if isinstance(layers[0], Dense) else []), *layers])
    line = model.explain_fusion().splitlines()[-1]
    if reason is None:
        assert line.endswith("  one op: relu is applied, and in training elements are dropped, where the product ends")
    else:
        assert line.startswith("p ") and reason in line
