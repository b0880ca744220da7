"""dz and db of a bias and an activation that end an op, for one that cannot compute dz as it reads it."""

from __future__ import annotations

import numpy as np

from gpunet.backend.arrays import Array, Kind, contiguous, empty
from gpunet.backend.launch import ceil_div, launch
from gpunet.backend.memory import full_host
from gpunet.ops import contract, tiles
from gpunet.ops.activation import Activation, gradient_host, unread_by_gradients
from gpunet.ops.trace import op

_FILE = "bias_gradient.cu"
_THREADS = 256
_LINE = 32  # neighbouring columns of a block: 128 bytes of float32
_ENOUGH_BLOCKS = 256  # about two per multiprocessor of a large GPU
_LONGEST_SUM = 512  # rows that one thread adds up
_SHORTEST_SUM = 8  # below, the workspace costs more than further blocks gain


def _flops(dy: Array, saved: Array, activation: Activation, db: Array | None, *_: object) -> int:
    return dy.size * (activation.flops + (db is not None))


@op(_flops, unread=unread_by_gradients)
def bias_gradient(dy: Array, saved: Array, activation: Activation, db: Array | None, scale: float = 1.0) -> Array:
    """dz = scale dy f'(z) and db[j] = sum over all but the last axis of dz[..., j]; returns dz, `dy` itself for LINEAR.

    dy and `saved`, what y = f(z + b) kept for the gradient, are (..., N); db (N,) is C-contiguous memory, written to,
    or None. `scale` is that of a dropping, after ReLU only.

    >>> db = np.empty(2)
    >>> dz = bias_gradient(np.ones((3, 2)), np.array([[0.0, 1.0]] * 3), Activation.RELU, db)
    >>> db
    array([0., 3.])
    """
    where = "bias_gradient"
    device = contract.floats(where, dy=dy, saved=saved, db=db)
    contract.has_shape(where, "saved", saved, dy.shape)
    contract.is_output(where, dy.shape[-1:], db=db)
    columns = dy.shape[-1]
    rows = dy.size // columns
    if device.kind is Kind.CPU:
        dz = gradient_host(dy, saved, activation, scale)
        if db is not None:
            # BLAS adds up the rows faster than sum(axis=0), and in blocks, which rounds less.
            np.matmul(full_host((rows,), 1, dz.dtype), dz.reshape(rows, columns), out=db)
        return dz
    if activation is Activation.LINEAR and db is None:
        return dy
    dz = dy if activation is Activation.LINEAR else empty(dy.shape, dy.dtype, device)
    lanes = min(1 << (columns - 1).bit_length(), _LINE)
    height, blocks = _THREADS // lanes, ceil_div(columns, lanes)
    turns = ceil_div(ceil_div(rows, height), ceil_div(_ENOUGH_BLOCKS, blocks))
    slab = height * min(max(turns, _SHORTEST_SUM), _LONGEST_SUM)
    slabs = ceil_div(rows, slab)
    partial = empty((slabs, columns), dy.dtype, device) if db is not None and slabs > 1 else None
    outputs = (None if dz is dy else dz, None if partial is not None else db, partial)
    args = (contiguous(dy), contiguous(saved), *outputs, rows, columns, lanes, slab, scale)
    defines = {"THREADS": _THREADS, "ACTIVATION": activation.code, "DROPS": int(scale != 1)}
    launch(_FILE, where, grid=slabs * blocks, block=_THREADS, args=args, real=dy.dtype, defines=defines)
    if partial is not None and db is not None:
        tiles.finish(partial, db)
    return dz
