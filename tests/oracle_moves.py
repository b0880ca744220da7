"""The formulas of layers that move data, as in oracle.py: loops in the dtype they are given, never gpunet."""

from __future__ import annotations

import numpy as np


def pad(x, pads, fill=0.0):
    shape = [size + before + after for size, (before, after) in zip(x.shape, pads, strict=True)]
    y = np.full(shape, fill, x.dtype)
    for index in np.ndindex(*shape):
        source = [place - before for place, (before, _) in zip(index, pads, strict=True)]
        if all(0 <= place < size for place, size in zip(source, x.shape, strict=True)):
            y[index] = x[tuple(source)]
    return y


def permute(x, axes):
    y = np.empty([x.shape[axis] for axis in axes], x.dtype)
    for index in np.ndindex(*y.shape):
        source = [0] * x.ndim
        for place, axis in zip(index, axes, strict=True):
            source[axis] = place
        y[index] = x[tuple(source)]
    return y


def repeat(x, repeats):
    y = np.empty([size * times for size, times in zip(x.shape, repeats, strict=True)], x.dtype)
    for index in np.ndindex(*y.shape):
        y[index] = x[tuple(place // times for place, times in zip(index, repeats, strict=True))]
    return y


def repeat_gradient(dy, repeats):
    dx = np.zeros([size // times for size, times in zip(dy.shape, repeats, strict=True)], dy.dtype)
    for index in np.ndindex(*dy.shape):
        dx[tuple(place // times for place, times in zip(index, repeats, strict=True))] += dy[index]
    return dx


# Resizing: an integral over the kernel's whole reach, place by place.


def _kernel(name, d):
    if name == "bilinear":
        return max(1 - d, 0.0)
    if name == "bicubic":
        if d < 1:
            return 1.5 * d**3 - 2.5 * d**2 + 1
        return -0.5 * d**3 + 2.5 * d**2 - 4 * d + 2 if d < 2 else 0.0
    radius = int(name[-1])
    if d >= radius:
        return 0.0
    return 1.0 if d == 0 else np.sin(np.pi * d) * np.sin(np.pi * d / radius) * radius / (np.pi * d) ** 2


def resampling_matrix(length, size, name, antialias=False):
    """Return w, of shape (size, length), float64."""
    w = np.zeros((size, length))
    scale = length / size
    stretch = max(scale, 1.0) if antialias else 1.0
    for p in range(size):
        center = (p + 0.5) * scale - 0.5
        for j in range(length):
            if name == "nearest":
                w[p, j] = j == min(int((p + 0.5) * scale), length - 1)
            elif name == "area":
                w[p, j] = max(min((p + 1) * scale, j + 1) - max(p * scale, j), 0.0)
            else:
                w[p, j] = _kernel(name, abs(center - j) / stretch)
        w[p] /= w[p].sum()
    return w


def resample(x, axis, size, name, antialias=False):
    w = resampling_matrix(x.shape[axis], size, name, antialias).astype(x.dtype)
    return np.moveaxis(np.einsum("pj,j...->p...", w, np.moveaxis(x, axis, 0)), 0, axis)


def resample_gradient(dy, axis, length, name, antialias=False):
    w = resampling_matrix(length, dy.shape[axis], name, antialias).astype(dy.dtype)
    return np.moveaxis(np.einsum("pj,p...->j...", w, np.moveaxis(dy, axis, 0)), 0, axis)


def scatter_add(out, keys, values, weights=None):
    per = len(keys) // len(values)
    sums = np.zeros_like(out)
    for i, key in enumerate(keys):
        if key < len(out):
            sums[key] += values[i // per] if weights is None else weights[i] * values[i // per]
    return out + sums


# Images through a matrix each.


def _place(i, size, mode):
    """Return the place inside that i stands for, None if it is filled."""
    if 0 <= i < size:
        return i
    if mode == "constant":
        return None
    if mode == "nearest":
        return 0 if i < 0 else size - 1
    if mode == "wrap":
        return i % size
    while not 0 <= i < size:
        i = -1 - i if i < 0 else 2 * size - 1 - i
    return i


def _read(place, interpolation):
    if interpolation == "nearest":
        return [(int(np.rint(place)), 1)]
    first = int(np.floor(place))
    return [(first, 1 - (place - first)), (first + 1, place - first)]


def affine_matrix(matrix, size, output_size, interpolation, mode):
    """Yield (p, q, h, w, weight) for all that pixel (p, q) reads; h is None where it is filled."""
    a0, a1, a2, b0, b1, b2 = matrix
    for p in range(output_size[0]):
        for q in range(output_size[1]):
            for h, u in _read((b0 * q + b1 * p) + b2, interpolation):
                for w, v in _read((a0 * q + a1 * p) + a2, interpolation):
                    row, column = _place(h, size[0], mode), _place(w, size[1], mode)
                    outside = row is None or column is None
                    yield p, q, None if outside else row, column, u * v


def affine(x, matrices, output_size, interpolation, mode, fill=0.0):
    y = np.zeros((len(x), *output_size, x.shape[3]), x.dtype)
    for n, matrix in enumerate(matrices):
        for p, q, h, w, weight in affine_matrix(matrix, x.shape[1:3], output_size, interpolation, mode):
            y[n, p, q] += x.dtype.type(weight) * (x.dtype.type(fill) if h is None else x[n, h, w])
    return y


def affine_gradient(dy, matrices, input_shape, interpolation, mode):
    dx = np.zeros(input_shape, dy.dtype)
    for n, matrix in enumerate(matrices):
        for p, q, h, w, weight in affine_matrix(matrix, input_shape[1:3], dy.shape[1:3], interpolation, mode):
            if h is not None:
                dx[n, h, w] += dy.dtype.type(weight) * dy[n, p, q]
    return dx


def random_matrices(u, n, size, kind, rows, columns, together=False):
    """Return matrices in float64, from the uniform numbers u (2 n)."""
    height, width = size
    found = []
    for i in range(n):
        u0, u1 = u[i], u[i] if together else u[n + i]
        first = rows[0] + (rows[1] - rows[0]) * u0
        second = columns[0] + (columns[1] - columns[0]) * u1
        turn = scaled = np.eye(2)  # of (x, y)
        shift = np.zeros(2)
        if kind == "flip" and u0 <= 0.5:
            scaled = np.diag([columns[0], rows[0]])
        elif kind == "crop":
            shift = np.floor([columns[1] * u[1], rows[1] * u[0]])
        elif kind == "translation":
            shift = np.array([-second * width, -first * height])
        elif kind == "rotation":
            angle = 2 * np.pi * first
            turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        elif kind == "zoom":
            scaled = np.diag([second, first])
        center = np.array([(width - 1) / 2, (height - 1) / 2])
        linear = turn @ scaled
        moved = shift + center - linear @ center
        found.append([*linear[0], moved[0], *linear[1], moved[1]])
    return np.array(found)
