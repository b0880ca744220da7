"""Ops on the rows of an array along one axis, on which a warp each works."""

from __future__ import annotations

import math

from gpunet.backend.arrays import Array
from gpunet.backend.launch import ceil_div, launch

THREADS = 128
ROWS = THREADS // 32  # rows that one block works on: a warp each


def check_axis(where: str, name: str, array: Array, axis: int) -> None:
    """ValueError unless `array`, which the message calls `name`, has an axis number `axis`."""
    if array.ndim == 0:
        raise ValueError(f"{where}: {name} must have at least one axis; got shape ()")
    if not -array.ndim <= axis < array.ndim:
        raise ValueError(f"{where}: axis must be one of the {array.ndim} axes of {name}; got {axis}")


def launch_rows(file: str, entry: str, axis: int, *arrays: Array) -> None:
    """Launch kernel `entry` of `file` on `arrays` of one shape, seen as (outer, columns, inner)."""
    shape = arrays[0].shape
    columns = shape[axis]
    inner = math.prod(shape[axis % len(shape) + 1 :])
    rows = arrays[0].size // columns
    launch(
        file,
        entry,
        grid=ceil_div(rows, ROWS),
        block=THREADS,
        args=(*arrays, rows, columns, inner),
        real=arrays[0].dtype,
        defines={"THREADS": THREADS},
    )
