"""Cross-entropy from probabilities, with Keras's division by the sum and clipping, for labels and distributions."""

from __future__ import annotations

import checks
import numpy as np
import oracle
import pytest

from gpunet.backend.arrays import Device, HostArray
from gpunet.ops.cross_entropy import (
    ROWS,
    cross_entropy,
    cross_entropy_dense,
    cross_entropy_dense_gradient,
    cross_entropy_gradient,
)

SHAPES = [(1, 1), (ROWS - 1, 2), (ROWS, 10), (ROWS + 1, 31), (3, 32), (3, 33), (2, 1000)]
SCALE = np.float32([0.25])
WIDE = np.float64


def _labels(shape: tuple[int, int], seed: int = 1) -> HostArray:
    return np.random.default_rng(seed).integers(0, shape[1], shape[0]).astype(np.int32)


def _positive(shape: tuple[int, int], seed: int) -> HostArray:
    """Return numbers from 0.05 to 1.05 that need not add up to 1."""
    return np.random.default_rng(seed).random(shape, np.float32) + np.float32(0.05)


@pytest.mark.parametrize("shape", SHAPES)
def test_labels(device: Device, shape: tuple[int, int]) -> None:
    p, labels = _positive(shape, 0), _labels(shape)
    t = oracle.one_hot(labels, shape[1], np.float32)
    losses, totals = cross_entropy(*checks.on(device, p, labels))
    checks.assert_as_exact_as_plain(
        losses, oracle.cross_entropy(p.astype(WIDE), t.astype(WIDE)), oracle.cross_entropy(p, t)
    )
    checks.assert_as_exact_as_plain(totals, p.sum(axis=1, dtype=WIDE), p.sum(axis=1))
    on_device, labels_device, scale = checks.on(device, p, labels, SCALE)
    dp = cross_entropy_gradient(on_device, labels_device, totals, scale)
    exact = oracle.cross_entropy_gradient(p.astype(WIDE), t.astype(WIDE)) * SCALE[0]
    checks.assert_as_exact_as_plain(dp, exact, oracle.cross_entropy_gradient(p, t) * SCALE)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("shape", SHAPES)
def test_distributions(device: Device, shape: tuple[int, int], smoothing: float) -> None:
    p, targets = _positive(shape, 0), _positive(shape, 1)
    t, wide = (oracle.smoothed(kind, smoothing, shape[1]) for kind in (targets, targets.astype(WIDE)))
    p_device, targets_device, scale = checks.on(device, p, targets, SCALE)
    losses, totals, weights = cross_entropy_dense(p_device, targets_device, smoothing)
    checks.assert_as_exact_as_plain(losses, oracle.cross_entropy(p.astype(WIDE), wide), oracle.cross_entropy(p, t))
    dp = cross_entropy_dense_gradient(p_device, targets_device, totals, weights, scale, smoothing)
    exact = oracle.cross_entropy_gradient(p.astype(WIDE), wide) * SCALE[0]
    checks.assert_as_exact_as_plain(dp, exact, oracle.cross_entropy_gradient(p, t) * SCALE)


@pytest.mark.parametrize("shape", [(3, 2), (3, 10), (2, 40)])
def test_gradients_against_differences(device: Device, shape: tuple[int, int]) -> None:
    p, labels, targets = _positive(shape, 0).astype(WIDE), _labels(shape), _positive(shape, 1).astype(WIDE)

    def of_labels(p: HostArray) -> float:
        return checks.host(cross_entropy(*checks.on(device, p, labels))[0]).sum()

    def of_targets(p: HostArray) -> float:
        return checks.host(cross_entropy_dense(*checks.on(device, p, targets), 0.1)[0]).sum()

    p_device, labels_device, targets_device, scale = checks.on(device, p, labels, targets, np.array([1.0]))
    _, totals = cross_entropy(p_device, labels_device)
    checks.assert_gradient(of_labels, p, cross_entropy_gradient(p_device, labels_device, totals, scale))
    _, totals, weights = cross_entropy_dense(p_device, targets_device, 0.1)
    dp = cross_entropy_dense_gradient(p_device, targets_device, totals, weights, scale, 0.1)
    checks.assert_gradient(of_targets, p, dp)


CLIPPED = np.float32([[0, 1, 0], [1, 0, 0], [1e-8, 0.5, 0.5], [2e-7, 0.5, 0.5], [0.2, 0.3, 0.5]])


def test_clipped_probabilities(device: Device) -> None:
    """0 and 1 give the bounds' logarithms, and no gradient; 2e-7 lies within."""
    labels, t = np.zeros(5, np.int32), oracle.one_hot([0] * 5, 3, np.float32)
    wide = CLIPPED.astype(WIDE), t.astype(WIDE)
    p, labels_device, targets, scale = checks.on(device, CLIPPED, labels, t, np.float32([1]))
    losses, totals = cross_entropy(p, labels_device)
    dp = cross_entropy_gradient(p, labels_device, totals, scale)
    dense_losses, totals, weights = cross_entropy_dense(p, targets)
    dense_dp = cross_entropy_dense_gradient(p, targets, totals, weights, scale)
    for value in (losses, dense_losses):
        checks.assert_as_exact_as_plain(value, oracle.cross_entropy(*wide), oracle.cross_entropy(CLIPPED, t))
    for gradient in (dp, dense_dp):
        assert not checks.host(gradient)[:3].any()
        exact, plain = oracle.cross_entropy_gradient(*wide), oracle.cross_entropy_gradient(CLIPPED, t)
        checks.assert_as_exact_as_plain(gradient, exact, plain)


def test_ignored_rows_have_neither_loss_nor_gradient(device: Device) -> None:
    p = _positive((4, 5), 0)
    for ignored in (-1, 255, 2):
        labels = np.int32([0, ignored, 4, ignored])
        p_device, labels_device, scale = checks.on(device, p, labels, SCALE)
        losses, totals = cross_entropy(p_device, labels_device, ignored)
        dp = checks.host(cross_entropy_gradient(p_device, labels_device, totals, scale, ignored))
        assert not checks.host(losses)[[1, 3]].any() and not dp[[1, 3]].any()
        assert checks.host(losses)[[0, 2]].all() and dp[[0, 2]].all()


def test_a_nan_stays_visible(device: Device) -> None:
    p = _positive((2, 40), 0)
    p[1, 35] = np.nan
    losses, _ = cross_entropy(*checks.on(device, p, np.int32([3, 4])))
    assert np.isnan(checks.host(losses)[1]) and np.isfinite(checks.host(losses)[0])
    dense, _, _ = cross_entropy_dense(*checks.on(device, p, _positive((2, 40), 1)))
    assert np.isnan(checks.host(dense)[1]) and np.isfinite(checks.host(dense)[0])


def test_same_bits_at_every_run(device: Device) -> None:
    p, labels, targets = _positive((9, 77), 0), _labels((9, 77)), _positive((9, 77), 1)
    for args, op in (((p, labels), cross_entropy), ((p, targets), cross_entropy_dense)):
        for first, second in zip(op(*checks.on(device, *args)), op(*checks.on(device, *args)), strict=True):
            checks.assert_same_bits(first, second)


def test_bad_input_is_refused(device: Device) -> None:
    p, labels, scale = checks.on(device, _positive((3, 4), 0), np.int32([0, 1, 2]), SCALE)
    with pytest.raises(TypeError, match="cross_entropy: labels must be int32; got int8"):
        cross_entropy(p, checks.on(device, np.int8([0, 1, 2])))
    with pytest.raises(ValueError, match=r"cross_entropy: probabilities must have 2 axes, \(N, C\); got shape \(4,\)"):
        cross_entropy(checks.on(device, checks.normal(4)), labels)
    with pytest.raises(ValueError, match=r"cross_entropy_gradient: totals must have shape \(3,\); got \(1,\)"):
        cross_entropy_gradient(p, labels, scale, scale)
    with pytest.raises(ValueError, match=r"cross_entropy_dense: targets must have shape \(3, 4\); got \(4, 3\)"):
        cross_entropy_dense(p, checks.on(device, checks.normal(4, 3)))
    with pytest.raises(ValueError, match=r"cross_entropy_dense: probabilities must have at least one element"):
        cross_entropy_dense(*checks.on(device, np.zeros((0, 3), np.float32), np.zeros((0, 3), np.float32)))
