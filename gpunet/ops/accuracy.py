"""How often predictions match targets, added to the running totals of a metric (ops/accumulation.py).

Every op adds, for each sample, the fraction of its `positions` that match: state += (matches / positions, rows /
positions), where `state` is float64 (BLOCKS, 2), of which each block of threads has a part of its own.
"""

from __future__ import annotations

import numpy as np

from gpunet.backend.arrays import Array, HostArray, Kind, common_device, contiguous
from gpunet.backend.launch import Argument, ceil_div, launch
from gpunet.ops import accumulation, contract
from gpunet.ops.labels import check_labels
from gpunet.ops.trace import op

THREADS = 128
ROWS = THREADS // 32  # rows that one block works on at a time: a warp each
BLOCKS = 64  # at most; more than enough to be limited by memory alone

_FILE = "accuracy.cu"


@op(lambda y, *_: y.size, changes=("state",))
def sparse_matches(y: Array, labels: Array, state: Array, positions: int = 1) -> None:
    """A row i matches if argmax_j y[i, j] is labels[i]; y (N, C), int32 labels (N,).

    Of equal maxima the first counts, as in numpy.argmax.
    """
    device = contract.floats("sparse_matches", y=y)
    check_labels("sparse_matches", "y", y, labels)
    accumulation.check_state("sparse_matches", state, y, BLOCKS)
    if device.kind is Kind.CPU:
        _count(y.argmax(axis=1) == labels, state, positions)
    else:
        _launch("sparse_matches", ROWS, y, (contiguous(labels), state, positions, *y.shape))


@op(lambda y, *_: 2 * y.size, changes=("state",))
def dense_matches(y: Array, targets: Array, state: Array, positions: int = 1) -> None:
    """A row i matches if argmax_j y[i, j] is argmax_j targets[i, j]; y and targets (N, C)."""
    device = contract.floats("dense_matches", y=y, targets=targets)
    contract.has_rank("dense_matches", "y", y, 2, "(N, C)")
    contract.has_shape("dense_matches", "targets", targets, y.shape)
    accumulation.check_state("dense_matches", state, y, BLOCKS)
    if device.kind is Kind.CPU:
        _count(y.argmax(axis=1) == targets.argmax(axis=1), state, positions)
    else:
        _launch("dense_matches", ROWS, y, (contiguous(targets), state, positions, *y.shape))


@op(lambda y, *_: 2 * y.size, changes=("state",))
def binary_matches(y: Array, targets: Array, threshold: float, state: Array, positions: int = 1) -> None:
    """An element matches if [y[i] > threshold] is targets[i]; both of one shape, `targets` int32 or of y's dtype."""
    device = contract.floats("binary_matches", y=y)
    common_device("binary_matches", y=y, targets=targets)
    contract.has_shape("binary_matches", "targets", targets, y.shape)
    accumulation.check_state("binary_matches", state, y, BLOCKS)
    labels = targets.dtype == np.int32
    if not labels:
        contract.has_dtype("binary_matches", "targets", targets, y.dtype)
    if device.kind is Kind.CPU:
        _count((y > y.dtype.type(threshold)) == targets, state, positions)
        return
    places = (None, contiguous(targets)) if labels else (contiguous(targets), None)
    _launch("binary_matches", THREADS, y, (*places, state, positions, y.size, float(threshold)))


@op(lambda y, *_: y.size, changes=("state",))
def equal_matches(y: Array, targets: Array, state: Array, positions: int = 1) -> None:
    """An element matches if y[i] equals targets[i]; both of one shape."""
    device = contract.floats("equal_matches", y=y, targets=targets)
    contract.has_shape("equal_matches", "targets", targets, y.shape)
    accumulation.check_state("equal_matches", state, y, BLOCKS)
    if device.kind is Kind.CPU:
        _count(y == targets, state, positions)
    else:
        _launch("equal_matches", THREADS, y, (contiguous(targets), state, positions, y.size))


def _count(matches: HostArray, state: HostArray, positions: int) -> None:
    state[0] += int(np.count_nonzero(matches)) / positions, matches.size / positions


def _launch(entry: str, rows_at_once: int, y: Array, args: tuple[Argument, ...]) -> None:
    """Launch kernel `entry` on `y`, of whose rows a block takes `rows_at_once` at a time."""
    rows = y.size if rows_at_once == THREADS else y.shape[0]
    grid, defines = min(ceil_div(rows, rows_at_once), BLOCKS), {"THREADS": THREADS}
    launch(_FILE, entry, grid=grid, block=THREADS, args=(contiguous(y), *args), real=y.dtype, defines=defines)
