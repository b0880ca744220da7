"""Dropout with masks that have the same bits on every device, and in NumPy."""

from __future__ import annotations

import math
from typing import TypeAlias

import numpy as np

from gpunet import arguments
from gpunet.backend.arrays import (
    Array,
    Device,
    HostArray,
    Kind,
    common_device,
    contiguous,
    device_of,
    empty,
    empty_like,
)
from gpunet.backend.launch import ceil_div, launch
from gpunet.backend.random import generator
from gpunet.ops import contract
from gpunet.ops.arithmetic import keep_where
from gpunet.ops.trace import op

THREADS = 128
BLOCK_DRAWS = 8  # numbers that one block of Philox gives, and elements of one thread

_FILE = "dropout.cu"
_DEFINES = {"THREADS": THREADS}


Key: TypeAlias = tuple[int, int, int | Array]


@op(lambda x, *_: 2 * x.size)
def dropout(x: Array, rate: float, key: Key) -> tuple[Array, Array]:
    """y = mask x / (1 - rate) with mask = u >= rate, u uniform in [0, 1); returns y and the uint8 mask.

    A share of about `rate` of the elements becomes 0, whatever they were. `key` is (seed, purpose, step); over the
    elements of x in C order, u is `gpunet.backend.random.generator(*key).random(x.size, dtype=numpy.float32)`, on every
    device and for either dtype of x. `rate` is rounded to float32 for the comparison. ValueError if `rate` is not in
    [0, 1). The step may be an int64 array (1,) on x's device, which is read there. Srivastava et al. 2014, "Dropout: a
    simple way to prevent neural networks from overfitting".

    >>> y, mask = dropout(np.ones(5, np.float32), 0.5, key=(7, 3, 0))
    >>> y
    array([2., 0., 0., 2., 0.], dtype=float32)
    """
    device = contract.floats("dropout", x=x)
    rate = check_rate("dropout", rate)
    parts = check_key("dropout", key, device)
    mask = empty(x.shape, np.uint8, device)
    if device.kind is Kind.CPU:
        draws = empty(x.shape, np.float32, device)
        generator_of(*parts).random(dtype=np.float32, out=draws)
        np.greater_equal(draws, np.float32(rate), out=mask.view(np.bool_))
        return dropout_gradient(x, mask, rate), mask
    y = empty_like(x)
    args = (contiguous(x), y, mask, x.size, threshold_of(rate), scale_of_kept(rate), *parts)
    grid = ceil_div(x.size, THREADS * BLOCK_DRAWS)
    launch(_FILE, "dropout", grid=grid, block=THREADS, args=args, real=x.dtype, defines=_DEFINES)
    return y, mask


@op(lambda dy, *_: dy.size)
def dropout_gradient(dy: Array, mask: Array, rate: float) -> Array:
    """dx = mask dy / (1 - rate), with the mask that `dropout` returned."""
    device = contract.floats("dropout_gradient", dy=dy)
    common_device("dropout_gradient", dy=dy, mask=mask)
    contract.has_shape("dropout_gradient", "mask", mask, dy.shape)
    contract.has_dtype("dropout_gradient", "mask", mask, np.uint8)
    factor = scale_of_kept(check_rate("dropout_gradient", rate))
    dx = empty_like(dy)
    if device.kind is Kind.CPU:
        return keep_where(mask, np.multiply(dy, dy.dtype.type(factor), out=dx))
    args = (contiguous(dy), contiguous(mask), dx, dy.size, factor)
    grid = ceil_div(dy.size, THREADS)
    launch(_FILE, "dropout_gradient", grid=grid, block=THREADS, args=args, real=dy.dtype, defines=_DEFINES)
    return dx


def check_key(where: str, key: Key, device: Device) -> tuple[int, int, Array | None, int]:
    """Return seed, purpose, and the step as an array on `device` or as a number, as kernels take them."""
    seed, purpose, step = key
    if isinstance(step, int):
        return seed, purpose, None, step
    if device_of(step) != device:
        raise TypeError(f"{where}: step must be on {device}; got an array on {device_of(step)}")
    contract.has_dtype(where, "step", step, np.int64)
    contract.has_shape(where, "step", step, (1,))
    return seed, purpose, step, 0


def generator_of(seed: int, purpose: int, counter: HostArray | None, step: int) -> np.random.Generator:
    """Return NumPy's generator for what `check_key` returned on the CPU."""
    return generator(seed, purpose, step if counter is None else int(counter[0]))


def check_rate(where: str, rate: float) -> float:
    """Return `rate`, a number in [0, 1); TypeError or ValueError else."""
    number = arguments.real(where, "rate", rate)
    if not 0 <= number < 1:
        raise ValueError(f"{where}: rate must be at least 0 and below 1; got {rate!r}")
    return number


def scale_of_kept(rate: float) -> float:
    """Return 1 / (1 - rate), by which the elements that are kept grow."""
    return 1 / (1 - rate)


def threshold_of(rate: float) -> int:
    """Return the smallest k with 2^-24 k >= rate in float32: u, a multiple of 2^-24, is compared as an integer."""
    return math.ceil(float(np.float32(rate)) * 2**24)
