"""Gated linear unit: one half of an axis, weighted by the sigmoid of the other half. Dauphin et al. 2017."""

from __future__ import annotations

import math

import numpy as np

from gpunet.backend.arrays import Array, Kind, Shape, contiguous, empty
from gpunet.backend.launch import ceil_div, launch
from gpunet.ops import contract, rows
from gpunet.ops.activation import Activation, activate_host
from gpunet.ops.trace import op

_THREADS = 256


@op(lambda x, *_: x.size)
def glu(x: Array, axis: int = -1) -> Array:
    """y = a sigmoid(b), x being a and b side by side along `axis`, whose size must be even; y has half of it.

    ValueError if x has no such axis or its size is odd. Dauphin et al. 2017, arXiv:1612.08083.

    >>> glu(np.array([3.0, 4.0, 0.0, 0.0]))
    array([1.5, 2. ])
    """
    device = contract.floats("glu", x=x)
    shape = output_shape("glu", x, axis)
    if device.kind is Kind.CPU:
        a, b = np.split(x, 2, axis=axis)
        return a * _sigmoid(b)
    y = empty(shape, x.dtype, device)
    _launch("glu", _half(x, axis), y.size, contiguous(x), y)
    return y


@op(lambda dy, *_: 2 * dy.size)
def glu_gradient(dy: Array, x: Array, axis: int = -1) -> Array:
    """da = dy sigmoid(b) and db = dy a sigmoid(b) sigmoid(-b), side by side along `axis` as a and b are in x."""
    device = contract.floats("glu_gradient", dy=dy, x=x)
    contract.has_shape("glu_gradient", "dy", dy, output_shape("glu_gradient", x, axis))
    if device.kind is Kind.CPU:
        a, b = np.split(x, 2, axis=axis)
        s = _sigmoid(b)
        dx: Array = np.concatenate([dy * s, dy * a * (s * _sigmoid(-b))], axis=axis)
        return dx
    dx = empty(x.shape, x.dtype, device)
    _launch("glu_gradient", _half(x, axis), dy.size, contiguous(dy), contiguous(x), dx)
    return dx


def output_shape(where: str, x: Array, axis: int) -> Shape:
    """Return the shape of y; ValueError unless x has an axis number `axis`, of an even size."""
    rows.check_axis(where, "x", x, axis)
    if x.shape[axis] % 2:
        raise ValueError(f"{where}: x must have an even size along axis {axis}; got shape {x.shape}")
    shape = list(x.shape)
    shape[axis] //= 2
    return tuple(shape)


def _sigmoid(z: Array) -> Array:
    y = np.empty_like(z)
    activate_host(z, Activation.SIGMOID, out=y)
    return y


def _launch(entry: str, half: int, n: int, *arrays: Array) -> None:
    """Launch kernel `entry`, a thread for each of the `n` elements of y; `half` is half of x from the axis on."""
    grid = ceil_div(n, _THREADS)
    defines = {"THREADS": _THREADS}
    real = arrays[0].dtype
    launch("glu.cu", entry, grid=grid, block=_THREADS, args=(*arrays, n, half), real=real, defines=defines)


def _half(x: Array, axis: int) -> int:
    return math.prod(x.shape[axis % x.ndim :]) // 2
