"""Softmax over one axis, and its gradient."""

from __future__ import annotations

import numpy as np

from gpunet.backend.arrays import Array, Kind, contiguous, empty
from gpunet.ops import contract, rows
from gpunet.ops.trace import op

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
    rows.check_axis("softmax", "x", x, axis)
    if device.kind is Kind.CPU:
        with np.errstate(over="ignore", invalid="ignore"):  # differences of -infinity are right, NaNs are kept
            y: Array = np.subtract(x, x.max(axis=axis, keepdims=True))
            np.exp(y, out=y)
            y /= y.sum(axis=axis, keepdims=True)
        return y
    y = empty(x.shape, x.dtype, device)
    rows.launch_rows(_FILE, "softmax", axis, contiguous(x), y)
    return y


@op(lambda dy, *_: 4 * dy.size)
def softmax_gradient(dy: Array, y: Array, axis: int = -1) -> Array:
    """dx[..., j, ...] = y[..., j, ...] (dy[..., j, ...] - sum_k dy[..., k, ...] y[..., k, ...]), y from `softmax`."""
    device = contract.floats("softmax_gradient", dy=dy, y=y)
    rows.check_axis("softmax_gradient", "y", y, axis)
    contract.has_shape("softmax_gradient", "dy", dy, y.shape)
    if device.kind is Kind.CPU:
        dx = np.multiply(dy, y)
        np.subtract(dy, dx.sum(axis=axis, keepdims=True), out=dx)
        dx *= y
        return dx
    dx = empty(y.shape, y.dtype, device)
    rows.launch_rows(_FILE, "softmax_gradient", axis, contiguous(dy), contiguous(y), dx)
    return dx
