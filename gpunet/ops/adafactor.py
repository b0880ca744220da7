"""Adafactor, in place, for one parameter."""

from __future__ import annotations

import math

import numpy as np

from gpunet.backend.arrays import Array, Device, HostArray, Kind, empty, empty_like
from gpunet.backend.launch import Argument, ceil_div, launch
from gpunet.ops import contract
from gpunet.ops.trace import op
from gpunet.ops.update import THREADS, check_update

GROUPS = 32  # columns that one block works on
LANES = 8  # threads that share a column
_WARP = 32

_FILE = "adafactor.cu"
_DEFINES = {"THREADS": THREADS, "GROUPS": GROUPS, "LANES": LANES}


@op(lambda w, *_: 16 * w.size, changes=("w", "gradient", "velocity"))
def adafactor(
    w: Array,
    gradient: Array,
    velocity: Array,
    factors: Array,
    epsilon_1: float,
    epsilon_2: float,
    threshold: float,
) -> None:
    """v = old v + new (g^2 + epsilon_1), s = g / sqrt(v), w -= a rate s / max(1, rms(s) / threshold), in place.

    a = max(epsilon_2, rms(w)); `factors` (rate, old, new) are float64 (3,) (`optimizer_step.advance_adafactor`), v is
    `velocity`, g `gradient`, both of w's shape; s is left in `gradient`. If w has two axes or more, and the last two
    are longer than 1, v is r c / (mean of r over its last axis), where r and c are such means of g^2 + epsilon_1 over
    the last axis and over the one before it, but at least epsilon_1, which keeps it from becoming 0 by underflow;
    then `velocity` begins with the elements of r, and c follows these.
    Shazeer & Stern 2018, "Adafactor: adaptive learning rates with sublinear memory cost".
    """
    device = check_update("adafactor", w, gradient, "factors", factors, 3, velocity=velocity)
    contract.is_contiguous("adafactor", "gradient", gradient)
    lead, rows, columns = math.prod(w.shape[:-2]), *((1, 1, *w.shape)[-2:])
    is_factored = w.ndim >= 2 and min(rows, columns) > 1
    flat, r_size = velocity.reshape(-1), lead * rows
    r = flat[:r_size].reshape(lead, rows) if is_factored else None
    c = flat[r_size : r_size + lead * columns].reshape(lead, columns) if is_factored else None
    numbers = float(epsilon_1), float(epsilon_2), float(threshold)
    if device.kind is not Kind.CPU:
        _launches(w, gradient, velocity, r, c, factors, numbers, device)
        return
    real = w.dtype.type
    rate, old, new = (real(factor) for factor in factors)
    smallest, least, most = map(real, numbers)
    squares = np.square(gradient).reshape(-1, rows, columns) + smallest
    if r is not None and c is not None:
        for kept, axis in ((r, -1), (c, -2)):
            kept *= old
            kept += squares.mean(axis=axis, dtype=np.float64).astype(w.dtype) * new
        means = r.mean(axis=-1, dtype=np.float64, keepdims=True).astype(w.dtype)
        squares = np.maximum((r / means)[:, :, np.newaxis] * c[:, np.newaxis], smallest)
    else:
        velocity *= old
        velocity += squares.reshape(w.shape) * new
        squares = velocity
    gradient /= np.sqrt(squares).reshape(w.shape)
    factor = np.maximum(least, _rms(w)) * rate / np.maximum(real(1), _rms(gradient) / most)
    w -= np.multiply(gradient, factor, out=empty_like(w))


def _rms(x: HostArray) -> HostArray:
    root: HostArray = np.sqrt(np.square(x, dtype=np.float64).mean()).astype(x.dtype)
    return root


def _launches(
    w: Array,
    g: Array,
    v: Array,
    r: Array | None,
    c: Array | None,
    factors: Array,
    numbers: tuple[float, float, float],
    device: Device,
) -> None:
    blocks = ceil_div(w.size, THREADS)
    squares, factor = empty((blocks, 2), np.float64, device), empty((1,), w.dtype, device)
    epsilon_1, epsilon_2, threshold = numbers
    rows = columns = 1
    means = None
    if r is not None and c is not None:
        (lead, rows), columns = r.shape, c.shape[1]
        means = empty((lead,), w.dtype, device)
        _launch("adafactor_rows", ceil_div(r.size, THREADS // _WARP), w, (g, r, factors, epsilon_1, r.size, columns))
        grid, block = lead * ceil_div(columns, GROUPS), (GROUPS, LANES)
        _launch("adafactor_columns", grid, w, (g, c, factors, epsilon_1, rows, columns), block)
        _launch("adafactor_means", lead, w, (r, means, rows))
    first = v if r is None else r
    _launch("adafactor_scaled", blocks, w, (w, g, first, c, means, factors, squares, epsilon_1, rows, columns, w.size))
    _launch("adafactor_factor", 1, w, (squares, factors, factor, epsilon_2, threshold, blocks, w.size))
    _launch("adafactor", blocks, w, (w, g, factor, w.size))


def _launch(
    entry: str, grid: int, w: Array, args: tuple[Argument, ...], block: int | tuple[int, int] = THREADS
) -> None:
    launch(_FILE, entry, grid=grid, block=block, args=args, real=w.dtype, defines=_DEFINES)
