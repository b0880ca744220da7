"""Losses of pairs of numbers: each kind against its formula, its gradient against differences."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import checks
import numpy as np
import oracle_losses as oracle
import pytest

from gpunet.backend.arrays import Device, HostArray
from gpunet.ops import elementwise_loss as elementwise_loss_module
from gpunet.ops.elementwise_loss import (
    CHECK_THREADS,
    ROWS,
    Pair,
    Terms,
    elementwise_loss,
    elementwise_loss_gradient,
    hinge_shift,
)

WIDE = np.float64
SHAPES = [(1, 1), (ROWS + 1, 31), (2, 33), (3, 2001)]

_NORMAL, _POSITIVE = ("normal", "normal"), ("positive", "positive")
KINDS: dict[str, tuple[Terms, Callable[..., Any], tuple[str, str]]] = {
    "absolute": (Terms(Pair.ABSOLUTE), oracle.absolute_error, _NORMAL),
    "percentage": (Terms(Pair.PERCENTAGE), oracle.absolute_percentage_error, ("normal", "positive")),
    "logarithmic": (Terms(Pair.SQUARED_LOGARITHMIC), oracle.squared_logarithmic_error, _POSITIVE),
    "huber": (Terms(Pair.HUBER, 0.7), partial(oracle.huber, delta=0.7), _NORMAL),
    "log cosh": (Terms(Pair.LOG_COSH), oracle.log_cosh, _NORMAL),
    "poisson": (Terms(Pair.POISSON), oracle.poisson, _POSITIVE),
    "divergence": (Terms(Pair.DIVERGENCE), oracle.divergence, ("probabilities", "probabilities")),
    "hinge": (Terms(Pair.HINGE), oracle.hinge, ("normal", "signs")),
    "squared hinge": (Terms(Pair.SQUARED_HINGE), oracle.squared_hinge, ("normal", "signs")),
    "focal": (
        Terms(Pair.FOCAL, 2.0, 0.25, 0.75),
        partial(oracle.binary_focal, gamma=2.0, one=0.25, zero=0.75),
        ("probabilities", "probabilities"),
    ),
    "focal without gamma": (
        Terms(Pair.FOCAL),
        partial(oracle.binary_focal, gamma=0.0),
        ("probabilities", "probabilities"),
    ),
    "focal logits": (
        Terms(Pair.FOCAL_LOGITS, 1.5),
        partial(oracle.binary_focal_logits, gamma=1.5),
        ("normal", "probabilities"),
    ),
}
each_kind = pytest.mark.parametrize("name", KINDS)


def _numbers(what: str, shape: tuple[int, int], seed: int, dtype: Any) -> HostArray:
    rng = np.random.default_rng(seed)
    drawn = {
        "normal": rng.standard_normal(shape),
        "positive": 0.1 + 3 * rng.random(shape),
        "probabilities": 0.02 + 0.96 * rng.random(shape),
        "signs": rng.choice([-1.0, 1.0], shape),
    }
    return drawn[what].astype(dtype)


def _case(name: str, shape: tuple[int, int], dtype: Any) -> tuple[Terms, Callable[..., Any], HostArray, HostArray]:
    terms, formula, (outputs, targets) = KINDS[name]
    return terms, formula, _numbers(outputs, shape, 0, dtype), _numbers(targets, shape, 1, dtype)


def test_every_kind_is_here() -> None:
    assert {terms.kind for terms, _, _ in KINDS.values()} == set(Pair)


@each_kind
@pytest.mark.parametrize("shape", SHAPES)
def test_losses(device: Device, name: str, shape: tuple[int, int]) -> None:
    terms, formula, y, t = _case(name, shape, np.float32)
    losses = elementwise_loss(*checks.on(device, y, t), terms)
    checks.assert_as_exact_as_plain(losses, formula(y.astype(WIDE), t.astype(WIDE)), formula(y, t))
    y, t = y.astype(WIDE), t.astype(WIDE)
    checks.assert_close_in_double(elementwise_loss(*checks.on(device, y, t), terms), formula(y, t))


@each_kind
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_gradient_against_differences(device: Device, name: str, smoothing: float) -> None:
    """Of the sum of the losses, each with a scale of its own; then one for all, which gives the same bits."""
    terms, formula, y, t = _case(name, (3, 40), WIDE)
    terms = terms._replace(smoothing=smoothing)
    t_device, scales = checks.on(device, t, np.array([0.5, 2.0, -1.0]))
    smooth = t * (1 - smoothing) + smoothing / 2

    def total(y: HostArray) -> float:
        return float(formula(y, smooth) @ np.array([0.5, 2.0, -1.0]))

    dy = elementwise_loss_gradient(checks.on(device, y), t_device, scales, terms)
    checks.assert_gradient(total, y, dy)
    one, three = checks.on(device, np.array([0.3]), np.full(3, 0.3))
    y_device = checks.on(device, y)
    checks.assert_same_bits(
        elementwise_loss_gradient(y_device, t_device, one, terms),
        elementwise_loss_gradient(y_device, t_device, three, terms),
    )


@pytest.mark.parametrize("kind", [Pair.ABSOLUTE, Pair.PERCENTAGE, Pair.HUBER, Pair.HINGE])
def test_gradients_without_functions_have_the_bits_of_the_cpu(device: Device, kind: Pair) -> None:
    y, t, scale = checks.normal(5, 40), checks.normal(5, 40, seed=1), np.float32([0.3])
    t[0] = y[0]  # no error at all
    expected = elementwise_loss_gradient(y, t, scale, Terms(kind, 0.5))
    checks.assert_same_bits(elementwise_loss_gradient(*checks.on(device, y, t, scale), Terms(kind, 0.5)), expected)
    if kind in (Pair.ABSOLUTE, Pair.PERCENTAGE):
        assert not expected[0].any()


def test_pieces_on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    y, t, scale = checks.normal(9, 5), checks.normal(9, 5, seed=1), checks.normal(9, seed=2)
    terms = Terms(Pair.HUBER, 0.5)
    both = elementwise_loss(y, t, terms), elementwise_loss_gradient(y, t, scale, terms)
    monkeypatch.setattr(elementwise_loss_module, "PIECE", 10)
    checks.assert_same_bits(elementwise_loss(y, t, terms), both[0])
    checks.assert_same_bits(elementwise_loss_gradient(y, t, scale, terms), both[1])


def test_what_is_clipped_has_no_gradient(device: Device) -> None:
    y = np.array([[0.0, -1.0, 2.0, 1.0, 0.5]])
    t, one = checks.on(device, np.array([[0.5, 0.5, 0.5, 0.0, 1.0]]), np.ones(1))
    y_device = checks.on(device, y)
    divergence = checks.host(elementwise_loss_gradient(y_device, t, one, Terms(Pair.DIVERGENCE)))
    np.testing.assert_allclose(divergence, [[0, 0, 0, -1e-7, -2]])
    logarithmic = checks.host(elementwise_loss_gradient(y_device, t, one, Terms(Pair.SQUARED_LOGARITHMIC)))
    assert not logarithmic[0, :2].any() and logarithmic[0, 2:].all()
    losses = checks.host(elementwise_loss(y_device, t, Terms(Pair.DIVERGENCE)))
    np.testing.assert_allclose(losses, oracle.divergence(y, np.array([[0.5, 0.5, 0.5, 0.0, 1.0]])))


@pytest.mark.parametrize("n", [1, CHECK_THREADS + 1])
def test_targets_of_a_hinge(device: Device, n: int) -> None:
    t = np.random.default_rng(0).integers(0, 2, n).astype(np.float32)
    shift = hinge_shift(checks.on(device, t))
    checks.assert_same_bits(shift, np.float32([2, -1]))
    y = checks.on(device, checks.normal(1, n))
    shifted = elementwise_loss(y, checks.on(device, t[None]), Terms(Pair.HINGE, shift=shift))
    checks.assert_same_bits(shifted, elementwise_loss(y, checks.on(device, 2 * t[None] - 1), Terms(Pair.HINGE)))
    for other in (-1.0, 0.5, np.nan):
        t[-1] = other
        checks.assert_same_bits(hinge_shift(checks.on(device, t)), np.float32([1, 0]))


def test_bad_input_is_refused(device: Device) -> None:
    y, terms = checks.on(device, checks.normal(3, 4)), Terms(Pair.HINGE)
    with pytest.raises(ValueError, match=r"elementwise_loss: targets must have shape \(3, 4\); got \(3, 1\)"):
        elementwise_loss(y, checks.on(device, checks.normal(3, 1)), terms)
    with pytest.raises(ValueError, match=r"elementwise_loss_gradient: scale must have shape \(1,\) or \(3,\); got"):
        elementwise_loss_gradient(y, y, y, terms)
    with pytest.raises(ValueError, match=r"elementwise_loss: shift must have shape \(2,\); got \(3, 4\)"):
        elementwise_loss(y, y, terms._replace(shift=y))
