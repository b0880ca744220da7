"""Softmax and cross-entropy as one op, from logits: losses by row, probabilities, and the gradient of the logits."""

from __future__ import annotations

import numpy as np

from gpunet.backend.arrays import Array, HostArray, Kind, contiguous, empty
from gpunet.backend.launch import Argument, ceil_div, launch
from gpunet.ops import contract
from gpunet.ops.labels import check_labels, ignored_argument, known_labels
from gpunet.ops.trace import op

THREADS = 128
ROWS = THREADS // 32  # rows that one block works on: a warp each

_FILE = "softmax_cross_entropy.cu"


@op(lambda logits, *_: 5 * logits.size)
def softmax_cross_entropy(logits: Array, labels: Array, ignored: int | None = None) -> tuple[Array, Array]:
    """losses[i] = log sum_j exp(z[i, j]) - z[i, labels[i]], and probabilities p = softmax(z).

    `logits` z and p have shape (N, C), int32 `labels` and the losses (N,). A row whose label is `ignored` has loss 0.
    Every other label must lie in 0 ... C - 1: the host has to check that, see `Loss.prepare_targets`.

    >>> softmax_cross_entropy(np.zeros((1, 4)), np.int32([2]))[0]
    array([1.38629436])
    """
    device = contract.floats("softmax_cross_entropy", logits=logits)
    check_labels("softmax_cross_entropy", "logits", logits, labels)
    rows, classes = logits.shape
    if device.kind is Kind.CPU:
        z = np.subtract(logits, logits.max(axis=1, keepdims=True))
        every_row = np.arange(rows)
        chosen = z[every_row, known_labels(labels, ignored)]
        probabilities = np.exp(z, out=z)
        sums = probabilities.sum(axis=1)
        probabilities /= sums[:, None]
        losses = np.log(sums) - chosen
        losses[labels == ignored] = 0
        return losses, probabilities
    losses, probabilities = empty((rows,), logits.dtype, device), empty(logits.shape, logits.dtype, device)
    args = (contiguous(logits), contiguous(labels), losses, probabilities, rows, classes, ignored_argument(ignored))
    _launch("softmax_cross_entropy", logits, args)
    return losses, probabilities


@op(lambda probabilities, *_: 2 * probabilities.size)
def softmax_cross_entropy_gradient(
    probabilities: Array, labels: Array, scale: Array, ignored: int | None = None
) -> Array:
    """dz[i, j] = scale (p[i, j] - [j = labels[i]]), and 0 in ignored rows.

    `probabilities` is what `softmax_cross_entropy` returned, `scale` has shape (1,).
    """
    where = "softmax_cross_entropy_gradient"
    device = contract.floats(where, probabilities=probabilities, scale=scale)
    check_labels(where, "probabilities", probabilities, labels)
    contract.has_shape(where, "scale", scale, (1,))
    rows, classes = probabilities.shape
    if device.kind is Kind.CPU:
        dz = np.array(probabilities, order="C")
        dz[np.arange(rows), known_labels(labels, ignored)] -= 1
        dz *= scale
        dz[labels == ignored] = 0
        return dz
    dz = empty(probabilities.shape, probabilities.dtype, device)
    args = (contiguous(probabilities), contiguous(labels), scale, dz, rows, classes, ignored_argument(ignored))
    _launch(where, probabilities, args)
    return dz


@op(lambda logits, *_: 9 * logits.size)
def softmax_cross_entropy_dense(logits: Array, targets: Array, smoothing: float = 0.0) -> tuple[Array, Array, Array]:
    """losses[i] = sum_j t[i, j] (log sum_k exp(z[i, k]) - z[i, j]), probabilities p = softmax(z), and weights.

    t = (1 - smoothing) targets + smoothing / C; `logits` z, `targets` and p have shape (N, C), the losses (N,), and so
    have the weights[i] = sum_j t[i, j], which the gradient needs.
    """
    where = "softmax_cross_entropy_dense"
    device = contract.floats(where, logits=logits, targets=targets)
    contract.has_rank(where, "logits", logits, 2, "(N, C)")
    contract.has_shape(where, "targets", targets, logits.shape)
    rows, classes = logits.shape
    if device.kind is Kind.CPU:
        t = smoothed(targets, smoothing, classes)
        z = np.subtract(logits, logits.max(axis=1, keepdims=True))
        probabilities = np.exp(z)
        sums = probabilities.sum(axis=1, keepdims=True)
        probabilities /= sums
        np.subtract(np.log(sums), z, out=z)
        z *= t
        return z.sum(axis=1), probabilities, t.sum(axis=1)
    losses, weights = empty((rows,), logits.dtype, device), empty((rows,), logits.dtype, device)
    probabilities = empty(logits.shape, logits.dtype, device)
    args = (contiguous(logits), contiguous(targets), losses, probabilities, weights)
    _launch(where, logits, (*args, 1 - float(smoothing), smoothing / classes, rows, classes))
    return losses, probabilities, weights


@op(lambda probabilities, *_: 3 * probabilities.size)
def softmax_cross_entropy_dense_gradient(
    probabilities: Array, targets: Array, weights: Array, scale: Array, smoothing: float = 0.0
) -> Array:
    """dz[i, j] = scale (p[i, j] weights[i] - t[i, j]), with t, p and weights as in `softmax_cross_entropy_dense`."""
    where = "softmax_cross_entropy_dense_gradient"
    device = contract.floats(where, probabilities=probabilities, targets=targets, weights=weights, scale=scale)
    contract.has_rank(where, "probabilities", probabilities, 2, "(N, C)")
    rows, classes = probabilities.shape
    contract.has_shape(where, "targets", targets, probabilities.shape)
    contract.has_shape(where, "weights", weights, (rows,))
    contract.has_shape(where, "scale", scale, (1,))
    if device.kind is Kind.CPU:
        dz = np.multiply(probabilities, weights[:, None])
        dz -= smoothed(targets, smoothing, classes)
        dz *= scale
        return dz
    dz = empty(probabilities.shape, probabilities.dtype, device)
    args = (contiguous(probabilities), contiguous(targets), weights, scale, dz)
    _launch(where, probabilities, (*args, 1 - float(smoothing), smoothing / classes, rows, classes))
    return dz


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
