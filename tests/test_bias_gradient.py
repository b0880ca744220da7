"""dz and db of a bias and an activation: values, sums over many rows, what is refused."""

from __future__ import annotations

import checks
import numpy as np
import oracle
import oracle_convolution
import pytest

from gpunet.backend import emulator
from gpunet.backend.arrays import CPU, Device
from gpunet.ops.activation import Activation
from gpunet.ops.bias_gradient import bias_gradient

# Rows and columns: one number, less than a block, more columns than lanes, several slabs.
SHAPES = [(1, 1), (5, 3), (40, 33), (5000, 7)]


def _run(device: Device, dy: np.ndarray, saved: np.ndarray, activation: Activation, scale: float = 1.0):
    db = checks.on(device, np.full(dy.shape[-1], np.nan, dy.dtype))
    return bias_gradient(*checks.on(device, dy, saved), activation, db, scale), db


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("activation", [Activation.LINEAR, Activation.RELU])
def test_values(device: Device, shape: tuple[int, int], activation: Activation) -> None:
    dy, y = checks.normal(*shape), checks.normal(*shape, seed=1)
    derivative = np.ones_like(y) if activation is Activation.LINEAR else (y > 0).astype(y.dtype)
    dz, db = _run(device, dy, y, activation)
    exact_dz, exact_db = oracle_convolution.bias_gradient(dy.astype(np.float64), derivative.astype(np.float64))
    plain_dz, plain_db = oracle_convolution.bias_gradient(dy, derivative)
    checks.assert_same_bits(dz, np.where(derivative > 0, dy, np.float32(0)))
    checks.assert_as_exact_as_plain(dz, exact_dz, plain_dz)
    checks.assert_as_exact_as_plain(db, exact_db, plain_db)


def test_images_and_activations_that_save_their_argument(device: Device) -> None:
    dy, z = checks.normal(2, 3, 4, 5, dtype=np.float64), checks.normal(2, 3, 4, 5, seed=1, dtype=np.float64)
    dz, db = _run(device, dy, z, Activation.GELU)
    exact, sums = oracle_convolution.bias_gradient(
        dy.reshape(-1, 5), oracle.activation_derivative("gelu", z.reshape(-1, 5))
    )
    checks.assert_close_in_double(dz, exact.reshape(dy.shape))
    checks.assert_close_in_double(db, sums)


def test_the_scale_of_a_dropping(device: Device) -> None:
    dy, y = checks.normal(6, 5), checks.normal(6, 5, seed=1)
    dz, _ = _run(device, dy, y, Activation.RELU, 1.25)
    checks.assert_same_bits(dz, np.where(y > 0, dy * np.float32(1.25), np.float32(0)))


def test_without_sums(device: Device) -> None:
    """What is not asked for is not computed: with LINEAR there is nothing to do."""
    dy, y = checks.on(device, checks.normal(6, 5), checks.normal(6, 5, seed=1))
    with checks.recorded_launches() as launches:
        assert bias_gradient(dy, y, Activation.LINEAR, None) is dy
    assert not launches
    both, _ = _run(device, checks.host(dy), checks.host(y), Activation.RELU)
    checks.assert_same_bits(bias_gradient(dy, y, Activation.RELU, None), both)


@pytest.mark.parametrize("order", ["reverse", 5])
def test_same_bits_in_any_order_of_threads(device: Device, order: str | int) -> None:
    dy, y = checks.normal(5000, 7), checks.normal(5000, 7, seed=1)
    expected = _run(device, dy, y, Activation.RELU)
    with emulator.configured(order=order):
        for again, before in zip(_run(device, dy, y, Activation.RELU), expected, strict=True):
            checks.assert_same_bits(again, before)


def test_bad_arrays_are_refused(device: Device) -> None:
    dy, y, db = checks.on(device, checks.normal(6, 5), checks.normal(6, 5), checks.normal(5))
    with pytest.raises(ValueError, match=r"bias_gradient: saved must have shape \(6, 5\); got \(5, 5\)"):
        bias_gradient(dy, y[:5], Activation.RELU, db)
    with pytest.raises(ValueError, match=r"bias_gradient: db must have shape \(5,\); got \(4,\)"):
        bias_gradient(dy, y, Activation.RELU, db[:4])
    if device != CPU:
        with pytest.raises(TypeError, match="bias_gradient: all arrays must be on one device"):
            bias_gradient(dy, checks.host(y), Activation.RELU, db)
