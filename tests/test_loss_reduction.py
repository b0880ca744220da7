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
    value, scale = reduce_losses(checks.on(device, losses), mean=mean)
    exact = losses.astype(np.float64).sum() / (n if mean else 1)
    # Summed in float64: right to half a unit in the last place of float32.
    np.testing.assert_allclose(checks.host(value), [exact], rtol=6e-8)
    checks.assert_same_bits(scale, np.float32([1 / n if mean else 1]))
    double, _ = reduce_losses(checks.on(device, losses.astype(np.float64)), mean=mean)
    checks.assert_close_in_double(double, np.array([exact]), 1e-14)


@pytest.mark.parametrize("n", SIZES)
def test_ignored_rows_do_not_count(device: Device, n: int) -> None:
    labels = np.random.default_rng(0).integers(-1, 2, n).astype(np.int32)
    labels[0] = 0
    losses = np.where(labels == -1, 0, np.abs(checks.normal(n))).astype(np.float32)
    count = np.count_nonzero(labels != -1)
    on_device = checks.on(device, losses, labels)
    value, scale = reduce_losses(on_device[0], mean=True, labels=on_device[1], ignored=-1)
    np.testing.assert_allclose(checks.host(value), [losses.astype(np.float64).sum() / count], rtol=6e-8)
    checks.assert_same_bits(scale, np.float32([1 / count]))
    total, one = reduce_losses(on_device[0], mean=False, labels=on_device[1], ignored=-1)
    np.testing.assert_allclose(checks.host(total), [losses.astype(np.float64).sum()], rtol=6e-8)
    checks.assert_same_bits(one, np.float32([1]))


def test_no_row_left(device: Device) -> None:
    losses, labels = checks.on(device, np.zeros(5, np.float32), np.full(5, 7, np.int32))
    for result in reduce_losses(losses, mean=True, labels=labels, ignored=7):
        checks.assert_same_bits(result, np.float32([0]))


def test_a_record_grows_by_the_value_of_every_sample(device: Device) -> None:
    losses, record = checks.on(device, np.float32([1, 2, 4, 5]), np.array([[0.5, 3.0]]))
    for mean, value in ((True, 3), (False, 12)):
        before = checks.host(record).copy()
        reduce_losses(losses, mean=mean, record=record, samples=2)
        np.testing.assert_array_equal(checks.host(record), before + np.array([[2 * value, 2]]))
    with pytest.raises(TypeError, match="reduce_losses: state must be float64; got float32"):
        reduce_losses(losses, mean=True, record=checks.on(device, np.zeros((1, 2), np.float32)), samples=2)


def test_same_bits_at_every_run(device: Device) -> None:
    losses = checks.on(device, checks.normal(5000))
    checks.assert_same_bits(reduce_losses(losses, mean=True)[0], reduce_losses(losses, mean=True)[0])


def test_bad_input_is_refused(device: Device) -> None:
    losses = checks.on(device, checks.normal(4))
    with pytest.raises(ValueError, match=r"reduce_losses: losses must have 1 axes, \(N,\); got shape \(2, 2\)"):
        reduce_losses(checks.on(device, checks.normal(2, 2)), mean=True)
    with pytest.raises(TypeError, match="reduce_losses: labels must be int32; got int64"):
        reduce_losses(losses, mean=True, labels=checks.on(device, np.zeros(4, np.int64)))
    with pytest.raises(ValueError, match=r"reduce_losses: labels must have shape \(4,\); got \(3,\)"):
        reduce_losses(losses, mean=True, labels=checks.on(device, np.zeros(3, np.int32)))
