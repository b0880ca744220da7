"""Random matrices that flip, crop, move, turn or zoom images, drawn with the same bits on every device."""

from __future__ import annotations

import math
from enum import IntEnum
from typing import NamedTuple

import numpy as np

from gpunet.backend.arrays import Array, Device, HostArray, Kind, empty
from gpunet.backend.launch import ceil_div, launch
from gpunet.ops.dropout import Key, check_key, generator_of
from gpunet.ops.trace import op

THREADS = 128

_TERMS = 9  # of the polynomials for sine and cosine, in the square of an angle up to pi / 4
_SINES = [(-1) ** k / math.factorial(2 * k + 1) for k in reversed(range(_TERMS))]
_COSINES = [(-1) ** k / math.factorial(2 * k) for k in reversed(range(_TERMS))]
_HALF_PI = math.pi / 2


class Augmentation(IntEnum):
    """What random matrices do, by the kernel's number."""

    FLIP = 0
    CROP = 1
    TRANSLATION = 2
    ROTATION = 3
    ZOOM = 4


class Ranges(NamedTuple):
    """Where the random numbers of an augmentation lie: (low, high) for rows and for columns.

    FLIP: low is -1 for an axis that is flipped (where the one number of the image is at most 1/2), else 1. CROP: high
    is how many places there are to begin at; the matrices of all images are the same. TRANSLATION: shares of height and
    width, positive down and to the right. ROTATION: turns, as `rows`, positive counterclockwise. ZOOM: factors, those
    above 1 zooming out; with `together` one number is that of both axes.
    """

    kind: Augmentation
    rows: tuple[float, float]
    columns: tuple[float, float] = (0.0, 0.0)
    together: bool = False


@op(lambda n, *_: 60 * n)
def random_matrices(n: int, size: tuple[int, int], ranges: Ranges, key: Key, dtype: str, device: Device) -> Array:
    """Return a matrix for each of `n` images of `size` (H, W): (n, 6), as `affine` takes them, on `device`.

    `key` is (seed, purpose, step), and the step may be an int64 array (1,) on the device. Image i has the numbers
    u[i] for its rows (or whole) and u[n + i] for its columns, with u = `generator(*key).random(2 n, dtype=float32)`;
    a crop has u[0] and u[1]. All is computed in float64 and rounded to `dtype` at the end.
    """
    parts = check_key("random_matrices", key, device)
    height, width = size
    if device.kind is Kind.CPU:
        u = generator_of(*parts).random(2 * n, dtype=np.float32).astype(np.float64)
        return _matrices(u, n, size, ranges).astype(dtype)
    matrices = empty((n, 6), dtype, device)
    bounds = (*map(float, ranges.rows), *map(float, ranges.columns))
    launch(
        "augmentation.cu",
        "random_matrices",
        grid=ceil_div(n, THREADS),
        block=THREADS,
        args=(matrices, n, int(ranges.kind), height, width, *bounds, ranges.together, *parts),
        real=np.float64,
        defines={
            "THREADS": THREADS,
            "TARGET": "float" if dtype == "float32" else "double",
            "SINES": ",".join(map(repr, _SINES)),
            "COSINES": ",".join(map(repr, _COSINES)),
            "HALF_PI": repr(_HALF_PI),
        },
    )
    return matrices


def _matrices(u: HostArray, n: int, size: tuple[int, int], ranges: Ranges) -> HostArray:
    """Return the matrices in float64, by the kernel's operations."""
    height, width = map(float, size)
    zero, one = np.zeros(n), np.ones(n)
    u0, u1 = u[:n], u[:n] if ranges.together else u[n:]
    cosine, sine, scale_x, scale_y, shift_x, shift_y = one, zero, one, one, zero, zero
    if ranges.kind is Augmentation.FLIP:
        scale_y, scale_x = (np.where(u0 <= 0.5, low, 1.0) for low, _ in (ranges.rows, ranges.columns))
    elif ranges.kind is Augmentation.CROP:
        shift_y = np.floor(_between(u[0], (0.0, ranges.rows[1]))) + zero
        shift_x = np.floor(_between(u[1], (0.0, ranges.columns[1]))) + zero
    elif ranges.kind is Augmentation.TRANSLATION:
        shift_y, shift_x = -(_between(u0, ranges.rows) * height), -(_between(u1, ranges.columns) * width)
    elif ranges.kind is Augmentation.ROTATION:
        cosine, sine = _turned(_between(u0, ranges.rows))
    else:
        scale_y, scale_x = _between(u0, ranges.rows), _between(u1, ranges.columns)
    cx, cy = (width - 1) / 2, (height - 1) / 2
    a0, b1 = cosine * scale_x, cosine * scale_y
    a2 = ((shift_x + cx) - cx * a0) + cy * sine
    b2 = ((shift_y + cy) - cx * sine) - cy * b1
    return np.stack([a0, -sine, a2, sine, b1, b2], axis=1)


def _between(u: HostArray, bounds: tuple[float, float]) -> HostArray:
    low, high = bounds
    value: HostArray = low + (high - low) * u
    return value


def _turned(turns: HostArray) -> tuple[HostArray, HostArray]:
    """Return cos and sin of `turns` whole turns."""
    quarter = np.floor(4 * turns + 0.5)
    angle = (4 * turns - quarter) * _HALF_PI
    square = angle * angle
    s, c = angle * _polynomial(square, _SINES), _polynomial(square, _COSINES)
    turn = quarter.astype(np.int64) & 3
    return np.choose(turn, [c, -s, -c, s]), np.choose(turn, [s, c, -s, -c])


def _polynomial(square: HostArray, coefficients: list[float]) -> HostArray:
    value = np.full_like(square, coefficients[0])
    for coefficient in coefficients[1:]:
        value = value * square + coefficient
    return value
