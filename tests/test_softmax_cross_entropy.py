"""Softmax and cross-entropy as one op, from logits, for labels and for distributions."""

from __future__ import annotations

from functools import partial

import checks
import numpy as np
import oracle
import pytest

from gpunet.backend.arrays import CPU, Device, HostArray
from gpunet.ops.softmax_cross_entropy import (
    MOST_OF_ONE_BLOCK,
    ROWS,
    Recorded,
    softmax_cross_entropy,
    softmax_cross_entropy_dense,
    softmax_cross_entropy_dense_value,
    softmax_cross_entropy_value,
)

SHAPES = [(1, 1), (ROWS - 1, 2), (ROWS, 10), (ROWS + 1, 31), (3, 32), (3, 33), (2, 1000)]
SCALE = 0.25
WIDE = np.float64


def _labels(shape: tuple[int, int], seed: int = 1) -> HostArray:
    return np.random.default_rng(seed).integers(0, shape[1], shape[0]).astype(np.int32)


def _distributions(shape: tuple[int, int], seed: int = 1) -> HostArray:
    """Return targets that need not add up to 1."""
    return np.random.default_rng(seed).random(shape, np.float32)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("spread", [1, 30])
def test_labels(device: Device, shape: tuple[int, int], spread: float) -> None:
    z, labels = spread * checks.normal(*shape), _labels(shape)
    t = oracle.one_hot(labels, shape[1], np.float32)
    losses, dz = softmax_cross_entropy(*checks.on(device, z, labels), SCALE)
    exact = oracle.softmax_cross_entropy(z.astype(WIDE), t.astype(WIDE))
    checks.assert_as_exact_as_plain(losses, exact, oracle.softmax_cross_entropy(z, t))
    exact_dz = oracle.softmax_cross_entropy_gradient(z.astype(WIDE), t.astype(WIDE)) * SCALE
    checks.assert_as_exact_as_plain(dz, exact_dz, oracle.softmax_cross_entropy_gradient(z, t) * np.float32(SCALE))


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("shape", SHAPES)
def test_distributions(device: Device, shape: tuple[int, int], smoothing: float) -> None:
    z, targets = 3 * checks.normal(*shape), _distributions(shape)
    t, wide = (oracle.smoothed(kind, smoothing, shape[1]) for kind in (targets, targets.astype(WIDE)))
    losses, dz = softmax_cross_entropy_dense(*checks.on(device, z, targets), SCALE, smoothing)
    exact = oracle.softmax_cross_entropy(z.astype(WIDE), wide)
    checks.assert_as_exact_as_plain(losses, exact, oracle.softmax_cross_entropy(z, t))
    exact_dz = oracle.softmax_cross_entropy_gradient(z.astype(WIDE), wide) * SCALE
    checks.assert_as_exact_as_plain(dz, exact_dz, oracle.softmax_cross_entropy_gradient(z, t) * np.float32(SCALE))


@pytest.mark.parametrize("mean", [True, False])
@pytest.mark.parametrize("shape", [*SHAPES, (37, 3), (MOST_OF_ONE_BLOCK // 8, 8), (MOST_OF_ONE_BLOCK // 8 + 1, 8)])
def test_values(device: Device, shape: tuple[int, int], mean: bool) -> None:
    """The mean or sum of the losses, and the same gradient; in one kernel up to MOST_OF_ONE_BLOCK logits."""
    z, labels, targets = checks.on(device, checks.normal(*shape), _labels(shape), _distributions(shape))
    for rows, value in (
        (softmax_cross_entropy(z, labels, SCALE), partial(softmax_cross_entropy_value, z, labels, SCALE)),
        (
            softmax_cross_entropy_dense(z, targets, SCALE, 0.2),
            partial(softmax_cross_entropy_dense_value, z, targets, SCALE, 0.2),
        ),
    ):
        losses, dz = rows
        record = checks.on(device, np.array([[0.5, 3.0]]))
        with checks.recorded_launches() as launches:
            total, same_dz = value(Recorded(mean, record, 7))
        assert device == CPU or len(launches) == (1 if z.size <= MOST_OF_ONE_BLOCK else 2)
        exact = checks.host(losses).astype(WIDE).sum() / (shape[0] if mean else 1)
        np.testing.assert_allclose(checks.host(total), [exact], rtol=6e-8)
        checks.assert_same_bits(dz, same_dz)
        np.testing.assert_array_equal(checks.host(record), [[0.5 + 7 * float(checks.host(total)[0]), 10]])
        checks.assert_same_bits(value(Recorded(mean, None, 7))[0], total)


@pytest.mark.parametrize("shape", [(3, 1), (3, 10), (2, 40)])
def test_gradients_against_differences(device: Device, shape: tuple[int, int]) -> None:
    z, labels = checks.normal(*shape, dtype=WIDE), _labels(shape)
    targets = _distributions(shape).astype(WIDE)

    def of_labels(z: HostArray) -> float:
        return checks.host(softmax_cross_entropy(*checks.on(device, z, labels))[0]).sum()

    def of_targets(z: HostArray) -> float:
        return checks.host(softmax_cross_entropy_dense(*checks.on(device, z, targets), 1.0, 0.1)[0]).sum()

    checks.assert_gradient(of_labels, z, softmax_cross_entropy(*checks.on(device, z, labels))[1])
    checks.assert_gradient(of_targets, z, softmax_cross_entropy_dense(*checks.on(device, z, targets), 1.0, 0.1)[1])


def test_ignored_rows_have_neither_loss_nor_gradient(device: Device) -> None:
    z = checks.normal(4, 5)
    for ignored in (-1, 255, 2):
        labels = np.int32([0, ignored, 4, ignored])
        losses, dz = softmax_cross_entropy(*checks.on(device, z, labels), SCALE, ignored)
        kept, kept_dz = softmax_cross_entropy(*checks.on(device, z[[0, 2]], labels[[0, 2]]), SCALE)
        checks.assert_same_bits(checks.host(losses)[[0, 2]], kept)
        checks.assert_same_bits(checks.host(dz)[[0, 2]], kept_dz)
        assert not checks.host(losses)[[1, 3]].any() and not checks.host(dz)[[1, 3]].any()


def test_extreme_logits(device: Device) -> None:
    z = np.float32([[1e30, 0, 0], [-1e30, -1e30, -1e30], [-np.inf, 0, -np.inf], [1000, 0, -1000], [0, 1e-3, -88]])
    labels = np.int32([0, 2, 1, 1, 2])
    losses, dz = softmax_cross_entropy(*checks.on(device, z, labels))
    small = np.log(np.exp(-88) + 1 + np.exp(1e-3)) + 88
    np.testing.assert_allclose(checks.host(losses), [0, np.log(3), 0, 1000, small], rtol=1e-6)
    expected = [[1, 0, 0], [1 / 3] * 3, [0, 1, 0], [1, 0, 0], oracle.softmax(z[4].astype(WIDE))]
    p = checks.host(dz) + np.eye(3)[labels]
    np.testing.assert_allclose(p, expected, rtol=1e-6, atol=1e-7)


def test_small_losses_do_not_cancel(device: Device) -> None:
    """log-sum-exp minus the logit would be 1e4 minus 1e4 here, good to 1e-3; the loss is exp(-12)."""
    z, labels = np.float32([[1e4, 1e4 - 12]]), np.int32([0])
    losses, _ = softmax_cross_entropy(*checks.on(device, z, labels))
    np.testing.assert_allclose(checks.host(losses), [np.exp(-12)], rtol=1e-2)


def test_a_nan_spoils_its_row_and_no_other(device: Device) -> None:
    for place in (0, 37, 69):
        z = checks.normal(3, 70)
        z[1, place] = np.nan
        losses, dz = (checks.host(a) for a in softmax_cross_entropy(*checks.on(device, z, _labels((3, 70)))))
        assert np.isnan(losses[1]) and np.isnan(dz[1]).all()
        assert np.isfinite(losses[[0, 2]]).all() and np.isfinite(dz[[0, 2]]).all()


def test_same_bits_at_every_run(device: Device) -> None:
    z, labels, targets = checks.normal(9, 77), _labels((9, 77)), _distributions((9, 77))
    for args, op in (((z, labels), softmax_cross_entropy), ((z, targets), softmax_cross_entropy_dense)):
        for first, second in zip(op(*checks.on(device, *args)), op(*checks.on(device, *args)), strict=True):
            checks.assert_same_bits(first, second)


def test_strided_input_is_taken_and_not_changed(device: Device) -> None:
    z, labels = checks.normal(6, 8), _labels((3, 4))
    z_device, labels_device = checks.on(device, z, labels)
    results = softmax_cross_entropy(z_device[::2, ::2], labels_device)
    expected = softmax_cross_entropy(*checks.on(device, z[::2, ::2], labels))
    for result, value in zip(results, expected, strict=True):
        checks.assert_same_bits(result, value)
    checks.assert_same_bits(z_device, z)
    checks.assert_same_bits(labels_device, labels)


def test_bad_input_is_refused(device: Device) -> None:
    z, labels = checks.on(device, checks.normal(3, 4), np.int32([0, 1, 2]))
    with pytest.raises(TypeError, match="softmax_cross_entropy: labels must be int32; got int64"):
        softmax_cross_entropy(z, checks.on(device, np.array([0, 1, 2])))
    with pytest.raises(ValueError, match=r"softmax_cross_entropy: labels must have shape \(3,\); got \(2,\)"):
        softmax_cross_entropy(z, checks.on(device, np.int32([0, 1])))
    with pytest.raises(ValueError, match=r"softmax_cross_entropy: logits must have 2 axes, \(N, C\); got shape \(4,\)"):
        softmax_cross_entropy(checks.on(device, checks.normal(4)), labels)
    with pytest.raises(
        ValueError, match=r"softmax_cross_entropy_dense: targets must have shape \(3, 4\); got \(3, 5\)"
    ):
        softmax_cross_entropy_dense(z, checks.on(device, checks.normal(3, 5)))
    with pytest.raises(TypeError, match="softmax_cross_entropy_dense: all arrays must have one dtype"):
        softmax_cross_entropy_dense(z, checks.on(device, checks.normal(3, 4, dtype=WIDE)))


@pytest.mark.parametrize("rows, repeats", [(6, 1), (6, 3), (MOST_OF_ONE_BLOCK // 4 + 2, 2)])
@pytest.mark.parametrize("divide", [False, True])
def test_weights(device: Device, rows: int, repeats: int, divide: bool) -> None:
    """A weight multiplies the loss and the gradient of its rows; where they divide, their sum divides both."""
    z, labels, w = (
        checks.normal(rows, 4, dtype=WIDE),
        _labels((rows, 4)),
        np.random.default_rng(1).random(rows // repeats),
    )
    t, each = oracle.one_hot(labels, 4, WIDE), w.repeat(repeats)[:, None]
    z_device, labels_device, t_device, w_device = checks.on(device, z, labels, t, w)
    how = Recorded(True, None, rows, w_device, divide)
    count, scale = (w.sum(), 1.0) if divide else (rows, 1 / rows)
    value = (each[:, 0] * oracle.softmax_cross_entropy(z, t)).sum() / count
    gradient = each * oracle.softmax_cross_entropy_gradient(z, t) / count
    for result in (
        softmax_cross_entropy_value(z_device, labels_device, scale, how),
        softmax_cross_entropy_dense_value(z_device, t_device, scale, 0.0, how),
    ):
        np.testing.assert_allclose(checks.host(result[0]), [value], rtol=1e-12)
        checks.assert_close_in_double(result[1], gradient)
