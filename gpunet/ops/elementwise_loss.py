"""Losses of pairs of numbers, y and its target t, added up over the last axis: one op for all of Keras's.

The same formulas are in kernels/elementwise_loss.cu.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Any, NamedTuple

import numpy as np

from gpunet.backend.arrays import Array, Device, HostArray, Kind, contiguous, empty
from gpunet.backend.launch import Argument, ceil_div, launch
from gpunet.backend.threads import Part, run
from gpunet.ops import contract
from gpunet.ops.arithmetic import choose
from gpunet.ops.cross_entropy import EPSILON, clipped, is_clipped
from gpunet.ops.softmax_cross_entropy import smoothed
from gpunet.ops.trace import op
from gpunet.ops.update import PIECE

THREADS = 128
ROWS = THREADS // 32  # rows that one block works on: a warp each
CHECK_THREADS = 256

_FILE = "elementwise_loss.cu"


class Pair(Enum):
    """What is added up; e is y - t."""

    ABSOLUTE = "|e|"
    PERCENTAGE = "100 |e| / max(|t|, 1e-7)"
    SQUARED_LOGARITHMIC = "(log(1 + max(y, 1e-7)) - log(1 + max(t, 1e-7)))^2"
    HUBER = "e^2 / 2 where |e| <= delta, else delta |e| - delta^2 / 2"
    LOG_COSH = "log cosh e"
    POISSON = "y - t log(y + 1e-7)"
    DIVERGENCE = "t log(t / y), both clipped to 1e-7 ... 1; a sum, not a mean"
    HINGE = "max(1 - t y, 0)"
    SQUARED_HINGE = "max(1 - t y, 0)^2"
    FOCAL = "w (1 - p)^gamma (-t log c - (1 - t) log(1 - c)), p = t y + (1 - t) (1 - y), c = clip(y)"
    FOCAL_LOGITS = "the same of sigmoid(y)"

    @property
    def code(self) -> int:
        """The number that reaches the kernels."""
        return list(Pair).index(self)


class Terms(NamedTuple):
    """A kind of loss and its numbers: delta or gamma, weights w = t one + (1 - t) zero, label smoothing.

    t = (1 - smoothing) targets + smoothing / 2; `shift`, (2,) on the device, holds the factor and the summand instead.
    """

    kind: Pair
    shape: float = 0.0
    one: float = 1.0
    zero: float = 1.0
    smoothing: float = 0.0
    shift: Array | None = None

    def divisor(self, columns: int) -> int:
        """Return what the sum of a row is divided by."""
        return 1 if self.kind is Pair.DIVERGENCE else columns

    def arguments(self) -> tuple[Argument, ...]:
        """Return what the kernels take."""
        smooth = 1 - float(self.smoothing), self.smoothing / 2
        return self.kind.code, float(self.shape), float(self.one), float(self.zero), *smooth, self.shift

    def targets(self, targets: HostArray) -> HostArray:
        """Return t on the host."""
        if self.shift is not None:
            shifted: HostArray = targets * self.shift[0] + self.shift[1]
            return shifted
        return smoothed(targets, self.smoothing, 2)


@op(lambda y, *_: 6 * y.size)
def elementwise_loss(y: Array, targets: Array, terms: Terms) -> Array:
    """losses[i] = mean_j f(y[i, j], t[i, j]), f as `terms` says; `y` and `targets` have shape (N, C), the losses (N,).

    >>> elementwise_loss(np.array([[1.0, 3.0]]), np.array([[0.0, 1.0]]), Terms(Pair.ABSOLUTE))
    array([1.5])
    """
    device = _check("elementwise_loss", y, targets, terms)
    rows, columns = y.shape
    if device.kind is Kind.CPU:
        divisor, sums = y.dtype.type(terms.divisor(columns)), np.empty(rows, y.dtype)

        def add_up(some: slice) -> None:
            np.divide(_values(y[some], terms.targets(targets[some]), terms).sum(axis=1), divisor, out=sums[some])

        _each_rows(add_up, y)
        return sums
    losses = empty((rows,), y.dtype, device)
    args = (contiguous(y), contiguous(targets), losses, *terms.arguments(), terms.divisor(columns), rows, columns)
    blocks, defines = ceil_div(rows, ROWS), {"THREADS": THREADS}
    launch(_FILE, "elementwise_loss", grid=blocks, block=THREADS, args=args, real=y.dtype, defines=defines)
    return losses


@op(lambda y, *_: 6 * y.size)
def elementwise_loss_gradient(y: Array, targets: Array, scale: Array, terms: Terms) -> Array:
    """dy[i, j] = f'(y[i, j], t[i, j]) scale / C, `scale` of shape (1,) or one a row, (N,).

    Where f has a kink, f' is 0 for |e| and for what a clip holds, and that of the flatter side for the others.
    """
    where = "elementwise_loss_gradient"
    device = _check(where, y, targets, terms, scale)
    per_row = contract.is_per_row(where, "scale", scale, len(y))
    divisor, dy = terms.divisor(y.shape[1]), empty(y.shape, y.dtype, device)
    if device.kind is Kind.CPU:
        factors = (scale / y.dtype.type(divisor))[:, None]

        def derive(some: slice) -> None:
            slopes = _slopes(y[some], terms.targets(targets[some]), terms)
            np.multiply(slopes, factors[some] if per_row else factors, out=dy[some])

        _each_rows(derive, y)
        return dy
    args = (contiguous(y), contiguous(targets), contiguous(scale), dy, *terms.arguments(), divisor, per_row)
    blocks, defines = ceil_div(y.size, THREADS), {"THREADS": THREADS}
    launch(_FILE, where, grid=blocks, block=THREADS, args=(*args, *y.shape), real=y.dtype, defines=defines)
    return dy


@op(lambda targets: targets.size)
def hinge_shift(targets: Array) -> Array:
    """Return the factor and the summand, (2,), that make targets of 0 and 1 alone -1 and 1; others they leave alone.

    >>> hinge_shift(np.array([0.0, 1.0])), hinge_shift(np.array([-1.0, 1.0]))
    (array([ 2., -1.]), array([1., 0.]))
    """
    device = contract.floats("hinge_shift", targets=targets)
    if device.kind is Kind.CPU:
        binary = bool(((targets == 0) | (targets == 1)).all())
        return np.array([2, -1] if binary else [1, 0], targets.dtype)
    shift = empty((2,), targets.dtype, device)
    args, defines = (contiguous(targets), shift, targets.size), {"THREADS": CHECK_THREADS}
    launch("hinge_shift.cu", "hinge_shift", grid=1, block=CHECK_THREADS, args=args, real=targets.dtype, defines=defines)
    return shift


def _check(where: str, y: Array, targets: Array, terms: Terms, scale: Array | None = None) -> Device:
    device = contract.floats(where, y=y, targets=targets, scale=scale, shift=terms.shift)
    contract.has_rank(where, "y", y, 2, "(N, C)")
    contract.has_shape(where, "targets", targets, y.shape)
    if terms.shift is not None:
        contract.has_shape(where, "shift", terms.shift, (2,))
    return device


def _each_rows(work: Callable[[slice], None], y: HostArray) -> None:
    """Call `work` with pieces of y's rows, which threads share."""
    rows = max(PIECE // y.shape[1], 1)
    pieces = [slice(first, first + rows) for first in range(0, len(y), rows)]

    def part(piece: slice) -> Part:
        yield lambda: work(piece)

    run(part(piece) for piece in pieces)


def _values(y: HostArray, t: HostArray, terms: Terms) -> HostArray:
    """Return f(y, t)."""
    values: HostArray = _FORMULAS[terms.kind][0](y, t, terms)
    return values


def _slopes(y: HostArray, t: HostArray, terms: Terms) -> HostArray:
    """Return f'(y, t)."""
    return np.ascontiguousarray(_FORMULAS[terms.kind][1](y, t, terms))


_Formula = Callable[[HostArray, HostArray, Terms], Any]


def _log_cosh(y: HostArray, t: HostArray, terms: Terms) -> Any:
    e = np.abs(y - t)
    return e + np.log1p(np.exp(-2 * e)) - e.dtype.type(np.log(2.0))


def _logarithmic(y: HostArray, t: HostArray) -> HostArray:
    least = y.dtype.type(EPSILON)
    error: HostArray = np.log1p(np.maximum(y, least)) - np.log1p(np.maximum(t, least))
    return error


def _logarithmic_slope(y: HostArray, t: HostArray, terms: Terms) -> Any:
    return np.where(y >= y.dtype.type(EPSILON), 2 * _logarithmic(y, t) / (1 + np.abs(y)), y.dtype.type(0))


def _huber(y: HostArray, t: HostArray, terms: Terms) -> Any:
    e, delta = np.abs(y - t), y.dtype.type(terms.shape)
    half = y.dtype.type(0.5)
    outside = delta * e - half * (delta * delta)
    return choose(e <= delta, half * (e * e), outside, out=outside)


def _huber_slope(y: HostArray, t: HostArray, terms: Terms) -> Any:
    delta = y.dtype.type(terms.shape)
    return np.clip(y - t, -delta, delta)


def _percentage_slope(y: HostArray, t: HostArray, terms: Terms) -> Any:
    return np.sign(y - t) * (100 / np.maximum(np.abs(t), t.dtype.type(EPSILON)))


def _divergence(y: HostArray, t: HostArray, terms: Terms) -> Any:
    least = y.dtype.type(EPSILON)
    t = np.clip(t, least, 1)
    return t * np.log(t / np.clip(y, least, 1))


def _divergence_slope(y: HostArray, t: HostArray, terms: Terms) -> Any:
    least = y.dtype.type(EPSILON)
    outside = (y < least) | (y > 1)
    return np.where(outside, y.dtype.type(0), -np.clip(t, least, 1) / np.where(outside, y.dtype.type(1), y))


def _margin(y: HostArray, t: HostArray) -> HostArray:
    margin: HostArray = np.maximum(1 - t * y, 0)
    return margin


def _hinge_slope(y: HostArray, t: HostArray, terms: Terms) -> Any:
    return np.where(1 - t * y > 0, -t, y.dtype.type(0))


def _sigmoid(z: HostArray) -> HostArray:
    """Return 1 / (1 + exp(-z)) on the host, in which no exponential overflows."""
    e = np.exp(-np.abs(z))
    q: HostArray = np.where(z >= 0, z.dtype.type(1), e) / (1 + e)
    return q


def _entropy(q: HostArray, t: HostArray) -> Any:
    c = clipped(q)
    return -(t * np.log(c) + (1 - t) * np.log(1 - c))


def _focal(q: HostArray, t: HostArray, terms: Terms) -> Any:
    real = q.dtype.type
    missing = 1 - (t * q + (1 - t) * (1 - q))
    weight = t * real(terms.one) + (1 - t) * real(terms.zero)
    return weight * (missing ** real(terms.shape) * _entropy(q, t))


def _focal_slope(q: HostArray, t: HostArray, terms: Terms) -> Any:
    """Return dw (1 - p)^gamma / dq times the entropy, and the other way round."""
    real, gamma = q.dtype.type, q.dtype.type(terms.shape)
    missing = 1 - (t * q + (1 - t) * (1 - q))
    inside = ~is_clipped(q)
    slope = np.divide(q - t, q * (1 - q), out=np.zeros_like(q, order="C"), where=inside) * missing**gamma
    if gamma:
        slope += gamma * missing ** (gamma - 1) * (1 - 2 * t) * _entropy(q, t)
    return slope * (t * real(terms.one) + (1 - t) * real(terms.zero))


def _focal_logits_slope(z: HostArray, t: HostArray, terms: Terms) -> Any:
    q = _sigmoid(z)
    return _focal_slope(q, t, terms) * (q * (1 - q))


def _poisson_argument(y: HostArray) -> Any:
    return y + y.dtype.type(EPSILON)


_FORMULAS: dict[Pair, tuple[_Formula, _Formula]] = {
    Pair.ABSOLUTE: (lambda y, t, _: np.abs(y - t), lambda y, t, _: np.sign(y - t)),
    Pair.PERCENTAGE: (
        lambda y, t, _: 100 * (np.abs(y - t) / np.maximum(np.abs(t), t.dtype.type(EPSILON))),
        _percentage_slope,
    ),
    Pair.SQUARED_LOGARITHMIC: (lambda y, t, _: _logarithmic(y, t) ** 2, _logarithmic_slope),
    Pair.HUBER: (_huber, _huber_slope),
    Pair.LOG_COSH: (_log_cosh, lambda y, t, _: np.tanh(y - t)),
    Pair.POISSON: (lambda y, t, _: y - t * np.log(_poisson_argument(y)), lambda y, t, _: 1 - t / _poisson_argument(y)),
    Pair.DIVERGENCE: (_divergence, _divergence_slope),
    Pair.HINGE: (lambda y, t, _: _margin(y, t), _hinge_slope),
    Pair.SQUARED_HINGE: (lambda y, t, _: _margin(y, t) ** 2, lambda y, t, _: -2 * t * _margin(y, t)),
    Pair.FOCAL: (_focal, _focal_slope),
    Pair.FOCAL_LOGITS: (lambda z, t, terms: _focal(_sigmoid(z), t, terms), _focal_logits_slope),
}
