"""Normal noise and alpha dropout (noise.cu, alpha_dropout.cu), whose numbers NumPy can make; the layers that draw."""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import Any

import checks
import layer_checks
import numpy as np
import oracle_pointwise as oracle
import pytest

import gpunet
from gpunet.backend.arrays import CPU, EMULATED, Device
from gpunet.backend.random import generator
from gpunet.layers import (
    AlphaDropout,
    Dropout,
    GaussianDropout,
    GaussianNoise,
    SpatialDropout1D,
    SpatialDropout2D,
    SpatialDropout3D,
)
from gpunet.ops.alpha_dropout import alpha_dropout, alpha_dropout_gradient
from gpunet.ops.dropout_noise import noise_mask
from gpunet.ops.noise import gaussian_dropout, gaussian_dropout_gradient, gaussian_noise
from gpunet.ops.normal import normal_numbers
from gpunet.training.capture import Captures

KEY = (7, 3, 5)


def _uniform(size: int, key: tuple[int, int, int] = KEY) -> Any:
    return generator(*key).random(size, dtype=np.float32)


def test_normal_numbers_are_the_inverse_of_the_distribution() -> None:
    k = np.unique([*range(40), *range(2**24 - 40, 2**24), *range(0, 2**24, 2003)])
    z = normal_numbers((k * 2.0**-24).astype(np.float32))
    exact = np.array([NormalDist().inv_cdf((number + 0.5) / 2**24) for number in k])
    np.testing.assert_allclose(z, exact, rtol=1e-6)
    assert z.dtype == np.float32 and (np.diff(z) >= 0).all()
    np.testing.assert_array_equal(z[:40], -z[-40:][::-1])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("size", [1, 8, 1031])
def test_noise_has_the_bits_of_numpy(device: Device, size: int, dtype: type) -> None:
    x = checks.normal(size, dtype=dtype)
    z = normal_numbers(_uniform(size)).astype(dtype)
    step = KEY if device == CPU else (*KEY[:2], checks.on(device, np.array([5])))
    x_device = checks.on(device, x)
    checks.assert_same_bits(gaussian_noise(x_device, 0.3, step), x + dtype(0.3) * z)
    y, factor = gaussian_dropout(x_device, 0.3, KEY)
    checks.assert_same_bits(factor, 1 + dtype(0.3) * z)
    checks.assert_same_bits(y, (1 + dtype(0.3) * z) * x)
    checks.assert_same_bits(gaussian_dropout_gradient(x_device, factor), y)


def test_noise_is_normal() -> None:
    """Moments and tails of a million numbers, each within five standard errors."""
    n = 10**6
    z = gaussian_noise(np.zeros(n), 1.0, KEY)
    for power, expected, variance in ((1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96)):
        assert abs((z**power).mean() - expected) < 5 * math.sqrt(variance / n)
    for limit in (1, 2, 3, 4):
        p = 2 * NormalDist().cdf(-limit)
        assert abs((abs(z) > limit).mean() - p) < 5 * math.sqrt(p / n)
    assert abs((z[1:] * z[:-1]).mean()) < 5 / math.sqrt(n)


@pytest.mark.parametrize("rate", [0.0, 0.25])
def test_alpha_dropout(device: Device, rate: float) -> None:
    x, dy = checks.normal(40, 30), checks.normal(40, 30, seed=1)
    x[0, 0] = np.inf if rate else 0
    mask = (_uniform(x.size) >= rate).astype(np.uint8).reshape(x.shape)
    mask[0, 0] = rate == 0
    y = alpha_dropout(*checks.on(device, x, mask), rate)
    expected, factor = oracle.alpha_dropout(x.astype(np.float64), mask, rate)
    np.testing.assert_allclose(checks.host(y), expected, rtol=1e-5, atol=1e-6)
    checks.assert_same_bits(y, alpha_dropout(x, mask, rate))
    dx = alpha_dropout_gradient(*checks.on(device, dy, mask), rate)
    checks.assert_same_bits(dx, np.where(mask, np.float32(factor) * dy, np.float32(0)))


def test_errors() -> None:
    x = np.ones((2, 3), np.float32)
    mask = np.ones((2, 3), np.uint8)
    with pytest.raises(ValueError, match="alpha_dropout: rate must be at least 0 and below 1; got 1"):
        alpha_dropout(x, mask, 1)
    with pytest.raises(TypeError, match="alpha_dropout: mask must be uint8; got float32"):
        alpha_dropout(x, x, 0.5)
    with pytest.raises(ValueError, match=r"alpha_dropout_gradient: mask must have shape \(2, 3\); got \(3, 2\)"):
        alpha_dropout_gradient(x, mask.T, 0.5)
    with pytest.raises(ValueError, match=r"gaussian_dropout_gradient: factor must have shape \(2, 3\); got \(3, 2\)"):
        gaussian_dropout_gradient(x, x.T)
    with pytest.raises(TypeError, match="gaussian_noise: step must be int64; got float64"):
        gaussian_noise(x, 1.0, (7, 3, np.zeros(1)))


LAYERS: list[Any] = [
    lambda: GaussianNoise(0.3, seed=4, dtype="float64"),
    lambda: GaussianDropout(0.3, seed=4, dtype="float64"),
    lambda: AlphaDropout(0.3, [None, 1], seed=4, dtype="float64"),
    lambda: AlphaDropout(0.3, seed=4, dtype="float64"),
]


@pytest.mark.parametrize("make", LAYERS)
def test_layers(device: Device, make: Any) -> None:
    """Each draw is the stream's next, and the same on every device; outside of training nothing happens."""
    layer, other = make(), make()
    x = checks.normal(6, 5, dtype=np.float64)
    x_device = checks.on(device, x)
    assert layer.apply(x_device, False)[0] is x_device and layer.stream.step == 0
    (y, backward), (again, _) = layer.apply(x_device, True), layer.apply(x_device, True)
    assert layer.stream.step == 2
    assert not np.array_equal(checks.host(y), checks.host(again))
    with gpunet.device("cpu"):
        checks.assert_same_bits(y, other.apply(x, True)[0])
        checks.assert_same_bits(again, other.apply(x, True)[0])
    dy = checks.normal(6, 5, seed=1, dtype=np.float64)
    slope = checks.host(backward(checks.on(device, dy))) / dy
    if isinstance(layer, GaussianNoise):
        z = normal_numbers(_uniform(30, (4, layer.stream.purpose, 0))).reshape(6, 5)
        np.testing.assert_allclose((checks.host(y) - x) / 0.3, z, rtol=1e-12)
        assert (slope == 1).all()
    elif isinstance(layer, GaussianDropout):
        np.testing.assert_allclose(checks.host(y) / x, slope, rtol=1e-12)
    else:
        shape = (6, 1) if layer.noise_shape else (6, 5)
        mask = noise_mask((6, 5), layer.noise_shape or (None, None), 0.3, (4, layer.stream.purpose, 0), CPU)
        drawn = _uniform(math.prod(shape), (4, layer.stream.purpose, 0)).reshape(shape) >= np.float32(0.3)
        np.testing.assert_array_equal(mask, np.broadcast_to(drawn, (6, 5)))
        expected, factor = oracle.alpha_dropout(x, mask, 0.3)
        np.testing.assert_allclose(checks.host(y), expected, rtol=1e-12)
        np.testing.assert_allclose(slope, factor * mask, rtol=1e-12)
    layer_checks.assert_config_comes_back(layer)


@pytest.mark.parametrize("cls, shape", [(SpatialDropout1D, (40, 3, 5)), (SpatialDropout2D, (30, 2, 3, 5))])
def test_spatial_dropout(device: Device, cls: type, shape: tuple[int, ...]) -> None:
    layer, plain = cls(0.4, seed=1), Dropout(0.4, (None, *(1,) * (len(shape) - 2), None), seed=1)
    layer_checks.assert_config_comes_back(layer)
    x = checks.on(device, np.ones(shape, np.float32))
    y, backward = layer.apply(x, True)
    checks.assert_same_bits(y, plain.apply(x, True)[0])
    checks.assert_same_bits(backward(x), y)
    channels = checks.host(y).reshape(shape[0], -1, shape[-1])
    assert (channels == channels[:, :1]).all() and 0.3 < (channels == 0).mean() < 0.5
    with pytest.raises(ValueError, match=r"input must have shape \(batch, .*, channels\); got \(4, 5\)"):
        layer(np.ones((4, 5)))


def test_spatial_dropout_of_volumes() -> None:
    y = SpatialDropout3D(0.5, seed=2)(np.ones((9, 2, 2, 2, 3)), training=True).reshape(9, 8, 3)
    assert (y == y[:, :1]).all() and set(y.ravel()) == {0, 2}


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: GaussianNoise(1.5), "GaussianNoise 'gaussian_noise.*': stddev must be from 0 to 1; got 1.5"),
        (lambda: GaussianDropout(1), "GaussianDropout '.*': rate must be at least 0 and below 1; got 1"),
        (lambda: AlphaDropout(-0.1), "AlphaDropout '.*': rate must be at least 0 and below 1; got -0.1"),
        (lambda: AlphaDropout(0.1, (None, 2))(np.ones((2, 3))), "noise_shape must be 1, None or the input's size"),
        (lambda: SpatialDropout2D(0.1, "channels_first"), "data_format must be 'channels_last'"),
    ],
)
def test_bad_arguments_of_layers(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_a_captured_step_draws_new_noise(captures: list[Captures]) -> None:
    """And training with noise is the same, bit for bit, with a graph and without one."""
    if not gpunet.backend.devices.examine(EMULATED).usable:
        pytest.skip("needs the emulator")

    def trained(eagerly: bool) -> list[Any]:
        gpunet.set_random_seed(3)
        with gpunet.device("emulated"):
            layers = [GaussianNoise(0.2), gpunet.Dense(4, "selu"), AlphaDropout(0.2), GaussianDropout(0.2)]
            model = gpunet.Sequential([gpunet.Input((6,)), *layers, gpunet.Dense(1)])
            model.compile("sgd", "mse", run_eagerly=eagerly)
            model.fit(checks.normal(40, 6), checks.normal(40, 1, seed=1), batch_size=8, epochs=2, verbose=0)
            assert (captures[-1].graphs > 0) == (not eagerly)
            assert all(layers[number].stream.step == 10 for number in (0, 2, 3))
            return model.get_weights()

    for one, other in zip(trained(False), trained(True), strict=True):
        checks.assert_same_bits(one, other)


def test_spatial_dropout_is_not_taken_for_dropout_after_a_product() -> None:
    layers = [gpunet.Input((5, 5, 2)), gpunet.Conv2D(3, 3, activation="relu"), SpatialDropout2D(0.5)]
    assert "noise_shape" in gpunet.Sequential(layers).explain_fusion().splitlines()[-1]
