"""Element-wise activations and their gradients, the error function, and ReLU in its general form."""

from __future__ import annotations

import math

import checks
import numpy as np
import oracle
import pytest

from gpunet.backend.arrays import Device
from gpunet.backend.sources import source
from gpunet.ops import update
from gpunet.ops.activation import Activation, activate, activate_gradient, elu, elu_gradient, relu, relu_gradient
from gpunet.ops.erf import erf

THREADS = 256
KINDS = list(Activation)
SHAPES = [(1,), (THREADS - 1,), (THREADS,), (THREADS + 1,), (3, 5, 2, 4)]

# Numbers at which a formula may overflow, cancel, or lose a NaN.
EXTREMES = [0.0, -0.0, 1e-30, -1e-30, 1e-4, -1e-4, 20, -20, 90, -90, 800, -800, 1e20, -1e20, math.nan]
RELUS = [(None, 0.0, 0.0), (6.0, 0.0, 0.0), (None, 0.3, 0.0), (1.5, 0.1, 0.5), (0.25, 0.0, 0.5)]


@pytest.mark.parametrize("kind", KINDS)
def test_values(device: Device, kind: Activation) -> None:
    for number, shape in enumerate(SHAPES):
        x = 3 * checks.normal(*shape, seed=number)
        exact, plain = oracle.activation(kind.value, x.astype(np.float64)), oracle.activation(kind.value, x)
        x_device = checks.on(device, x)
        checks.assert_as_exact_as_plain(activate(x_device, kind), exact, plain)
        checks.assert_same_bits(x_device, x)
        y = activate(checks.on(device, x.astype(np.float64)), kind)
        checks.assert_close_in_double(y, exact, tolerance=1e-14)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_extreme_values(device: Device, kind: Activation, dtype: type) -> None:
    x = np.array(EXTREMES, dtype)
    with np.errstate(all="ignore"):
        exact = oracle.activation(kind.value, x.astype(np.float64)).astype(dtype)
        derivative = oracle.activation_derivative(kind.value, x.astype(np.float64)).astype(dtype)
    y = activate(checks.on(device, x), kind)
    np.testing.assert_allclose(checks.host(y), exact, rtol=1e-5, atol=1e-7)
    saved = checks.on(device, x) if kind.saves_input else y
    dx = activate_gradient(checks.on(device, np.ones_like(x)), saved, kind)
    if kind in (Activation.RELU, Activation.LEAKY_RELU, Activation.LINEAR, Activation.ELU):  # undefined at NaN
        dx, derivative = checks.host(dx)[:-1], derivative[:-1]
    np.testing.assert_allclose(checks.host(dx), derivative, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_gradients(device: Device, kind: Activation) -> None:
    for number, shape in enumerate(SHAPES):
        x, dy = 3 * checks.normal(*shape, seed=number), checks.normal(*shape, seed=number + 100)
        y = activate(checks.on(device, x), kind)
        dx = activate_gradient(checks.on(device, dy), checks.on(device, x) if kind.saves_input else y, kind)
        plain = dy * oracle.activation_derivative(kind.value, x)
        exact = dy.astype(np.float64) * oracle.activation_derivative(kind.value, x.astype(np.float64))
        checks.assert_as_exact_as_plain(dx, exact, plain)


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_against_differences(device: Device, kind: Activation) -> None:
    x, dy = 2 * checks.normal(7, 6, dtype=np.float64), checks.normal(7, 6, seed=1, dtype=np.float64)
    x_device, dy_device = checks.on(device, x, dy)
    dx = activate_gradient(dy_device, x_device if kind.saves_input else activate(x_device, kind), kind)
    checks.assert_gradient(lambda x: (dy * checks.host(activate(checks.on(device, x), kind))).sum(), x, dx)


@pytest.mark.parametrize("arguments", RELUS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_general_relu(device: Device, arguments: tuple[float | None, float, float], dtype: type) -> None:
    max_value, slope, threshold = arguments
    for number, shape in enumerate(SHAPES):
        x = 2 * checks.normal(*shape, seed=number, dtype=dtype)
        x.flat[0] = threshold  # belongs to the lower side
        dy = checks.normal(*shape, seed=number + 100, dtype=dtype)
        top = math.inf if max_value is None else max_value
        exact = oracle.general_relu(x.astype(np.float64), top, slope, threshold)
        y = relu(checks.on(device, x), *arguments)
        np.testing.assert_allclose(checks.host(y), exact, rtol=4 * np.finfo(dtype).eps, atol=1e-7)
        dx = relu_gradient(checks.on(device, dy), checks.on(device, x), *arguments)
        expected = np.where(x > threshold, dy * (x < top), dtype(slope) * dy)
        np.testing.assert_array_equal(checks.host(dx), expected)


def test_general_relu_has_the_same_bits_everywhere(device: Device) -> None:
    x = np.float32([np.inf, -np.inf, np.nan, -0.0, 0.0, 1.5, 2, -2, 1e-40, -1e-40, 0.5])
    dy = np.float32([np.inf, 1, np.inf, 2, -np.inf, np.inf, -np.inf, np.nan, 3, 4, -0.0])
    for arguments in (*RELUS, (None, 0.3, 0.0), (6.0, 0.0, 0.0)):
        with np.errstate(invalid="ignore"):
            y, dx = relu(checks.on(device, x), *arguments), relu_gradient(*checks.on(device, dy, x), *arguments)
            top, slope, threshold = (np.float32(np.inf if number is None else number) for number in arguments)
            expected = np.where(x > threshold, np.where(x > top, top, x), slope * (x - threshold))
            np.testing.assert_array_equal(checks.host(y), expected)
            expected = np.where(x > threshold, np.where(x < top, dy, np.float32(0)), slope * dy)
            np.testing.assert_array_equal(checks.host(dx), expected)


@pytest.mark.parametrize("kind", [Activation.LINEAR, Activation.RELU, Activation.GELU, Activation.SIGMOID])
def test_pieces_on_the_cpu(kind: Activation, monkeypatch: pytest.MonkeyPatch) -> None:
    x, dy = checks.normal(3, 40).T, checks.normal(40, 3, seed=1)
    both = activate(x, kind), activate_gradient(dy, x, kind)
    monkeypatch.setattr(update, "PIECE", 32)
    for one, other in zip((activate(x, kind), activate_gradient(dy, x, kind)), both, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6)


def test_general_relu_against_differences(device: Device) -> None:
    x, dy = 2 * checks.normal(40, dtype=np.float64), checks.normal(40, seed=1, dtype=np.float64)
    dx = relu_gradient(*checks.on(device, dy, x), 1.5, 0.1, 0.5)
    checks.assert_gradient(lambda x: (dy * checks.host(relu(checks.on(device, x), 1.5, 0.1, 0.5))).sum(), x, dx)


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0, 2.5, -1.5])
def test_elu_with_any_alpha(device: Device, alpha: float) -> None:
    for number, shape in enumerate(SHAPES):
        x, dy = 2 * checks.normal(*shape, seed=number), checks.normal(*shape, seed=number + 100)
        x.flat[0] = 0  # belongs to the lower side
        wide = x.astype(np.float64)
        y = elu(checks.on(device, x), alpha)
        checks.assert_as_exact_as_plain(y, oracle.elu(wide, alpha), oracle.elu(x, alpha))
        checks.assert_close_in_double(elu(checks.on(device, wide), alpha), oracle.elu(wide, alpha), tolerance=1e-14)
        dx = elu_gradient(*checks.on(device, dy, x), alpha)
        checks.assert_as_exact_as_plain(
            dx, dy * oracle.elu_derivative(wide, alpha), dy * oracle.elu_derivative(x, alpha)
        )
    extreme = checks.on(device, np.array([-1e20, 1e20, math.nan]))
    np.testing.assert_array_equal(checks.host(elu(extreme, alpha)), [-alpha, 1e20, math.nan])


def test_elu_against_differences(device: Device) -> None:
    x, dy = 2 * checks.normal(40, dtype=np.float64), checks.normal(40, seed=1, dtype=np.float64)
    for alpha in (0.5, -1.5):
        dx = elu_gradient(*checks.on(device, dy, x), alpha)
        checks.assert_gradient(lambda x, a=alpha: (dy * checks.host(elu(checks.on(device, x), a))).sum(), x, dx)


@pytest.mark.parametrize("kind", KINDS)
def test_same_bits_at_every_run(device: Device, kind: Activation) -> None:
    x = checks.on(device, checks.normal(1000))
    checks.assert_same_bits(activate(x, kind), activate(x, kind))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_erf_is_right_to_three_roundings(dtype: type) -> None:
    x = np.concatenate([np.linspace(-7, 7, 20001), np.geomspace(1e-30, 1, 2001)]).astype(dtype)
    exact = np.array([math.erf(v) for v in x.astype(np.float64)])
    error = np.abs(erf(x) - exact)
    assert (error <= 3 * np.finfo(dtype).eps * np.abs(exact)).all()
    ends = erf(np.array([math.inf, -math.inf, math.nan, -0.0], dtype))
    np.testing.assert_array_equal(ends, np.array([1, -1, math.nan, 0], dtype))


def test_relu_lets_infinite_gradients_pass_or_stops_them(device: Device) -> None:
    dy, y = checks.on(device, np.float32([np.inf, -np.inf, np.nan, 2]), np.float32([0, 3, 0, 1]))
    dx = checks.host(activate_gradient(dy, y, Activation.RELU))
    np.testing.assert_array_equal(dx, [0, -np.inf, 0, 2])


def test_errors() -> None:
    x = np.ones((2, 3), np.float32)
    with pytest.raises(TypeError, match=r"activate: x must be float32 or float64; got int64"):
        activate(np.ones(3, np.int64), Activation.RELU)
    with pytest.raises(ValueError, match=r"activate: x must have at least one element; got shape \(0, 3\)"):
        activate(np.ones((0, 3)), Activation.RELU)
    with pytest.raises(ValueError, match=r"activate_gradient: saved must have shape \(2, 3\); got \(3, 2\)"):
        activate_gradient(x, x.reshape(3, 2), Activation.TANH)
    with pytest.raises(TypeError, match=r"one dtype; got dy of float32, saved of float64"):
        activate_gradient(x, x.astype(np.float64), Activation.TANH)
    with pytest.raises(ValueError, match=r"relu_gradient: x must have shape \(2, 3\); got \(6,\)"):
        relu_gradient(x, x.reshape(6))
    with pytest.raises(ValueError, match=r"elu_gradient: x must have shape \(2, 3\); got \(6,\)"):
        elu_gradient(x, x.reshape(6))


def test_codes_are_those_of_the_kernels() -> None:
    for kind in KINDS:
        assert f"constexpr int {kind.name} = {kind.code};" in source("activation.cu")
