"""Alpha dropout, which keeps mean and variance of what SELU computes. Klambauer et al. 2017, arXiv:1706.02515."""

from __future__ import annotations

import numpy as np

from gpunet.backend.arrays import Array, Device, Kind, common_device, contiguous, empty_like
from gpunet.backend.launch import ceil_div, launch
from gpunet.ops import contract
from gpunet.ops.arithmetic import keep_where
from gpunet.ops.dropout import check_rate
from gpunet.ops.pointwise import SELU_ALPHA, SELU_SCALE
from gpunet.ops.trace import op

THREADS = 256
SATURATED = -SELU_ALPHA * SELU_SCALE  # what SELU of a large negative number is

_FILE = "alpha_dropout.cu"
_DEFINES = {"THREADS": THREADS}


@op(lambda x, *_: 2 * x.size)
def alpha_dropout(x: Array, mask: Array, rate: float) -> Array:
    """y = a x + b where `mask` is 1, else a s + b, s = -1.7581 the value to which SELU saturates.

    a = ((1 - rate) (1 + rate s^2))^(-1/2) and b = -a s rate keep mean 0 and variance 1. `mask` is uint8 of x's shape, 1
    for a share of 1 - rate, as `noise_mask` makes it.
    """
    device = _check("alpha_dropout", "x", x, mask)
    factor, shift = _factor_and_shift(check_rate("alpha_dropout", rate))
    dropped = factor * SATURATED + shift
    y = empty_like(x)
    if device.kind is Kind.CPU:
        np.copyto(y, np.where(mask, x.dtype.type(factor) * x + x.dtype.type(shift), x.dtype.type(dropped)))
        return y
    args = (contiguous(x), contiguous(mask), y, x.size, factor, shift, dropped)
    grid = ceil_div(x.size, THREADS)
    launch(_FILE, "alpha_dropout", grid=grid, block=THREADS, args=args, real=x.dtype, defines=_DEFINES)
    return y


@op(lambda dy, *_: dy.size)
def alpha_dropout_gradient(dy: Array, mask: Array, rate: float) -> Array:
    """dx = mask a dy, with the mask and the a of `alpha_dropout`."""
    device = _check("alpha_dropout_gradient", "dy", dy, mask)
    factor, _ = _factor_and_shift(check_rate("alpha_dropout_gradient", rate))
    dx = empty_like(dy)
    if device.kind is Kind.CPU:
        return keep_where(mask, np.multiply(dy, dy.dtype.type(factor), out=dx))
    args = (contiguous(dy), contiguous(mask), dx, dy.size, factor)
    grid = ceil_div(dy.size, THREADS)
    launch(_FILE, "alpha_dropout_gradient", grid=grid, block=THREADS, args=args, real=dy.dtype, defines=_DEFINES)
    return dx


def _check(where: str, name: str, array: Array, mask: Array) -> Device:
    device = contract.floats(where, **{name: array})
    common_device(where, **{name: array, "mask": mask})
    contract.has_shape(where, "mask", mask, array.shape)
    contract.has_dtype(where, "mask", mask, np.uint8)
    return device


def _factor_and_shift(rate: float) -> tuple[float, float]:
    factor = float(((1 - rate) * (1 + rate * SATURATED**2)) ** -0.5)
    return factor, -factor * SATURATED * rate
