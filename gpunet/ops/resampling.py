"""Resizing along one axis: a weighted sum of neighbours for each place, and the gradient, which is such a sum too."""

from __future__ import annotations

import math

import numpy as np

from gpunet.backend.arrays import Array, Device, HostArray, Kind, contiguous, empty, synchronize, to_device
from gpunet.backend.launch import ceil_div, launch
from gpunet.backend.locks import once
from gpunet.ops import contract
from gpunet.ops.resampling_weights import taps
from gpunet.ops.trace import op

THREADS = 256

_MOST_PLACES = 2**31  # that the kernel counts in 32 bits


def _flops(x: Array, axis: int, size: int, interpolation: str, antialias: bool = False) -> int:
    counts, length = taps(x.shape[axis], size, interpolation, antialias).counts, x.shape[axis]
    return int(2 * x.size // length * counts.sum())


def _gradient_flops(dy: Array, axis: int, length: int, interpolation: str, antialias: bool = False) -> int:
    counts, size = taps(length, dy.shape[axis], interpolation, antialias).counts, dy.shape[axis]
    return int(2 * dy.size // size * counts.sum())


@op(_flops)
def resample(x: Array, axis: int, size: int, interpolation: str, antialias: bool = False) -> Array:
    """y[.., p, ..] = sum_j w[p, j] x[.., j, ..] along `axis`, which has `size` places in y.

    `interpolation` is 'nearest', 'bilinear', 'bicubic', 'lanczos3', 'lanczos5' or 'area' (ops/resampling_weights.py).
    Sums go over j from the first neighbour on, with the same bits on every device. ValueError for other names.

    >>> resample(np.float32([0, 1]), 0, 4, "bilinear")
    array([0.  , 0.25, 0.75, 1.  ], dtype=float32)
    """
    return _resample("resample", x, axis, size, (x.shape[axis], size, interpolation, antialias), False)


@op(_gradient_flops)
def resample_gradient(dy: Array, axis: int, length: int, interpolation: str, antialias: bool = False) -> Array:
    """dx[.., j, ..] = sum_p w[p, j] dy[.., p, ..]: the exact adjoint of `resample` from `length` places."""
    return _resample("resample_gradient", dy, axis, length, (length, dy.shape[axis], interpolation, antialias), True)


def _resample(where: str, x: Array, axis: int, size: int, how: tuple[int, int, str, bool], backward: bool) -> Array:
    device = contract.floats(where, x=x)
    outer, length, inner = math.prod(x.shape[:axis]), x.shape[axis], math.prod(x.shape[axis + 1 :])
    starts, counts, weights = _table(*how, backward, x.dtype.name, device)
    y = empty((*x.shape[:axis], size, *x.shape[axis + 1 :]), x.dtype, device)
    if device.kind is Kind.CPU:
        _resample_cpu(x.reshape(outer, length, inner), starts, counts, weights, y.reshape(outer, size, inner))
        return y
    launch(
        "resampling.cu",
        "resampling",
        grid=ceil_div(y.size, THREADS),
        block=THREADS,
        args=(contiguous(x), starts, counts, weights, y, y.size, length, size, inner, weights.shape[1]),
        real=x.dtype,
        defines={"THREADS": THREADS, "PLACE": "unsigned" if y.size < _MOST_PLACES else "Index"},
    )
    return y


def _resample_cpu(x: HostArray, starts: HostArray, counts: HostArray, weights: HostArray, y: HostArray) -> None:
    y.fill(0)
    for k in range(int(counts.max())):
        here = np.flatnonzero(counts > k)
        everywhere = len(here) == len(counts)
        terms = np.take(x, starts[here] + k, axis=1)
        terms *= weights[here, k, None]
        if everywhere:
            y += terms
        else:
            y[:, here] += terms


@once
def _table(
    length: int, size: int, interpolation: str, antialias: bool, backward: bool, dtype: str, device: Device
) -> tuple[Array, Array, Array]:
    """Return starts, counts and weights on `device`, made once for each pair of sizes: a graph finds them there."""
    found = taps(length, size, interpolation, antialias)
    if backward:
        found = found.transposed(length)
    starts, counts = found.starts.astype(np.int32), found.counts.astype(np.int32)
    weights = found.weights.astype(dtype)
    placed = to_device(starts, device), to_device(counts, device), to_device(weights, device)
    synchronize(device)  # other streams than the one that copies may use them next
    return placed
