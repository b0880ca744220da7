"""Penalties on the size of weights: l1 sum |w| + l2 sum w^2, and its gradient."""

from __future__ import annotations

import numpy as np

from gpunet.backend.arrays import Array, Kind, contiguous, empty
from gpunet.backend.launch import ceil_div, launch
from gpunet.ops import contract
from gpunet.ops.arithmetic import total
from gpunet.ops.trace import op

THREADS = 256
PER_THREAD = 16  # elements that one thread of the penalty adds up
CHUNK = THREADS * PER_THREAD

_FILE = "regularization.cu"
_DEFINES = {"THREADS": THREADS, "PER_THREAD": PER_THREAD}


@op(lambda w, l1, l2: 2 * w.size * (bool(l1) + bool(l2)))
def penalty(w: Array, l1: float, l2: float) -> Array:
    """y[0] = l1 sum |w| + l2 sum w^2, shape (1,), in an order of additions that depends on the size of w alone.

    >>> penalty(np.array([1.0, -2.0]), l1=1.0, l2=10.0)
    array([53.])
    """
    device = contract.floats("penalty", w=w)
    if device.kind is Kind.CPU:
        y = np.zeros(1, w.dtype)
        flat = w.reshape(-1)
        if l1:
            y += w.dtype.type(l1) * np.abs(flat).sum()
        if l2:
            y += w.dtype.type(l2) * np.square(flat).sum()
        return y
    partial = empty((ceil_div(w.size, CHUNK),), w.dtype, device)
    args = (contiguous(w), partial, float(l1), float(l2), w.size)
    launch(_FILE, "penalty", grid=partial.size, block=THREADS, args=args, real=w.dtype, defines=_DEFINES)
    return total(partial)


@op(lambda w, dw, l1, l2: 2 * w.size * (bool(l1) + bool(l2)), changes=("dw",))
def add_penalty_gradient(w: Array, dw: Array, l1: float, l2: float) -> None:
    """dw += l1 sign(w) + 2 l2 w, in place, with sign(0) = 0; `dw` must be C-contiguous."""
    device = contract.floats("add_penalty_gradient", w=w, dw=dw)
    contract.has_shape("add_penalty_gradient", "dw", dw, w.shape)
    contract.is_contiguous("add_penalty_gradient", "dw", dw)
    if device.kind is Kind.CPU:
        change = w * w.dtype.type(2 * l2)
        if l1:
            change += w.dtype.type(l1) * np.sign(w)
        dw += change
        return
    args = (contiguous(w), dw, float(l1), 2 * float(l2), w.size)
    blocks = ceil_div(w.size, THREADS)
    launch(_FILE, "penalty_gradient", grid=blocks, block=THREADS, args=args, real=w.dtype, defines=_DEFINES)
