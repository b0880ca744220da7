"""How often predictions match targets, added to the running totals of a metric (ops/accumulation.py).

Every op adds, for each sample, the fraction of its `positions` that match, each times its weight w: state += (sum of
w match / positions, sum of w / positions), where `state` is float64 (BLOCKS, 2), of which each block of threads has a
part of its own. Each of the `weights`, (rows / r,), is for r neighbouring rows; without them all are 1.
"""

from __future__ import annotations

import numpy as np

from gpunet.backend.arrays import Array, HostArray, Kind, common_device, contiguous
from gpunet.backend.launch import Argument, ceil_div, launch
from gpunet.ops import accumulation, contract
from gpunet.ops.accumulation import BLOCKS, THREADS, add_weighted
from gpunet.ops.labels import check_labels
from gpunet.ops.trace import op

ROWS = THREADS // 32  # rows that one block works on at a time: a warp each

_FILE = "accuracy.cu"


@op(lambda y, *_, **__: y.size, changes=("state",))
def sparse_matches(
    y: Array, labels: Array, state: Array, positions: int = 1, weights: Array | None = None, k: int = 0
) -> None:
    """A row i matches if argmax_j y[i, j] is labels[i]; y (N, C), int32 labels (N,).

    Of equal maxima the first counts, as in numpy.argmax. With `k` above 0 a row matches if fewer than k of it are
    greater than y[i, labels[i]], a NaN being greater than all.
    """
    device = contract.floats("sparse_matches", y=y, weights=weights)
    check_labels("sparse_matches", "y", y, labels)
    accumulation.check_state("sparse_matches", state, y, BLOCKS)
    if device.kind is Kind.CPU:
        add_weighted(_predicted(y, labels, k), state, positions, weights)
    else:
        args = (contiguous(labels), *accumulation.tally("sparse_matches", state, positions, weights, len(y)))
        _launch("sparse_matches", ROWS, y, (*args, *y.shape, k))


@op(lambda y, *_, **__: 2 * y.size, changes=("state",))
def dense_matches(
    y: Array, targets: Array, state: Array, positions: int = 1, weights: Array | None = None, k: int = 0
) -> None:
    """A row i matches if argmax_j y[i, j] is argmax_j targets[i, j]; y and targets (N, C). `k`: see sparse_matches."""
    device = contract.floats("dense_matches", y=y, targets=targets, weights=weights)
    contract.has_rank("dense_matches", "y", y, 2, "(N, C)")
    contract.has_shape("dense_matches", "targets", targets, y.shape)
    accumulation.check_state("dense_matches", state, y, BLOCKS)
    if device.kind is Kind.CPU:
        add_weighted(_predicted(y, targets.argmax(axis=1), k), state, positions, weights)
    else:
        args = (contiguous(targets), *accumulation.tally("dense_matches", state, positions, weights, len(y)))
        _launch("dense_matches", ROWS, y, (*args, *y.shape, k))


@op(lambda y, *_, **__: y.size, changes=("state",))
def sorted_matches(
    y: Array, targets: Array, state: Array, k: int, positions: int = 1, weights: Array | None = None
) -> None:
    """A row i matches if targets[i] is among y[i, :k], classes sorted by how likely they are; y (N, C)."""
    device = contract.floats("sorted_matches", y=y, targets=targets, weights=weights)
    contract.has_rank("sorted_matches", "y", y, 2, "(N, C)")
    contract.has_shape("sorted_matches", "targets", targets, y.shape[:1])
    accumulation.check_state("sorted_matches", state, y, BLOCKS)
    if device.kind is Kind.CPU:
        add_weighted((y[:, :k] == targets[:, None]).any(axis=1), state, positions, weights)
    else:
        args = (contiguous(targets), *accumulation.tally("sorted_matches", state, positions, weights, len(y)))
        _launch("sorted_matches", ROWS, y, (*args, *y.shape, k))


@op(lambda y, *_, **__: 2 * y.size, changes=("state",))
def binary_matches(
    y: Array, targets: Array, threshold: float, state: Array, positions: int = 1, weights: Array | None = None
) -> None:
    """An element matches if [y[i] > threshold] is targets[i]; both of one shape, `targets` int32 or of y's dtype."""
    device = contract.floats("binary_matches", y=y, weights=weights)
    common_device("binary_matches", y=y, targets=targets)
    contract.has_shape("binary_matches", "targets", targets, y.shape)
    accumulation.check_state("binary_matches", state, y, BLOCKS)
    labels = targets.dtype == np.int32
    if not labels:
        contract.has_dtype("binary_matches", "targets", targets, y.dtype)
    if device.kind is Kind.CPU:
        add_weighted((y > y.dtype.type(threshold)) == targets, state, positions, weights)
        return
    places = (None, contiguous(targets)) if labels else (contiguous(targets), None)
    args = (*places, *accumulation.tally("binary_matches", state, positions, weights, y.size))
    _launch("binary_matches", THREADS, y, (*args, y.size, float(threshold)))


@op(lambda y, *_, **__: y.size, changes=("state",))
def equal_matches(y: Array, targets: Array, state: Array, positions: int = 1, weights: Array | None = None) -> None:
    """An element matches if y[i] equals targets[i]; both of one shape."""
    device = contract.floats("equal_matches", y=y, targets=targets, weights=weights)
    contract.has_shape("equal_matches", "targets", targets, y.shape)
    accumulation.check_state("equal_matches", state, y, BLOCKS)
    if device.kind is Kind.CPU:
        add_weighted(y == targets, state, positions, weights)
    else:
        args = (contiguous(targets), *accumulation.tally("equal_matches", state, positions, weights, y.size))
        _launch("equal_matches", THREADS, y, (*args, y.size))


def _predicted(y: HostArray, labels: HostArray, k: int) -> HostArray:
    """Return which rows predict their label: by the maximum or, for `k` above 0, among the k largest."""
    if k == 0:
        predicted: HostArray = y.argmax(axis=1) == labels
        return predicted
    known = (labels >= 0) & (labels < y.shape[1])
    own = np.take_along_axis(y, np.where(known, labels, 0)[:, None].astype(np.int64), axis=1)
    among: HostArray = np.count_nonzero(~(y <= own), axis=1) < k
    matches: HostArray = among & known
    return matches


def _launch(entry: str, rows_at_once: int, y: Array, args: tuple[Argument, ...]) -> None:
    """Launch kernel `entry` on `y`, of whose rows a block takes `rows_at_once` at a time."""
    rows = y.size if rows_at_once == THREADS else y.shape[0]
    grid, defines = min(ceil_div(rows, rows_at_once), BLOCKS), {"THREADS": THREADS}
    launch(_FILE, entry, grid=grid, block=THREADS, args=(contiguous(y), *args), real=y.dtype, defines=defines)
