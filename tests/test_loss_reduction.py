"""The loss of a batch from the losses of its rows, and the factor of the gradient."""

from __future__ import annotations

import checks
import numpy as np
import pytest

from gpunet.backend.arrays import Device
from gpunet.ops.loss_reduction import THREADS, reduce_losses

SIZES = [1, 2, THREADS - 1, THREADS, THREADS + 1, 10_000]


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("mean", [True, False])
def test_all_rows(device: Device, n: int, mean: bool) -> None:
    losses = np.abs(checks.normal(n))
    value, scale, _ = reduce_losses(checks.on(device, losses), mean=mean)
    exact = losses.astype(np.float64).sum() / (n if mean else 1)
    # Summed in float64: right to half a unit in the last place of float32.
    np.testing.assert_allclose(checks.host(value), [exact], rtol=6e-8)
    checks.assert_same_bits(scale, np.float32([1 / n if mean else 1]))
    double, _, _ = reduce_losses(checks.on(device, losses.astype(np.float64)), mean=mean)
    checks.assert_close_in_double(double, np.array([exact]), 1e-14)


@pytest.mark.parametrize("n", SIZES)
def test_ignored_rows_do_not_count(device: Device, n: int) -> None:
    labels = np.random.default_rng(0).integers(-1, 2, n).astype(np.int32)
    labels[0] = 0
    losses = np.where(labels == -1, 0, np.abs(checks.normal(n))).astype(np.float32)
    count = np.count_nonzero(labels != -1)
    on_device = checks.on(device, losses, labels)
    value, scale, _ = reduce_losses(on_device[0], mean=True, labels=on_device[1], ignored=-1)
    np.testing.assert_allclose(checks.host(value), [losses.astype(np.float64).sum() / count], rtol=6e-8)
    checks.assert_same_bits(scale, np.float32([1 / count]))
    total, one, _ = reduce_losses(on_device[0], mean=False, labels=on_device[1], ignored=-1)
    np.testing.assert_allclose(checks.host(total), [losses.astype(np.float64).sum()], rtol=6e-8)
    checks.assert_same_bits(one, np.float32([1]))


def test_no_row_left(device: Device) -> None:
    losses, labels = checks.on(device, np.zeros(5, np.float32), np.full(5, 7, np.int32))
    for result in reduce_losses(losses, mean=True, labels=labels, ignored=7)[:2]:
        checks.assert_same_bits(result, np.float32([0]))


def test_a_record_grows_by_the_value_of_every_sample(device: Device) -> None:
    losses, record = checks.on(device, np.float32([1, 2, 4, 5]), np.array([[0.5, 3.0]]))
    for mean, value in ((True, 3), (False, 12)):
        before = checks.host(record).copy()
        reduce_losses(losses, mean=mean, record=record, samples=2)
        np.testing.assert_array_equal(checks.host(record), before + np.array([[2 * value, 2]]))
    with pytest.raises(TypeError, match="reduce_losses: state must be float64; got float32"):
        reduce_losses(losses, mean=True, record=checks.on(device, np.zeros((1, 2), np.float32)), samples=2)


@pytest.mark.parametrize("n, repeats", [(1, 1), (THREADS + 1, 1), (600, 3)])
@pytest.mark.parametrize("ignored", [None, 1])
def test_weights(device: Device, n: int, repeats: int, ignored: int | None) -> None:
    """Each is for `repeats` neighbouring rows; a mean is over rows, or with `divide` over weights."""
    rng = np.random.default_rng(0)
    losses, weights, labels = rng.random(n), rng.random(n // repeats) + 0.1, rng.integers(0, 2, n).astype(np.int32)
    labels[0] = 0
    w = weights.repeat(repeats)
    counts = np.ones(n, bool) if ignored is None else labels != ignored
    losses[~counts] = 0
    total = (w * losses).sum()
    divided = weights.sum() if ignored is None else w[counts].sum()
    losses_device, weights_device, labels_device = checks.on(device, losses, weights, labels)
    given = {"weights": weights_device} | ({} if ignored is None else {"labels": labels_device, "ignored": ignored})
    for how, count in (({"mean": False}, 1), ({"mean": True}, counts.sum()), ({"mean": True, "divide": True}, divided)):
        value, factor, scales = checks.host(*reduce_losses(losses_device, **how, **given))
        np.testing.assert_allclose(value, [total / count], rtol=1e-12)
        np.testing.assert_allclose(factor, [1 / count], rtol=1e-12)
        np.testing.assert_allclose(scales, w / count, rtol=1e-12)


def test_one_loss_with_many_weights(device: Device) -> None:
    loss, weights = checks.on(device, np.array([3.0]), np.array([1.0, 4.0, 5.0, 0.0]))
    for how, total in (({"mean": False}, 10), ({"mean": True}, 2.5), ({"mean": True, "divide": True}, 1)):
        value, _, scales = checks.host(*reduce_losses(loss, weights=weights, **how))
        np.testing.assert_allclose(value, [3 * total])
        np.testing.assert_allclose(scales, [total])


def test_rows_without_a_loss_may_be_left_out(device: Device) -> None:
    losses, weights = checks.on(device, np.array([0.0, 2.0, 4.0, 0.0]), np.array([3.0, 5.0]))
    for how, value in (({}, 26 / 2), ({"divide": True}, 26 / 8)):
        reduced = reduce_losses(losses, mean=True, weights=weights, nonzero=True, **how)
        np.testing.assert_allclose(checks.host(reduced.value), [value])
    np.testing.assert_allclose(checks.host(reduce_losses(losses, mean=True, nonzero=True).value), [3])


def test_weights_that_add_up_to_nothing(device: Device) -> None:
    losses, weights = checks.on(device, np.ones(3), np.zeros(3))
    for result in reduce_losses(losses, mean=True, weights=weights, divide=True):
        assert not checks.host(result).any()


def test_same_bits_at_every_run(device: Device) -> None:
    losses = checks.on(device, checks.normal(5000))
    checks.assert_same_bits(reduce_losses(losses, mean=True)[0], reduce_losses(losses, mean=True)[0])


def test_bad_input_is_refused(device: Device) -> None:
    losses = checks.on(device, checks.normal(4))
    with pytest.raises(ValueError, match=r"reduce_losses: losses must have 1 axes, \(N,\); got shape \(2, 2\)"):
        reduce_losses(checks.on(device, checks.normal(2, 2)), mean=True)
    with pytest.raises(ValueError, match="weights must be as many as 4 rows can be shared among; got 3"):
        reduce_losses(losses, mean=True, weights=checks.on(device, np.ones(3, np.float32)))
    with pytest.raises(TypeError, match="reduce_losses: labels must be int32; got int64"):
        reduce_losses(losses, mean=True, labels=checks.on(device, np.zeros(4, np.int64)))
    with pytest.raises(ValueError, match=r"reduce_losses: labels must have shape \(4,\); got \(3,\)"):
        reduce_losses(losses, mean=True, labels=checks.on(device, np.zeros(3, np.int32)))
