"""Dense: y = f(x w + b) and its gradients, one kernel each (kernels/dense.cu)."""

from __future__ import annotations

import itertools

import numpy as np

from gpunet.backend.arrays import Array, HostArray, Kind, contiguous, device_of, empty, empty_like
from gpunet.backend.launch import Argument
from gpunet.backend.memory import full_host
from gpunet.backend.threads import Part, run
from gpunet.ops import contract, tiles
from gpunet.ops.activation import Activation, activate_host, gradient_host, unread_by_gradients
from gpunet.ops.dropping import Dropping, drop_host, kernel_arguments
from gpunet.ops.tiles import Run
from gpunet.ops.trace import op

_FILE = "dense.cu"
_PART_FLOPS = 25_000_000  # of a product on the CPU: about 0.3 ms on one core; waking another takes up to half of that
_MOST_PARTS = 8


def _flops(x: Array, w: Array, b: Array | None, activation: Activation, *_: object) -> int:
    return int(len(x) * w.shape[1] * (2 * w.shape[0] + (b is not None) + activation.flops))


def _input_gradient_flops(dy: Array, saved: Array, w: Array, activation: Activation, *_: object) -> int:
    return int(dy.size * (2 * w.shape[0] + activation.flops))


def _kernel_gradient_flops(
    x: Array, dy: Array, saved: Array, activation: Activation, dw: Array, db: Array | None, *_: object
) -> int:
    return int(dy.size * (2 * x.shape[1] + activation.flops + (db is not None)))


@op(_flops)
def dense(
    x: Array, w: Array, b: Array | None, activation: Activation, dropping: Dropping | None = None
) -> tuple[Array, Array]:
    """y = f(x w + b) with x (M, K), w (K, N), b (N,) or None; returns (y, saved), both (M, N).

    `saved` is what the gradients need: y itself, or z = x w + b for activations with `saves_input`. With `dropping`,
    after ReLU only, some elements of y are dropped as by `dropout`; the gradients then take its `scale`. ValueError for
    shapes that do not fit, TypeError for dtypes other than one float32 or float64, or mixed devices.

    >>> y, saved = dense(np.ones((1, 2)), np.ones((2, 3)), np.zeros(3), Activation.RELU)
    >>> y
    array([[2., 2., 2.]])
    """
    device = contract.floats("dense", x=x, w=w, b=b)
    contract.has_rank("dense", "x", x, 2, "(M, K)")
    contract.has_rank("dense", "w", w, 2, "(K, N)")
    m, (k, n) = len(x), w.shape
    contract.has_shape("dense", "x", x, (m, k))
    if b is not None:
        contract.has_shape("dense", "b", b, (n,))
    dropped = kernel_arguments("dense", dropping, activation, device)
    if device.kind is Kind.CPU:
        y = empty((m, n), x.dtype, device)
        multiply_host(x, w, out=y)
        y, saved = add_bias_and_activate(y, b, activation)
        drop_host(y, dropping)
        return y, saved
    y = empty((m, n), x.dtype, device)
    z = empty((m, n), x.dtype, device) if activation.saves_input else None
    launch_dense(x, w, b, y, z, activation, dropping, dropped)
    return y, y if z is None else z


def launch_dense(
    x: Array,
    w: Array,
    b: Array | None,
    y: Array,
    z: Array | None,
    activation: Activation,
    dropping: Dropping | None,
    dropped: tuple[Argument, ...],
) -> None:
    """Fill y, and z if it is wanted, on a device; `dropped` are the kernel_arguments of `dropping`.

    Here and in the launches of the gradients, all axes of x, y and dy before the last are rows.
    """
    k, n = x.shape[-1], y.shape[-1]
    m = y.size // n
    plan = tiles.plan(m, n, k, x.dtype)
    partial = plan.workspace(m * n, x.dtype, device_of(y))
    b = None if b is None else contiguous(b)
    x, w = contiguous(x), contiguous(w)
    outputs = (y, z, None) if partial is None else (None, None, partial)
    args = (x, w, b, *outputs, m, n, k, *dropped)
    runs = Run(k, (x,)), Run(n, (w,))
    tiles.run(_FILE, "dense", plan, args, x.dtype, activation, runs, drops=dropping is not None)
    if partial is not None:
        tiles.finish(partial, y, b, z, activation, dropping=dropping)


def multiply_host(a: HostArray, b: HostArray, out: HostArray) -> None:
    """out = a b in NumPy, cut along the longer side of `out` into parts that threads share."""
    (m, n), k = out.shape, a.shape[1]
    count = min(max(2 * m * n * k // _PART_FLOPS, 1), _MOST_PARTS)
    count = 2 ** (count.bit_length() - 1)  # shared evenly by most numbers of threads
    ends = [max(m, n) * number // count for number in range(count + 1)]

    def part(lines: slice) -> Part:
        if m >= n:
            yield lambda: np.matmul(a[lines], b, out=out[lines])
        else:
            yield lambda: np.matmul(a, b[:, lines], out=out[:, lines])

    run(part(slice(start, stop)) for start, stop in itertools.pairwise(ends))


def add_bias_and_activate(z: HostArray, b: HostArray | None, activation: Activation) -> tuple[HostArray, HostArray]:
    """Return (f(z + b), saved) in NumPy; overwrites z."""
    if b is not None:
        z += b
    y = empty_like(z) if activation.saves_input else z
    activate_host(z, activation, out=y)
    return y, z


@op(_input_gradient_flops, unread=unread_by_gradients)
def dense_input_gradient(dy: Array, saved: Array, w: Array, activation: Activation, scale: float = 1.0) -> Array:
    """dx = (scale dy f'(z)) w^T with dy and saved (M, N), w (K, N); returns dx (M, K).

    `scale` is that of a dropping.
    """
    device = contract.floats("dense_input_gradient", dy=dy, saved=saved, w=w)
    contract.has_rank("dense_input_gradient", "w", w, 2, "(K, N)")
    contract.has_rank("dense_input_gradient", "dy", dy, 2, "(M, N)")
    m, (k, n) = len(dy), w.shape
    contract.has_shape("dense_input_gradient", "dy", dy, (m, n))
    contract.has_shape("dense_input_gradient", "saved", saved, (m, n))
    dx = empty((m, k), dy.dtype, device)
    if device.kind is Kind.CPU:
        multiply_host(gradient_host(dy, saved, activation, scale), w.T, out=dx)
        return dx
    launch_input_gradient(dy, saved, w, activation, dx, scale)
    return dx


def launch_input_gradient(dy: Array, saved: Array, w: Array, activation: Activation, dx: Array, scale: float) -> None:
    """Fill dx on a device."""
    k, n = dx.shape[-1], dy.shape[-1]
    m = dy.size // n
    plan = tiles.plan(m, k, n, dy.dtype)
    partial = plan.workspace(m * k, dy.dtype, device_of(dx))
    inputs = (contiguous(dy), contiguous(saved), contiguous(w))
    outputs = (dx, None) if partial is None else (None, partial)
    args = (*inputs, *outputs, m, n, k, scale)
    runs = Run(n, inputs[:2]), Run(n, inputs[2:])
    tiles.run(_FILE, "dense_input_gradient", plan, args, dy.dtype, activation, runs, scale != 1)
    if partial is not None:
        tiles.finish(partial, dx)


@op(_kernel_gradient_flops, unread=unread_by_gradients)
def dense_kernel_gradient(
    x: Array, dy: Array, saved: Array, activation: Activation, dw: Array, db: Array | None, scale: float = 1.0
) -> None:
    """dw = x^T dz and db = sum of dz over its rows, with dz = scale dy f'(z); x (M, K), dy and saved (M, N).

    Written into the C-contiguous arrays dw (K, N) and db (N,); without a bias db is None.
    """
    where = "dense_kernel_gradient"
    device = contract.floats(where, x=x, dy=dy, saved=saved, dw=dw, db=db)
    contract.has_rank(where, "x", x, 2, "(M, K)")
    contract.has_rank(where, "dy", dy, 2, "(M, N)")
    (m, k), n = x.shape, dy.shape[1]
    contract.has_shape(where, "dy", dy, (m, n))
    contract.has_shape(where, "saved", saved, (m, n))
    contract.is_output(where, (k, n), dw=dw)
    contract.is_output(where, (n,), db=db)
    if device.kind is Kind.CPU:
        dz = gradient_host(dy, saved, activation, scale)
        multiply_host(x.T, dz, out=dw)
        if db is not None:
            # BLAS adds up the rows faster than sum(axis=0), and in blocks, which rounds less.
            np.matmul(full_host((m,), 1, dz.dtype), dz, out=db)
        return
    launch_kernel_gradient(x, dy, saved, activation, dw, db, scale)


def launch_kernel_gradient(
    x: Array, dy: Array, saved: Array, activation: Activation, dw: Array, db: Array | None, scale: float
) -> None:
    """Fill dw and db on a device."""
    k, n, with_bias = x.shape[-1], dy.shape[-1], db is not None
    m = dy.size // n
    plan = tiles.plan(k, n, m, x.dtype)
    # A split holds dw and db behind each other, so that one kernel adds both up.
    partial = plan.workspace(k * n + n * with_bias, x.dtype, device_of(dw))
    inputs = (contiguous(x), contiguous(dy), contiguous(saved))
    outputs = (dw, db, None) if partial is None else (None, None, partial)
    args = (*inputs, *outputs, int(with_bias), m, n, k, scale)
    runs = Run(k, inputs[:1]), Run(n, inputs[1:])
    tiles.run(_FILE, "dense_kernel_gradient", plan, args, x.dtype, activation, runs, scale != 1)
    if partial is not None:
        tiles.finish(partial, dw, tail=db)
