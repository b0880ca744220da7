"""The formulas that normalization is tested against, in the manner of oracle.py.

Statistics are over `axes`; gamma and beta belong to the indices of the axes `kept`, in order.
"""

from __future__ import annotations

import numpy as np


def spread(parameters, shape, kept):
    """Return one number for each index of the axes `kept`, so that it broadcasts to `shape`."""
    return parameters.reshape([size if axis in kept else 1 for axis, size in enumerate(shape)])


def statistics(x, axes, epsilon, centered=True, is_sum=False, most=np.inf):
    """Return mean, v and scale of each group, with axes of 1."""
    n = x.dtype.type(np.prod([x.shape[axis] for axis in axes]))
    mean = x.sum(axis=axes, keepdims=True) / n if centered else np.zeros_like(x.sum(axis=axes, keepdims=True))
    v = np.square(x - mean).sum(axis=axes, keepdims=True) / (x.dtype.type(1) if is_sum else n)
    with np.errstate(divide="ignore"):
        return mean, v, np.minimum(1 / np.sqrt(v + x.dtype.type(epsilon)), x.dtype.type(most))


def normalized(x, axes, kept, gamma, beta, epsilon, **how):
    mean, _, scale = statistics(x, axes, epsilon, **how)
    return (x - mean) * scale * spread(gamma, x.shape, kept) + spread(beta, x.shape, kept)


def gradients(dy, x, axes, kept, gamma, epsilon, centered=True, is_sum=False, most=np.inf):
    """Return (dx, dgamma, dbeta): the chain rule through scale and mean, a step at a time."""
    mean, _, scale = statistics(x, axes, epsilon, centered, is_sum, most)
    others = tuple(axis for axis in range(x.ndim) if axis not in kept)
    n = x.dtype.type(np.prod([x.shape[axis] for axis in axes]))
    dxhat = dy * spread(gamma, x.shape, kept)
    dscale = (dxhat * (x - mean)).sum(axis=axes, keepdims=True)
    dv = np.where(scale < x.dtype.type(most), -dscale * scale**3 / 2, 0).astype(x.dtype)
    dx = dxhat * scale + dv * 2 * (x - mean) / (x.dtype.type(1) if is_sum else n)
    if centered:
        dx = dx - dx.sum(axis=axes, keepdims=True) / n
    return dx, (dy * (x - mean) * scale).sum(axis=others).reshape(-1), dy.sum(axis=others).reshape(-1)
