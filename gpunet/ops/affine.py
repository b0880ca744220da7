"""Images seen through a matrix each: rotated, moved, zoomed, flipped, cropped; and the exact gradient."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from gpunet import arguments
from gpunet.backend.arrays import Array, Device, HostArray, Kind, Shape, contiguous, empty, zeros
from gpunet.backend.launch import Argument, ceil_div, launch
from gpunet.backend.threads import Part, run
from gpunet.ops import contract
from gpunet.ops.scatter import scatter_add
from gpunet.ops.trace import op

THREADS = 256
FILL_MODES = ("constant", "nearest", "wrap", "reflect")  # in the order of the kernels' numbers
INTERPOLATIONS = ("nearest", "bilinear")

_FILE = "affine.cu"
_LIMIT = 2**30  # the kernels hold places in an image in 32 bits
_PIXELS_AT_ONCE = 2**14  # on the CPU
_KEYS = 2**31  # pixels of a batch whose gradient is asked for, and what reads them


def _corners(interpolation: str) -> int:
    return 1 if interpolation == "nearest" else 4


@op(lambda x, matrices, size, interpolation, *_: 3 * x.size // (x.shape[1] * x.shape[2]) * math.prod(size) * 4)
def affine(
    x: Array, matrices: Array, size: tuple[int, int], interpolation: str, fill_mode: str, fill_value: float = 0.0
) -> Array:
    """y[n, p, q] = x[n] at row b0 q + b1 p + b2 and column a0 q + a1 p + a2, for (p, q) within `size`.

    x is (N, H, W, C), y (N, *size, C), `matrices` (N, 6): a0, a1, a2, b0, b1, b2 for each image. `interpolation` is
    'nearest' (halves to the even number) or 'bilinear'. Outside of x, `fill_mode` 'constant' sees `fill_value`,
    'nearest' the pixel at the edge, 'wrap' x again, 'reflect' x and its mirror image in turn (a b c | c b a); each
    corner of a bilinear place is filled by itself. The result has the same bits on every device.

    >>> row = np.float32([1, 2, 3]).reshape(1, 1, 3, 1)
    >>> affine(row, np.float32([[1, 0, 1, 0, 1, 0]]), (1, 3), "nearest", "wrap").ravel()
    array([2., 3., 1.], dtype=float32)
    """
    device = _check("affine", x, matrices, interpolation, fill_mode)
    n, height, width, channels = x.shape
    _check_size("affine", x.shape, (n, *size, channels))
    y = empty((n, *size, channels), x.dtype, device)
    if device.kind is Kind.CPU:

        def part(some: slice) -> Part:
            yield lambda: _affine_cpu(x[some], matrices[some], y[some], interpolation, fill_mode, fill_value)

        run(map(part, _parts(n, size)))
        return y
    blocks = ceil_div(math.prod(y.shape[1:]), THREADS)
    sizes = (height, width, *size, channels)
    filling = (FILL_MODES.index(fill_mode), float(fill_value))
    args = (contiguous(x), contiguous(matrices), y, *sizes, *filling, blocks)
    _launch("affine", n * blocks, args, x, interpolation)
    return y


@op(lambda dy, matrices, input_shape, interpolation, *_: 2 * dy.size * _corners(interpolation))
def affine_gradient(dy: Array, matrices: Array, input_shape: Shape, interpolation: str, fill_mode: str) -> Array:
    """dx[n, h, w] = sum of what each pixel of dy took from (h, w) in `affine`, in the order of dy's pixels.

    dy is (N, P, Q, C), dx has `input_shape`. ValueError for batches of 2^31 pixels and more.
    """
    device = _check("affine_gradient", dy, matrices, interpolation, fill_mode)
    n, height, width, channels = input_shape
    _check_size("affine_gradient", input_shape, dy.shape)
    _, rows, columns, _ = dy.shape
    corners = _corners(interpolation)
    entries, pixels = n * rows * columns * corners, n * height * width
    if max(entries, pixels) >= _KEYS:
        raise ValueError(
            f"affine_gradient: a batch must have fewer than {_KEYS} pixels, and fewer that they are read by; got "
            f"{pixels} and {entries}; use smaller batches"
        )
    keys, weights = empty((entries,), np.int32, device), empty((entries,), dy.dtype, device)
    if device.kind is Kind.CPU:
        shape = (n, rows, columns, corners)
        _entries_cpu(matrices, keys.reshape(shape), weights.reshape(shape), input_shape, interpolation, fill_mode)
    else:
        blocks = ceil_div(rows * columns, THREADS)
        sizes = (n, height, width, rows, columns)
        args = (contiguous(matrices), keys, weights, *sizes, FILL_MODES.index(fill_mode), blocks)
        _launch("affine_entries", n * blocks, args, dy, interpolation)
    dx = zeros(input_shape, dy.dtype, device)
    values = contiguous(dy).reshape(-1, channels)
    scatter_add(dx.reshape(-1, channels), keys, values, weights if corners > 1 else None)
    return dx


def _read_at(place: HostArray, interpolation: str) -> list[tuple[HostArray, HostArray]]:
    """Return the places, whole numbers, that are read along an axis, and what they count for."""
    real = place.dtype.type
    held = np.fmin(np.fmax(place, real(-_LIMIT)), real(_LIMIT))
    if interpolation == "nearest":
        return [(np.rint(held).astype(np.int64), np.ones_like(held))]
    floor = np.floor(held)
    rest = held - floor
    first = floor.astype(np.int64)
    return [(first, 1 - rest), (first + 1, rest)]


def _inside(
    read: list[tuple[HostArray, HostArray]], size: int, fill_mode: str
) -> Iterator[tuple[HostArray, HostArray, HostArray]]:
    """Yield, for what is read along an axis, the places inside that stand for it, which were outside, and weights."""
    for i, weight in read:
        outside = (i < 0) | (i >= size)
        far, places = i[outside], i.copy()
        if fill_mode == "wrap":
            places[outside] = far % size
        elif fill_mode == "reflect":
            turn = far % (2 * size)
            places[outside] = np.minimum(turn, 2 * size - 1 - turn)
        else:
            places[outside] = far.clip(0, size - 1)
        yield places, outside, weight


def _parts(n: int, size: tuple[int, int]) -> Iterator[slice]:
    """Yield slices of `n` images of `size`, so many at a time that NumPy's calls are neither short nor out of cache."""
    step = max(_PIXELS_AT_ONCE // math.prod(size), 1)
    yield from (slice(first, min(first + step, n)) for first in range(0, n, step))


def _corners_cpu(
    matrices: HostArray, size: tuple[int, int], output_size: tuple[int, int], interpolation: str, fill_mode: str
) -> list[tuple[HostArray, HostArray, HostArray]]:
    """Return for each corner the pixels (n, P, Q), of n images, that it reads, which are filled, and the weights."""
    height, width = size
    first = np.arange(len(matrices))[:, None, None] * (height * width)
    p = np.arange(output_size[0], dtype=matrices.dtype)[:, None]
    q = np.arange(output_size[1], dtype=matrices.dtype)
    a0, a1, a2, b0, b1, b2 = matrices.T[..., None, None]
    columns = _read_at((a0 * q + a1 * p) + a2, interpolation)
    rows = _read_at((b0 * q + b1 * p) + b2, interpolation)
    read_columns = list(_inside(columns, width, fill_mode))
    found = []
    for h, no_row, u in _inside(rows, height, fill_mode):
        line = h * width + first
        for w, no_column, v in read_columns:
            found.append((line + w, no_row | no_column, u * v))
    return found


def _affine_cpu(
    x: HostArray, matrices: HostArray, y: HostArray, interpolation: str, fill_mode: str, fill_value: float
) -> None:
    pixels = x.reshape(-1, x.shape[-1])
    corners = _corners_cpu(matrices, x.shape[1:3], y.shape[1:3], interpolation, fill_mode)
    for number, (pixel, outside, weight) in enumerate(corners):
        values = np.take(pixels, pixel, axis=0, mode="clip")  # all are inside; this mode does not look
        if fill_mode == "constant":
            values[outside] = fill_value
        if interpolation == "nearest":
            y[...] = values
        else:
            values *= weight[..., None]
            np.add(0 if number == 0 else y, values, out=y)


def _entries_cpu(
    matrices: HostArray,
    keys: HostArray,
    weights: HostArray,
    input_shape: Shape,
    interpolation: str,
    fill_mode: str,
) -> None:
    n, height, width, _ = input_shape
    for some in _parts(n, keys.shape[1:3]):
        corners = _corners_cpu(matrices[some], (height, width), keys.shape[1:3], interpolation, fill_mode)
        for number, (pixel, outside, weight) in enumerate(corners):
            key = pixel + some.start * height * width
            keys[some, ..., number] = np.where(outside, n * height * width, key) if fill_mode == "constant" else key
            weights[some, ..., number] = weight


def _check(where: str, images: Array, matrices: Array, interpolation: str, fill_mode: str) -> Device:
    device = contract.floats(where, images=images, matrices=matrices)
    contract.has_rank(where, "images", images, 4, "(N, H, W, C)")
    contract.has_shape(where, "matrices", matrices, (len(images), 6))
    arguments.choice(where, "interpolation", interpolation, INTERPOLATIONS)
    arguments.choice(where, "fill_mode", fill_mode, FILL_MODES)
    return device


def _check_size(where: str, *shapes: Shape) -> None:
    """ValueError for images that the kernels can't count in 32 bits."""
    largest = max(math.prod(shape[1:]) for shape in shapes)
    if largest >= _LIMIT:
        raise ValueError(f"{where}: an image must be below {_LIMIT} elements; got {largest}")


def _launch(entry: str, blocks: int, args: tuple[Argument, ...], images: Array, interpolation: str) -> None:
    launch(
        _FILE,
        entry,
        grid=blocks,
        block=THREADS,
        args=args,
        real=images.dtype,
        defines={"THREADS": THREADS, "CORNERS": _corners(interpolation)},
    )
