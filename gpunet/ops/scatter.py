"""Rows added where keys say, in a fixed order: the gradient of every op that reads by index."""

from __future__ import annotations

import numpy as np

from gpunet.backend.arrays import Array, HostArray, Kind, common_device, contiguous, empty
from gpunet.backend.launch import Argument, ceil_div, launch
from gpunet.ops import contract
from gpunet.ops.trace import op

THREADS = 128
PER_THREAD = 16  # keys that a thread counts and moves
RADIX_BITS = 6  # of a key that are sorted by at a time

_FILE = "scatter.cu"
_LIMIT = 2**31  # the kernels hold keys and positions in 32 bits


@op(lambda out, keys, values, weights=None: 2 * len(keys) * out.shape[1], changes=("out",))
def scatter_add(out: Array, keys: Array, values: Array, weights: Array | None = None) -> None:
    """out[r] += sum of weights[i] values[i // per] over the i with keys[i] = r, in ascending order of i, in place.

    `out` is (rows, width), `keys` int32 (m,) and `values` (m / per, width), for any whole `per`; `weights`, (m,), are 1
    if None. Keys equal to `rows` are left out; the caller vouches for 0 <= keys <= rows. The sums have the same bits at
    every run and on every device. ValueError for shapes that do not go together, and for 2^31 keys or rows and more.

    >>> out = np.zeros((3, 1), np.float32)
    >>> scatter_add(out, np.int32([2, 0, 2]), np.float32([[1], [10], [5]]))
    >>> out.ravel()
    array([10.,  0.,  6.], dtype=float32)
    """
    device = contract.floats("scatter_add", out=out, values=values, weights=weights)
    common_device("scatter_add", out=out, keys=keys)
    _check(out, keys, values, weights)
    per = len(keys) // len(values)
    if device.kind is Kind.CPU:
        _scatter_add_cpu(out, keys, values, weights, per)
        return
    rows, width = out.shape
    sorted_keys, positions = _sorted(contiguous(keys), rows)
    starts = empty((rows + 1,), np.int32, device)
    _launch("row_starts", rows + 1, (sorted_keys, starts, len(keys), rows), out)
    weights = None if weights is None else contiguous(weights)
    args = (starts, positions, contiguous(values), weights, out, rows, width, per)
    _launch("add_rows", rows * width, args, out)


def _sorted(keys: Array, rows: int) -> tuple[Array, Array]:
    """Return the keys in ascending order, and where each of them was: equal ones in the order they had."""
    m = len(keys)
    blocks = ceil_div(m, THREADS * PER_THREAD)
    device = common_device("scatter_add", keys=keys)
    counts = empty((2**RADIX_BITS * blocks,), np.int32, device)
    positions = None
    for shift in range(0, rows.bit_length(), RADIX_BITS):
        moved_keys, moved_positions = empty((m,), np.int32, device), empty((m,), np.int32, device)
        threads = blocks * THREADS
        _launch("digit_counts", threads, (keys, counts, m, shift))
        _launch("exclusive_scan", THREADS, (counts, counts.size))
        _launch("move_by_digit", threads, (keys, positions, counts, moved_keys, moved_positions, m, shift))
        keys, positions = moved_keys, moved_positions
    assert positions is not None  # rows >= 1 has a bit
    return keys, positions


def _scatter_add_cpu(out: HostArray, keys: HostArray, values: HostArray, weights: HostArray | None, per: int) -> None:
    """Add, turn by turn, what each row gets first, second, and so on."""
    order = np.argsort(keys, kind="stable")
    rows, starts, counts = np.unique(keys[order], return_index=True, return_counts=True)
    if rows[-1] == len(out):
        rows, starts, counts = rows[:-1], starts[:-1], counts[:-1]
    by_count = np.argsort(-counts, kind="stable")  # so that the rows that get more are in front
    rows, starts, counts = rows[by_count], starts[by_count], counts[by_count]

    def terms(places: HostArray) -> HostArray:
        at = order[places]
        found: HostArray = values[at // per]
        return found if weights is None else found * weights[at, None]

    sums = np.zeros((len(rows), out.shape[1]), out.dtype)
    turn, left = 0, len(rows)
    while left > turn:  # until the rows that are left are fewer than the turns so far: then each by itself
        sums[:left] += terms(starts[:left] + turn)
        turn += 1
        left = int(np.searchsorted(-counts, -turn, side="left"))
    for row in range(left):
        more = terms(np.arange(starts[row] + turn, starts[row] + counts[row]))
        sums[row] = _sum_in_order(np.concatenate([sums[row : row + 1], more]))
    out[rows] += sums


def _sum_in_order(terms: HostArray) -> HostArray:
    """Return the sum of the rows of `terms`, one after the other: NumPy adds up numbers of one column in pairs."""
    total: HostArray = np.add.accumulate(terms)[-1] if terms.shape[1] == 1 else np.add.reduce(terms, axis=0)
    return total


def _check(out: Array, keys: Array, values: Array, weights: Array | None) -> None:
    contract.has_rank("scatter_add", "out", out, 2, "(rows, width)")
    contract.is_contiguous("scatter_add", "out", out)
    contract.has_rank("scatter_add", "keys", keys, 1, "(m,)")
    contract.has_dtype("scatter_add", "keys", keys, np.int32)
    contract.has_shape("scatter_add", "values", values, (values.shape[0], out.shape[1]))
    if len(keys) == 0 or len(keys) % len(values):
        raise ValueError(f"scatter_add: keys must be a multiple of {len(values)}, the rows of values; got {len(keys)}")
    if max(len(keys), len(out)) >= _LIMIT:
        raise ValueError(
            f"scatter_add: keys and rows must be fewer than {_LIMIT}; got {len(keys)} keys and {len(out)} rows; use "
            "smaller batches"
        )
    if weights is not None:
        contract.has_shape("scatter_add", "weights", weights, keys.shape)


def _launch(entry: str, threads: int, args: tuple[Argument, ...], out: Array | None = None) -> None:
    launch(
        _FILE,
        entry,
        grid=ceil_div(threads, THREADS),
        block=THREADS,
        args=args,
        real=np.float32 if out is None else out.dtype,
        defines={"THREADS": THREADS, "PER_THREAD": PER_THREAD, "RADIX_BITS": RADIX_BITS},
    )
