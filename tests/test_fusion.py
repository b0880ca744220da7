"""Neighbouring layers that run as one op: which do, with the same results, and what is said of those that do not."""

from __future__ import annotations

import itertools
from typing import Any

import checks
import numpy as np
import pytest

from gpunet import Conv2D, Dense, Flatten, Input, MaxPooling2D, Sequential
from gpunet.backend.arrays import Array, Device
from gpunet.layers import Activation, ReLU, Softmax
from gpunet.networks import fusion
from gpunet.ops import activation as activation_op

FUSED = [ReLU(), ReLU(negative_slope=0.2), Activation("tanh"), Activation("gelu"), Activation("linear")]
NOT_FUSED = [ReLU(max_value=6), ReLU(threshold=0.1), ReLU(0.3), Activation("softmax"), Activation(ReLU()), Softmax()]


def _model(*activation: Any) -> Sequential:
    return Sequential(
        [
            Input((6, 5, 2)),
            Conv2D(3, 3, name="c"),
            *([activation[0]] if activation else []),
            MaxPooling2D(2, name="p"),
            Flatten(name="f"),
            Dense(4, name="d", kernel_regularizer="l2"),
            *([activation[1]] if activation else []),
            Dense(2, name="e", activation="softmax"),
        ]
    )


@pytest.mark.parametrize("make", [ReLU, lambda: Activation("gelu"), lambda: Activation("elu")])
def test_results_do_not_change(device: Device, make: Any) -> None:
    """The bits are the same: the formulas are, and the sums are added in the same order; in inference too."""
    results = []
    for fuse, training in itertools.product((True, False), repeat=2):
        model = _model(make(), make())
        model.set_weights([0.5 * checks.normal(*w.shape, seed=n) for n, w in enumerate(model.get_weights())])
        model.fuse = fuse
        x = checks.on(device, checks.normal(3, 6, 5, 2))
        model.prepare_gradients(needs_input_gradient=True)
        y, backward = model.forward(x, training)
        dx = backward(checks.on(device, checks.normal(3, 2, seed=9)))
        results.append([y, dx, *(w.gradient for w in model.trainable_weights)])
        assert len(fusion.units(model.layers, model.fuse)) == (4 if fuse else 7)
    for one, *others in zip(*results, strict=True):
        for other in others:
            checks.assert_same_bits(one, other)


def test_a_fused_activation_is_not_run_by_itself(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Array] = []
    monkeypatch.setattr(activation_op, "activate", lambda x, kind: calls.append(x) or x)
    model = _model(Activation("tanh"), ReLU())
    x = checks.on(device, checks.normal(3, 6, 5, 2))
    model.forward(x, training=False)
    assert not calls
    model.fuse = False
    model.forward(x, training=False)
    assert len(calls) == 1


@pytest.mark.parametrize("layer", FUSED, ids=lambda layer: layer.where)
def test_which_activations_are_fused(layer: Any) -> None:
    assert fusion.obstacle(Dense(3), layer) is None


@pytest.mark.parametrize("layer", NOT_FUSED, ids=lambda layer: layer.where)
def test_which_activations_are_not(layer: Any) -> None:
    assert fusion.obstacle(Dense(3), layer) == f"{layer.where} is no activation that a kernel applies"
    with pytest.raises(ValueError, match="apply_with_activation must be called on a layer that takes an activation"):
        layer.apply_with_activation(np.zeros((1, 3), np.float32), False, activation_op.Activation.RELU)


class _Doubled(Dense):
    def forward(self, x: Array, training: bool) -> Any:
        y, backward = super().forward(x, training)
        return y + y, lambda dy: backward(dy + dy)


class _Negated(ReLU):
    def forward(self, x: Array, training: bool) -> Any:
        return super().forward(-x, training)


def test_why_others_are_not() -> None:
    relu = ReLU(name="r")
    for layer, follower, reason in (
        (Dense(3, "relu", name="d"), relu, "Dense 'd' ends in no matrix product without an activation"),
        (MaxPooling2D(2, name="p"), relu, "MaxPooling2D 'p' ends in no matrix product without an activation"),
        (Dense(3, activity_regularizer="l1", name="d"), relu, "Dense 'd' has an activity regularizer"),
        (Dense(3), ReLU(activity_regularizer="l1", name="r"), "ReLU 'r' has an activity regularizer"),
        (_Doubled(3, name="own"), relu, "_Doubled 'own' ends in no matrix product without an activation"),
        (Dense(3), _Negated(name="own"), "_Negated 'own' is no activation that a kernel applies"),
    ):
        assert fusion.obstacle(layer, follower) == reason


def test_own_subclasses_run_their_own_forward(device: Device) -> None:
    model = Sequential([Input((3,)), _Doubled(2, kernel_initializer="ones"), ReLU(), Dense(2, name="d"), _Negated()])
    x = checks.on(device, np.ones((1, 3), np.float32))
    first = checks.host(model.layers[0].apply(x, False)[0])
    np.testing.assert_array_equal(first, [[6, 6]])
    z = first @ model.layers[2].kernel.numpy()
    np.testing.assert_allclose(checks.host(model.forward(x, False)[0]), np.maximum(-z, 0), rtol=1e-6)


class _Sharp(Dense):
    def forward(self, x: Array, training: bool) -> Any:
        y, backward = super().forward(3 * x, training)
        return y, lambda dy: 3 * backward(dy)


class _SharpActivation(Activation):
    def forward(self, x: Array, training: bool) -> Any:
        y, backward = super().forward(3 * x, training)
        return y, lambda dy: 3 * backward(dy)


class _SharpSoftmax(Softmax):
    def forward(self, x: Array, training: bool) -> Any:
        y, backward = super().forward(3 * x, training)
        return y, lambda dy: 3 * backward(dy)


@pytest.mark.parametrize("make", [lambda: _Sharp(3, "softmax"), lambda: _SharpActivation("softmax"), _SharpSoftmax])
def test_an_own_forward_is_not_left_out_before_the_loss(make: Any) -> None:
    model = Sequential([Input((3,)), make()])
    model.compile("sgd", "sparse_categorical_crossentropy")
    x, y = checks.normal(8, 3), np.arange(8) % 3
    expected = -np.log(model.predict(x, verbose=0)[np.arange(8), y]).mean()
    assert model.evaluate(x, y, verbose=0) == pytest.approx(expected, rel=1e-5)


def test_the_explanation() -> None:
    model = _model(ReLU(name="r"), ReLU(max_value=6, name="s"))
    assert model.explain_fusion().splitlines() == [
        "c + r + p  one op: relu is applied and maxima are taken where the product ends",
        "f          by itself",
        "d          by itself: ReLU 's' is no activation that a kernel applies",
        "s          by itself",
        "e          its softmax is one op with the loss, if that is a cross-entropy of probabilities",
    ]
    model.fuse = False
    assert model.explain_fusion().splitlines()[0] == "c  by itself: fusion is switched off"
    assert Sequential().explain_fusion() == ""


def test_it_can_be_switched_off_for_networks_inside_too() -> None:
    inner = Sequential([Dense(3), ReLU(), Dense(2, "softmax")], name="inner")
    model = Sequential([Input((4,)), inner])
    assert model.ends_in_softmax and inner.fuse
    model.fuse = False
    assert not inner.fuse and not model.ends_in_softmax
    with pytest.raises(TypeError, match="fuse must be True or False; got 1"):
        model.fuse = 1
