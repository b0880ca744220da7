"""Element-wise activations y = f(x) that no matrix product applies by itself, and dx = dy f'(x).

Those which every kernel with an epilogue can apply are in ops/activation.py. The same formulas are
kernels/pointwise.cu.
"""

from __future__ import annotations

from enum import Enum

import numpy as np

from gpunet.backend.arrays import Array, HostArray, Kind, contiguous, empty
from gpunet.backend.launch import ceil_div, launch
from gpunet.ops import contract
from gpunet.ops.trace import op
from gpunet.ops.update import each_piece

SELU_ALPHA = 1.6732632423543772848
SELU_SCALE = 1.0507009873554804934

_THREADS = 256
_FRACTIONS = 9  # of tanh_shrink: the last one is below a rounding of float64


class Pointwise(Enum):
    """The functions; the values are Keras's names."""

    SELU = "selu"
    SOFTSIGN = "softsign"
    HARD_SIGMOID = "hard_sigmoid"
    HARD_SILU = "hard_silu"
    HARD_TANH = "hard_tanh"
    TANH_SHRINK = "tanh_shrink"
    HARD_SHRINK = "hard_shrink"
    SOFT_SHRINK = "soft_shrink"
    SQUAREPLUS = "squareplus"
    SPARSE_PLUS = "sparse_plus"
    SPARSE_SIGMOID = "sparse_sigmoid"
    MISH = "mish"
    CELU = "celu"
    LOG_SIGMOID = "log_sigmoid"
    EXPONENTIAL = "exponential"
    THRESHOLD = "threshold"

    @property
    def code(self) -> int:
        """The number that reaches the kernels as -DFUNCTION."""
        return list(Pointwise).index(self)


@op(lambda x, *_: x.size)
def pointwise(x: Array, function: Pointwise, a: float = 0.0, b: float = 0.0) -> Array:
    """y = f(x), element by element, of x's shape and dtype.

    selu scale x or scale alpha (exp(x) - 1); softsign x / (1 + |x|); hard_sigmoid min(max(x + 3, 0), 6) / 6; hard_silu
    x hard_sigmoid(x); hard_tanh min(max(x, -1), 1); tanh_shrink x - tanh(x); hard_shrink x where |x| > a, else 0;
    soft_shrink sign(x) max(|x| - a, 0); squareplus (x + sqrt(x^2 + a^2)) / 2; sparse_plus 0 below -1, x above 1,
    (x + 1)^2 / 4 between; sparse_sigmoid min(max((x + 1) / 2, 0), 1); mish x tanh(log(1 + exp(x))); celu x or
    a (exp(x / a) - 1); log_sigmoid -log(1 + exp(-x)); exponential exp(x); threshold x where x > a, else b.

    >>> pointwise(np.array([-4.0, 0.0, 1.5]), Pointwise.HARD_SIGMOID)
    array([0.  , 0.5 , 0.75])
    """
    device = contract.floats("pointwise", x=x)
    y = empty(x.shape, x.dtype, device)
    if device.kind is Kind.CPU:

        def work(x: HostArray, y: HostArray) -> None:
            np.copyto(y, _value(x, function, x.dtype.type(a), x.dtype.type(b)))

        with np.errstate(over="ignore", invalid="ignore"):  # an exponential may be infinite, and so may x
            each_piece(work, contiguous(x), y)
    else:
        _launch("pointwise", function, (contiguous(x), y, float(a), float(b), x.size), x)
    return y


@op(lambda dy, *_: dy.size)
def pointwise_gradient(dy: Array, x: Array, function: Pointwise, a: float = 0.0) -> Array:
    """dx = dy f'(x); at a kink of f the slope of one of its sides."""
    device = contract.floats("pointwise_gradient", dy=dy, x=x)
    contract.has_shape("pointwise_gradient", "x", x, dy.shape)
    dx = empty(dy.shape, dy.dtype, device)
    if device.kind is Kind.CPU:

        def work(dy: HostArray, x: HostArray, dx: HostArray) -> None:
            np.multiply(dy, _slope(x, function, x.dtype.type(a)), out=dx)

        with np.errstate(over="ignore", invalid="ignore"):
            each_piece(work, contiguous(dy), contiguous(x), dx)
    else:
        _launch("pointwise_gradient", function, (contiguous(dy), contiguous(x), dx, float(a), dy.size), dy)
    return dx


def _launch(entry: str, function: Pointwise, args: tuple[Array | float, ...], like: Array) -> None:
    defines = {"THREADS": _THREADS, "FUNCTION": function.code}
    grid = ceil_div(like.size, _THREADS)
    launch("pointwise.cu", entry, grid=grid, block=_THREADS, args=args, real=like.dtype, defines=defines)


def _value(x: HostArray, function: Pointwise, a: np.floating, b: np.floating) -> HostArray:  # noqa: C901 - a case each
    """Return f(x) in NumPy."""
    y: HostArray
    match function:
        case Pointwise.SELU:
            below = x.dtype.type(SELU_ALPHA) * np.expm1(np.minimum(x, 0))
            y = x.dtype.type(SELU_SCALE) * np.where(x <= 0, below, x)
        case Pointwise.SOFTSIGN:
            y = x / (1 + np.abs(x))
        case Pointwise.HARD_SIGMOID:
            y = np.clip(x + 3, 0, 6) / 6
        case Pointwise.HARD_SILU:
            y = x * (np.clip(x + 3, 0, 6) / 6)
        case Pointwise.HARD_TANH:
            y = np.clip(x, -1, 1)
        case Pointwise.TANH_SHRINK:
            y = np.where(np.abs(x) > 1, x - np.tanh(x), _tanh_shrink_near_zero(x))
        case Pointwise.HARD_SHRINK:
            y = np.where(np.abs(x) <= a, x.dtype.type(0), x)
        case Pointwise.SOFT_SHRINK:
            y = np.where(x > a, x - a, np.where(x >= -a, x.dtype.type(0), x + a))
        case Pointwise.SQUAREPLUS:
            root = _length(x, a)
            y = np.where(x < 0, a * (a / (root + np.abs(x) + (root == 0))) / 2, (x + root) / 2)
        case Pointwise.SPARSE_PLUS:
            held = np.clip(x, -1, 1)
            y = np.where(x < 1, (held + 1) * (held + 1) / 4, x)
        case Pointwise.SPARSE_SIGMOID:
            y = np.clip((x + 1) / 2, 0, 1)
        case Pointwise.MISH:
            _, w = _mish_parts(x)
            y = x * (w / (w + 2))
        case Pointwise.CELU:
            y = np.where(x <= 0, a * np.expm1(np.minimum(x, 0) / a), x)
        case Pointwise.LOG_SIGMOID:
            y = np.minimum(x, 0) - np.log1p(np.exp(-np.abs(x)))
        case Pointwise.EXPONENTIAL:
            y = np.exp(x)
        case Pointwise.THRESHOLD:
            y = np.where(x <= a, b, x)
    return y


def _slope(x: HostArray, function: Pointwise, a: np.floating) -> HostArray:  # noqa: C901 - a case each
    """Return f'(x) in NumPy."""
    one, zero = x.dtype.type(1), x.dtype.type(0)
    factor: HostArray
    match function:
        case Pointwise.SELU:
            below = x.dtype.type(SELU_ALPHA) * np.exp(np.minimum(x, 0))
            factor = x.dtype.type(SELU_SCALE) * np.where(x <= 0, below, one)
        case Pointwise.SOFTSIGN:
            factor = np.square(1 / (1 + np.abs(x)))
        case Pointwise.HARD_SIGMOID:
            factor = np.where(np.abs(x) < 3, one / 6, zero)
        case Pointwise.HARD_SILU:
            factor = np.where(x <= -3, zero, np.where(x < 3, (2 * x + 3) / 6, one))
        case Pointwise.HARD_TANH:
            factor = np.where(np.abs(x) < 1, one, zero)
        case Pointwise.TANH_SHRINK:
            factor = np.square(np.tanh(x))
        case Pointwise.HARD_SHRINK | Pointwise.SOFT_SHRINK:
            factor = np.where(np.abs(x) <= a, zero, one)
        case Pointwise.SQUAREPLUS:
            root = _length(x, a)
            held = root + (root == 0)
            below = a / held * (a / (held + np.abs(x))) / 2
            factor = np.where(root == 0, one / 2, np.where(x < 0, below, (1 + x / held) / 2))
        case Pointwise.SPARSE_PLUS:
            factor = np.clip((x + 1) / 2, 0, 1)
        case Pointwise.SPARSE_SIGMOID:
            factor = np.where(np.abs(x) < 1, one / 2, zero)
        case Pointwise.MISH:
            e, w = _mish_parts(x)
            factor = w / (w + 2) + x * ((e + 1) / (w + 2)) * (4 * e / (w + 2))
        case Pointwise.CELU:
            factor = np.where(x <= 0, np.exp(np.minimum(x, 0) / a), one)
        case Pointwise.LOG_SIGMOID:
            factor = np.exp(-np.maximum(x, 0)) / (1 + np.exp(-np.abs(x)))
        case Pointwise.EXPONENTIAL:
            factor = np.exp(x)
        case Pointwise.THRESHOLD:
            factor = np.where(x <= a, zero, one)
    return factor


def _tanh_shrink_near_zero(x: HostArray) -> HostArray:
    """Return x - tanh(x) for |x| <= 1, where the two are nearly equal: x t / (1 + t), by Lambert's continued fraction.

    tanh(x) = x / (1 + t), t = x^2 / (3 + x^2 / (5 + ...)).
    """
    x = np.clip(x, -1, 1)
    square = x * x
    t = np.full_like(x, 2 * _FRACTIONS + 1)
    for k in range(2 * _FRACTIONS - 1, 1, -2):
        t = k + square / t
    t = square / t
    y: HostArray = x * t / (1 + t)
    return y


def _length(x: HostArray, a: np.floating) -> HostArray:
    """Return sqrt(x^2 + a^2), without a square that overflows."""
    size = np.abs(x)
    larger, smaller = np.maximum(size, a), np.minimum(size, a)
    share = smaller / (larger + (larger == 0))
    y: HostArray = larger * np.sqrt(1 + share * share)
    return y


def _mish_parts(x: HostArray) -> tuple[HostArray, HostArray]:
    """Return e = exp(x), no larger than makes a difference, and w = e (e + 2): tanh(log(1 + e)) = w / (w + 2)."""
    e = np.exp(np.minimum(x, 40))
    return e, e * (e + 2)
