"""Element-wise activations y = f(z), and dz = dy f'(z) from what the forward pass saved.

`saved` is the output y, from which f' can be had, for all but both GELUs and SILU, for which it is the input z.
The same formulas are kernels/activation.cuh, which the Dense and convolution kernels include.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from enum import Enum
from functools import cache, partial
from typing import Any

import numpy as np

from gpunet.backend.arrays import Array, HostArray, Kind, contiguous, empty
from gpunet.backend.launch import ceil_div, launch
from gpunet.backend.memory import empty_host
from gpunet.ops import contract
from gpunet.ops.arithmetic import choose, keep_where
from gpunet.ops.erf import erf
from gpunet.ops.trace import op
from gpunet.ops.update import each_piece, each_piece_here

LEAKY_SLOPE = 0.2  # Keras's leaky_relu

_GELU_TANH_SCALE = 2 * math.sqrt(2 / math.pi)
_GELU_TANH_CUBE = 0.044715

_THREADS = 256


class Activation(Enum):
    """The activations that every kernel with an epilogue can apply; the values are Keras's names."""

    LINEAR = "linear"
    RELU = "relu"
    LEAKY_RELU = "leaky_relu"
    SIGMOID = "sigmoid"
    TANH = "tanh"
    ELU = "elu"
    GELU = "gelu"
    GELU_TANH = "gelu_tanh"
    SILU = "silu"
    SOFTPLUS = "softplus"

    @property
    def code(self) -> int:
        """The number that reaches the kernels as -DACTIVATION."""
        return list(Activation).index(self)

    @property
    def saves_input(self) -> bool:
        """Whether the gradient needs the input z; it needs the output y else."""
        return self in (Activation.GELU, Activation.GELU_TANH, Activation.SILU)

    @property
    def flops(self) -> int:
        """What counts as the flop of an element, of f as of its gradient: a function is one, however it is computed."""
        return 0 if self is Activation.LINEAR else 1


_SHORT = (Activation.LINEAR, Activation.RELU, Activation.LEAKY_RELU)  # to compute, in NumPy


def unread_by_gradients(given: Mapping[str, Any]) -> tuple[str, ...]:
    """Return which of the arguments of a gradient op need not be read: `saved`, where f' is 1."""
    return ("saved",) if given["activation"] is Activation.LINEAR else ()


@op(lambda x, activation: x.size * activation.flops)
def activate(x: Array, activation: Activation) -> Array:
    """y = f(x), element by element, of x's shape and dtype.

    linear x; relu max(x, 0); leaky_relu x or 0.2 x; sigmoid 1 / (1 + exp(-x)); tanh; elu x or exp(x) - 1; gelu
    x (1 + erf(x / sqrt(2))) / 2, the exact form, and gelu_tanh x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2;
    silu x sigmoid(x); softplus log(1 + exp(x)).

    >>> activate(np.array([-1.0, 2.0]), Activation.RELU)
    array([0., 2.])
    """
    device = contract.floats("activate", x=x)
    y = empty(x.shape, x.dtype, device)
    if device.kind is Kind.CPU:
        each = each_piece_here if activation in _SHORT else each_piece
        each(lambda x, y: activate_host(x, activation, out=y), contiguous(x), y)
    else:
        _launch("activation.cu", "activate", (contiguous(x), y, x.size), x, {"ACTIVATION": activation.code})
    return y


@op(lambda dy, saved, activation: dy.size * activation.flops, unread=unread_by_gradients)
def activate_gradient(dy: Array, saved: Array, activation: Activation) -> Array:
    """dx = dy f'(x), where `saved` is the output y, or the input x for activations with `saves_input`."""
    device = contract.floats("activate_gradient", dy=dy, saved=saved)
    contract.has_shape("activate_gradient", "saved", saved, dy.shape)
    dx = empty(dy.shape, dy.dtype, device)
    if device.kind is Kind.CPU:

        def work(dy: HostArray, saved: HostArray, dx: HostArray) -> None:
            gradient_host(dy, saved, activation, out=dx)

        each = each_piece_here if activation in _SHORT else each_piece
        each(work, contiguous(dy), contiguous(saved), dx)
    else:
        args = (contiguous(dy), contiguous(saved), dx, dy.size)
        _launch("activation.cu", "activate_gradient", args, dy, {"ACTIVATION": activation.code})
    return dx


@op(lambda x, *_: x.size)
def relu(x: Array, max_value: float | None = None, negative_slope: float = 0.0, threshold: float = 0.0) -> Array:
    """y = min(x, max_value) where x > threshold, else negative_slope (x - threshold); Keras's ReLU layer."""
    device = contract.floats("relu", x=x)
    top = math.inf if max_value is None else float(max_value)
    y = empty(x.shape, x.dtype, device)
    if device.kind is Kind.CPU:
        numbers = (x.dtype.type(number) for number in (top, negative_slope, threshold))
        each_piece_here(partial(_general_relu_host, *numbers), contiguous(x), y)
    else:
        _launch("relu.cu", "relu", (contiguous(x), y, top, float(negative_slope), float(threshold), x.size), x)
    return y


@op(lambda dy, *_: dy.size)
def relu_gradient(
    dy: Array, x: Array, max_value: float | None = None, negative_slope: float = 0.0, threshold: float = 0.0
) -> Array:
    """dx = dy where threshold < x < max_value, 0 where x >= max_value, negative_slope dy where x <= threshold."""
    device = contract.floats("relu_gradient", dy=dy, x=x)
    contract.has_shape("relu_gradient", "x", x, dy.shape)
    top = math.inf if max_value is None else float(max_value)
    dx = empty(dy.shape, dy.dtype, device)
    if device.kind is Kind.CPU:
        numbers = (x.dtype.type(number) for number in (top, negative_slope, threshold))
        each_piece_here(partial(_general_relu_gradient_host, *numbers), contiguous(dy), contiguous(x), dx)
    else:
        args = (contiguous(dy), contiguous(x), dx, top, float(negative_slope), float(threshold), dy.size)
        _launch("relu.cu", "relu_gradient", args, dy)
    return dx


@op(lambda x, *_: x.size)
def elu(x: Array, alpha: float = 1.0) -> Array:
    """y = x where x > 0, else alpha (exp(x) - 1); its gradient needs x, as y tells the side only if alpha > 0."""
    device = contract.floats("elu", x=x)
    y = empty(x.shape, x.dtype, device)
    if device.kind is Kind.CPU:

        def work(x: HostArray, y: HostArray) -> None:
            choose(x <= 0, x.dtype.type(alpha) * np.expm1(np.minimum(x, 0)), x, out=y)

        each_piece(work, contiguous(x), y)
    else:
        _launch("elu.cu", "elu", (contiguous(x), y, float(alpha), x.size), x)
    return y


@op(lambda dy, *_: dy.size)
def elu_gradient(dy: Array, x: Array, alpha: float = 1.0) -> Array:
    """dx = dy where x > 0, else dy alpha exp(x)."""
    device = contract.floats("elu_gradient", dy=dy, x=x)
    contract.has_shape("elu_gradient", "x", x, dy.shape)
    dx = empty(dy.shape, dy.dtype, device)
    if device.kind is Kind.CPU:

        def work(dy: HostArray, x: HostArray, dx: HostArray) -> None:
            choose(x <= 0, dy * (dy.dtype.type(alpha) * np.exp(np.minimum(x, 0))), dy, out=dx)

        each_piece(work, contiguous(dy), contiguous(x), dx)
    else:
        _launch("elu.cu", "elu_gradient", (contiguous(dy), contiguous(x), dx, float(alpha), dy.size), dy)
    return dx


def _general_relu_host(top: Any, slope: Any, threshold: Any, x: HostArray, y: HostArray) -> None:
    if math.isinf(top) and threshold == 0 and 0 < slope <= 1:
        np.maximum(x, np.multiply(x, slope, out=y), out=y)
        return
    above = x if math.isinf(top) else np.clip(x, x.dtype.type(-math.inf), top)  # faster than a minimum
    below = np.multiply(np.subtract(x, threshold, out=y), slope, out=y)
    choose(x > threshold, above, below, out=y)


def _general_relu_gradient_host(
    top: Any, slope: Any, threshold: Any, dy: HostArray, x: HostArray, dx: HostArray
) -> None:
    below = np.multiply(dy, slope, out=dx)
    choose(x > threshold, keep_where(x < top, dy), below, out=dx)


def _launch(
    file: str, entry: str, args: tuple[Array | float, ...], like: Array, defines: dict[str, int] | None = None
) -> None:
    grid = ceil_div(like.size, _THREADS)
    launch(
        file,
        entry,
        grid=grid,
        block=_THREADS,
        args=args,
        real=like.dtype,
        defines={"THREADS": _THREADS, **(defines or {})},
    )


def activate_host(z: HostArray, activation: Activation, out: HostArray) -> None:  # noqa: C901 - a case for each
    """out = f(z) in NumPy; `out` may be `z` itself."""
    match activation:
        case Activation.LINEAR:
            np.copyto(out, z)
        case Activation.RELU:
            _relu_host(z, out)
        case Activation.LEAKY_RELU:
            np.maximum(z, z.dtype.type(LEAKY_SLOPE) * z, out=out)
        case Activation.SIGMOID:
            np.copyto(out, _sigmoid(z))
        case Activation.TANH:
            np.tanh(z, out=out)
        case Activation.ELU:
            np.copyto(out, np.where(z > 0, z, np.expm1(np.minimum(z, 0))))
        case Activation.GELU:
            np.multiply(z, _normal_distribution(z), out=out)
        case Activation.GELU_TANH:
            np.multiply(z, _sigmoid(_gelu_tanh_argument(z)), out=out)
        case Activation.SILU:
            np.multiply(z, _sigmoid(z), out=out)
        case Activation.SOFTPLUS:
            np.add(np.maximum(z, 0), np.log1p(np.exp(-np.abs(z))), out=out)


def _relu_host(z: HostArray, out: HostArray) -> None:
    """out = max(z, 0); with an array of zeros NumPy is three times as fast as with the number."""
    if not (z.flags.c_contiguous and out.flags.c_contiguous):
        np.maximum(z, 0, out=out)
        return
    zeros, flat, result = _zeros(z.dtype), z.reshape(-1), out.reshape(-1)
    whole = flat.size // zeros.size * zeros.size
    np.maximum(flat[:whole].reshape(-1, zeros.size), zeros, out=result[:whole].reshape(-1, zeros.size))
    np.maximum(flat[whole:], zeros[: flat.size - whole], out=result[whole:])


@cache
def _zeros(dtype: np.dtype[Any]) -> HostArray:
    """Return so many zeros that NumPy's loop over rows of them costs next to nothing."""
    return np.zeros(8192, dtype)


def gradient_host(
    dy: HostArray, saved: HostArray, activation: Activation, scale: float = 1.0, out: HostArray | None = None
) -> HostArray:
    """Return dz = scale dy f'(z) in NumPy, in `out`, or else a new array, or `dy` for LINEAR, whose scale must be 1."""
    if activation is Activation.LINEAR:
        if out is None:
            return dy
        np.copyto(out, dy)
        return out
    dz = empty_host(dy.shape, dy.dtype) if out is None else out
    if activation is Activation.RELU:
        # Bits times 0 or 1: an infinite dy does not become NaN.
        bits = np.dtype(f"i{dy.itemsize}")
        positive = np.greater(saved, 0, out=empty_host(saved.shape, np.bool_))
        np.multiply(dy.view(bits), positive, out=dz.view(bits))
    else:
        np.multiply(dy, _derivative(saved, activation), out=dz)
    if scale != 1:
        dz *= dz.dtype.type(scale)
    return dz


def _derivative(saved: HostArray, activation: Activation) -> HostArray:
    """Return f'(z), for all but RELU."""
    factor: HostArray
    match activation:
        case Activation.LEAKY_RELU:
            factor = np.where(saved > 0, saved.dtype.type(1), saved.dtype.type(LEAKY_SLOPE))
        case Activation.SIGMOID:
            factor = saved * (1 - saved)
        case Activation.TANH:
            factor = (1 - saved) * (1 + saved)
        case Activation.ELU:  # exp(z) = y + 1 where z <= 0
            factor = np.minimum(saved, 0) + 1
        case Activation.GELU:
            size = np.minimum(np.abs(saved), 40)  # no square overflows, and exp(-800) is 0 in float64 too
            density = np.exp(size * size * -0.5) * (1 / math.sqrt(2 * math.pi))
            factor = _normal_distribution(saved) + saved * density
        case Activation.GELU_TANH:
            argument = _gelu_tanh_argument(saved)
            s = _sigmoid(argument)
            held = np.clip(saved, -30, 30)  # a sigmoid is 0 beyond, and the slope of its argument stays finite
            slope = _GELU_TANH_SCALE * (1 + 3 * _GELU_TANH_CUBE * held * held)
            factor = s + held * (s * _sigmoid(-argument)) * slope  # no 1 - s: the slope would show what cancels
        case Activation.SILU:
            s = _sigmoid(saved)
            factor = s * (1 + saved * (1 - s))
        case Activation.SOFTPLUS:  # sigmoid(z) = 1 - exp(-y)
            factor = -np.expm1(-saved)
        case Activation.LINEAR | Activation.RELU:
            factor = saved > 0
    return factor


def _sigmoid(z: HostArray) -> HostArray:
    """1 / (1 + exp(-z)) as exp(min(z, 0)) / (1 + exp(-|z|)): nothing overflows, and no digits cancel."""
    y: HostArray = np.exp(np.minimum(z, 0)) / (1 + np.exp(-np.abs(z)))
    return y


def _gelu_tanh_argument(z: HostArray) -> HostArray:
    """Return 2 u of GELU's approximation z (1 + tanh(u)) / 2 = z sigmoid(2 u); infinite where z^2 overflows."""
    with np.errstate(over="ignore"):
        y: HostArray = _GELU_TANH_SCALE * z * (1 + _GELU_TANH_CUBE * z * z)
    return y


def _normal_distribution(z: HostArray) -> HostArray:
    """Return the probability that a standard normal number is below z."""
    y: HostArray = 0.5 * (1 + erf(z * (1 / math.sqrt(2))))
    return y
