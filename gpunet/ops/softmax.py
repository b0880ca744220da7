"""Softmax over one axis, and its gradient."""

from __future__ import annotations

import math

import numpy as np

from gpunet.backend.arrays import Array, Kind, contiguous, empty
from gpunet.backend.launch import ceil_div, launch
from gpunet.ops import contract
from gpunet.ops.trace import op

THREADS = 128
ROWS = THREADS // 32  # rows that one block works on: a warp each

_FILE = "softmax.cu"


@op(lambda x, *_: 5 * x.size)
def softmax(x: Array, axis: int = -1) -> Array:
    """y[..., j, ...] = exp(x[..., j, ...]) / sum_k exp(x[..., k, ...]), j and k counting along `axis`.

    The largest element along the axis is taken from all of them first, so that nothing overflows. ValueError if x has
    no such axis.

    >>> softmax(np.array([[0.0, 0.0], [1000.0, 1000.0]]))
    array([[0.5, 0.5],
           [0.5, 0.5]])
    """
    device = contract.floats("softmax", x=x)
    _check_axis("softmax", "x", x, axis)
    if device.kind is Kind.CPU:
        with np.errstate(over="ignore", invalid="ignore"):  # differences of -infinity are right, NaNs are kept
            y: Array = np.subtract(x, x.max(axis=axis, keepdims=True))
            np.exp(y, out=y)
            y /= y.sum(axis=axis, keepdims=True)
        return y
    y = empty(x.shape, x.dtype, device)
    _launch("softmax", axis, contiguous(x), y)
    return y


@op(lambda dy, *_: 4 * dy.size)
def softmax_gradient(dy: Array, y: Array, axis: int = -1) -> Array:
    """dx[..., j, ...] = y[..., j, ...] (dy[..., j, ...] - sum_k dy[..., k, ...] y[..., k, ...]), y from `softmax`."""
    device = contract.floats("softmax_gradient", dy=dy, y=y)
    _check_axis("softmax_gradient", "y", y, axis)
    contract.has_shape("softmax_gradient", "dy", dy, y.shape)
    if device.kind is Kind.CPU:
        dx = np.multiply(dy, y)
        np.subtract(dy, dx.sum(axis=axis, keepdims=True), out=dx)
        dx *= y
        return dx
    dx = empty(y.shape, y.dtype, device)
    _launch("softmax_gradient", axis, contiguous(dy), contiguous(y), dx)
    return dx


def _check_axis(where: str, name: str, array: Array, axis: int) -> None:
    if array.ndim == 0:
        raise ValueError(f"{where}: {name} must have at least one axis; got shape ()")
    if not -array.ndim <= axis < array.ndim:
        raise ValueError(f"{where}: axis must be one of the {array.ndim} axes of {name}; got {axis}")


def _launch(entry: str, axis: int, *arrays: Array) -> None:
    """Launch kernel `entry` on `arrays`, seen as (outer, columns, inner)."""
    shape = arrays[0].shape
    columns = shape[axis]
    inner = math.prod(shape[axis % len(shape) + 1 :])
    rows = arrays[0].size // columns
    launch(
        _FILE,
        entry,
        grid=ceil_div(rows, ROWS),
        block=THREADS,
        args=(*arrays, rows, columns, inner),
        real=arrays[0].dtype,
        defines={"THREADS": THREADS},
    )
