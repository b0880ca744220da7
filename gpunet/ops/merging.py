"""Merging several arrays into one: sum, product, quotient, maximum, …; side by side; and back."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from enum import IntEnum
from typing import Any

import numpy as np

from gpunet.backend.arrays import Array, Device, Kind, Shape, contiguous, empty
from gpunet.backend.launch import ceil_div, launch
from gpunet.ops import contract
from gpunet.ops.arithmetic import keep_where
from gpunet.ops.trace import op

THREADS = 256
MOST = 4  # arrays that one launch takes
CHUNK = 64  # terms of a sum of repeats that are added up by themselves

_FILE = "merging.cu"


class Merge(IntEnum):
    """How elements become one, by the number that the kernel knows it by."""

    SUM = 0
    PRODUCT = 1
    DIFFERENCE = 2
    MAXIMUM = 3
    MINIMUM = 4
    QUOTIENT = 5


_UFUNCS: dict[Merge, np.ufunc] = {
    Merge.SUM: np.add,
    Merge.PRODUCT: np.multiply,
    Merge.DIFFERENCE: np.subtract,
    Merge.MAXIMUM: np.maximum,
    Merge.MINIMUM: np.minimum,
    Merge.QUOTIENT: np.divide,
}


@op(
    lambda xs, how: (len(xs) - 1) * xs[0].size,
    traffic=lambda xs, how: (len(xs) + 1) * xs[0].nbytes,
)
def merge(xs: Sequence[Array], how: Merge) -> Array:
    """y = ((x_0 o x_1) o x_2) o …, for two arrays or more of one shape, o being what `how` says.

    >>> merge([np.float32([1, 2]), np.float32([3, 1])], Merge.MAXIMUM)
    array([3., 2.], dtype=float32)
    """
    device = _check_all("merge", xs)
    for number, x in enumerate(xs):
        contract.has_shape("merge", f"x{number}", x, xs[0].shape)
    if device.kind is Kind.CPU:
        with np.errstate(divide="ignore", invalid="ignore"):  # a quotient by 0 is infinite, as in the kernel
            y: Array = _UFUNCS[how](xs[0], xs[1], out=empty(xs[0].shape, xs[0].dtype, device))
            for x in xs[2:]:
                _UFUNCS[how](y, x, out=y)
        return y
    arrays = [contiguous(x) for x in xs]
    y = arrays[0]
    for begin in range(1, len(arrays), MOST - 1):
        group = [y, *arrays[begin : begin + MOST - 1]]
        y = empty(xs[0].shape, xs[0].dtype, device)
        _launch("merge", (*_padded(group), y, y.size), y, y.size, how, len(group))
    return y


@op(lambda xs: (len(xs) - 1) * xs[0].size, traffic=lambda xs: (len(xs) + 1) * xs[0].nbytes)
def add(xs: Sequence[Array]) -> Array:
    """y = x_0 + x_1 + …, in this order; the arrays stay as they are."""
    y: Array = merge(xs, Merge.SUM)
    return y


@op(lambda dy, x0, x1, how: dy.size)
def choice_gradient(dy: Array, x0: Array, x1: Array, how: Merge) -> tuple[Array, Array]:
    """Return the gradients of a maximum or a minimum of two: dy where it was taken from the one, and 0 elsewhere.

    Where both are the same it was taken from the first.
    """
    device = contract.floats("choice_gradient", dy=dy, x0=x0, x1=x1)
    contract.has_shape("choice_gradient", "x0", x0, dy.shape)
    contract.has_shape("choice_gradient", "x1", x1, dy.shape)
    if device.kind is Kind.CPU:
        first = (x0 >= x1 if how is Merge.MAXIMUM else x0 <= x1) | (x0 != x0)
        dy = contiguous(dy)
        return keep_where(first, dy), keep_where(~first, dy)
    dx0, dx1 = (empty(dy.shape, dy.dtype, device) for _ in range(2))
    args = (contiguous(dy), contiguous(x0), contiguous(x1), dx0, dx1, dy.size)
    _launch("choice_gradient", args, dy, dy.size, how)
    return dx0, dx1


@op(lambda x, shape: 0)
def spread(x: Array, shape: Shape) -> Array:
    """y = x, repeated along axes where its size is 1 and that of `shape` is not; x itself if there are none.

    >>> spread(np.float32([[1], [2]]), (2, 3))
    array([[1., 1., 1.],
           [2., 2., 2.]], dtype=float32)
    """
    device = contract.floats("spread", x=x)
    for outer, times, inner in _runs("spread", x.shape, shape):
        if device.kind is Kind.CPU:
            x = np.repeat(x.reshape(outer, 1, inner), times, axis=1)
        else:
            y = empty((outer, times, inner), x.dtype, device)
            _launch("repeat", (contiguous(x), y, times, inner, y.size), y, y.size)
            x = y
    return x.reshape(shape)


@op(lambda dy, shape: dy.size)
def spread_gradient(dy: Array, shape: Shape) -> Array:
    """dx = the sum of dy over the axes along which `spread` repeated x, whose shape is `shape`."""
    device = contract.floats("spread_gradient", dy=dy)
    for outer, times, inner in reversed(list(_runs("spread_gradient", shape, dy.shape))):
        if device.kind is Kind.CPU:
            dy = dy.reshape(outer, times, inner).sum(axis=1)
        else:
            dx = empty((outer, inner), dy.dtype, device)
            _launch("sum_repeats", (contiguous(dy), dx, times, inner, dx.size), dx, dx.size)
            dy = dx
    return dy.reshape(shape)


def _runs(where: str, shape: Shape, target: Shape) -> Iterator[tuple[int, int, int]]:
    """Yield, for neighbouring axes along which `shape` is repeated, what lies before, how often, and what behind."""
    if len(shape) != len(target) or any(a not in (1, b) for a, b in zip(shape, target, strict=True)):
        raise ValueError(f"{where}: sizes must be 1 or those of {target}; got {shape}")
    begin = 0
    while begin < len(shape):
        end = begin
        while end < len(shape) and shape[end] == 1:
            end += 1
        times = math.prod(target[begin:end])
        if times > 1:
            yield math.prod(target[:begin]), times, math.prod(shape[end:])
        begin = end + 1


@op(lambda xs, axis: 0, traffic=lambda xs, axis: 2 * sum(x.nbytes for x in xs))
def concatenate(xs: Sequence[Array], axis: int) -> Array:
    """y = the arrays one after another along `axis`; their other sizes must be the same.

    >>> concatenate([np.float32([[1], [2]]), np.float32([[3], [4]])], 1)
    array([[1., 3.],
           [2., 4.]], dtype=float32)
    """
    device = _check_all("concatenate", xs)
    first = xs[0].shape
    for number, x in enumerate(xs):
        contract.has_shape(
            "concatenate", f"x{number}", x, (*first[:axis], *x.shape[axis : axis + 1], *first[axis + 1 :])
        )
    if device.kind is Kind.CPU:
        size = sum(x.shape[axis] for x in xs)
        return np.concatenate(xs, axis, out=empty((*first[:axis], size, *first[axis + 1 :]), xs[0].dtype, device))
    groups: list[Array] = list(xs)
    while len(groups) > 1:
        groups = [_joined(groups[k : k + MOST], axis, device) for k in range(0, len(groups), MOST)]
    return groups[0]


def _joined(xs: list[Array], axis: int, device: Device) -> Array:
    if len(xs) == 1:
        return xs[0]
    size = sum(x.shape[axis] for x in xs)
    y = empty((*xs[0].shape[:axis], size, *xs[0].shape[axis + 1 :]), xs[0].dtype, device)
    widths = [math.prod(x.shape[axis:]) for x in xs]
    args = (*_padded([contiguous(x) for x in xs]), *_padded(widths), y, y.size)
    _launch("concatenate", args, y, y.size, count=len(xs))
    return y


@op(lambda y, sizes, axis: 0, traffic=lambda y, sizes, axis: 2 * y.nbytes)
def split(y: Array, sizes: Sequence[int], axis: int) -> list[Array]:
    """Return the parts of y along `axis`, of these sizes: what `concatenate` has put together."""
    device = contract.floats("split", y=y)
    if sum(sizes) != y.shape[axis]:
        raise ValueError(f"split: sizes must add up to {y.shape[axis]}; got {list(sizes)}")
    if device.kind is Kind.CPU:
        return [contiguous(part) for part in np.split(y, np.cumsum(sizes)[:-1], axis)]
    return _parted(y, list(sizes), axis, device)


def _parted(y: Array, sizes: list[int], axis: int, device: Device) -> list[Array]:
    if len(sizes) == 1:
        return [y]
    share = ceil_div(len(sizes), MOST) if len(sizes) > MOST else 1  # parts of a part
    groups = [sizes[k : k + share] for k in range(0, len(sizes), share)]
    shapes = [(*y.shape[:axis], sum(group), *y.shape[axis + 1 :]) for group in groups]
    parts = [empty(shape, y.dtype, device) for shape in shapes]
    widths = [math.prod(part.shape[axis:]) for part in parts]
    args = (contiguous(y), *_padded(parts), *_padded(widths), y.size)
    _launch("split", args, y, y.size, count=len(parts))
    return [one for part, group in zip(parts, groups, strict=True) for one in _parted(part, group, axis, device)]


def _check_all(where: str, xs: Sequence[Array]) -> Device:
    if len(xs) < 2:
        raise ValueError(f"{where}: xs must be at least two arrays; got {len(xs)}")
    return contract.floats(where, **{f"x{number}": x for number, x in enumerate(xs)})


def _padded(values: Sequence[Any]) -> list[Any]:
    """Return `values`, and the first again until there are as many as a kernel takes; it does not use these."""
    return [*values, *[values[0]] * (MOST - len(values))]


def _launch(entry: str, args: tuple[Any, ...], like: Array, n: int, how: Merge = Merge.SUM, count: int = 2) -> None:
    defines = {"THREADS": THREADS, "CHUNK": CHUNK, "OPERATION": int(how), "COUNT": count}
    launch(_FILE, entry, grid=ceil_div(n, THREADS), block=THREADS, args=args, real=like.dtype, defines=defines)
