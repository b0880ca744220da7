"""Normal noise, added to an array or multiplied with it, with the same bits on every device."""

from __future__ import annotations

import numpy as np

from gpunet.backend.arrays import Array, HostArray, Kind, contiguous, empty_like
from gpunet.backend.launch import ceil_div, launch
from gpunet.ops import contract
from gpunet.ops.dropout import BLOCK_DRAWS, Key, check_key, generator_of
from gpunet.ops.normal import normal_numbers
from gpunet.ops.trace import op

THREADS = 128

_FILE = "noise.cu"
_DEFINES = {"THREADS": THREADS}


@op(lambda x, *_: 2 * x.size)
def gaussian_noise(x: Array, stddev: float, key: Key) -> Array:
    """y = x + stddev z, with standard normal numbers z.

    `key` is (seed, purpose, step). Over the elements of x in C order z is `gpunet.ops.normal.normal_numbers(u)`, a
    float32 for either dtype of x, with u = `gpunet.backend.random.generator(*key).random(x.size, dtype=numpy.float32)`,
    on every device. The step may be an int64 array (1,) on x's device, which is read there.

    >>> gaussian_noise(np.zeros(3, np.float32), 2.0, key=(7, 3, 0))
    array([ 0.12099683, -0.08962394, -1.0838304 ], dtype=float32)
    """
    device = contract.floats("gaussian_noise", x=x)
    parts = check_key("gaussian_noise", key, device)
    if device.kind is Kind.CPU:
        return np.add(x, _scaled(x, stddev, *parts))
    y = empty_like(x)
    args = (contiguous(x), y, x.size, float(stddev), *parts)
    grid = ceil_div(x.size, THREADS * BLOCK_DRAWS)
    launch(_FILE, "gaussian_noise", grid=grid, block=THREADS, args=args, real=x.dtype, defines=_DEFINES)
    return y


@op(lambda x, *_: 3 * x.size)
def gaussian_dropout(x: Array, stddev: float, key: Key) -> tuple[Array, Array]:
    """y = factor x, factor = 1 + stddev z, with the z of `gaussian_noise`; returns y and the factor."""
    device = contract.floats("gaussian_dropout", x=x)
    parts = check_key("gaussian_dropout", key, device)
    if device.kind is Kind.CPU:
        drawn: HostArray = 1 + _scaled(x, stddev, *parts)
        return drawn * x, drawn
    y, factor = empty_like(x), empty_like(x)
    args = (contiguous(x), y, factor, x.size, float(stddev), *parts)
    grid = ceil_div(x.size, THREADS * BLOCK_DRAWS)
    launch(_FILE, "gaussian_dropout", grid=grid, block=THREADS, args=args, real=x.dtype, defines=_DEFINES)
    return y, factor


@op(lambda dy, factor: dy.size)
def gaussian_dropout_gradient(dy: Array, factor: Array) -> Array:
    """dx = factor dy, with the factor that `gaussian_dropout` returned."""
    device = contract.floats("gaussian_dropout_gradient", dy=dy, factor=factor)
    contract.has_shape("gaussian_dropout_gradient", "factor", factor, dy.shape)
    dx = empty_like(dy)
    if device.kind is Kind.CPU:
        np.multiply(factor, dy, out=dx)
        return dx
    args = (contiguous(dy), contiguous(factor), dx, dy.size)
    grid = ceil_div(dy.size, THREADS)
    launch(_FILE, "gaussian_dropout_gradient", grid=grid, block=THREADS, args=args, real=dy.dtype, defines=_DEFINES)
    return dx


def _scaled(x: HostArray, stddev: float, seed: int, purpose: int, counter: HostArray | None, step: int) -> HostArray:
    """Return stddev z, of x's shape and dtype."""
    z = normal_numbers(generator_of(seed, purpose, counter, step).random(x.shape, dtype=np.float32))
    scaled: HostArray = x.dtype.type(stddev) * z.astype(x.dtype, copy=False)
    return scaled
