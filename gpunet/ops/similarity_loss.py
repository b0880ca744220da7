"""Losses by three sums over a row of outputs y and targets t: cosine similarity, Dice's and Tversky's overlap.

The gradient is linear in y and t: dy = scale (a t + b y + c), with numbers a, b and c for every row.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from gpunet.backend.arrays import Array, Device, HostArray, Kind, contiguous, empty
from gpunet.backend.launch import ceil_div, launch
from gpunet.ops import contract
from gpunet.ops.cross_entropy import EPSILON
from gpunet.ops.trace import op

_FILE = "similarity_loss.cu"
THREADS = 256  # of a block, which works on a row
FEW_THREADS, FEW_COLUMNS = 32, 512  # of a block for a short row
GRADIENT_THREADS = 128

_LEAST_SQUARES = 1e-14  # Keras's normalize: a sum of squares is taken to be this at least


class Overlap(NamedTuple):
    """losses = 1 - both i / (both i + target f + output g + 1e-7): how much of t and of y lies outside the other.

    i = sum t y, f = sum t (1 - y), g = sum y (1 - t).
    """

    both: float
    target: float
    output: float


@op(lambda y, *_: 6 * y.size)
def similarity_loss(y: Array, targets: Array, overlap: Overlap | None = None) -> tuple[Array, Array]:
    """losses[i] = -cos(y[i], t[i]), or by `overlap`, and lines (N, 3), which the gradient needs.

    `y` and `targets` have shape (N, C), the losses (N,). A row without length has loss 0.

    >>> similarity_loss(np.array([[0.0, 2.0]]), np.array([[0.0, 3.0]]))[0]
    array([-1.])
    """
    device = _check("similarity_loss", y, targets)
    rows, columns = y.shape
    if device.kind is Kind.CPU:
        return _cosine(y, targets) if overlap is None else _overlap(y, targets, overlap)
    losses, lines = empty((rows,), y.dtype, device), empty((rows, 3), y.dtype, device)
    weights = (0.0, 0.0, 0.0) if overlap is None else tuple(map(float, overlap))
    args = (contiguous(y), contiguous(targets), losses, lines, overlap is not None, *weights, columns)
    threads = FEW_THREADS if columns <= FEW_COLUMNS else THREADS
    launch(
        _FILE,
        "similarity_loss",
        grid=rows,
        block=threads,
        args=args,
        real=y.dtype,
        defines={"THREADS": threads},
    )
    return losses, lines


@op(lambda y, *_: 5 * y.size)
def similarity_loss_gradient(y: Array, targets: Array, lines: Array, scale: Array) -> Array:
    """dy[i, j] = scale (a[i] t[i, j] + b[i] y[i, j] + c[i]) with (a, b, c) of `lines`; `scale` is (1,) or (N,)."""
    where = "similarity_loss_gradient"
    device = _check(where, y, targets, lines, scale)
    contract.has_shape(where, "lines", lines, (len(y), 3))
    per_row = contract.is_per_row(where, "scale", scale, len(y))
    if device.kind is Kind.CPU:
        a, b, c = lines.T[:, :, None]
        dy: HostArray = a * targets + b * y + c
        dy *= scale[:, None]
        return dy
    dy = empty(y.shape, y.dtype, device)
    args = (contiguous(y), contiguous(targets), contiguous(lines), contiguous(scale), dy, per_row, y.shape[1], y.size)
    launch(
        _FILE,
        where,
        grid=ceil_div(y.size, GRADIENT_THREADS),
        block=GRADIENT_THREADS,
        args=args,
        real=y.dtype,
        defines={"THREADS": GRADIENT_THREADS},
    )
    return dy


def _check(where: str, y: Array, targets: Array, lines: Array | None = None, scale: Array | None = None) -> Device:
    device = contract.floats(where, y=y, targets=targets, lines=lines, scale=scale)
    contract.has_rank(where, "y", y, 2, "(N, C)")
    contract.has_shape(where, "targets", targets, y.shape)
    return device


def _sum(a: HostArray, b: HostArray) -> HostArray:
    """Return the sums over the rows of a b, in float64."""
    total: HostArray = np.einsum("ij,ij->i", a, b, dtype=np.float64)
    return total


def _cosine(y: HostArray, t: HostArray) -> tuple[HostArray, HostArray]:
    squares = _sum(y, y)
    long = squares >= _LEAST_SQUARES
    y_length = np.sqrt(np.maximum(squares, _LEAST_SQUARES))
    t_length = np.sqrt(np.maximum(_sum(t, t), _LEAST_SQUARES))
    cosine = _sum(y, t) / (y_length * t_length)
    lines = np.zeros((len(y), 3))
    lines[:, 0] = -1 / (y_length * t_length)
    lines[:, 1] = np.where(long, cosine / (y_length * y_length), 0)
    return (-cosine).astype(y.dtype), lines.astype(y.dtype)


def _overlap(y: HostArray, t: HostArray, overlap: Overlap) -> tuple[HostArray, HostArray]:
    both = overlap.both * _sum(t, y)
    whole = both + overlap.target * _sum(t, 1 - y) + overlap.output * _sum(y, 1 - t) + EPSILON
    share = both / whole
    lines = np.zeros((len(y), 3))
    lines[:, 0] = (share * (overlap.both - overlap.target - overlap.output) - overlap.both) / whole
    lines[:, 2] = share * overlap.output / whole
    return (1 - share).astype(y.dtype), lines.astype(y.dtype)
