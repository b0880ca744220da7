"""Matches between predictions and targets: one byte a row or element, 1 where they agree."""

from __future__ import annotations

import numpy as np

from gpunet.backend.arrays import Array, HostArray, Kind, common_device, contiguous, empty
from gpunet.backend.launch import Argument, ceil_div, launch
from gpunet.ops import contract
from gpunet.ops.labels import check_labels
from gpunet.ops.trace import op

THREADS = 128
ROWS = THREADS // 32  # rows that one block works on: a warp each

_FILE = "accuracy.cu"


@op(lambda y, *_: y.size)
def sparse_matches(y: Array, labels: Array) -> Array:
    """matches[i] = 1 if argmax_j y[i, j] is labels[i], else 0; y (N, C), int32 labels and uint8 matches (N,).

    Of equal maxima the first counts, as in numpy.argmax.
    """
    device = contract.floats("sparse_matches", y=y)
    check_labels("sparse_matches", "y", y, labels)
    if device.kind is Kind.CPU:
        return _as_bytes(y.argmax(axis=1) == labels)
    matches = empty(labels.shape, np.uint8, device)
    args = (contiguous(y), contiguous(labels), matches, *y.shape)
    _launch("sparse_matches", ceil_div(y.shape[0], ROWS), args, y)
    return matches


@op(lambda y, *_: 2 * y.size)
def dense_matches(y: Array, targets: Array) -> Array:
    """matches[i] = 1 if argmax_j y[i, j] is argmax_j targets[i, j], else 0; y and targets (N, C), matches (N,)."""
    device = contract.floats("dense_matches", y=y, targets=targets)
    contract.has_rank("dense_matches", "y", y, 2, "(N, C)")
    contract.has_shape("dense_matches", "targets", targets, y.shape)
    if device.kind is Kind.CPU:
        return _as_bytes(y.argmax(axis=1) == targets.argmax(axis=1))
    matches = empty(y.shape[:1], np.uint8, device)
    args = (contiguous(y), contiguous(targets), matches, *y.shape)
    _launch("dense_matches", ceil_div(y.shape[0], ROWS), args, y)
    return matches


@op(lambda y, *_: 2 * y.size)
def binary_matches(y: Array, targets: Array, threshold: float) -> Array:
    """matches[i] = 1 if [y[i] > threshold] is targets[i], else 0; all of one shape, `targets` int32 or of y's dtype."""
    device = contract.floats("binary_matches", y=y)
    common_device("binary_matches", y=y, targets=targets)
    contract.has_shape("binary_matches", "targets", targets, y.shape)
    labels = targets.dtype == np.int32
    if not labels:
        contract.has_dtype("binary_matches", "targets", targets, y.dtype)
    if device.kind is Kind.CPU:
        return _as_bytes((y > y.dtype.type(threshold)) == targets)
    matches = empty(y.shape, np.uint8, device)
    places = (None, contiguous(targets)) if labels else (contiguous(targets), None)
    args = (contiguous(y), *places, matches, float(threshold), y.size)
    _launch("binary_matches", ceil_div(y.size, THREADS), args, y)
    return matches


@op(lambda y, *_: y.size)
def equal_matches(y: Array, targets: Array) -> Array:
    """matches[i] = 1 if y[i] equals targets[i], else 0; all of one shape."""
    device = contract.floats("equal_matches", y=y, targets=targets)
    contract.has_shape("equal_matches", "targets", targets, y.shape)
    if device.kind is Kind.CPU:
        return _as_bytes(y == targets)
    matches = empty(y.shape, np.uint8, device)
    _launch("equal_matches", ceil_div(y.size, THREADS), (contiguous(y), contiguous(targets), matches, y.size), y)
    return matches


def _launch(entry: str, blocks: int, args: tuple[Argument, ...], y: Array) -> None:
    launch(_FILE, entry, grid=blocks, block=THREADS, args=args, real=y.dtype, defines={"THREADS": THREADS})


def _as_bytes(agree: HostArray) -> HostArray:
    matches: HostArray = agree.astype(np.uint8)
    return matches
