"""The formulas that kernels and CPU versions are tested against: einsum and loops in float64, never gpunet.

Slow and obvious on purpose. Every function takes and returns host arrays, computes in the dtype it is given (float64
from the tests; float32 gives the plain float32 version), and uses the layouts of the library: images NHWC, filters
(R, S, C, F), Dense kernels (in, out).
"""

from __future__ import annotations

import math

import numpy as np

# Pooling, softmax.


def _pooled(size: int, pool: int, stride: int, padding: str) -> list[dict[int, int]]:
    """Return, for each window along an axis, which of its elements lie inside, and where: {offset: place}."""
    if padding == "valid":
        starts = range(0, size - pool + 1, stride)
    else:
        windows = (size + stride - 1) // stride
        before = max((windows - 1) * stride + pool - size, 0) // 2
        starts = range(-before, -before + windows * stride, stride)
    return [{k: start + k for k in range(pool) if 0 <= start + k < size} for start in starts]


def _windows(shape, pool, strides, padding):
    """Yield (p, q, [(number, h, w), ...]) for each window over images of `shape`."""
    axes = [_pooled(shape[1 + axis], pool[axis], strides[axis], padding) for axis in (0, 1)]
    for p, rows in enumerate(axes[0]):
        for q, columns in enumerate(axes[1]):
            yield p, q, [(r * pool[1] + s, h, w) for r, h in rows.items() for s, w in columns.items()]


def pooled_shape(shape, pool, strides, padding):
    sizes = (len(_pooled(shape[1 + axis], pool[axis], strides[axis], padding)) for axis in (0, 1))
    return shape[0], *sizes, shape[3]


def max_pooling(x, pool, strides, padding):
    y = np.empty(pooled_shape(x.shape, pool, strides, padding), x.dtype)
    winner = np.empty(y.shape, np.int32)
    for p, q, elements in _windows(x.shape, pool, strides, padding):
        numbers, h, w = (list(column) for column in zip(*elements, strict=True))
        values = x[:, h, w]
        first = values.argmax(axis=1)  # numpy: the first of equal maxima; NaN is greater than any number
        y[:, p, q] = np.take_along_axis(values, first[:, None], axis=1)[:, 0]
        winner[:, p, q] = np.array(numbers)[first]
    return y, winner


def max_pooling_gradient(dy, winner, pool, strides, padding, shape):
    dx = np.zeros(shape, dy.dtype)
    for p, q, elements in _windows(shape, pool, strides, padding):
        for number, h, w in elements:
            dx[:, h, w] += np.where(winner[:, p, q] == number, dy[:, p, q], 0)
    return dx


def average_pooling(x, pool, strides, padding):
    y = np.zeros(pooled_shape(x.shape, pool, strides, padding), x.dtype)
    for p, q, elements in _windows(x.shape, pool, strides, padding):
        for _, h, w in elements:
            y[:, p, q] += x[:, h, w]
        y[:, p, q] /= len(elements)
    return y


def average_pooling_gradient(dy, pool, strides, padding, shape):
    dx = np.zeros(shape, dy.dtype)
    for p, q, elements in _windows(shape, pool, strides, padding):
        for _, h, w in elements:
            dx[:, h, w] += dy[:, p, q] / len(elements)
    return dx


def softmax(x):
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def softmax_gradient(dy, y):
    return y * (dy - np.einsum("...j,...j->...", dy, y)[..., None])


# Activations, dense, convolution.


def activation(name, z):  # noqa: C901 - a case for each
    """f(z)."""
    one = z.dtype.type(1)
    if name == "linear":
        return z
    if name == "relu":
        return np.where(z <= 0, 0 * one, z)  # a NaN stays one
    if name == "leaky_relu":
        return np.where(z > 0, z, z * z.dtype.type(0.2))
    if name == "sigmoid":
        return _sigmoid(z)
    if name == "tanh":
        return np.tanh(z)
    if name == "elu":
        return np.where(z > 0, z, np.expm1(np.minimum(z, 0)))
    if name == "gelu":
        return z * _normal_distribution(z)
    if name == "gelu_tanh":
        return z * (one + np.tanh(_gelu_tanh_argument(z))) / 2
    if name == "silu":
        return z * _sigmoid(z)
    if name == "softplus":
        return np.logaddexp(z, 0 * one)
    raise ValueError(name)


def activation_derivative(name, z):  # noqa: C901 - a case for each
    """f'(z), from z for all of them; 0 or the slope of the negative side where z is 0."""
    one = z.dtype.type(1)
    if name == "linear":
        return np.ones_like(z)
    if name == "relu":
        return np.where(z > 0, one, 0 * one)
    if name == "leaky_relu":
        return np.where(z > 0, one, z.dtype.type(0.2))
    if name == "sigmoid":
        return _sigmoid(z) * _sigmoid(-z)
    if name == "tanh":
        return one - np.tanh(z) ** 2
    if name == "elu":
        return np.where(z > 0, one, np.exp(np.minimum(z, 0)))
    if name == "gelu":
        return _normal_distribution(z) + z * np.exp(-z * z / 2) / z.dtype.type(math.sqrt(2 * math.pi))
    if name == "gelu_tanh":
        near = np.clip(z, -10, 10)  # beyond, 1 / cosh^2 is less than 1e-36
        slope = z.dtype.type(math.sqrt(2 / math.pi)) * (one + z.dtype.type(3 * 0.044715) * near * near)
        steep = near * slope / np.cosh(_gelu_tanh_argument(near)) ** 2
        return (one + np.tanh(_gelu_tanh_argument(z)) + steep) / 2
    if name == "silu":
        return _sigmoid(z) + z * _sigmoid(z) * _sigmoid(-z)
    if name == "softplus":
        return _sigmoid(z)
    raise ValueError(name)


def _sigmoid(z):
    return np.exp(-np.logaddexp(-z, z.dtype.type(0)))


def _normal_distribution(z):
    erf = np.array([math.erf(v) for v in (z.astype(np.float64) / math.sqrt(2)).flat]).reshape(z.shape)
    return ((1 + erf) / 2).astype(z.dtype)


def _gelu_tanh_argument(z):
    return z.dtype.type(math.sqrt(2 / math.pi)) * (z + z.dtype.type(0.044715) * z * z * z)


def elu(x, alpha):
    return np.where(x > 0, x, x.dtype.type(alpha) * np.expm1(np.minimum(x, 0)))


def elu_derivative(x, alpha):
    return np.where(x > 0, x.dtype.type(1), x.dtype.type(alpha) * np.exp(np.minimum(x, 0)))


def general_relu(x, max_value, negative_slope, threshold):
    y = np.empty_like(x)
    for i, v in np.ndenumerate(x):
        y[i] = min(v, max_value) if v > threshold else negative_slope * (v - threshold)
    return y


def dense(x, w, b, name="linear"):
    """y = f(x w + b)."""
    return activation(name, _dense_z(x, w, b))


def _dense_z(x, w, b):
    z = np.einsum("mk,kn->mn", x, w)
    return z if b is None else z + b


def dense_gradients(x, w, b, dy, name="linear"):
    """Return (dx, dw, db)."""
    dz = dy * activation_derivative(name, _dense_z(x, w, b))
    return np.einsum("mn,kn->mk", dz, w), np.einsum("mk,mn->kn", x, dz), np.einsum("mn->n", dz)


def _taps(size, kernel, stride, dilation, pads):
    """Return, for each tap along an axis, the windows that have it inside the image, and where: (windows, places)."""
    windows = np.arange(-pads[0], size + pads[1] - (kernel - 1) * dilation, stride)
    taps = []
    for tap in range(kernel):
        places = windows + tap * dilation
        inside = np.flatnonzero((places >= 0) & (places < size))
        taps.append((inside, places[inside]))
    return len(windows), taps


def _convolution_taps(x_shape, w_shape, strides, dilation, pads, groups):
    """Return y's shape and, for each tap of each group, (r, s, its filters, index grid of y, index grid of x)."""
    out_h, rows = _taps(x_shape[1], w_shape[0], strides[0], dilation[0], pads[0])
    out_w, columns = _taps(x_shape[2], w_shape[1], strides[1], dilation[1], pads[1])
    images, per_group, filters = np.arange(x_shape[0]), w_shape[2], w_shape[3] // groups
    taps = []
    for group in range(groups):
        c = np.arange(group * per_group, (group + 1) * per_group)
        f = np.arange(group * filters, (group + 1) * filters)
        for r, (p, h) in enumerate(rows):
            for s, (q, w) in enumerate(columns):
                taps.append((r, s, f, np.ix_(images, p, q, f), np.ix_(images, h, w, c)))
    return (x_shape[0], out_h, out_w, w_shape[3]), taps


def convolution_z(x, w, b, strides=(1, 1), dilation=(1, 1), pads=((0, 0), (0, 0)), groups=1):
    shape, taps = _convolution_taps(x.shape, w.shape, strides, dilation, pads, groups)
    z = np.zeros(shape, x.dtype)
    for r, s, f, y_index, x_index in taps:
        z[y_index] += np.einsum("npqc,cf->npqf", x[x_index], w[r, s][:, f])
    return z if b is None else z + b


def convolution_gradients(x, w, dz, strides=(1, 1), dilation=(1, 1), pads=((0, 0), (0, 0)), groups=1):
    """Return (dx, dw, db) of z."""
    _, taps = _convolution_taps(x.shape, w.shape, strides, dilation, pads, groups)
    dx, dw = np.zeros_like(x), np.zeros_like(w)
    for r, s, f, y_index, x_index in taps:
        dx[x_index] += np.einsum("npqf,cf->npqc", dz[y_index], w[r, s][:, f])
        dw[r, s][:, f] += np.einsum("npqc,npqf->cf", x[x_index], dz[y_index])
    return dx, dw, np.einsum("npqf->f", dz)


def convolution_pooling(x, w, b, name, padding, **geometry):
    """Return the maxima of f(z) by 2 x 2 with strides of 2, and the number of each window's first maximum."""
    return max_pooling(activation(name, convolution_z(x, w, b, **geometry)), (2, 2), (2, 2), padding)


def convolution_pooling_gradients(x, w, b, dy, winner, name, padding, **geometry):
    """Return (dx, dw, db) for the given winners."""
    z = convolution_z(x, w, b, **geometry)
    df = max_pooling_gradient(dy, winner, (2, 2), (2, 2), padding, z.shape)
    return convolution_gradients(x, w, df * activation_derivative(name, z), **geometry)


# Losses. Outputs and targets are (rows, columns); a loss per row. Labels become distributions by `one_hot`.

EPSILON = 1e-7


def one_hot(labels, classes, dtype, ignored=None):
    t = np.zeros((len(labels), classes), dtype)
    for row, label in enumerate(labels):
        if label != ignored:
            t[row, label] = 1
    return t


def smoothed(t, smoothing, classes):
    return t * t.dtype.type(1 - smoothing) + t.dtype.type(smoothing / classes)


def softmax_cross_entropy(z, t):
    z = z - z.max(axis=1, keepdims=True)
    return np.einsum("ij,ij->i", t, np.log(np.exp(z).sum(axis=1, keepdims=True)) - z)


def softmax_cross_entropy_gradient(z, t):
    return softmax(z) * t.sum(axis=1, keepdims=True) - t


def _clip(q):
    low, high = q.dtype.type(EPSILON), q.dtype.type(1 - EPSILON)
    return np.clip(q, low, high), (q >= low) & (q <= high)


def cross_entropy(p, t):
    c, _ = _clip(p / p.sum(axis=1, keepdims=True))
    return -np.einsum("ij,ij->i", t, np.log(c))


def cross_entropy_gradient(p, t):
    total = p.sum(axis=1, keepdims=True)
    q = p / total
    c, inside = _clip(q)
    dq = np.where(inside, -t / c, 0).astype(p.dtype)
    return (dq - np.einsum("ij,ij->i", dq, q)[:, None]) / total


def binary_cross_entropy_logits(z, t):
    return np.mean(np.logaddexp(0, z) - z * t, axis=1)


def binary_cross_entropy_logits_gradient(z, t):
    return (1 / (1 + np.exp(-z)) - t) / z.dtype.type(z.shape[1])


def binary_cross_entropy(q, t):
    c, _ = _clip(q)
    return np.mean(-t * np.log(c) - (1 - t) * np.log(1 - c), axis=1)


def binary_cross_entropy_gradient(q, t):
    c, inside = _clip(q)
    return np.where(inside, (1 - t) / (1 - c) - t / c, 0).astype(q.dtype) / q.dtype.type(q.shape[1])


def squared_error(y, t):
    return np.einsum("ij,ij->i", y - t, y - t) / y.dtype.type(y.shape[1])


def squared_error_gradient(y, t):
    return (y - t) * y.dtype.type(2 / y.shape[1])


# Optimizers. A list of gradients goes in, the weights after each step come out.


def sgd(w, gradients, learning_rate, momentum=0.0, nesterov=False):
    velocity, steps = np.zeros_like(w), []
    for g in gradients:
        velocity = momentum * velocity - learning_rate * g
        w = w + (momentum * velocity - learning_rate * g if nesterov else velocity)
        steps.append(w)
    return steps


def adam(w, gradients, learning_rate, beta_1, beta_2, epsilon):
    """The moments corrected first, with an epsilon that follows: algorithm 1 of Kingma & Ba, rearranged."""
    m, v, steps = np.zeros_like(w), np.zeros_like(w), []
    for t, g in enumerate(gradients, start=1):
        m = beta_1 * m + (1 - beta_1) * g
        v = beta_2 * v + (1 - beta_2) * g**2
        root = (1 - beta_2**t) ** 0.5
        w = w - learning_rate * (m / (1 - beta_1**t)) / (np.sqrt(v / (1 - beta_2**t)) + epsilon / root)
        steps.append(w)
    return steps


# Regularizers and constraints.


def penalty(w, l1, l2):
    return np.array([l1 * np.abs(w).sum() + l2 * (w * w).sum()], w.dtype)


def penalty_gradient(w, l1, l2):
    return w.dtype.type(l1) * np.sign(w) + w.dtype.type(2 * l2) * w


def limit_norm(w, axes, minimum, maximum, rate):
    limited = np.empty_like(w)
    kept = [axis for axis in range(w.ndim) if axis not in axes]
    for place in np.ndindex(*(w.shape[axis] for axis in kept)):
        group = tuple(place[kept.index(axis)] if axis in kept else slice(None) for axis in range(w.ndim))
        norm = np.sqrt((w[group] ** 2).sum())
        wanted = rate * min(max(norm, minimum), maximum) + (1 - rate) * norm
        limited[group] = w[group] * (wanted / (EPSILON + norm))
    return limited


# The work that the roofline is measured with.


def multiply_adds(x, chains, turns):
    total = np.zeros_like(x)
    for c in range(chains):
        # v -> v / 2 + 1 brings v half as far from 2 at every turn.
        total = total + (2 + (x + x.dtype.type(c) - 2) * x.dtype.type(0.5**turns))
    return total


# Data.


def gather(source, order, position, rows, dtype):
    return np.array([source[index] for index in order[position : position + rows]]).astype(dtype)


# What is watched in training.


def has_nonfinite(g, w, l1, l2):
    """Whether a gradient with that of its penalty is infinite or NaN anywhere."""
    h = g + penalty_gradient(w, l1, l2)
    return any(not abs(value) <= np.finfo(h.dtype).max for value in h.reshape(-1).tolist())
