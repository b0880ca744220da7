"""Constraints on weights, in place: a norm kept within bounds, or no negative number."""

from __future__ import annotations

from itertools import groupby

import numpy as np

from gpunet.backend.arrays import Array, Kind, Shape
from gpunet.backend.launch import ceil_div, launch
from gpunet.ops import contract
from gpunet.ops.trace import op

THREADS = 256
GROUPS = 32  # groups of weights with one norm each that one block works on
LANES = 8  # threads that share a group
EPSILON = 1e-7  # Keras's backend.epsilon(), added to the norm that is divided by

_FILE = "constraint.cu"
_DEFINES = {"THREADS": THREADS, "GROUPS": GROUPS, "LANES": LANES}


@op(lambda w, *_: 3 * w.size, changes=("w",))
def limit_norm(w: Array, axes: tuple[int, ...], minimum: float, maximum: float, rate: float = 1.0) -> None:
    """w *= d / (1e-7 + n), n = sqrt(sum of w^2 over `axes`), d = rate clip(n, minimum, maximum) + (1 - rate) n.

    In place; `w` must be C-contiguous. `axes` are different numbers from 0 to w.ndim - 1.

    >>> w = np.array([[3.0, 0.3], [4.0, 0.4]])
    >>> limit_norm(w, (0,), minimum=0.0, maximum=1.0)
    >>> w.round(3)
    array([[0.6, 0.3],
           [0.8, 0.4]])
    """
    device = contract.floats("limit_norm", w=w)
    contract.is_contiguous("limit_norm", "w", w)
    if device.kind is Kind.CPU:
        norms = np.sqrt(np.sum(np.square(w), axis=axes, keepdims=True))
        real = w.dtype.type
        wanted = real(rate) * np.clip(norms, real(minimum), real(maximum)) + real(1 - rate) * norms
        w *= wanted / (real(EPSILON) + norms)
        return
    sizes = _reduced_and_kept(w.shape, axes)
    blocks = ceil_div(sizes[1] * sizes[3], GROUPS)
    args = (w, float(minimum), float(maximum), float(rate), *sizes)
    launch(_FILE, "limit_norm", grid=blocks, block=(GROUPS, LANES), args=args, real=w.dtype, defines=_DEFINES)


@op(lambda w: w.size, changes=("w",))
def non_negative(w: Array) -> None:
    """w = max(w, 0), in place; `w` must be C-contiguous."""
    device = contract.floats("non_negative", w=w)
    contract.is_contiguous("non_negative", "w", w)
    if device.kind is Kind.CPU:
        np.maximum(w, 0, out=w)
        return
    blocks = ceil_div(w.size, THREADS)
    launch(_FILE, "non_negative", grid=blocks, block=THREADS, args=(w, w.size), real=w.dtype, defines=_DEFINES)


def _reduced_and_kept(shape: Shape, axes: tuple[int, ...]) -> tuple[int, int, int, int, int]:
    """Return the sizes (R0, K0, R1, K1, R2) of `shape` with neighbouring axes of one kind merged, R those in `axes`.

    Missing ones are 1. ValueError if five do not suffice, which takes more than four axes.
    """
    runs = [
        (reduced, int(np.prod([shape[axis] for axis in run])))
        for reduced, run in groupby(range(len(shape)), key=lambda axis: axis in axes)
    ]
    if runs and not runs[0][0]:
        runs.insert(0, (True, 1))
    sizes = [size for _, size in runs] + [1] * (5 - len(runs))
    if len(sizes) > 5:
        raise ValueError(f"limit_norm: axes must form at most three runs of neighbours; got {axes} of shape {shape}")
    r0, k0, r1, k1, r2 = sizes
    return r0, k0, r1, k1, r2
