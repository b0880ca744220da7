"""Sparsemax over one axis, and its gradient. Martins and Astudillo 2016, arXiv:1602.02068."""

from __future__ import annotations

import numpy as np

from gpunet.backend.arrays import Array, HostArray, Kind, contiguous, empty
from gpunet.ops import contract, rows
from gpunet.ops.trace import op

_FILE = "sparsemax.cu"


@op(lambda x, *_: 8 * x.size)
def sparsemax(x: Array, axis: int = -1) -> Array:
    """y[..., j, ...] = max(x[..., j, ...] - t, 0), with the t of each row that makes its sum 1; j counts along `axis`.

    ValueError if x has no such axis.

    >>> sparsemax(np.array([1.0, 0.5, -1.0]))
    array([0.75, 0.25, 0.  ])
    """
    device = contract.floats("sparsemax", x=x)
    rows.check_axis("sparsemax", "x", x, axis)
    if device.kind is Kind.CPU:
        return _sparsemax_host(x, axis)
    y = empty(x.shape, x.dtype, device)
    rows.launch_rows(_FILE, "sparsemax", axis, contiguous(x), y)
    return y


@op(lambda dy, *_: 3 * dy.size)
def sparsemax_gradient(dy: Array, y: Array, axis: int = -1) -> Array:
    """dx = dy - mean of dy along `axis` where y > 0, at such places; 0 elsewhere; y comes from `sparsemax`."""
    device = contract.floats("sparsemax_gradient", dy=dy, y=y)
    rows.check_axis("sparsemax_gradient", "y", y, axis)
    contract.has_shape("sparsemax_gradient", "dy", dy, y.shape)
    if device.kind is Kind.CPU:
        above = y > 0
        kept = np.where(above, dy, 0)
        with np.errstate(invalid="ignore"):  # a row of NaN has no such places
            mean = kept.sum(axis=axis, keepdims=True) / above.sum(axis=axis, keepdims=True).astype(dy.dtype)
        found: Array = np.where(above, dy - mean, dy.dtype.type(0))
        return found
    dx = empty(y.shape, y.dtype, device)
    rows.launch_rows(_FILE, "sparsemax_gradient", axis, contiguous(dy), contiguous(y), dx)
    return dx


def _sparsemax_host(x: HostArray, axis: int) -> HostArray:
    """Return sparsemax in NumPy, by the guesses of kernels/sparsemax.cu."""
    with np.errstate(all="ignore"):  # infinities and NaNs stay what they are
        z = x - np.fmax.reduce(x, axis=axis, keepdims=True)
        guess = np.full_like(z.max(axis=axis, keepdims=True), -1)
        before = x.shape[axis] + 1
        while True:
            above = z > guess
            count = above.sum(axis=axis, keepdims=True)
            fewer = count < before
            if not fewer.any():
                break
            wanted = (np.where(above, z, 0).sum(axis=axis, keepdims=True) - 1) / count.astype(x.dtype)
            guess = np.where(fewer, wanted, guess)
            before = np.where(fewer, count, before)
        rest = z - guess
    y: HostArray = np.where(rest <= 0, x.dtype.type(0), rest)
    return y
