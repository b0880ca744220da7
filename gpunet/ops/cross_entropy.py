"""Cross-entropy from probabilities, in Keras's form: divided by their sum, clipped, then the logarithm."""

from __future__ import annotations

import numpy as np

from gpunet.backend.arrays import Array, HostArray, Kind, contiguous, empty
from gpunet.backend.launch import Argument, ceil_div, launch
from gpunet.ops import contract
from gpunet.ops.labels import check_labels, ignored_argument, known_labels
from gpunet.ops.softmax_cross_entropy import smoothed
from gpunet.ops.trace import op

THREADS = 128
ROWS = THREADS // 32  # rows that one block works on: a warp each
EPSILON = 1e-7  # Keras's backend.epsilon(): probabilities are clipped to EPSILON ... 1 - EPSILON

_FILE = "cross_entropy.cu"


@op(lambda probabilities, *_: probabilities.size)
def cross_entropy(probabilities: Array, labels: Array, ignored: int | None = None) -> tuple[Array, Array]:
    """losses[i] = -log clip(p[i, labels[i]] / totals[i]), totals[i] = sum_j p[i, j].

    `probabilities` p have shape (N, C), int32 `labels`, losses and totals (N,). A row whose label is `ignored` has
    loss 0. Every other label must lie in 0 ... C - 1: the host has to check that, see `Loss.prepare_targets`.

    >>> cross_entropy(np.array([[1.0, 3.0]]), np.int32([1]))
    (array([0.28768207]), array([4.]))
    """
    device = contract.floats("cross_entropy", probabilities=probabilities)
    check_labels("cross_entropy", "probabilities", probabilities, labels)
    rows, classes = probabilities.shape
    if device.kind is Kind.CPU:
        totals = probabilities.sum(axis=1)
        chosen = probabilities[np.arange(rows), known_labels(labels, ignored)]
        losses = -np.log(clipped(chosen / totals))
        losses[labels == ignored] = 0
        return losses, totals
    losses, totals = empty((rows,), probabilities.dtype, device), empty((rows,), probabilities.dtype, device)
    args = (contiguous(probabilities), contiguous(labels), losses, totals, rows, classes, ignored_argument(ignored))
    _launch("cross_entropy", probabilities, args)
    return losses, totals


@op(lambda probabilities, *_: probabilities.size)
def cross_entropy_gradient(
    probabilities: Array, labels: Array, totals: Array, scale: Array, ignored: int | None = None
) -> Array:
    """dp[i, j] = scale (1 - [j = labels[i]] / q[i, j]) / totals[i], q = p / totals.

    Rows that are ignored, or whose q at the label was clipped, have gradient 0. `totals` is what `cross_entropy`
    returned, `scale` has shape (1,) or (N,).
    """
    where = "cross_entropy_gradient"
    device = contract.floats(where, probabilities=probabilities, totals=totals, scale=scale)
    check_labels(where, "probabilities", probabilities, labels)
    rows, classes = probabilities.shape
    contract.has_shape(where, "totals", totals, (rows,))
    per_row = contract.is_per_row(where, "scale", scale, rows)
    if device.kind is Kind.CPU:
        every_row, columns = np.arange(rows), known_labels(labels, ignored)
        q = probabilities[every_row, columns] / totals
        without_gradient = is_clipped(q) | (labels == ignored)
        q[without_gradient] = 1  # any number that can be divided by
        dp = np.ones_like(probabilities, order="C")
        dp[every_row, columns] -= 1 / q
        dp *= (scale / totals)[:, None]
        dp[without_gradient] = 0
        return dp
    dp = empty(probabilities.shape, probabilities.dtype, device)
    args = (contiguous(probabilities), contiguous(labels), totals, contiguous(scale), dp, per_row, rows, classes)
    _launch(where, probabilities, (*args, ignored_argument(ignored)))
    return dp


@op(lambda probabilities, *_: 8 * probabilities.size)
def cross_entropy_dense(probabilities: Array, targets: Array, smoothing: float = 0.0) -> tuple[Array, Array, Array]:
    """losses[i] = -sum_j t[i, j] log clip(p[i, j] / totals[i]), totals[i] = sum_j p[i, j], and weights.

    t = (1 - smoothing) targets + smoothing / C; `probabilities` p and `targets` have shape (N, C), losses and totals
    (N,), and so have the weights, which the gradient needs: the sum of t over a row's elements that were not clipped.
    """
    where = "cross_entropy_dense"
    device = contract.floats(where, probabilities=probabilities, targets=targets)
    contract.has_rank(where, "probabilities", probabilities, 2, "(N, C)")
    contract.has_shape(where, "targets", targets, probabilities.shape)
    rows, classes = probabilities.shape
    if device.kind is Kind.CPU:
        t = smoothed(targets, smoothing, classes)
        totals = probabilities.sum(axis=1)
        q = probabilities / totals[:, None]
        weights = np.where(is_clipped(q), q.dtype.type(0), t).sum(axis=1)
        logarithms = np.log(clipped(q))
        logarithms *= t
        return -logarithms.sum(axis=1), totals, weights
    losses, totals, weights = (empty((rows,), probabilities.dtype, device) for _ in range(3))
    args = (contiguous(probabilities), contiguous(targets), losses, totals, weights)
    _launch(where, probabilities, (*args, 1 - float(smoothing), smoothing / classes, rows, classes))
    return losses, totals, weights


@op(lambda probabilities, *_: 4 * probabilities.size)
def cross_entropy_dense_gradient(
    probabilities: Array, targets: Array, totals: Array, weights: Array, scale: Array, smoothing: float = 0.0
) -> Array:
    """dp[i, j] = scale (weights[i] - t[i, j] / q[i, j]) / totals[i], without the second term where q was clipped.

    q = p / totals; t, totals and weights as in `cross_entropy_dense`, `scale` of shape (1,) or (N,).
    """
    where = "cross_entropy_dense_gradient"
    floats = {"probabilities": probabilities, "targets": targets, "totals": totals, "weights": weights, "scale": scale}
    device = contract.floats(where, **floats)
    contract.has_rank(where, "probabilities", probabilities, 2, "(N, C)")
    rows, classes = probabilities.shape
    contract.has_shape(where, "targets", targets, probabilities.shape)
    contract.has_shape(where, "totals", totals, (rows,))
    contract.has_shape(where, "weights", weights, (rows,))
    per_row = contract.is_per_row(where, "scale", scale, rows)
    if device.kind is Kind.CPU:
        q = probabilities / totals[:, None]
        dp = np.divide(smoothed(targets, smoothing, classes), q, out=np.zeros_like(q), where=~is_clipped(q))
        np.subtract(weights[:, None], dp, out=dp)
        dp *= (scale / totals)[:, None]
        return dp
    dp = empty(probabilities.shape, probabilities.dtype, device)
    args = (contiguous(probabilities), contiguous(targets), totals, weights, contiguous(scale), dp)
    _launch(where, probabilities, (*args, 1 - float(smoothing), smoothing / classes, per_row, rows, classes))
    return dp


def clipped(q: HostArray) -> HostArray:
    """Return `q` clipped to EPSILON ... 1 - EPSILON, the bounds rounded to its dtype as the kernels do."""
    low, high = _bounds(q)
    return np.clip(q, low, high)


def is_clipped(q: HostArray) -> HostArray:
    """Tell which elements `clipped` changes; the bounds themselves are not among them."""
    low, high = _bounds(q)
    outside: HostArray = (q < low) | (q > high)
    return outside


def _bounds(q: HostArray) -> HostArray:
    return np.array([EPSILON, 1 - EPSILON], q.dtype)


def _launch(entry: str, rows_of: Array, args: tuple[Argument, ...]) -> None:
    blocks = ceil_div(rows_of.shape[0], ROWS)
    launch(_FILE, entry, grid=blocks, block=THREADS, args=args, real=rows_of.dtype, defines={"THREADS": THREADS})
