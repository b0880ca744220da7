"""What the losses of oracle.py's neighbours compute, in formulas of their own; never imports gpunet.

Each takes y and t, (rows, columns), and returns the losses of the rows; gradients are differences of those.
"""

from __future__ import annotations

import numpy as np

EPSILON = 1e-7


def absolute_error(y, t):
    return np.einsum("ij->i", np.abs(y - t)) / y.dtype.type(y.shape[1])


def absolute_percentage_error(y, t):
    return 100 * np.mean(np.abs((t - y) / np.maximum(np.abs(t), t.dtype.type(EPSILON))), axis=1)


def squared_logarithmic_error(y, t):
    least = y.dtype.type(EPSILON)
    return np.mean((np.log(np.maximum(y, least) + 1) - np.log(np.maximum(t, least) + 1)) ** 2, axis=1)


def huber(y, t, delta):
    delta = y.dtype.type(delta)
    e = np.abs(y - t)
    inner = np.minimum(e, delta)
    return np.mean(inner * (e - inner / 2), axis=1)


def log_cosh(y, t):
    e = y - t
    return np.mean(e + np.logaddexp(0, -2 * e) - y.dtype.type(np.log(2.0)), axis=1)


def poisson(y, t):
    return np.mean(y - t * np.log(y + y.dtype.type(EPSILON)), axis=1)


def divergence(y, t):
    y, t = (np.clip(a, a.dtype.type(EPSILON), 1) for a in (y, t))
    return np.einsum("ij,ij->i", t, np.log(t / y))


def hinge(y, t):
    return np.mean(np.maximum(1 - t * y, 0), axis=1)


def squared_hinge(y, t):
    return np.mean(np.maximum(1 - t * y, 0) ** 2, axis=1)


def binary_focal(q, t, gamma, one=1.0, zero=1.0):
    real = q.dtype.type
    c = np.clip(q, real(EPSILON), real(1 - EPSILON))
    entropy = -t * np.log(c) - (1 - t) * np.log(1 - c)
    missing = t * (1 - q) + (1 - t) * q
    return np.mean((t * real(one) + (1 - t) * real(zero)) * missing ** real(gamma) * entropy, axis=1)


def binary_focal_logits(z, t, gamma, one=1.0, zero=1.0):
    return binary_focal(1 / (1 + np.exp(-z)), t, gamma, one, zero)


def negative_cosine(y, t):
    lengths = [np.sqrt(np.maximum(np.einsum("ij,ij->i", a, a), a.dtype.type(1e-14))) for a in (y, t)]
    return -np.einsum("ij,ij->i", y, t) / (lengths[0] * lengths[1])


def overlap(y, t, both, target, output):
    real = y.dtype.type
    common = real(both) * np.einsum("ij,ij->i", y, t)
    missed = real(target) * np.einsum("ij,ij->i", t, 1 - y) + real(output) * np.einsum("ij,ij->i", y, 1 - t)
    return 1 - common / (common + missed + real(EPSILON))


def focal(y, t, alpha, gamma, from_logits=False):
    real = y.dtype.type
    if from_logits:
        y = np.exp(y - y.max(axis=1, keepdims=True))
    q = np.clip(y / y.sum(axis=1, keepdims=True), real(EPSILON), real(1 - EPSILON))
    return -np.einsum("j,ij,ij,ij->i", np.asarray(alpha, y.dtype), t, (1 - q) ** real(gamma), np.log(q))


def categorical_hinge(y, t):
    return np.maximum(((1 - t) * y).max(axis=1) - np.einsum("ij,ij->i", t, y) + 1, 0)


def generalized_cross_entropy(p, labels, q):
    q = p.dtype.type(q)
    return np.array([(1 - row[label] ** q) / q for row, label in zip(p, labels, strict=True)])


def circle(y, labels, gamma, margin, remove_diagonal):
    """Of embeddings: by the definition, pair by pair."""
    losses = np.zeros(len(y), y.dtype)
    for i, own in enumerate(y):
        near, far = [], []
        for j, other in enumerate(y):
            d = max(1 - own @ other, 0)
            if labels[i] != labels[j]:
                far.append(gamma * max(1 + margin - d, 0) * (1 - margin - d))
            elif i != j or not remove_diagonal:
                near.append(-gamma * max(margin + d, 0) * (margin - d))
        if near and far:
            losses[i] = np.logaddexp(0, np.logaddexp.reduce(near) + np.logaddexp.reduce(far))
    return losses
