"""Softmax and cross-entropy as one op, from logits: the losses of the rows, and the gradient of the logits."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from gpunet.backend.arrays import Array, HostArray, Kind, contiguous, device_of, empty
from gpunet.backend.launch import Argument, ceil_div, launch
from gpunet.ops import accumulation, contract
from gpunet.ops.arithmetic import scale_by
from gpunet.ops.labels import check_labels, ignored_argument, known_labels
from gpunet.ops.loss_reduction import reduce_losses
from gpunet.ops.trace import op

THREADS = 128
ROWS = THREADS // 32  # rows that one block works on: a warp each
TOTAL_THREADS = 512  # of the one block that also adds the losses up
MOST_OF_ONE_BLOCK = 2**14  # logits; more are shared out among blocks, and the losses added up by another kernel

_FILE = "softmax_cross_entropy.cu"


@op(lambda logits, *_: 7 * logits.size)
def softmax_cross_entropy(
    logits: Array, labels: Array, scale: float = 1.0, ignored: int | None = None, weights: Array | None = None
) -> tuple[Array, Array]:
    """losses[i] = log sum_j exp(z[i, j]) - z[i, labels[i]], dz[i, j] = scale w[i] (p[i, j] - [j = labels[i]]).

    p = softmax(z); `logits` z and dz have shape (N, C), int32 `labels` and the losses (N,). A row whose label is
    `ignored` has loss and gradient 0. Every other label must lie in 0 ... C - 1: the host has to check that, see
    `Loss.prepare_targets`. Each of the `weights` is w of as many neighbouring rows as any other; without them w is 1.

    >>> losses, dz = softmax_cross_entropy(np.zeros((1, 4)), np.int32([2]))
    >>> losses, dz
    (array([1.38629436]), array([[ 0.25,  0.25, -0.75,  0.25]]))
    """
    device = contract.floats("softmax_cross_entropy", logits=logits, weights=weights)
    check_labels("softmax_cross_entropy", "logits", logits, labels)
    repeats = contract.repeats("softmax_cross_entropy", "weights", weights, len(logits))
    rows, classes = logits.shape
    if device.kind is not Kind.CPU:
        losses, dz = empty((rows,), logits.dtype, device), empty(logits.shape, logits.dtype, device)
        args = (contiguous(logits), contiguous(labels), losses, dz, float(scale), rows, classes)
        _launch("softmax_cross_entropy", logits, (*args, ignored_argument(ignored), _packed(weights), repeats))
        return losses, dz
    z = _shifted(logits)
    places = np.arange(rows), known_labels(labels, ignored)
    chosen = z[places]
    dz = np.exp(z, out=z)
    sums = dz.sum(axis=1)
    losses = np.log(sums) - chosen
    dz /= sums[:, None]
    dz[places] -= 1
    dz *= _scales(scale, weights, dz)
    if ignored is not None:
        losses[labels == ignored] = 0
        dz[labels == ignored] = 0
    return losses, dz


@op(lambda logits, *_: 12 * logits.size)
def softmax_cross_entropy_dense(
    logits: Array, targets: Array, scale: float = 1.0, smoothing: float = 0.0, weights: Array | None = None
) -> tuple[Array, Array]:
    """losses[i] = sum_j t[i, j] (log sum_k exp(z[i, k]) - z[i, j]), dz = scale w[i] (p[i, j] sum_k t[i, k] - t[i, j]).

    t = (1 - smoothing) targets + smoothing / C and p = softmax(z); `logits` z, `targets` and dz have shape (N, C), the
    losses (N,); w comes of the `weights` as in `softmax_cross_entropy`.
    """
    where = "softmax_cross_entropy_dense"
    device = contract.floats(where, logits=logits, targets=targets, weights=weights)
    contract.has_rank(where, "logits", logits, 2, "(N, C)")
    contract.has_shape(where, "targets", targets, logits.shape)
    repeats = contract.repeats(where, "weights", weights, len(logits))
    rows, classes = logits.shape
    if device.kind is not Kind.CPU:
        losses, dz = empty((rows,), logits.dtype, device), empty(logits.shape, logits.dtype, device)
        args = (contiguous(logits), contiguous(targets), losses, dz, float(scale))
        smooth = 1 - float(smoothing), smoothing / classes
        _launch(where, logits, (*args, *smooth, rows, classes, _packed(weights), repeats))
        return losses, dz
    t = smoothed(targets, smoothing, classes)
    z = _shifted(logits)
    dz = np.exp(z)
    sums = dz.sum(axis=1, keepdims=True)
    np.subtract(np.log(sums), z, out=z)
    z *= t
    dz /= sums
    dz *= t.sum(axis=1, keepdims=True)
    dz -= t
    dz *= _scales(scale, weights, dz)
    return z.sum(axis=1), dz


def _scales(scale: float, weights: HostArray | None, dz: HostArray) -> HostArray:
    """Return what the rows of dz are to be multiplied by."""
    one = dz.dtype.type(scale)
    if weights is None:
        return np.asarray(one)
    scales: HostArray = (one * weights).repeat(len(dz) // weights.size)
    return scales[:, None]


class Recorded(NamedTuple):
    """How losses become a value: their mean or sum, added to `record` for `samples` samples (ops/accumulation.py).

    `weights` are as in `softmax_cross_entropy`; with `divide` a mean is divided by their sum, and the gradient is too.
    """

    mean: bool
    record: Array | None
    samples: int
    weights: Array | None = None
    divide: bool = False

    @property
    def divides(self) -> bool:
        """Whether the divisor is known to the device alone."""
        return self.mean and self.divide and self.weights is not None


@op(lambda logits, *_: 7 * logits.size)
def softmax_cross_entropy_value(logits: Array, labels: Array, scale: float, how: Recorded) -> tuple[Array, Array]:
    """Return the mean or sum of the losses of `softmax_cross_entropy`, shape (1,), and dz; in one kernel if it can."""
    if _needs_many_blocks(logits):
        return _reduced(*softmax_cross_entropy(logits, labels, scale, None, _known(how)), how)
    device = contract.floats("softmax_cross_entropy", logits=logits, weights=how.weights)
    check_labels("softmax_cross_entropy", "logits", logits, labels)
    value, dz = empty((1,), logits.dtype, device), empty(logits.shape, logits.dtype, device)
    args = (contiguous(logits), contiguous(labels), value, how.record, dz, float(scale), *logits.shape)
    _launch_total("softmax_cross_entropy_total", logits, (*args, ignored_argument(None)), how)
    return value, dz


@op(lambda logits, *_: 12 * logits.size)
def softmax_cross_entropy_dense_value(
    logits: Array, targets: Array, scale: float, smoothing: float, how: Recorded
) -> tuple[Array, Array]:
    """Return the mean or sum of the losses of `softmax_cross_entropy_dense`, shape (1,), and dz, likewise."""
    if _needs_many_blocks(logits):
        return _reduced(*softmax_cross_entropy_dense(logits, targets, scale, smoothing, _known(how)), how)
    where = "softmax_cross_entropy_dense"
    device = contract.floats(where, logits=logits, targets=targets, weights=how.weights)
    contract.has_rank(where, "logits", logits, 2, "(N, C)")
    contract.has_shape(where, "targets", targets, logits.shape)
    value, dz = empty((1,), logits.dtype, device), empty(logits.shape, logits.dtype, device)
    args = (contiguous(logits), contiguous(targets), value, how.record, dz, float(scale))
    smoothed = 1 - float(smoothing), smoothing / logits.shape[1]
    _launch_total("softmax_cross_entropy_dense_total", logits, (*args, *smoothed, *logits.shape), how)
    return value, dz


def _needs_many_blocks(logits: Array) -> bool:
    return device_of(logits).kind is Kind.CPU or logits.size > MOST_OF_ONE_BLOCK


def _known(how: Recorded) -> Array | None:
    """Return the weights, unless the gradient has to wait for their sum."""
    return None if how.divides else how.weights


def _reduced(losses: Array, dz: Array, how: Recorded) -> tuple[Array, Array]:
    reduced = reduce_losses(
        losses, mean=how.mean, record=how.record, samples=how.samples, weights=how.weights, divide=how.divide
    )
    return reduced.value, scale_by(dz, reduced.scale) if how.divides else dz


def _launch_total(entry: str, logits: Array, args: tuple[Argument, ...], how: Recorded) -> None:
    if how.record is not None:
        accumulation.check_state(entry, how.record, logits)
    repeats = contract.repeats(entry, "weights", how.weights, len(logits))
    args = (*args, len(logits) if how.mean else 1, how.samples, _packed(how.weights), repeats, how.divides)
    defines = {"THREADS": TOTAL_THREADS}
    launch(_FILE, entry, grid=1, block=TOTAL_THREADS, args=args, real=logits.dtype, defines=defines)


def _packed(weights: Array | None) -> Array | None:
    return None if weights is None else contiguous(weights)


def _shifted(logits: HostArray) -> HostArray:
    """Return z less the largest of each row, so that no exponential overflows."""
    z: HostArray = np.subtract(logits, logits.max(axis=1, keepdims=True), order="C")
    return z


def smoothed(targets: HostArray, smoothing: float, classes: int) -> HostArray:
    """Return (1 - smoothing) targets + smoothing / classes on the host, `targets` themselves for smoothing 0."""
    if smoothing == 0:
        return targets
    t: HostArray = np.multiply(targets, targets.dtype.type(1 - smoothing))
    t += targets.dtype.type(smoothing / classes)
    return t


def _launch(entry: str, rows_of: Array, args: tuple[Argument, ...]) -> None:
    blocks = ceil_div(rows_of.shape[0], ROWS)
    launch(_FILE, entry, grid=blocks, block=THREADS, args=args, real=rows_of.dtype, defines={"THREADS": THREADS})
