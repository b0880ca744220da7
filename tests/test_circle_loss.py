"""The circle loss: its op against the definition, pair by pair, and as a loss."""

from __future__ import annotations

import checks
import numpy as np
import oracle_losses as oracle
import pytest

from gpunet.backend.arrays import Device, HostArray
from gpunet.losses import Circle
from gpunet.ops.circle_loss import ROWS, circle_loss

WIDE = np.float64


def _embeddings(n: int) -> tuple[HostArray, HostArray]:
    rng = np.random.default_rng(0)
    e = rng.standard_normal((n, 3))
    return e / np.linalg.norm(e, axis=1, keepdims=True), rng.integers(0, 3, n).astype(np.int32)


@pytest.mark.parametrize("remove", [True, False])
@pytest.mark.parametrize("n, gamma", [(1, 2.0), (ROWS + 1, 80.0), (70, 3.0)])
def test_losses(device: Device, n: int, gamma: float, remove: bool) -> None:
    e, labels = _embeddings(n)
    exact = oracle.circle(e, labels, gamma, 0.4, remove)
    losses, slopes = circle_loss(*checks.on(device, e @ e.T, labels), gamma, 0.4, remove)
    checks.assert_close_in_double(losses, exact)
    assert np.isfinite(checks.host(slopes)).all()
    products = (e @ e.T).astype(np.float32)
    losses, _ = circle_loss(*checks.on(device, products, labels), gamma, 0.4, remove)
    np.testing.assert_allclose(checks.host(losses), exact, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("remove", [True, False])
def test_gradient_against_differences(device: Device, remove: bool) -> None:
    """With weights; shorter embeddings keep away from the kink at a product of 1."""
    e, labels = _embeddings(9)
    e *= 0.9
    labels[0] = 7  # alone: without its own product, no loss
    w, loss = np.random.default_rng(1).random(9), Circle(3.0, remove_diagonal=remove)
    targets, weights = checks.on(device, loss.prepare_targets(labels, e.shape), w)
    each = oracle.circle(e, labels, 3.0, 0.4, remove)
    value, backward = loss.forward(targets, checks.on(device, e), None, weights)
    assert float(checks.host(value)[0]) == pytest.approx((w * each).sum() / np.count_nonzero(each))
    assert np.count_nonzero(each) == 9 - remove

    def total(e: HostArray) -> HostArray:
        return checks.host(loss.forward(targets, checks.on(device, e), None, weights)[0])

    checks.assert_gradient(total, e, backward())


def test_bad_input_is_refused(device: Device) -> None:
    square, labels = checks.on(device, checks.normal(3, 3), np.int32([0, 1, 2]))
    with pytest.raises(ValueError, match=r"circle_loss: products must have shape \(3, 3\); got \(3, 2\)"):
        circle_loss(checks.on(device, checks.normal(3, 2)), labels, 1.0, 0.4, True)
    with pytest.raises(TypeError, match="circle_loss: labels must be int32; got float32"):
        circle_loss(square, checks.on(device, np.zeros(3, np.float32)), 1.0, 0.4, True)
    with pytest.raises(ValueError, match=r"circle: y_true must have shape \(N,\) or \(N, 1\); got \(2, 2\)"):
        Circle().prepare_targets([[1, 2], [3, 4]], (None, 5))
    with pytest.raises(ValueError, match=r"circle: y_true must be from -2\*\*31 to 2\*\*31 - 1; got 2147483648"):
        Circle().prepare_targets([0, 2**31], (None, 5))
    with pytest.raises(ValueError, match="circle: the loss is one of all samples together"):
        Circle().over_parts(np.zeros(3, np.int32), WIDE)
