"""The formulas of pointwise activations, of those along an axis, of PReLU, alpha dropout and orthogonality.

As in oracle.py: slow and obvious, in the dtype that is given, never gpunet.
"""

from __future__ import annotations

import math

import numpy as np

ALPHA, SCALE = 1.6732632423543772848170429916717, 1.0507009873554804934193349852946

# Each element of x by itself: (f, f'), with Keras's arguments a and b.


def _softplus(x):
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


def _mish_slope(x):
    t = np.tanh(_softplus(x))
    return t + x * (1 - t * t) / (1 + np.exp(-x))


POINTWISE = {
    "selu": (
        lambda x, a, b: SCALE * np.where(x > 0, x, ALPHA * np.expm1(np.minimum(x, 0))),
        lambda x, a: SCALE * np.where(x > 0, 1, ALPHA * np.exp(np.minimum(x, 0))),
    ),
    "softsign": (lambda x, a, b: x / (1 + abs(x)), lambda x, a: 1 / (1 + abs(x)) ** 2),
    "hard_sigmoid": (
        lambda x, a, b: np.clip(x / 6 + 0.5, 0, 1),
        lambda x, a: np.where(abs(x) < 3, x.dtype.type(1) / 6, 0),
    ),
    "hard_silu": (
        lambda x, a, b: x * np.clip(x / 6 + 0.5, 0, 1),
        lambda x, a: np.where(abs(x) < 3, x / 3 + 0.5, x > 0),
    ),
    "hard_tanh": (lambda x, a, b: np.clip(x, -1, 1), lambda x, a: abs(x) < 1),
    "tanh_shrink": (lambda x, a, b: x - np.tanh(x), lambda x, a: np.tanh(x) ** 2),
    "hard_shrink": (lambda x, a, b: np.where(abs(x) > a, x, 0), lambda x, a: abs(x) > a),
    "soft_shrink": (lambda x, a, b: np.sign(x) * np.maximum(abs(x) - a, 0), lambda x, a: abs(x) > a),
    "squareplus": (lambda x, a, b: (x + np.sqrt(x * x + a * a)) / 2, lambda x, a: (1 + x / np.sqrt(x * x + a * a)) / 2),
    "sparse_plus": (
        lambda x, a, b: np.where(x <= -1, 0, np.where(x >= 1, x, (x + 1) ** 2 / 4)),
        lambda x, a: np.clip((x + 1) / 2, 0, 1),
    ),
    "sparse_sigmoid": (
        lambda x, a, b: np.where(x <= -1, 0, np.where(x >= 1, 1, (x + 1) / 2)),
        lambda x, a: np.where(abs(x) < 1, x.dtype.type(0.5), 0),
    ),
    "mish": (lambda x, a, b: x * np.tanh(_softplus(x)), lambda x, a: _mish_slope(x)),
    "celu": (
        lambda x, a, b: np.maximum(x, 0) + a * np.expm1(np.minimum(x, 0) / a),
        lambda x, a: np.exp(np.minimum(x, 0) / a),
    ),
    "log_sigmoid": (lambda x, a, b: -_softplus(-x), lambda x, a: 1 / (1 + np.exp(x))),
    "exponential": (lambda x, a, b: np.exp(x), lambda x, a: np.exp(x)),
    "threshold": (lambda x, a, b: np.where(x > a, x, b), lambda x, a: x > a),
}


def pointwise(name, x, a, b):
    return np.asarray(POINTWISE[name][0](x, x.dtype.type(a), x.dtype.type(b))).astype(x.dtype)


def pointwise_derivative(name, x, a):
    return np.asarray(POINTWISE[name][1](x, x.dtype.type(a))).astype(x.dtype)


# Along the last axis.


def log_softmax(x):
    z = x - x.max(axis=-1, keepdims=True)
    return z - np.log(np.exp(z).sum(axis=-1, keepdims=True))


def log_softmax_gradient(dy, y):
    return dy - np.exp(y) * dy.sum(axis=-1, keepdims=True)


def sparsemax(x):
    """As in the paper: with the elements in falling order, the most that stay above their threshold."""
    rows = []
    for row in x.reshape(-1, x.shape[-1]):
        falling = np.sort(row)[::-1]
        number = max(k for k in range(1, row.size + 1) if 1 + k * falling[k - 1] > falling[:k].sum())
        rows.append(np.maximum(row - (falling[:number].sum() - 1) / number, 0))
    return np.array(rows).reshape(x.shape)


def sparsemax_gradient(dy, y):
    above = y > 0
    mean = (dy * above).sum(axis=-1, keepdims=True) / above.sum(axis=-1, keepdims=True).astype(dy.dtype)
    return np.where(above, dy - mean, 0).astype(dy.dtype)


def glu(x):
    a, b = np.split(x, 2, axis=-1)
    return a / (1 + np.exp(-b))


def glu_gradient(dy, x):
    a, b = np.split(x, 2, axis=-1)
    s = 1 / (1 + np.exp(-b))
    return np.concatenate([dy * s, dy * a * s * (1 - s)], axis=-1)


# PReLU, alpha dropout, orthogonality.


def prelu(x, alpha):
    return np.maximum(x, 0) + alpha * np.minimum(x, 0)


def prelu_gradients(dy, x, alpha):
    """Return dx and dalpha."""
    axes = (0, *(axis + 1 for axis, size in enumerate(alpha.shape) if size == 1))
    dalpha = (dy * np.minimum(x, 0)).sum(axis=axes, keepdims=True)[0]
    return np.where(x > 0, dy, alpha * dy), dalpha


def alpha_dropout(x, mask, rate):
    """Return y and the factor of what was kept."""
    saturated = -ALPHA * SCALE
    a = 1 / math.sqrt((1 - rate) * (1 + rate * saturated**2))
    b = -a * saturated * rate
    return (a * np.where(mask, x, saturated) + b).astype(x.dtype), a


def orthogonality(w):
    """Mean of |cosine| over all pairs of rows."""
    pairs = [(i, j) for i in range(len(w)) for j in range(i)]
    norms = [np.sqrt((row * row).sum()) for row in w]
    cosines = [abs((w[i] * w[j]).sum()) / (norms[i] * norms[j]) for i, j in pairs]
    return np.asarray(sum(cosines) / len(pairs)).astype(w.dtype).reshape(1)
