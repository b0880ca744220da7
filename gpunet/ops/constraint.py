"""Constraints on weights, in place: norms kept within bounds, or no negative number; of one array or of many."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from gpunet.backend.arrays import Array, Device, HostArray, Kind, Shape, to_device
from gpunet.backend.launch import ceil_div, launch
from gpunet.ops import contract
from gpunet.ops.axes import reduced_and_kept
from gpunet.ops.flat import BLOCK
from gpunet.ops.trace import op

GROUPS = 32  # groups of weights with one norm each that one block works on
LANES = 8  # threads that share a group
EPSILON = 1e-7  # Keras's backend.epsilon(), added to the norm that is divided by

_FILE = "constraint.cu"
_DEFINES = {"THREADS": BLOCK, "GROUPS": GROUPS, "LANES": LANES}


class NormLimit(NamedTuple):
    """What `limit_norms` does to weights of `shape`: the norms over `axes` come from `minimum` to `maximum`."""

    shape: Shape
    axes: tuple[int, ...]  # different numbers from 0 to the number of axes - 1
    minimum: float
    maximum: float
    rate: float


class NormLimits:
    """The limits of several arrays, that of number i at element `starts[i]` of a flat one, and the kernel's tables."""

    def __init__(self, starts: Sequence[int], limits: Sequence[NormLimit], dtype: npt.DTypeLike, device: Device):
        self.starts, self.limits = tuple(starts), tuple(limits)
        if device.kind is Kind.CPU:
            return
        shapes = [reduced_and_kept("limit_norm", limit.shape, limit.axes) for limit in limits]
        blocks = [ceil_div(k0 * k1, GROUPS) for _, k0, _, k1, _ in shapes]
        first = [sum(blocks[:number]) for number in range(len(blocks))]
        rows = [(start, *shape, block) for start, shape, block in zip(starts, shapes, first, strict=True)]
        self.sizes = to_device(np.array(rows, np.int64), device)
        self.owners = to_device(np.repeat(np.arange(len(blocks), dtype=np.int32), blocks), device)
        self.numbers = to_device(np.array([limit[2:] for limit in limits], dtype), device)


def _limited(limits: NormLimits) -> int:
    """Return the number of weights with a limit."""
    return sum(math.prod(limit.shape) for limit in limits.limits)


@op(lambda w, limits: 3 * _limited(limits), traffic=lambda w, limits: 2 * w.itemsize * _limited(limits))
def limit_norms(w: Array, limits: NormLimits) -> None:
    """Do to every array that `limits` names in the flat `w` what `limit_norm` does to one, in one kernel."""
    device = contract.floats("limit_norms", w=w)
    contract.is_contiguous("limit_norms", "w", w)
    if device.kind is Kind.CPU:
        for start, limit in zip(limits.starts, limits.limits, strict=True):
            _limit_norm_host(w[start : start + math.prod(limit.shape)].reshape(limit.shape), limit)
        return
    args = (w, limits.owners, limits.sizes, limits.numbers)
    grid, block = limits.owners.size, (GROUPS, LANES)
    launch(_FILE, "limit_norms", grid=grid, block=block, args=args, real=w.dtype, defines=_DEFINES)


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
    limit = NormLimit(w.shape, axes, minimum, maximum, rate)
    limit_norms(w.reshape(-1), NormLimits([0], [limit], w.dtype, device))


def _limit_norm_host(w: HostArray, limit: NormLimit) -> None:
    norms = np.sqrt(np.sum(np.square(w), axis=limit.axes, keepdims=True))
    minimum, maximum, rate, rest = (w.dtype.type(number) for number in (*limit[2:], 1 - limit.rate))
    wanted = rate * np.clip(norms, minimum, maximum) + rest * norms
    w *= wanted / (w.dtype.type(EPSILON) + norms)


def _made_non_negative(w: Array, blocks: Array | None = None) -> int:
    """Return the number of weights, the space behind each array included."""
    return w.size if blocks is None else BLOCK * blocks.size


@op(_made_non_negative, traffic=lambda w, blocks: 2 * w.itemsize * _made_non_negative(w, blocks))
def non_negative(w: Array, blocks: Array | None = None) -> None:
    """w = max(w, 0), in place; `w` must be C-contiguous.

    With `blocks`, int32 (blocks,), that is done to elements b BLOCK to (b + 1) BLOCK - 1 of the flat `w` for each b in
    it, and to no others.
    """
    device = contract.floats("non_negative", w=w)
    contract.is_contiguous("non_negative", "w", w)
    if device.kind is Kind.CPU:
        parts = [w] if blocks is None else [w[BLOCK * block : BLOCK * (block + 1)] for block in blocks]
        for part in parts:
            np.maximum(part, 0, out=part)
        return
    grid = ceil_div(w.size, BLOCK) if blocks is None else blocks.size
    launch(_FILE, "non_negative", grid=grid, block=BLOCK, args=(w, blocks, w.size), real=w.dtype, defines=_DEFINES)
