"""Pooling: the maximum or the mean of each window of an image, and the gradients; channels last.

Window (p, q) holds the elements (h, w) with h = p stride_h - top + r, 0 <= r < R, and w = q stride_w - left + s,
0 <= s < S, that lie inside the image: the padding of 'same' takes no part in a maximum or a mean. The CPU versions loop
over r and s and handle all windows at once, by strided slices; additions happen in the kernels' order, so that the sums
have the same bits on every device.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from gpunet import arguments
from gpunet.backend.arrays import Array, Kind, Shape, common_device, contiguous, empty
from gpunet.backend.launch import ceil_div, launch
from gpunet.backend.memory import empty_host, full_host
from gpunet.backend.threads import Part, run
from gpunet.ops import contract
from gpunet.ops.arithmetic import keep_where
from gpunet.ops.trace import op
from gpunet.ops.windows import PADDINGS, output_size, window_pads

THREADS = 256

Pair: TypeAlias = int | tuple[int, int]

_FILE = "pooling.cu"
_LIMIT = 2**30  # the kernels hold places in an image and in a window in 32 bits
_AXES = "(N, H, W, C)"
_CACHED_BYTES = 2**21  # of images that the CPU takes at a time: few enough for the cache, and for threads not too few


class _Axis(NamedTuple):
    """The windows along one axis: window p starts at p stride - pad and spans `size` of `length` elements."""

    length: int
    windows: int
    size: int
    stride: int
    pad: int

    def starts(self) -> Array:
        """Return where each window starts; the first ones may do so in the padding, at negative numbers."""
        return np.arange(self.windows) * self.stride - self.pad

    def firsts(self) -> Array:
        """Return the first element inside the image, of each window."""
        return np.maximum(self.starts(), 0)

    def counts(self) -> Array:
        """Return the number of elements inside the image, of each window."""
        counts: Array = np.minimum(self.starts() + self.size, self.length) - self.firsts()
        return counts

    def slices(self, offset: int) -> tuple[slice, slice]:
        """Return the windows whose element number `offset` lies inside the image, and these elements."""
        first = max(ceil_div(self.pad - offset, self.stride), 0)
        end = max(min((self.length - 1 + self.pad - offset) // self.stride + 1, self.windows), first)
        start = first * self.stride - self.pad + offset
        return slice(first, end), slice(start, start + (end - first) * self.stride, self.stride)


class _Windows(NamedTuple):
    """The windows over images (N, H, W, C) of shape `images`; their element (r, s) has the number r S + s."""

    images: Shape
    rows: _Axis
    columns: _Axis

    @property
    def output_shape(self) -> Shape:
        return self.images[0], self.rows.windows, self.columns.windows, self.images[3]

    def counts(self, dtype: np.dtype[Any]) -> Array:
        """Return the number of elements inside the image, of each window, of shape (P, Q, 1)."""
        return np.multiply.outer(self.rows.counts(), self.columns.counts())[..., None].astype(dtype)

    def slices(self, number: int) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
        """Return the windows whose element `number` lies inside the image, and these elements."""
        p, h = self.rows.slices(number // self.columns.size)
        q, w = self.columns.slices(number % self.columns.size)
        return (slice(None), p, q), (slice(None), h, w)


def _max_pooling_flops(x: Array, *pooling: Any) -> int:
    windows = _windows("max_pooling", x.shape, *pooling)
    return math.prod(windows.output_shape) * (windows.rows.size * windows.columns.size - 1)


def _average_pooling_flops(x: Array, *pooling: Any) -> int:
    windows = _windows("average_pooling", x.shape, *pooling)
    return math.prod(windows.output_shape) * windows.rows.size * windows.columns.size


def _average_pooling_gradient_flops(
    dy: Array, pool_size: Pair, strides: Pair, padding: str, input_shape: Shape, *_: object
) -> int:
    windows = _windows("average_pooling_gradient", input_shape, pool_size, strides, padding)
    added = dy.size * windows.rows.size * windows.columns.size - math.prod(input_shape)  # where windows overlap
    return dy.size + max(added, 0)


@op(_max_pooling_flops)
def max_pooling(x: Array, pool_size: Pair, strides: Pair, padding: str) -> tuple[Array, Array]:
    """y[n, p, q, c] = max of window (p, q) of x[n, :, :, c]; returns y and the number of each window's first maximum.

    x is (N, H, W, C); y and the winners, int32, are (N, P, Q, C). `pool_size` and `strides` are one integer or two,
    `padding` is 'valid' or 'same'. Winner r S + s is the element (r, s) of its window. NaN is greater than any number.
    ValueError if x has not four axes, or if a window is bigger than a 'valid' image.

    >>> y, winner = max_pooling(np.float32([1, 2, 4, 3]).reshape(1, 2, 2, 1), 2, 2, "valid")
    >>> y.item(), winner.item()
    (4.0, 2)
    """
    device = contract.floats("max_pooling", x=x)
    windows = _windows("max_pooling", x.shape, pool_size, strides, padding)
    y = empty(windows.output_shape, x.dtype, device)
    winner = empty(windows.output_shape, np.int32, device)
    if device.kind is Kind.CPU:
        share_images(x, lambda part: _max_pooling_cpu(x[part], windows, y[part], winner[part]))
    else:
        _launch("max_pooling", (contiguous(x), winner, y), windows)
    return y, winner


def _max_pooling_cpu(x: Array, windows: _Windows, y: Array, winner: Array) -> None:
    rows, columns = windows.rows, windows.columns
    first_r, first_s = rows.firsts() - rows.starts(), columns.firsts() - columns.starts()
    y[...] = -np.inf
    winner[...] = (first_r[:, None] * columns.size + first_s)[..., None]  # the one of a window full of -infinity
    for number in range(rows.size * columns.size):
        outputs, elements = windows.slices(number)
        value, best, best_number = x[elements], y[outputs], winner[outputs]
        better, number_known = (empty_host(value.shape, np.bool_) for _ in range(2))
        np.logical_not(np.less_equal(value, best, out=better), out=better)
        better &= np.equal(best, best, out=number_known)  # greater, or the first NaN
        np.maximum(best, value, out=best)
        numbers = np.multiply(better, np.int32(number), out=empty_host(value.shape, np.int32))
        np.maximum(best_number, numbers, out=best_number)


@op(lambda dy, *_: dy.size)
def max_pooling_gradient(
    dy: Array, winner: Array, pool_size: Pair, strides: Pair, padding: str, input_shape: Shape
) -> Array:
    """dx[n, h, w, c] = sum of dy[n, p, q, c] over the windows (p, q) whose winner is the element (h, w).

    dy and winner are (N, P, Q, C), dx has `input_shape`, (N, H, W, C); the other arguments are those of `max_pooling`.
    """
    device = contract.floats("max_pooling_gradient", dy=dy)
    common_device("max_pooling_gradient", dy=dy, winner=winner)
    windows = _windows("max_pooling_gradient", input_shape, pool_size, strides, padding)
    contract.has_shape("max_pooling_gradient", "dy", dy, windows.output_shape)
    contract.has_shape("max_pooling_gradient", "winner", winner, windows.output_shape)
    contract.has_dtype("max_pooling_gradient", "winner", winner, np.int32)
    dx = empty(windows.images, dy.dtype, device)
    if device.kind is Kind.CPU:
        share_images(dx, lambda part: _max_pooling_gradient_cpu(dy[part], winner[part], windows, dx[part]))
    else:
        _launch("max_pooling_gradient", (contiguous(dy), contiguous(winner), dx), windows)
    return dx


def _max_pooling_gradient_cpu(dy: Array, winner: Array, windows: _Windows, dx: Array) -> None:
    dx[...] = 0
    for number in reversed(range(windows.rows.size * windows.columns.size)):
        outputs, elements = windows.slices(number)
        won = np.equal(winner[outputs], number, out=empty_host(winner[outputs].shape, np.bool_))
        dx[elements] += keep_where(won, dy[outputs])


@op(_average_pooling_flops)
def average_pooling(x: Array, pool_size: Pair, strides: Pair, padding: str) -> Array:
    """y[n, p, q, c] = mean of window (p, q) of x[n, :, :, c]; the padding of 'same' is left out of the mean.

    x is (N, H, W, C), y is (N, P, Q, C); the other arguments and the errors are those of `max_pooling`.

    >>> average_pooling(np.ones((1, 3, 3, 1)), 2, 2, "same").reshape(2, 2)
    array([[1., 1.],
           [1., 1.]])
    """
    device = contract.floats("average_pooling", x=x)
    windows = _windows("average_pooling", x.shape, pool_size, strides, padding)
    y = empty(windows.output_shape, x.dtype, device)
    if device.kind is Kind.CPU:
        share_images(x, lambda part: _average_pooling_cpu(x[part], windows, y[part]))
    else:
        _launch("average_pooling", (contiguous(x), y), windows)
    return y


def _average_pooling_cpu(x: Array, windows: _Windows, y: Array) -> None:
    row_sums = full_host((*x.shape[:2], *y.shape[2:]), 0, x.dtype)
    for s in range(windows.columns.size):
        q, w = windows.columns.slices(s)
        row_sums[:, :, q] += x[:, :, w]
    y[...] = 0
    for r in range(windows.rows.size):
        p, h = windows.rows.slices(r)
        y[:, p] += row_sums[:, h]
    y /= windows.counts(y.dtype)


@op(_average_pooling_gradient_flops)
def average_pooling_gradient(dy: Array, pool_size: Pair, strides: Pair, padding: str, input_shape: Shape) -> Array:
    """dx[n, h, w, c] = sum of dy[n, p, q, c] / (elements of window (p, q)) over the windows that (h, w) lies in.

    dy is (N, P, Q, C), dx has `input_shape`, (N, H, W, C); the other arguments are those of `average_pooling`.
    """
    device = contract.floats("average_pooling_gradient", dy=dy)
    windows = _windows("average_pooling_gradient", input_shape, pool_size, strides, padding)
    contract.has_shape("average_pooling_gradient", "dy", dy, windows.output_shape)
    dx = empty(windows.images, dy.dtype, device)
    if device.kind is Kind.CPU:
        share_images(dx, lambda part: _average_pooling_gradient_cpu(dy[part], windows, dx[part]))
    else:
        _launch("average_pooling_gradient", (contiguous(dy), dx), windows)
    return dx


def _average_pooling_gradient_cpu(dy: Array, windows: _Windows, dx: Array) -> None:
    shares = dy / windows.counts(dy.dtype)
    row_sums = full_host((*dy.shape[:2], *dx.shape[2:]), 0, dy.dtype)
    for s in reversed(range(windows.columns.size)):
        q, w = windows.columns.slices(s)
        row_sums[:, :, w] += shares[:, :, q]
    dx[...] = 0
    for r in reversed(range(windows.rows.size)):
        p, h = windows.rows.slices(r)
        dx[:, h] += row_sums[:, p]


@op(lambda x: x.size)
def global_average_pooling(x: Array) -> Array:
    """y[n, c] = mean of x[n, :, :, c]: average pooling with one window as big as the image; (N, H, W, C) to (N, C)."""
    contract.has_rank("global_average_pooling", "x", x, 4, _AXES)
    n, height, width, channels = x.shape
    return average_pooling(x, (height, width), 1, "valid").reshape(n, channels)


@op(lambda dy, input_shape: dy.size)
def global_average_pooling_gradient(dy: Array, input_shape: Shape) -> Array:
    """dx[n, h, w, c] = dy[n, c] / (H W); dy is (N, C), dx has `input_shape`, (N, H, W, C)."""
    n, height, width, channels = input_shape
    contract.has_shape("global_average_pooling_gradient", "dy", dy, (n, channels))
    return average_pooling_gradient(dy.reshape(n, 1, 1, channels), (height, width), 1, "valid", input_shape)


def _windows(where: str, images: Shape, pool_size: Pair, strides: Pair, padding: str) -> _Windows:
    """Return the windows over images of shape (N, H, W, C); ValueError that opens with `where` if they do not fit."""
    if len(images) != 4:
        raise ValueError(f"{where}: x must have 4 axes, {_AXES}; got shape {images}")
    sizes = arguments.pair(where, "pool_size", pool_size)
    steps = arguments.pair(where, "strides", strides)
    arguments.choice(where, "padding", padding, PADDINGS)
    lengths = images[1:3]
    if max(math.prod(images[1:]), math.prod(sizes), *steps) >= _LIMIT:
        raise ValueError(
            f"{where}: an image, a window and a stride must be below {_LIMIT} elements; "
            f"got images {images[1:]}, pool_size {sizes} and strides {steps}"
        )
    if padding == "valid" and (sizes[0] > lengths[0] or sizes[1] > lengths[1]):
        raise ValueError(
            f"{where}: pool_size must be at most {lengths}, the size of the images; got {sizes}; "
            f"use a smaller pool_size or padding='same'"
        )
    return _Windows(images, *(_axis(*each, padding) for each in zip(lengths, sizes, steps, strict=True)))


def _axis(length: int, size: int, stride: int, padding: str) -> _Axis:
    windows = output_size(length, size, stride, 1, padding)
    return _Axis(length, windows, size, stride, window_pads(length, size, stride, 1, padding)[0])


def share_images(images: Array, work: Callable[[slice], None]) -> None:
    """Do `work` on slices of the batch, each of about _CACHED_BYTES of `images`, in any thread."""
    step = max(_CACHED_BYTES * images.shape[0] // images.nbytes, 1)

    def part(start: int) -> Part:
        yield lambda: work(slice(start, start + step))

    run(part(start) for start in range(0, images.shape[0], step))


def _launch(entry: str, arrays: tuple[Array, ...], windows: _Windows) -> None:
    """Launch kernel `entry` with one thread per element of the last array, the result; no block has two images."""
    images, *image = arrays[-1].shape
    blocks = ceil_div(math.prod(image), THREADS)
    launch(
        _FILE,
        entry,
        grid=images * blocks,
        block=THREADS,
        args=(*arrays, *windows.rows, *windows.columns, image[-1], blocks),
        real=arrays[-1].dtype,
        defines={"THREADS": THREADS},
    )
