"""Logarithm of the softmax over one axis, and its gradient."""

from __future__ import annotations

import numpy as np

from gpunet.backend.arrays import Array, Kind, contiguous, empty
from gpunet.ops import contract, rows
from gpunet.ops.trace import op

_FILE = "log_softmax.cu"


@op(lambda x, *_: 4 * x.size)
def log_softmax(x: Array, axis: int = -1) -> Array:
    """y[..., j, ...] = x[..., j, ...] - log(sum_k exp(x[..., k, ...])), j and k counting along `axis`.

    The largest element along the axis is taken from all of them first, so that nothing overflows. ValueError if x has
    no such axis.

    >>> log_softmax(np.array([0.0, 1000.0]))
    array([-1000.,     0.])
    """
    device = contract.floats("log_softmax", x=x)
    rows.check_axis("log_softmax", "x", x, axis)
    if device.kind is Kind.CPU:
        with np.errstate(over="ignore", invalid="ignore"):  # differences of -infinity are right, NaNs are kept
            y: Array = np.subtract(x, x.max(axis=axis, keepdims=True))
            y -= np.log(np.exp(y).sum(axis=axis, keepdims=True))
        return y
    y = empty(x.shape, x.dtype, device)
    rows.launch_rows(_FILE, "log_softmax", axis, contiguous(x), y)
    return y


@op(lambda dy, *_: 4 * dy.size)
def log_softmax_gradient(dy: Array, y: Array, axis: int = -1) -> Array:
    """dx[..., j, ...] = dy[..., j, ...] - exp(y[..., j, ...]) sum_k dy[..., k, ...], y from `log_softmax`."""
    device = contract.floats("log_softmax_gradient", dy=dy, y=y)
    rows.check_axis("log_softmax_gradient", "y", y, axis)
    contract.has_shape("log_softmax_gradient", "dy", dy, y.shape)
    if device.kind is Kind.CPU:
        dx: Array = np.exp(y)
        dx *= dy.sum(axis=axis, keepdims=True)
        np.subtract(dy, dx, out=dx)
        return dx
    dx = empty(y.shape, y.dtype, device)
    rows.launch_rows(_FILE, "log_softmax_gradient", axis, contiguous(dy), contiguous(y), dx)
    return dx
