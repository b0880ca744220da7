"""Products of two arrays along one axis of each, sample by sample, and vectors scaled to length 1."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from gpunet.backend.arrays import Array, HostArray, Kind, Shape, contiguous, empty
from gpunet.backend.launch import ceil_div, launch
from gpunet.ops import contract
from gpunet.ops.trace import op

THREADS = 128
LARGEST = 1e7  # of the factor that brings a vector to length 1, as in Keras: shorter ones stay short

_FILE = "batch_dot.cu"
_DEFINES: dict[str, int | str] = {"THREADS": THREADS, "LARGEST": "1e7"}


def _flops(x0: Array, x1: Array, axes: tuple[int, int]) -> int:
    return 2 * int(x0.size) * math.prod(x1.shape[1:]) // int(x0.shape[axes[0]])


@op(_flops)
def batch_dot(x0: Array, x1: Array, axes: tuple[int, int]) -> Array:
    """y[b, …] = sum_k of x0[b] and x1[b] along their axes `axes`, counted with the batch; the other axes stay in order.

    ValueError if there is no such axis, if their sizes or the batches differ.

    >>> batch_dot(np.float32([[1, 2]]), np.float32([[[3], [4]]]), (1, 1))
    array([[11.]], dtype=float32)
    """
    device = contract.floats("batch_dot", x0=x0, x1=x1)
    (b, p, k, q), (_, r, _, s) = _views("batch_dot", x0.shape, x1.shape, axes)
    shape = (*_without(x0.shape, axes[0]), *_without(x1.shape, axes[1])[1:])
    if device.kind is Kind.CPU:
        left, right = _rows(x0, (b, p, k, q)), _rows(x1, (b, r, k, s))
        product: Array = np.matmul(left, right.transpose(0, 2, 1))
        return product.reshape(shape)
    y = empty(shape, x0.dtype, device)
    _launch("batch_dot", (contiguous(x0), contiguous(x1), y, p, k, q, r, s, y.size), y.size, x0.dtype)
    return y


@op(lambda dy, x0, x1, axes: 2 * _flops(x0, x1, axes))
def batch_dot_gradient(dy: Array, x0: Array, x1: Array, axes: tuple[int, int]) -> tuple[Array, Array]:
    """Return the gradients of `batch_dot` for x0 and x1."""
    device = contract.floats("batch_dot_gradient", dy=dy, x0=x0, x1=x1)
    (b, p, k, q), (_, r, _, s) = _views("batch_dot_gradient", x0.shape, x1.shape, axes)
    contract.has_shape("batch_dot_gradient", "dy", dy, (*_without(x0.shape, axes[0]), *_without(x1.shape, axes[1])[1:]))
    if device.kind is Kind.CPU:
        d = dy.reshape(b, p * q, r * s)
        left, right = _rows(x0, (b, p, k, q)), _rows(x1, (b, r, k, s))
        dx0 = np.matmul(d, right).reshape(b, p, q, k).transpose(0, 1, 3, 2)
        dx1 = np.matmul(d.transpose(0, 2, 1), left).reshape(b, r, s, k).transpose(0, 1, 3, 2)
        return contiguous(dx0).reshape(x0.shape), contiguous(dx1).reshape(x1.shape)
    dy, dx0, dx1 = contiguous(dy), empty(x0.shape, x0.dtype, device), empty(x1.shape, x1.dtype, device)
    rows, columns = (q * r * s, r * s), (s, 1)  # steps of p and q, and of r and s, in dy
    args = (dy, contiguous(x1), dx0, p, k, q, r, s, *rows, *columns, dx0.size)
    _launch("batch_dot_gradient", args, dx0.size, x0.dtype)
    args = (dy, contiguous(x0), dx1, r, k, s, p, q, *columns, *rows, dx1.size)
    _launch("batch_dot_gradient", args, dx1.size, x0.dtype)
    return dx0, dx1


@op(lambda x, axis: 3 * x.size)
def normalize(x: Array, axis: int) -> Array:
    """y = x min(1 / |x|, 1e7), |x| being the length of the vectors of x along `axis`.

    >>> normalize(np.float64([[3, 4]]), 1)
    array([[0.6, 0.8]])
    """
    device = contract.floats("normalize", x=x)
    if device.kind is Kind.CPU:
        return x * _multiplier(x, axis)
    y = empty(x.shape, x.dtype, device)
    inner, vectors = math.prod(x.shape[axis + 1 :]), x.size // x.shape[axis]
    _launch("normalize", (contiguous(x), y, x.shape[axis], inner, vectors), vectors, x.dtype)
    return y


@op(lambda dy, x, axis: 7 * x.size)
def normalize_gradient(dy: Array, x: Array, axis: int) -> Array:
    """dx = m (dy - y sum(y dy)), m being the factor of `normalize`; m dy where that is 1e7."""
    device = contract.floats("normalize_gradient", dy=dy, x=x)
    contract.has_shape("normalize_gradient", "dy", dy, x.shape)
    if device.kind is Kind.CPU:
        m = _multiplier(x, axis)
        y = x * m
        along = np.where(m < LARGEST, (y * dy).sum(axis=axis, keepdims=True), x.dtype.type(0))
        dx: Array = m * (dy - y * along)
        return dx
    dx = empty(x.shape, x.dtype, device)
    inner, vectors = math.prod(x.shape[axis + 1 :]), x.size // x.shape[axis]
    _launch("normalize_gradient", (contiguous(dy), contiguous(x), dx, x.shape[axis], inner, vectors), vectors, x.dtype)
    return dx


def _multiplier(x: HostArray, axis: int) -> HostArray:
    with np.errstate(divide="ignore"):
        m = 1 / np.sqrt((x * x).sum(axis=axis, keepdims=True))
    smaller: HostArray = np.minimum(m, x.dtype.type(LARGEST))
    return smaller


def _views(where: str, shape0: Shape, shape1: Shape, axes: tuple[int, int]) -> tuple[Shape, Shape]:
    """Return both shapes as (batch, before the axis, along it, behind it)."""
    for name, shape, axis in (("x0", shape0, axes[0]), ("x1", shape1, axes[1])):
        if not 0 < axis < len(shape):
            raise ValueError(f"{where}: axes must be from 1 to {len(shape) - 1} for {name}; got {axis}")
    if shape0[axes[0]] != shape1[axes[1]] or shape0[0] != shape1[0]:
        raise ValueError(f"{where}: batches and sizes along axes {axes} must be the same; got {shape0} and {shape1}")
    views = [
        (shape[0], math.prod(shape[1:axis]), shape[axis], math.prod(shape[axis + 1 :]))
        for shape, axis in ((shape0, axes[0]), (shape1, axes[1]))
    ]
    return views[0], views[1]


def _without(shape: Shape, axis: int) -> Shape:
    return shape[:axis] + shape[axis + 1 :]


def _rows(x: HostArray, view: Shape) -> HostArray:
    """Return x as (batch, the other axes, along the axis)."""
    b, p, k, q = view
    return x.reshape(view).transpose(0, 1, 3, 2).reshape(b, p * q, k)


def _launch(entry: str, args: tuple[Any, ...], n: int, dtype: Any) -> None:
    launch(_FILE, entry, grid=ceil_div(n, THREADS), block=THREADS, args=args, real=dtype, defines=_DEFINES)
