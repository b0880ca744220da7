"""What the ops of metrics add up, by loops in float64; never imports gpunet."""

from __future__ import annotations

import numpy as np


def confusion_counts(y, t, thresholds, w):
    """Return (columns, thresholds, 4): true positives, false positives, true negatives, false negatives."""
    counts = np.zeros((y.shape[1], len(thresholds), 4))
    for (i, c), value in np.ndenumerate(y):
        for k, threshold in enumerate(thresholds):
            truth, positive = t[i, c] != 0, value > threshold
            kind = (0 if truth else 1) if positive else (3 if truth else 2)
            counts[c, k, kind] += w[i, c]
    return counts


def confusion_matrix(truth, prediction, classes, w, ignored=None):
    counts = np.zeros((classes, classes))
    for a, b, weight in zip(truth, prediction, w, strict=True):
        if 0 <= a < classes and 0 <= b < classes and a != ignored:
            counts[a, b] += weight
    return counts


def among_largest(y, labels, k):
    """Tell for each row whether fewer than k of it are greater than that of its label."""
    return np.array([sum(other > row[label] for other in row) < k for row, label in zip(y, labels, strict=True)])


def keep_largest(y, k):
    z = np.full_like(y, -1e10)
    for i, row in enumerate(y):
        for j in sorted(range(len(row)), key=lambda j: (-row[j], j))[:k]:
            z[i, j] = row[j]
    return z


def residual_sums(y, t, w):
    sums = np.zeros((y.shape[1], 5))
    for (i, c), truth in np.ndenumerate(t):
        sums[c] += np.array([w[i] * truth, w[i] * truth**2, w[i] * (truth - y[i, c]) ** 2, w[i], 1])
    return sums
