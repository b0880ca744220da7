"""Rows of a table by index, and the gradient of the table."""

from __future__ import annotations

import math

import numpy as np

from gpunet.backend.arrays import Array, HostArray, Kind, contiguous, empty, fill
from gpunet.backend.launch import Argument, ceil_div, launch
from gpunet.ops import contract
from gpunet.ops.scatter import scatter_add
from gpunet.ops.trace import op

THREADS = 256


def _moved(x: Array, table: Array) -> int:
    return int(x.nbytes + 2 * x.size * table.shape[1] * table.itemsize)


@op(lambda x, table: 0, traffic=_moved)
def embedding(x: Array, table: Array) -> Array:
    """y[..., c] = table[k, c] with k = x[...] without its fraction; x has any shape, `table` is (rows, width).

    Indices are floats, of table's dtype. One that is not from 0 to rows - 1 is a ValueError on the CPU. On a device,
    where nobody waits for what the kernel finds, nothing is read for it, and its row of y is NaN.

    >>> embedding(np.float32([2, 0]), np.float32([[1, 10], [2, 20], [3, 30]]))
    array([[ 3., 30.],
           [ 1., 10.]], dtype=float32)
    """
    device = contract.floats("embedding", x=x, table=table)
    contract.has_rank("embedding", "table", table, 2, "(rows, width)")
    rows, width = table.shape
    if device.kind is Kind.CPU:
        return np.asarray(np.take(table, _indices(x, rows), axis=0))
    y = empty((*x.shape, width), x.dtype, device)
    _launch("embedding", y.size, (contiguous(x), contiguous(table), y, y.size, rows, width, math.inf), x)
    return y


@op(lambda dy, x, dtable: dy.size, changes=("dtable",))
def embedding_gradient(dy: Array, x: Array, dtable: Array) -> None:
    """dtable[k, c] = sum of dy[i, c] over the i with index k, in ascending order of i; into `dtable` (rows, width).

    x has the indices that `embedding` got, in any shape, dy that shape and (width,). Rows without an index become 0.
    """
    device = contract.floats("embedding_gradient", dy=dy, x=x, dtable=dtable)
    contract.has_rank("embedding_gradient", "dtable", dtable, 2, "(rows, width)")
    rows, width = dtable.shape
    contract.has_shape("embedding_gradient", "dy", dy, (*x.shape, width))
    if device.kind is Kind.CPU:
        keys = _indices(x, rows).reshape(-1).astype(np.int32)
    else:
        keys = empty((x.size,), np.int32, device)
        _launch("embedding_keys", x.size, (contiguous(x), keys, x.size, rows), x)
    fill(dtable, 0)
    scatter_add(dtable, keys, dy.reshape(-1, width))


def _indices(x: HostArray, rows: int) -> HostArray:
    """Return the indices as integers; ValueError for one that is no row's."""
    inside = (x > -1) & (x < rows)
    if not inside.all():
        place = tuple(int(i) for i in np.argwhere(~inside)[0])
        raise ValueError(f"embedding: indices must be from 0 to {rows - 1}; got {x[place]:g} at {place}")
    return x.astype(np.int64)


def _launch(entry: str, threads: int, args: tuple[Argument, ...], x: Array) -> None:
    launch(
        "embedding.cu",
        entry,
        grid=ceil_div(threads, THREADS),
        block=THREADS,
        args=args,
        real=x.dtype,
        defines={"THREADS": THREADS},
    )
