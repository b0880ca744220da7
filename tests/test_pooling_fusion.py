"""Conv2D and MaxPooling2D that run as one op, with the same results and fewer bytes; and which do not, and why."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import checks
import numpy as np
import pytest

from gpunet import Conv2D, Dense, Flatten, Input, MaxPooling2D, Sequential
from gpunet.backend.arrays import CPU, Array, Device, is_array
from gpunet.layers import Activation, AveragePooling2D, Layer, ReLU
from gpunet.networks import fusion
from gpunet.ops import convolution_direct, convolution_pooling, pooling, tiles


def _model(*layers: Layer, size: int = 7) -> Sequential:
    return Sequential([Input((size, size + 1, 2)), *layers])


def _results(device: Device, model: Sequential, fuse: bool) -> list[Array]:
    """Return y, dx and the gradients of all trained weights, of fixed weights and data."""
    model.set_weights([0.5 * checks.normal(*w.shape, seed=n) for n, w in enumerate(model.get_weights())])
    model.fuse = fuse
    model.prepare_gradients(needs_input_gradient=True)
    x = checks.on(device, checks.normal(3, *model.input_shape[1:]))
    y, backward = model.forward(x, training=True)
    dx = backward(checks.on(device, checks.normal(*y.shape, seed=9)))
    assert dx is not None
    return [y, dx, *(w.gradient for w in model.trainable_weights)]


FUSED: dict[str, tuple[str, Callable[[], list[Layer]]]] = {
    "its own activation": ("relu is applied and ", lambda: [Conv2D(3, 3, activation="relu"), MaxPooling2D()]),
    "an activation layer": ("gelu is applied and ", lambda: [Conv2D(3, 3), Activation("gelu"), MaxPooling2D()]),
    "no activation, same": ("", lambda: [Conv2D(3, 2, use_bias=False), MaxPooling2D(2, padding="same")]),
    "strides and groups": (
        "relu is applied and ",
        lambda: [Conv2D(4, 2, strides=(2, 1), groups=2), Activation("relu"), MaxPooling2D((2, 2), (2, 2))],
    ),
}


@pytest.mark.parametrize("case", FUSED)
def test_results_do_not_change(device: Device, case: str) -> None:
    applied, make = FUSED[case]
    model, apart = _model(*make()), _model(*make())
    for one, other in zip(_results(device, model, True), _results(device, apart, False), strict=True):
        checks.assert_same_bits(one, other)
    names = " + ".join(layer.name for layer in model.layers)
    assert model.explain_fusion() == f"{names}  one op: {applied}maxima are taken where the product ends"
    assert apart.explain_fusion().count("by itself: fusion is switched off") == len(apart.layers)


def test_pairs_follow_each_other(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a network that is not to need the pooling op at all."""

    def make() -> Sequential:
        pairs = [Conv2D(3, 3, activation="relu"), MaxPooling2D(), Conv2D(4, 2), ReLU(), MaxPooling2D(padding="same")]
        return _model(*pairs, Flatten(), Dense(2), size=12)

    apart = _results(device, make(), False)
    monkeypatch.setattr("gpunet.layers.pooling.max_pooling", None)
    for one, other in zip(_results(device, make(), True), apart, strict=True):
        checks.assert_same_bits(one, other)


def test_a_convolution_may_be_used_elsewhere_too(device: Device) -> None:
    def make() -> Sequential:
        shared = Conv2D(2, 3, padding="same", activation="relu")
        return _model(shared, shared, MaxPooling2D(), shared, MaxPooling2D(padding="same"), size=8)

    assert len(fusion.units(make().layers, fuse=True)) == 3
    for one, other in zip(_results(device, make(), True), _results(device, make(), False), strict=True):
        checks.assert_same_bits(one, other)


def test_frozen_layers(device: Device) -> None:
    """A frozen convolution still passes dx down to a trained one, and runs nothing where none is below it."""
    for frozen in ((0,), (2,), (0, 2)):
        results = []
        for fuse in (True, False):
            model = _model(Conv2D(3, 3, activation="relu"), MaxPooling2D(), Conv2D(2, 2), MaxPooling2D(), size=8)
            for index in frozen:
                model.layers[index].trainable = False
            results.append(_results(device, model, fuse))
            model.prepare_gradients()
            y, backward = model.forward(checks.on(device, checks.normal(3, 8, 9, 2)), training=True)
            assert backward(y) is None
            assert all((layer.kernel.gradient is None) == (not layer.trainable) for layer in model.layers[::2])
        for one, other in zip(*results, strict=True):
            checks.assert_same_bits(one, other)


class _OwnPooling(MaxPooling2D):
    def forward(self, x: Array, training: bool) -> Any:
        return super().forward(-x, training)


class _OwnConvolution(Conv2D):
    def forward(self, x: Array, training: bool) -> Any:
        return super().forward(3 * x, training)


_CANNOT = "where the kernel of a convolution can have (2, 2) for both"

# Layers, and what the line of the pooling says.
NOT_FUSED: list[tuple[Callable[[], list[Layer]], str]] = [
    (
        lambda: [Conv2D(3, 3), MaxPooling2D(3, name="p")],
        f"MaxPooling2D 'p' has windows of (3, 3) with strides of (3, 3), {_CANNOT}",
    ),
    (
        lambda: [Conv2D(3, 3), Activation("relu"), MaxPooling2D(2, strides=(2, 1), name="p")],
        f"MaxPooling2D 'p' has windows of (2, 2) with strides of (2, 1), {_CANNOT}",
    ),
    (lambda: [Conv2D(3, 3), _OwnPooling(name="p")], "_OwnPooling 'p' has a forward of its own"),
    (lambda: [_OwnConvolution(3, 3, name="c"), MaxPooling2D()], "_OwnConvolution 'c' has a forward of its own"),
    (
        lambda: [Conv2D(3, 3), MaxPooling2D(name="p", activity_regularizer="l2")],
        "MaxPooling2D 'p' has an activity regularizer",
    ),
    (
        lambda: [Conv2D(3, 3, activity_regularizer="l1", name="c"), MaxPooling2D()],
        "Conv2D 'c' has an activity regularizer",
    ),
    (
        lambda: [Conv2D(3, 3, activation=ReLU(6), name="c"), MaxPooling2D()],
        "no kernel of a convolution applies the activation of Conv2D 'c'",
    ),
    (lambda: [Conv2D(64, 2), Conv2D(1, 3, name="c"), MaxPooling2D()], "the sums of Conv2D 'c' have 576 terms, and may"),
]


@pytest.mark.parametrize("make, reason", NOT_FUSED, ids=[reason for _, reason in NOT_FUSED])
def test_why_others_are_not(make: Callable[[], list[Layer]], reason: str) -> None:
    model, apart = _model(*make(), size=9), _model(*make(), size=9)
    lines = model.explain_fusion().splitlines()
    assert lines[-1].split(maxsplit=1)[1].startswith(f"by itself: {reason}")
    assert "is no activation" not in lines[-2]
    if "own" not in reason:  # those compute with arrays of NumPy
        for one, other in zip(_results(CPU, model, True), _results(CPU, apart, False), strict=True):
            checks.assert_same_bits(one, other)


def test_an_own_forward_is_run() -> None:
    x = checks.normal(1, 6, 6, 2)
    layers = Conv2D(3, 3), _OwnPooling()
    model = Sequential([Input((6, 6, 2)), *layers])
    np.testing.assert_array_equal(model(x), layers[1](layers[0](x)))


def test_the_longest_sums(device: Device) -> None:
    """511 terms are one sum on every device; the op refuses more."""
    for channels, together in ((511, True), (512, False)):
        model = Sequential([Input((2, 2, channels)), Conv2D(1, 1, name="c"), MaxPooling2D(name="p")])
        assert (len(fusion.units(model.layers, fuse=True)) == 1) == together
        assert model.forward(checks.on(device, checks.normal(1, 2, 2, channels)), False)[0].shape == (1, 1, 1, 1)
    assert convolution_pooling.LONGEST_SUM == 511


def test_what_is_said_before_a_network_is_built_and_of_other_neighbours() -> None:
    model = Sequential([Conv2D(3, 3, name="c"), MaxPooling2D(name="p"), AveragePooling2D(name="a"), ReLU(name="r")])
    assert model.explain_fusion().splitlines() == [
        "c  by itself",
        "p  by itself: Conv2D 'c' is not built, and so the length of its sums not known",
        "a  by itself: AveragePooling2D 'a' ends in no matrix product without an activation",
        "r  by itself",
    ]
    model.build((None, 9, 9, 1))
    assert model.explain_fusion().splitlines()[0].startswith("c + p  one op: maxima are taken")


def _cnn50() -> Sequential:
    """Return the convolutions and poolings of the README's network, the whole of its images."""
    layers: list[Layer] = []
    for filters in (16, 32, 64):
        layers += [Conv2D(filters, 3, activation="relu"), MaxPooling2D(2, padding="same")]
    return Sequential([Input((50, 50, 1)), *layers])


def test_less_than_half_of_the_bytes_are_moved(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    """Count the arrays that all launches of a step forward and back read or write, each once."""
    if device == CPU:
        pytest.skip("needs a device that launches kernels")
    moved: list[tuple[str, int]] = []

    def count(launch: Any) -> Any:
        def counted(file: str, entry: str, *, args: Any, **others: Any) -> None:
            moved.append((entry, sum(array.nbytes for array in args if is_array(array))))
            launch(file, entry, args=args, **others)

        return counted

    for module in (tiles, convolution_direct, pooling):
        monkeypatch.setattr(module, "launch", count(module.launch))
    totals = []
    for fuse in (True, False):
        model = _cnn50()
        model.fuse = fuse
        model.prepare_gradients()
        y, backward = model.forward(checks.on(device, checks.normal(1, 50, 50, 1)), training=True)
        backward(y)
        totals.append(sum(number for _, number in moved))
        entries = {entry for entry, _ in moved}
        pooling_forward = {"convolution_few_channels_pooling", "convolution_pooling"}
        assert ("max_pooling_gradient" in entries) != fuse
        assert entries & pooling_forward == (pooling_forward if fuse else set())
        if fuse:  # of the forward pass: images, weights, maxima and a byte for each of these, and nothing else
            sizes = [
                (50 * 50, 160, 24 * 24 * 16),
                (24 * 24 * 16, 4640, 11 * 11 * 32),
                (11 * 11 * 32, 18496, 5 * 5 * 64),
            ]
            forward = [number for entry, number in moved if entry in pooling_forward]
            assert forward == [4 * (math.fsum(size)) + size[-1] for size in sizes]
        moved.clear()
    assert totals[0] <= 0.5 * totals[1], totals
