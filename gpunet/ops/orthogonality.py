"""How far the rows or columns of a matrix are from being orthogonal to each other, and its gradient."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from gpunet.backend.arrays import Array, HostArray, Kind, contiguous, device_of, empty
from gpunet.backend.launch import launch
from gpunet.ops import contract
from gpunet.ops.arithmetic import scale, total
from gpunet.ops.trace import op

THREADS = 128
LIMIT = 1e7  # the most that a vector is scaled by, as 1 / Keras's backend.epsilon()

_FILE = "orthogonality.cu"
_DEFINES = {"THREADS": THREADS}


class _Vectors(NamedTuple):
    """How many vectors of which size a matrix holds, and how far apart they and their elements lie."""

    number: int
    size: int
    stride: int
    element_stride: int


@op(lambda w, columns: 2 * w.size * w.shape[1 if columns else 0])
def orthogonality(w: Array, columns: bool = False) -> Array:
    """y[0] = mean of |cosine| over all pairs of rows of w, or of columns; shape (1,); 0 if there is one alone.

    A vector is scaled by min(1 / norm, 1e7) to get its direction.

    >>> orthogonality(np.array([[3.0, 0.0], [1.0, 1.0]])).round(4)
    array([0.7071])
    """
    device = contract.floats("orthogonality", w=w)
    vectors = _vectors("orthogonality", w, columns)
    pairs = vectors.number * (vectors.number - 1)
    if device.kind is Kind.CPU:
        cosines = _cosines_host(_units_host(w.T if columns else w)[0])
        mean: HostArray = np.abs(cosines).sum(keepdims=True).reshape(1) / w.dtype.type(max(pairs, 1))
        return mean
    u, _ = _units(w, vectors)
    partial = empty((vectors.number,), w.dtype, device)
    args = (u, partial, vectors.number, vectors.size)
    launch(_FILE, "orthogonality", grid=vectors.number, block=THREADS, args=args, real=w.dtype, defines=_DEFINES)
    return scale(total(partial), 1 / max(pairs, 1))


@op(lambda w, *_: 4 * w.size * w.shape[0], changes=("dw",))
def add_orthogonality_gradient(w: Array, dw: Array, factor: float, columns: bool = False) -> None:
    """dw += factor times the gradient of `orthogonality`, in place; `dw` must be C-contiguous."""
    where = "add_orthogonality_gradient"
    device = contract.floats(where, w=w, dw=dw)
    vectors = _vectors(where, w, columns)
    contract.is_output(where, w.shape, dw=dw)
    share = 2 * float(factor) / max(vectors.number * (vectors.number - 1), 1)
    if device.kind is Kind.CPU:
        u, v = _units_host(w.T if columns else w)
        sums = np.sign(_cosines_host(u)) @ u
        along = np.where(v < LIMIT, (u * sums).sum(axis=1, keepdims=True), 0)
        change = w.dtype.type(share) * v * (sums - along * u)
        dw += change.T if columns else change
        return
    u, v = _units(w, vectors)
    sums = empty(u.shape, w.dtype, device)
    args = (u, v, sums, dw, share, *vectors)
    entry = "orthogonality_gradient"
    launch(_FILE, entry, grid=vectors.number, block=THREADS, args=args, real=w.dtype, defines=_DEFINES)


def _vectors(where: str, w: Array, columns: bool) -> _Vectors:
    contract.has_rank(where, "w", w, 2, "(rows, columns)")
    rows, width = w.shape
    return _Vectors(width, rows, 1, width) if columns else _Vectors(rows, width, width, 1)


def _units(w: Array, vectors: _Vectors) -> tuple[Array, Array]:
    """Return the directions of the vectors, (number, size), and what they were scaled by."""
    device = device_of(w)
    u, v = empty((vectors.number, vectors.size), w.dtype, device), empty((vectors.number,), w.dtype, device)
    args = (contiguous(w), u, v, *vectors[1:])
    launch(_FILE, "unit_vectors", grid=vectors.number, block=THREADS, args=args, real=w.dtype, defines=_DEFINES)
    return u, v


def _units_host(w: HostArray) -> tuple[HostArray, HostArray]:
    with np.errstate(divide="ignore"):
        v = np.minimum(1 / np.sqrt(np.square(w).sum(axis=1, keepdims=True)), w.dtype.type(LIMIT))
    return v * w, v


def _cosines_host(u: HostArray) -> HostArray:
    """Return the products of all pairs; 0 on the diagonal."""
    cosines: HostArray = u @ u.T
    np.fill_diagonal(cosines, 0)
    return cosines
