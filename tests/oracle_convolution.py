"""Formulas of transposed, depthwise and separable convolutions and of global maxima; see oracle.py.

Loops over everything but images and channels, as the definitions have it.
"""

from __future__ import annotations

import itertools

import numpy as np


def transposed_z(x, w, b, shape, strides=(1, 1), dilation=(1, 1), pads=((0, 0), (0, 0)), groups=1):
    """z of `shape` (N, H, W, C): every pixel of x (N, P, Q, F) adds w (R, S, C, F) around its place."""
    assert groups == 1
    z = np.zeros(shape, x.dtype)
    for p, q, r, s in np.ndindex(*x.shape[1:3], *w.shape[:2]):
        h = p * strides[0] + r * dilation[0] - pads[0][0]
        v = q * strides[1] + s * dilation[1] - pads[1][0]
        if 0 <= h < shape[1] and 0 <= v < shape[2]:
            z[:, h, v] += np.einsum("nf,cf->nc", x[:, p, q], w[r, s])
    return z if b is None else z + b


def window_starts(size, kernel, stride, dilation, padding):
    """Return where the windows along an axis begin, before the input where that is padded: Keras's rules."""
    span = (kernel - 1) * dilation + 1
    if padding == "valid":
        return list(range(0, size - span + 1, stride))
    count = (size + stride - 1) // stride
    before = span - 1 if padding == "causal" else max((count - 1) * stride + span - size, 0) // 2
    return [number * stride - before for number in range(count)]


def grouped_z(x, w, strides, dilation, padding, groups):
    """z (N, P, Q, F) of images x (N, H, W, C) and filters w (R, S, C / groups, F), number by number."""
    n, height, width, _ = x.shape
    kernel_h, kernel_w, depth, filters = w.shape
    rows = window_starts(height, kernel_h, strides[0], dilation[0], padding)
    columns = window_starts(width, kernel_w, strides[1], dilation[1], padding)
    z = np.zeros((n, len(rows), len(columns), filters), x.dtype)
    for (p, top), (q, left) in itertools.product(enumerate(rows), enumerate(columns)):
        for r, s, c, f in np.ndindex(*w.shape):
            h, v = top + r * dilation[0], left + s * dilation[1]
            if 0 <= h < height and 0 <= v < width:
                z[:, p, q, f] += x[:, h, v, f // (filters // groups) * depth + c] * w[r, s, c, f]
    return z


def depthwise_z(x, w, strides, dilation, padding):
    """z (N, P, Q, C M), where channel c M + m is channel c convolved with w[:, :, c, m] (R, S, C, M)."""
    channels, multiplier = w.shape[2:]
    parts = [
        grouped_z(x[..., c : c + 1], w[:, :, c : c + 1, m : m + 1], strides, dilation, padding, 1)
        for c in range(channels)
        for m in range(multiplier)
    ]
    return np.concatenate(parts, axis=3)


def transposed_layer_z(x, w, strides, dilation, padding, output_padding):
    """z of Keras's Conv2DTranspose: all that the kernel (R, S, F, C) spreads, cut or filled up to Keras's size."""
    spans = [(size - 1) * rate + 1 for size, rate in zip(w.shape[:2], dilation, strict=True)]
    whole = [(size - 1) * step + span for size, step, span in zip(x.shape[1:3], strides, spans, strict=True)]
    z = transposed_z(x, w, None, (len(x), *(size + max(strides) for size in whole), w.shape[2]), strides, dilation)
    for axis, (size, step, span) in enumerate(zip(x.shape[1:3], strides, spans, strict=True)):
        more = None if output_padding is None else output_padding[axis]
        first = 0
        if padding == "valid":
            length = (size - 1) * step + (max(span, step) if more is None else span + more)
        else:
            length = size * step if more is None else (size - 1) * step + span % 2 + more
            first = max(whole[axis] - length, 0) // 2
        z = np.take(z, range(first, first + length), axis=axis + 1)
    return z


def global_maxima(x, dy):
    """Return y (N, C) of x (N, P, C), and dx, of which every element that is a maximum has its share."""
    y, dx = np.zeros((x.shape[0], x.shape[2]), x.dtype), np.zeros_like(x)
    for n, c in np.ndindex(*y.shape):
        values = x[n, :, c]
        y[n, c] = values.max()
        winners = np.isnan(values) if np.isnan(y[n, c]) else values == y[n, c]
        dx[n, winners, c] = dy[n, c] / values.dtype.type(winners.sum())
    return y, dx


def bias_gradient(dy, derivative):
    dz = dy * derivative
    return dz, np.einsum("ij->j", dz)
