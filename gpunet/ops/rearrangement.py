"""Arrays whose elements move: padded, cropped, permuted or repeated, and the gradients, which are moves or sums too.

All are one of two kernels: a copy by strides with bounds, and a sum over two axes (kernels/rearrangement.cu).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from gpunet.backend.arrays import Array, HostArray, Kind, Shape, contiguous, device_of, empty
from gpunet.backend.launch import ceil_div, launch
from gpunet.ops import contract
from gpunet.ops.trace import op

THREADS = 256
MOST_AXES = 6  # that the kernels take, after neighbours that move together are one

_FILE = "rearrangement.cu"
_MOST_PLACES = 2**31  # that a kernel counts in 32 bits


class _Axis(NamedTuple):
    """An axis of y: elements first to first + extent - 1 of it come from x, where neighbours are `stride` apart."""

    size: int
    first: int
    extent: int
    stride: int


@op(lambda x, *_: 0)
def pad(x: Array, pads: Sequence[tuple[int, int]], fill: float = 0.0) -> Array:
    """y is x with `pads` (before, after) elements of `fill` more along each axis, or fewer where they are negative.

    The gradient with respect to x is that of y with the opposite pads. ValueError if nothing would be left.

    >>> pad(np.float32([1, 2, 3]), [(1, -1)])
    array([0., 1., 2.], dtype=float32)
    """
    device = contract.floats("pad", x=x)
    shape = tuple(size + before + after for size, (before, after) in zip(x.shape, pads, strict=True))
    if min(shape) < 1:
        raise ValueError(f"pad: pads must leave sizes of at least 1; got {list(pads)} for shape {x.shape}")
    y = empty(shape, x.dtype, device)
    if device.kind is Kind.CPU:
        _pad_cpu(x, pads, fill, y)
        return y
    strides = _strides(x.shape)
    axes = [_Axis(size, pads[a][0], x.shape[a], strides[a]) for a, size in enumerate(shape)]
    _launch("strided_copy", "pad", (contiguous(x), y, y.size, float(fill)), axes, y)
    return y


def _pad_cpu(x: HostArray, pads: Sequence[tuple[int, int]], fill: float, y: HostArray) -> None:
    inner, outer = [], []
    for size, (before, after) in zip(x.shape, pads, strict=True):
        kept = slice(max(-before, 0), size - max(-after, 0))
        start = max(before, 0)
        inner.append(kept)
        outer.append(slice(start, start + kept.stop - kept.start))
    if max(max(pair) for pair in pads) > 0:
        y.fill(fill)
    y[tuple(outer)] = x[tuple(inner)]


@op(lambda x, *_: 0)
def permute(x: Array, axes: Sequence[int]) -> Array:
    """y is x with its axes in the order `axes`, as numpy.transpose, in memory of its own.

    ValueError unless `axes` are all of x's, or if on a device more than 6 groups of them move.

    >>> permute(np.float32([[1, 2], [3, 4]]), (1, 0))
    array([[1., 3.],
           [2., 4.]], dtype=float32)
    """
    device = contract.floats("permute", x=x)
    if sorted(axes) != list(range(x.ndim)):
        raise ValueError(f"permute: axes must be 0 to {x.ndim - 1} in some order; got {tuple(axes)}")
    y = empty(tuple(x.shape[a] for a in axes), x.dtype, device)
    if device.kind is Kind.CPU:
        np.copyto(y, x.transpose(axes))
        return y
    strides = _strides(x.shape)
    moved = [_Axis(x.shape[a], 0, x.shape[a], strides[a]) for a in axes]
    _launch("strided_copy", "permute", (contiguous(x), y, y.size, 0.0), moved, y)
    return y


@op(lambda x, *_: 0)
def repeat(x: Array, repeats: Sequence[int]) -> Array:
    """y[i_0, i_1, ...] = x[i_0 // repeats[0], i_1 // repeats[1], ...]: each element of axis a `repeats[a]` times.

    >>> repeat(np.float32([[1, 2]]), (1, 2))
    array([[1., 1., 2., 2.]], dtype=float32)
    """
    device = contract.floats("repeat", x=x)
    shape = _repeated_shape("repeat", x.shape, repeats)
    y = empty(shape, x.dtype, device)
    if device.kind is Kind.CPU:
        y.reshape(_split(x.shape, repeats))[...] = x.reshape(_split(x.shape, [1] * x.ndim))
        return y
    strides = _strides(x.shape)
    axes = []
    for size, times, stride in zip(x.shape, repeats, strides, strict=True):
        axes += [_Axis(size, 0, size, stride), _Axis(times, 0, times, 0)]
    _launch("strided_copy", "repeat", (contiguous(x), y, y.size, 0.0), axes, y)
    return y


@op(lambda dy, repeats: dy.size)
def repeat_gradient(dy: Array, repeats: Sequence[int]) -> Array:
    """dx[j] = sum of dy over the elements that `repeat` made of x[j]; two axes at most may be repeated.

    Sums go over the first of these axes, then the second, so that they have the same bits on every device.
    """
    device = contract.floats("repeat_gradient", dy=dy)
    if dy.ndim != len(repeats) or any(size % times for size, times in zip(dy.shape, repeats, strict=True)):
        raise ValueError(f"repeat_gradient: dy must have sizes that are multiples of {list(repeats)}; got {dy.shape}")
    shape = tuple(size // times for size, times in zip(dy.shape, repeats, strict=True))
    summed = [a for a, times in enumerate(repeats) if times > 1]
    if len(summed) > 2:
        raise ValueError(f"repeat_gradient: repeats must be 1 but on two axes; got {list(repeats)}")
    dx = empty(shape, dy.dtype, device)
    if device.kind is Kind.CPU:
        parts = dy.reshape(_split(shape, repeats))
        for sample in range(shape[0]):  # whose sum stays in the cache
            _add_up(parts[sample : sample + 1], repeats, dx[sample : sample + 1])
        return dx
    strides = _strides(dy.shape)
    axes = [_Axis(size, 0, size, strides[a] * repeats[a]) for a, size in enumerate(shape)]
    sums = [number for a in summed for number in (repeats[a], strides[a])]
    sums = [1, 0] * (2 - len(summed)) + sums
    _launch("strided_sum", "repeat_gradient", (contiguous(dy), dx, dx.size, *sums), axes, dx)
    return dx


def _add_up(parts: HostArray, repeats: Sequence[int], dx: HostArray) -> None:
    dx.fill(0)
    for index in np.ndindex(*repeats):
        dx += parts[tuple(place for number in index for place in (slice(None), number))]


def _repeated_shape(where: str, shape: Shape, repeats: Sequence[int]) -> Shape:
    if len(repeats) != len(shape) or min(repeats) < 1:
        raise ValueError(f"{where}: repeats must be {len(shape)} integers of at least 1; got {list(repeats)}")
    return tuple(size * times for size, times in zip(shape, repeats, strict=True))


def _split(shape: Shape, repeats: Sequence[int]) -> Shape:
    """Return the shape in which each axis is followed by its repetitions."""
    return tuple(number for pair in zip(shape, repeats, strict=True) for number in pair)


def _strides(shape: Shape) -> list[int]:
    """Return how many elements apart neighbours along each axis of a row-major array are."""
    return [math.prod(shape[a + 1 :]) for a in range(len(shape))]


def _merged(axes: Sequence[_Axis]) -> list[_Axis]:
    """Return `axes` without those of one element, and with neighbours that move together as one."""
    found: list[_Axis] = []
    for axis in axes:
        if axis == (1, 0, 1, axis.stride):
            continue
        outer = found[-1] if found else None
        is_whole = axis.first == 0 and axis.extent == axis.size
        if outer is not None and is_whole and outer.stride == axis.stride * axis.size:
            size = axis.size
            found[-1] = _Axis(outer.size * size, outer.first * size, outer.extent * size, axis.stride)
        else:
            found.append(axis)
    return found


def _launch(entry: str, where: str, args: tuple[Array | int | float, ...], axes: Sequence[_Axis], y: Array) -> None:
    """Launch kernel `entry` for `y`, whose axes `axes` are."""
    merged = _merged(axes) or [_Axis(1, 0, 1, 0)]
    if len(merged) > MOST_AXES:
        raise ValueError(
            f"{where}: axes must form at most {MOST_AXES} groups that move on {device_of(y)}; got {len(merged)}"
        )
    filled = merged + [_Axis(1, 0, 1, 0)] * (MOST_AXES - len(merged))
    place = "unsigned" if y.size < _MOST_PLACES else "Index"
    launch(
        _FILE,
        entry,
        grid=ceil_div(y.size, THREADS),
        block=THREADS,
        args=(*args, *(number for axis in filled for number in axis)),
        real=y.dtype,
        defines={"THREADS": THREADS, "AXES": len(merged), "PLACE": place},
    )
