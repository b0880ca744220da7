"""Losses of classes: the focal one, the hinge, the generalized one, against their formulas and differences."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import checks
import numpy as np
import oracle_losses as oracle
import pytest

from gpunet.backend.arrays import Array, Device, HostArray
from gpunet.ops import class_loss as op

WIDE = np.float64
SHAPES = [(1, 1), (op.ROWS + 1, 31), (2, 70)]
SCALES = np.array([0.5, 2.0, -1.0])


def _probabilities(shape: tuple[int, int], dtype: Any, seed: int = 0) -> HostArray:
    p = 0.05 + np.random.default_rng(seed).random(shape)
    return (p / p.sum(axis=1, keepdims=True)).astype(dtype)


def _focal(device: Device, alpha: HostArray, dtype: Any, gamma: float, from_logits: bool) -> op.Focal:
    return op.Focal(checks.on(device, alpha.astype(dtype)), gamma, from_logits)


def _outputs(shape: tuple[int, int], dtype: Any, from_logits: bool) -> HostArray:
    return checks.normal(*shape, dtype=dtype) if from_logits else _probabilities(shape, dtype)


@pytest.mark.parametrize("from_logits", [False, True])
@pytest.mark.parametrize("gamma", [0.0, 2.0])
@pytest.mark.parametrize("shape", SHAPES)
def test_focal_loss(device: Device, shape: tuple[int, int], gamma: float, from_logits: bool) -> None:
    alpha = np.linspace(0.1, 1, shape[1])
    y, t = _outputs(shape, np.float32, from_logits), _probabilities(shape, np.float32, 1)
    losses = op.focal_loss(*checks.on(device, y, t), _focal(device, alpha, np.float32, gamma, from_logits))
    exact = oracle.focal(y.astype(WIDE), t.astype(WIDE), np.float32(alpha), gamma, from_logits)
    checks.assert_as_exact_as_plain(losses, exact, oracle.focal(y, t, alpha, gamma, from_logits))
    y, t = y.astype(WIDE), t.astype(WIDE)
    losses = op.focal_loss(*checks.on(device, y, t), _focal(device, alpha, WIDE, gamma, from_logits))
    checks.assert_close_in_double(losses, oracle.focal(y, t, alpha, gamma, from_logits))


def _assert_gradient(
    device: Device, y: HostArray, total: Callable[[HostArray], HostArray], gradient: Callable[[Array, Array], Array]
) -> None:
    """Check the gradient for a scale per row against differences of `total`, and that one for all does the same."""
    y_device = checks.on(device, y)
    checks.assert_gradient(lambda y: float(total(y) @ SCALES), y, gradient(y_device, checks.on(device, SCALES)))
    one, three = checks.on(device, np.array([0.3]), np.full(3, 0.3))
    checks.assert_same_bits(gradient(y_device, one), gradient(y_device, three))


@pytest.mark.parametrize("from_logits", [False, True])
@pytest.mark.parametrize("gamma, smoothing", [(0.0, 0.0), (2.0, 0.0), (1.5, 0.1)])
def test_focal_gradient(device: Device, gamma: float, smoothing: float, from_logits: bool) -> None:
    y, t = _outputs((3, 40), WIDE, from_logits), _probabilities((3, 40), WIDE, 1)
    alpha = np.linspace(0.1, 1, 40)
    focal = _focal(device, alpha, WIDE, gamma, from_logits)._replace(smoothing=smoothing)
    t_device, smooth = checks.on(device, t), t * (1 - smoothing) + smoothing / 40
    _assert_gradient(
        device,
        y,
        lambda y: oracle.focal(y, smooth, alpha, gamma, from_logits),
        lambda y, scale: op.focal_loss_gradient(y, t_device, scale, focal),
    )


def test_clipped_shares_have_no_gradient_of_their_own(device: Device) -> None:
    y, t, one, alpha = checks.on(device, np.array([[1.0, 0.0]]), np.array([[0.0, 1.0]]), np.ones(1), np.ones(1))
    focal = op.Focal(alpha, 2.0)
    np.testing.assert_allclose(checks.host(op.focal_loss(y, t, focal)), [-np.log(1e-7)], rtol=1e-6)
    assert not checks.host(op.focal_loss_gradient(y, t, one, focal)).any()


def _one_hot(rows: int, classes: int) -> HostArray:
    return np.eye(classes, dtype=np.float32)[np.random.default_rng(2).integers(0, classes, rows)]


@pytest.mark.parametrize("shape", SHAPES)
def test_categorical_hinge(device: Device, shape: tuple[int, int]) -> None:
    y, t = checks.normal(*shape), _one_hot(*shape)
    losses = op.categorical_hinge(*checks.on(device, y, t))
    expected = oracle.categorical_hinge(y.astype(WIDE), t.astype(WIDE))
    checks.assert_as_exact_as_plain(losses, expected, oracle.categorical_hinge(y, t))


def test_gradient_of_the_categorical_hinge(device: Device) -> None:
    y, t = 3 * checks.normal(3, 40, dtype=WIDE), _probabilities((3, 40), WIDE, 1)
    t_device = checks.on(device, t)
    _assert_gradient(
        device,
        y,
        lambda y: oracle.categorical_hinge(y, t),
        lambda y, scale: op.categorical_hinge_gradient(y, t_device, scale),
    )


def test_the_categorical_hinge_where_classes_tie_and_where_it_is_0(device: Device) -> None:
    y, t, one = checks.on(
        device, np.array([[1.0, 1.0, 0.0], [0.0, 0.0, 3.0]]), np.array([[0.0, 0.0, 1.0]] * 2), np.ones(1)
    )
    np.testing.assert_array_equal(checks.host(op.categorical_hinge(y, t)), [2, 0])
    dy = checks.host(op.categorical_hinge_gradient(y, t, one))
    np.testing.assert_array_equal(dy, [[0.5, 0.5, -1], [0, 0, 0]])


@pytest.mark.parametrize("shape", [(3, 4), (op.THREADS + 1, 33)])
def test_generalized_cross_entropy(device: Device, shape: tuple[int, int]) -> None:
    p, labels = _probabilities(shape, np.float32), np.random.default_rng(1).integers(0, shape[1], shape[0])
    labels = labels.astype(np.int32)
    losses = op.generalized_cross_entropy(*checks.on(device, p, labels), 0.7)
    exact = oracle.generalized_cross_entropy(p.astype(WIDE), labels, np.float32(0.7))
    checks.assert_as_exact_as_plain(losses, exact, oracle.generalized_cross_entropy(p, labels, 0.7))


def test_gradient_of_the_generalized_cross_entropy(device: Device) -> None:
    p, labels = _probabilities((3, 40), WIDE), np.int32([0, 39, 7])
    labels_device = checks.on(device, labels)
    _assert_gradient(
        device,
        p,
        lambda p: oracle.generalized_cross_entropy(p, labels, 0.7),
        lambda p, scale: op.generalized_cross_entropy_gradient(p, labels_device, scale, 0.7),
    )


def test_bad_input_is_refused(device: Device) -> None:
    y = checks.on(device, checks.normal(3, 4))
    with pytest.raises(ValueError, match=r"focal_loss: alpha must have shape \(1,\) or \(4,\); got \(3,\)"):
        op.focal_loss(y, y, op.Focal(checks.on(device, np.ones(3, np.float32)), 2.0))
    with pytest.raises(ValueError, match=r"categorical_hinge: targets must have shape \(3, 4\); got \(3, 1\)"):
        op.categorical_hinge(y, checks.on(device, checks.normal(3, 1)))
    with pytest.raises(TypeError, match="generalized_cross_entropy: labels must be int32; got int64"):
        op.generalized_cross_entropy(y, checks.on(device, np.array([0, 1, 2])), 0.5)
