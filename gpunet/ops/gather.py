"""The samples of one batch, by index, from a set that stays where it is."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from gpunet.backend.arrays import Array, Device, HostArray, Kind, common_device
from gpunet.backend.launch import ceil_div, launch
from gpunet.ops import contract
from gpunet.ops.position import move_on
from gpunet.ops.trace import op

THREADS = 256  # of a block, which are shared out among rows and columns
PER_THREAD = 4  # elements of a row that a thread copies, as long as the grid has room
MOST_BLOCKS = 65535  # along the grid's y, CUDA's limit

# What the set may be kept in on a device; bool and float16 reach the kernel as bits of the same size.
_INTEGERS = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64")
STORED = tuple(map(np.dtype, ("bool", *_INTEGERS, "float16", "float32", "float64")))
TARGETS = tuple(map(np.dtype, ("float32", "float64", "int32")))

_BITS: Mapping[np.dtype[Any], np.dtype[Any]] = {
    np.dtype(np.bool_): np.dtype(np.uint8),
    np.dtype(np.float16): np.dtype(np.uint16),
}


def _moved(source: Array, order: Array, position: Array, out: Array, move: bool) -> int:
    return order.itemsize * len(out) + (source.itemsize + out.itemsize) * out.size


@op(lambda source, order, position, out, move: out.size, traffic=_moved)
def gather(source: Array, order: Array, position: Array, out: Array, move: bool = False) -> None:
    """out[i, ...] = source[order[position[0] + i], ...] for i < len(out), in out's dtype, as NumPy's astype does it.

    `source` has shape (n, ...), integers, booleans or floats of any size, and is kept in its own dtype; `out` has shape
    (rows, ...) and is float32, float64 or int32. `order`, int64 (m,), holds indices below n, and `position`, int64
    (1,), the first of them that is used: both are read on the device, so that a captured graph takes the next batch by
    moving the position on, which `move` does, by the number of rows. That position + rows <= m is for the caller to see
    to. On a GPU a float64 below 1.2e-38 becomes 0 in float32. TypeError for other dtypes and mixed devices, ValueError
    for shapes that do not go together.

    >>> batch = np.empty((2, 1), np.float32)
    >>> gather(np.array([[10], [20], [30]], np.uint8), np.array([2, 0, 1]), np.array([1]), batch)
    >>> batch
    array([[10.],
           [20.]], dtype=float32)
    """
    device = common_device("gather", source=source, order=order, position=position, out=out)
    _check(device, source, order, position, out)
    if device.kind is Kind.CPU:
        first = int(position[0])
        _gather_on_cpu(source, order[first : first + len(out)], out)
        if move:
            move_on(position, len(out))
        return
    contract.is_contiguous("gather", "out", out)
    if not source.flags.c_contiguous:
        raise ValueError("gather: source must be C-contiguous, not to be copied at every batch; got a strided view")
    bits = _BITS.get(source.dtype, source.dtype)
    row_size = math.prod(out.shape[1:])
    columns = min(THREADS, 2 ** (row_size - 1).bit_length())
    rows = THREADS // columns
    grid = ceil_div(len(out), rows), min(ceil_div(row_size, columns * PER_THREAD), MOST_BLOCKS)
    by_itself = move and grid == (1, 1)
    sizes = len(out), row_size, len(out) if by_itself else 0
    launch(
        "gather.cu",
        "gather",
        grid=grid,
        block=(columns, rows),
        args=(source if bits == source.dtype else source.view(bits), order, position, out, *sizes),
        real=np.float32,
        defines={
            "STORED": bits.name,
            "TARGET": out.dtype.name,
            "DECODE": "from_half" if source.dtype == np.float16 else "as_stored",
            "THREADS": THREADS,
        },
    )
    if move and not by_itself:
        move_on(position, len(out))


def _gather_on_cpu(source: HostArray, indices: HostArray, out: HostArray) -> None:
    # numpy.take is twice as fast as indexing, but first copies the whole of a source that is not plain memory.
    if not (source.flags.c_contiguous and source.flags.aligned):
        out[...] = source[indices]
    elif source.dtype == out.dtype and out.flags.c_contiguous:
        np.take(source, indices, axis=0, out=out, mode="clip")  # the mode that writes straight into `out`
    else:
        out[...] = np.take(source, indices, axis=0)


def _check(device: Device, source: Array, order: Array, position: Array, out: Array) -> None:
    if source.dtype not in STORED and (device.kind is not Kind.CPU or source.dtype.kind not in "biuf"):
        raise TypeError(f"gather: source must be one of {', '.join(map(str, STORED))}; got {source.dtype}")
    if out.dtype not in TARGETS:
        raise TypeError(f"gather: out must be one of {', '.join(map(str, TARGETS))}; got {out.dtype}")
    if out.size == 0:
        raise ValueError(f"gather: out must have at least one element; got shape {out.shape}")
    contract.has_shape("gather", "source", source, (source.shape[0] if source.ndim else 0, *out.shape[1:]))
    contract.has_dtype("gather", "order", order, np.int64)
    contract.has_rank("gather", "order", order, 1, "(m,)")
    contract.has_dtype("gather", "position", position, np.int64)
    contract.has_shape("gather", "position", position, (1,))
