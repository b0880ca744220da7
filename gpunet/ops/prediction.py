"""What outputs predict: classes, by the largest or by a threshold, and marks of the largest."""

from __future__ import annotations

import numpy as np

from gpunet.backend.arrays import Array, Device, HostArray, Kind, contiguous, device_of, empty, empty_like
from gpunet.backend.launch import Argument, ceil_div, launch
from gpunet.ops import contract
from gpunet.ops.trace import op

THREADS = 128

_NOT_KEPT = -1e10  # what Keras writes in place of what is not among the largest


@op(lambda y: y.size)
def argmax_classes(y: Array) -> Array:
    """label[i] = argmax_j y[i, j], int32 (N,), of y (N, C); of equal maxima the first."""
    device = _check("argmax_classes", y)
    if device.kind is Kind.CPU:
        largest: HostArray = y.argmax(axis=1).astype(np.int32)
        return largest
    labels = empty(y.shape[:1], np.int32, device)
    _launch("argmax_classes", 32 * len(y), y, (labels, *y.shape))
    return labels


@op(lambda y, _: y.size)
def threshold_classes(y: Array, threshold: float) -> Array:
    """label[i] = [y[i] >= threshold], int32, in y's shape."""
    device = contract.floats("threshold_classes", y=y)
    if device.kind is Kind.CPU:
        reached: HostArray = (y >= y.dtype.type(threshold)).astype(np.int32)
        return reached
    labels = empty(y.shape, np.int32, device)
    _launch("threshold_classes", y.size, y, (labels, y.size, float(threshold)))
    return labels


@op(lambda y, _: y.size * y.shape[1])
def keep_largest(y: Array, k: int) -> Array:
    """z[i, j] = y[i, j] if it is one of the k largest of row i, else -1e10; y (N, C). Of equal ones the first stay."""
    device = _check("keep_largest", y)
    if device.kind is Kind.CPU:
        kept = np.argsort(-y, axis=1, kind="stable")[:, :k]
        z = np.full_like(y, _NOT_KEPT)
        np.put_along_axis(z, kept, np.take_along_axis(y, kept, axis=1), axis=1)
        return z
    z = empty_like(y)
    _launch("keep_largest", y.size, y, (z, y.size, y.shape[1], k))
    return z


@op(lambda y: y.size * y.shape[1])
def mark_maxima(y: Array) -> Array:
    """z[i, j] = 1 where y[i, j] is the maximum of row i and further than 1e-9 from 0, else 0; y (N, C)."""
    device = _check("mark_maxima", y)
    if device.kind is Kind.CPU:
        largest = (y >= y.max(axis=1, keepdims=True)) & (np.abs(y) > y.dtype.type(1e-9))
        marks: HostArray = largest.astype(y.dtype)
        return marks
    z = empty_like(y)
    _launch("mark_maxima", y.size, y, (z, y.size, y.shape[1]))
    return z


def _check(where: str, y: Array) -> Device:
    contract.floats(where, y=y)
    contract.has_rank(where, "y", y, 2, "(N, C)")
    return device_of(y)


def _launch(entry: str, threads: int, y: Array, args: tuple[Argument, ...]) -> None:
    defines = {"THREADS": THREADS}
    grid, args = ceil_div(threads, THREADS), (contiguous(y), *args)
    launch("prediction.cu", entry, grid=grid, block=THREADS, args=args, real=y.dtype, defines=defines)
