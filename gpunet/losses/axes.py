"""The axes that a loss is taken over, as the rows that ops take: those axes last and as one, all others as one."""

from __future__ import annotations

import math
from typing import Any

from gpunet import arguments
from gpunet.backend.arrays import Array, Shape, contiguous


def axes_argument(where: str, axis: Any) -> int | tuple[int, ...] | None:
    """Return the argument `axis`, an integer, several or None for all; TypeError or ValueError else."""
    if axis is None:
        return None
    if isinstance(axis, (tuple, list)):
        axes = arguments.integers(where, "axis", axis, minimum=-(2**63))
        if not axes:
            raise ValueError(f"{where}: axis must be None, an integer or several; got {arguments.shown(axis)}")
        return axes
    return arguments.integer(where, "axis", axis, minimum=-(2**63))


def axes_of(where: str, axis: int | tuple[int, ...] | None, rank: int) -> tuple[int, ...]:
    """Return `axis` as sorted axes of an array of `rank`; ValueError if it has none of that number, or one twice."""
    if axis is None:
        return tuple(range(rank))
    given = axis if isinstance(axis, tuple) else (axis,)
    axes = tuple(sorted(number + rank if number < 0 else number for number in given))
    if axes[0] < 0 or axes[-1] >= rank or len(set(axes)) < len(axes):
        raise ValueError(
            f"{where}: axis must be different axes from {-rank} to {rank - 1} for outputs of rank {rank}; got {axis}"
        )
    return axes


def rows_over(array: Array, axes: tuple[int, ...]) -> Array:
    """Return `array` as (rows, columns), columns being `axes`."""
    order = _order(array.ndim, axes)
    moved = array if order == tuple(range(array.ndim)) else contiguous(array.transpose(order))
    return moved.reshape(-1, math.prod(array.shape[axis] for axis in axes))


def from_rows(rows: Array, shape: Shape, axes: tuple[int, ...]) -> Array:
    """Return the array of `shape` that `rows_over` made `rows` of."""
    order = _order(len(shape), axes)
    moved = rows.reshape(tuple(shape[axis] for axis in order))
    if order == tuple(range(len(shape))):
        return moved
    return contiguous(moved.transpose(tuple(order.index(axis) for axis in range(len(shape)))))


def _order(rank: int, axes: tuple[int, ...]) -> tuple[int, ...]:
    return (*(axis for axis in range(rank) if axis not in axes), *axes)
