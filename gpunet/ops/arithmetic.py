"""Arithmetic on whole arrays: a += b, y = factor x, a *= factor, the sum of all elements; helpers of CPU versions."""

from __future__ import annotations

import numpy as np

from gpunet.backend.arrays import Array, HostArray, Kind, contiguous, device_of, empty
from gpunet.backend.launch import ceil_div, launch
from gpunet.backend.memory import empty_host
from gpunet.ops import contract
from gpunet.ops.trace import op

THREADS = 256
PER_THREAD = 16  # elements that one thread of partial_sums adds up
CHUNK = THREADS * PER_THREAD

_FILE = "arithmetic.cu"
_DEFINES = {"THREADS": THREADS, "PER_THREAD": PER_THREAD}


@op(lambda a, b: a.size, changes=("a",))
def add_in_place(a: Array, b: Array) -> None:
    """a += b, both of the same shape; on a device, `a` must be C-contiguous.

    >>> a = np.float32([1, 2])
    >>> add_in_place(a, np.float32([10, 20]))
    >>> a
    array([11., 22.], dtype=float32)
    """
    device = contract.floats("add_in_place", a=a, b=b)
    contract.has_shape("add_in_place", "b", b, a.shape)
    if device.kind is Kind.CPU:
        np.add(a, b, out=a)
    else:
        contract.is_contiguous("add_in_place", "a", a)
        args = (a, contiguous(b), a.size)
        launch(_FILE, "add_in_place", grid=_blocks(a.size), block=THREADS, args=args, real=a.dtype, defines=_DEFINES)


@op(lambda x, factor: x.size)
def scale(x: Array, factor: float) -> Array:
    """y = factor x, `factor` rounded to x's dtype first."""
    device = contract.floats("scale", x=x)
    y = empty(x.shape, x.dtype, device)
    if device.kind is Kind.CPU:
        np.multiply(x, x.dtype.type(factor), out=y)
        return y
    args = (contiguous(x), y, float(factor), x.size)
    launch(_FILE, "scale", grid=_blocks(x.size), block=THREADS, args=args, real=x.dtype, defines=_DEFINES)
    return y


@op(lambda a, factor: a.size, changes=("a",))
def scale_in_place(a: Array, factor: float) -> None:
    """a *= factor, `factor` rounded to a's dtype first; on a device, `a` must be C-contiguous.

    >>> a = np.float32([1, 2])
    >>> scale_in_place(a, 0.5)
    >>> a
    array([0.5, 1. ], dtype=float32)
    """
    device = contract.floats("scale_in_place", a=a)
    if device.kind is Kind.CPU:
        np.multiply(a, a.dtype.type(factor), out=a)
        return
    contract.is_contiguous("scale_in_place", "a", a)
    args = (a, float(factor), a.size)
    launch(_FILE, "scale_in_place", grid=_blocks(a.size), block=THREADS, args=args, real=a.dtype, defines=_DEFINES)


@op(lambda x, factor: x.size)
def scale_by(x: Array, factor: Array) -> Array:
    """y = factor[0] x, or y[i] = factor[i] x[i] for `factor` of shape x.shape[:1], which the host does not read."""
    device = contract.floats("scale_by", x=x, factor=factor)
    per_row = contract.is_per_row("scale_by", "factor", factor, len(x))
    y = empty(x.shape, x.dtype, device)
    if device.kind is Kind.CPU:
        np.multiply(x, factor.reshape(-1, *(1,) * (x.ndim - 1)), out=y)
        return y
    args = (contiguous(x), y, contiguous(factor), x.size // len(x) if per_row else 0, x.size)
    launch(_FILE, "scale_by", grid=_blocks(x.size), block=THREADS, args=args, real=x.dtype, defines=_DEFINES)
    return y


@op(lambda x: x.size)
def total(x: Array) -> Array:
    """y[0] = sum of all elements of x, in x's dtype, shape (1,).

    The order of the additions depends on the size alone, so that the sum has the same bits at every run. On a device a
    sum of n elements passes each one through about 28 additions per factor of 4096 in n; NumPy's pairwise sum does as
    well (Higham 1993, "The accuracy of floating point summation", section 3).

    >>> total(np.ones((50, 20)))
    array([1000.])
    """
    device = contract.floats("total", x=x)
    if device.kind is Kind.CPU:
        return np.asarray(np.sum(x.reshape(-1), keepdims=True))
    sums = _partial_sums(contiguous(x).reshape(-1))
    while sums.size > 1:
        sums = _partial_sums(sums)
    return sums


def _partial_sums(x: Array) -> Array:
    """Return the sums of the chunks of CHUNK elements of x."""
    y = empty((ceil_div(x.size, CHUNK),), x.dtype, device_of(x))
    launch(_FILE, "partial_sums", grid=y.size, block=THREADS, args=(x, y, x.size), real=x.dtype, defines=_DEFINES)
    return y


def _blocks(n: int) -> int:
    return ceil_div(n, THREADS)


def keep_where(mask: HostArray, values: HostArray) -> HostArray:
    """Return `values` where `mask`, booleans or bytes 0 and 1, says so, else 0; for the CPU versions of ops.

    The mask clears bits: numpy.where, which branches, takes twice as long, and a product with the mask would turn
    infinity into NaN.

    >>> keep_where(np.array([True, False]), np.array([1.5, np.inf]))
    array([1.5, 0. ])
    """
    bits = _bits_of(mask, values)
    kept: HostArray = np.bitwise_and(values.view(bits.dtype), bits, out=bits).view(values.dtype)
    return kept


def choose(mask: HostArray, a: HostArray, b: HostArray, out: HostArray) -> HostArray:
    """out = a where `mask`, else b, all of one shape; for the same reason in place of numpy.where.

    `out` may be `a` or `b`. Returns `out`.

    >>> choose(np.array([True, False]), np.array([1.0, 2.0]), np.array([3.0, np.nan]), np.empty(2))
    array([ 1., nan])
    """
    bits = _bits_of(mask, a)
    mine, others, result = (array.view(bits.dtype) for array in (a, b, out))
    differing = np.bitwise_xor(mine, others, out=empty_host(a.shape, bits.dtype))
    np.bitwise_and(differing, bits, out=differing)
    np.bitwise_xor(others, differing, out=result)
    return out


def _bits_of(mask: HostArray, values: HostArray) -> HostArray:
    """Return integers as wide as `values`, all of whose bits are set where `mask` says so."""
    integer = np.dtype(f"i{values.itemsize}")
    bits: HostArray = np.multiply(mask, integer.type(-1), out=empty_host(values.shape, integer))
    return bits
