"""The formulas of layers that merge several inputs, in the manner of oracle.py: loops and einsum, never gpunet."""

from __future__ import annotations

import numpy as np


def merge(xs, how):
    y = np.array(xs[0])
    for x in xs[1:]:
        if how == "sum":
            y = y + x
        elif how == "product":
            y = y * x
        elif how == "difference":
            y = y - x
        elif how == "quotient":
            y = y / x
        else:
            larger = (y >= x) | np.isnan(y)
            smaller = (y <= x) | np.isnan(y)
            y = np.where(larger if how == "maximum" else smaller, y, x)
    return y


def choice_gradient(dy, x0, x1, how):
    """Return what of dy goes to each of two; to the first where they are equal."""
    first = x0 >= x1 if how == "maximum" else x0 <= x1
    return np.where(first, dy, 0), np.where(first, 0, dy)


def spread_gradient(dy, shape):
    axes = tuple(axis for axis, size in enumerate(shape) if size == 1 and dy.shape[axis] > 1)
    return dy.sum(axis=axes, keepdims=True)


def batch_dot(x0, x1, axes):
    """Sum over axis axes[0] of x0 and axes[1] of x1, for each sample; letters name the axes."""
    first = "b" + "cdefg"[: x0.ndim - 1]
    second = "b" + "pqrst"[: x1.ndim - 1]
    first = first[: axes[0]] + "k" + first[axes[0] + 1 :]
    second = second[: axes[1]] + "k" + second[axes[1] + 1 :]
    result = "b" + first.replace("k", "")[1:] + second.replace("k", "")[1:]
    return np.einsum(f"{first},{second}->{result}", x0, x1)


def normalize(x, axis):
    length = np.sqrt(np.sum(x * x, axis=axis, keepdims=True))
    return x / np.maximum(length, x.dtype.type(1e-7))
