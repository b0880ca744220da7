"""Binary cross-entropy, from logits and from probabilities."""

from __future__ import annotations

import checks
import numpy as np
import oracle
import pytest

from gpunet.backend.arrays import Device, HostArray
from gpunet.ops import binary_cross_entropy as op

# Around the rows of a block (one warp each), the lanes of a warp, and the elements of a block of the gradient.
SHAPES = [(1, 1), (op.ROWS - 1, 1), (op.ROWS, 31), (op.ROWS + 1, 32), (3, 33), (1, op.THREADS - 1), (1, op.THREADS + 1)]
SCALE = np.float32([0.25])
WIDE = np.float64


def _uniform(shape: tuple[int, int], seed: int) -> HostArray:
    return np.random.default_rng(seed).random(shape, np.float32)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("shape", SHAPES)
def test_logits(device: Device, shape: tuple[int, int], smoothing: float) -> None:
    z, targets = 5 * checks.normal(*shape), _uniform(shape, 1)
    t, wide = (oracle.smoothed(kind, smoothing, 2) for kind in (targets, targets.astype(WIDE)))
    z_device, targets_device, scale = checks.on(device, z, targets, SCALE)
    losses = op.binary_cross_entropy_logits(z_device, targets_device, smoothing)
    exact = oracle.binary_cross_entropy_logits(z.astype(WIDE), wide)
    checks.assert_as_exact_as_plain(losses, exact, oracle.binary_cross_entropy_logits(z, t))
    dz = op.binary_cross_entropy_logits_gradient(z_device, targets_device, scale, smoothing)
    exact = oracle.binary_cross_entropy_logits_gradient(z.astype(WIDE), wide) * SCALE[0]
    checks.assert_as_exact_as_plain(dz, exact, oracle.binary_cross_entropy_logits_gradient(z, t) * SCALE)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("shape", SHAPES)
def test_probabilities(device: Device, shape: tuple[int, int], smoothing: float) -> None:
    q, targets = _uniform(shape, 0), _uniform(shape, 1)
    t, wide = (oracle.smoothed(kind, smoothing, 2) for kind in (targets, targets.astype(WIDE)))
    q_device, targets_device, scale = checks.on(device, q, targets, SCALE)
    losses = op.binary_cross_entropy(q_device, targets_device, smoothing)
    exact = oracle.binary_cross_entropy(q.astype(WIDE), wide)
    checks.assert_as_exact_as_plain(losses, exact, oracle.binary_cross_entropy(q, t))
    dq = op.binary_cross_entropy_gradient(q_device, targets_device, scale, smoothing)
    exact = oracle.binary_cross_entropy_gradient(q.astype(WIDE), wide) * SCALE[0]
    checks.assert_as_exact_as_plain(dq, exact, oracle.binary_cross_entropy_gradient(q, t) * SCALE)


@pytest.mark.parametrize("shape", [(3, 1), (2, 40)])
def test_gradients_against_differences(device: Device, shape: tuple[int, int]) -> None:
    z, q, t = checks.normal(*shape, dtype=WIDE), 0.1 + 0.8 * _uniform(shape, 0).astype(WIDE), _uniform(shape, 1)
    t_device, scale = checks.on(device, t.astype(WIDE), np.array([1.0]))

    def of_logits(z: HostArray) -> float:
        return checks.host(op.binary_cross_entropy_logits(checks.on(device, z), t_device, 0.1)).sum()

    def of_probabilities(q: HostArray) -> float:
        return checks.host(op.binary_cross_entropy(checks.on(device, q), t_device, 0.1)).sum()

    dz = op.binary_cross_entropy_logits_gradient(checks.on(device, z), t_device, scale, 0.1)
    checks.assert_gradient(of_logits, z, dz)
    dq = op.binary_cross_entropy_gradient(checks.on(device, q), t_device, scale, 0.1)
    checks.assert_gradient(of_probabilities, q, dq)


def test_extreme_logits(device: Device) -> None:
    z = np.float32([[1000], [-1000], [1000], [-1000], [0], [-np.inf]])
    t = np.float32([[1], [0], [0], [1], [0.5], [0]])
    z_device, t_device, scale = checks.on(device, z[:5], t[:5], np.float32([1]))
    losses = checks.host(op.binary_cross_entropy_logits(z_device, t_device))
    np.testing.assert_allclose(losses, [0, 0, 1000, 1000, np.log(2)], rtol=1e-6)
    dz = checks.host(op.binary_cross_entropy_logits_gradient(z_device, t_device, scale))
    np.testing.assert_array_equal(dz, [[0], [0], [1], [-1], [0]])


def test_clipped_probabilities(device: Device) -> None:
    q, t = np.float32([[0], [1], [1e-8], [2e-7], [1]]), np.float32([[1], [0], [1], [1], [1]])
    q_device, t_device, scale = checks.on(device, q, t, np.float32([1]))
    losses = op.binary_cross_entropy(q_device, t_device)
    exact = oracle.binary_cross_entropy(q.astype(WIDE), t.astype(WIDE))
    checks.assert_as_exact_as_plain(losses, exact, oracle.binary_cross_entropy(q, t))
    dq = checks.host(op.binary_cross_entropy_gradient(q_device, t_device, scale))
    assert not dq[[0, 1, 2, 4]].any()
    np.testing.assert_allclose(dq[3], -5e6, rtol=1e-6)


def test_targets_outside_of_0_to_1_are_taken_as_they_are(device: Device) -> None:
    z, t = checks.normal(4, 3), 3 * checks.normal(4, 3, seed=1)
    losses = op.binary_cross_entropy_logits(*checks.on(device, z, t))
    exact = oracle.binary_cross_entropy_logits(z.astype(WIDE), t.astype(WIDE))
    checks.assert_as_exact_as_plain(losses, exact, oracle.binary_cross_entropy_logits(z, t))


def test_a_nan_stays_visible(device: Device) -> None:
    y, t = _uniform((2, 40), 0), _uniform((2, 40), 1)
    y[1, 35] = np.nan
    for losses in (op.binary_cross_entropy_logits, op.binary_cross_entropy):
        value = checks.host(losses(*checks.on(device, y, t)))
        assert np.isnan(value[1]) and np.isfinite(value[0])


def test_same_bits_at_every_run(device: Device) -> None:
    args = checks.on(device, _uniform((9, 77), 0), _uniform((9, 77), 1))
    for losses in (op.binary_cross_entropy_logits, op.binary_cross_entropy):
        checks.assert_same_bits(losses(*args), losses(*args))


def test_bad_input_is_refused(device: Device) -> None:
    y, t = checks.on(device, _uniform((3, 4), 0), _uniform((3, 3), 1))
    with pytest.raises(ValueError, match=r"binary_cross_entropy: targets must have shape \(3, 4\); got \(3, 3\)"):
        op.binary_cross_entropy(y, t)
    with pytest.raises(
        ValueError, match=r"binary_cross_entropy_logits: y must have 2 axes, \(N, C\); got shape \(4,\)"
    ):
        op.binary_cross_entropy_logits(*checks.on(device, checks.normal(4), checks.normal(4)))
    with pytest.raises(ValueError, match=r"logits_gradient: scale must have shape \(1,\) or \(3,\); got \(3, 4\)"):
        op.binary_cross_entropy_logits_gradient(y, y, y)
    with pytest.raises(TypeError, match="binary_cross_entropy: targets must be float32 or float64; got int32"):
        op.binary_cross_entropy(y, checks.on(device, np.ones((3, 4), np.int32)))
