"""Shapes of layers' inputs and outputs: batch first, None where any size will do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

from gpunet import arguments

Dims: TypeAlias = tuple[int | None, ...]
Shapes: TypeAlias = Any  # Dims, or of a layer with several inputs or outputs a list of them

CHANNELS_LAST = "channels_last"
PADDINGS = ("valid", "same")


def dims(where: str, name: str, value: Any) -> Dims:
    """Return `value`, a sequence of integers of at least 1 and of Nones, as a tuple; TypeError or ValueError else."""
    sizes = arguments.members(where, name, value, "a tuple of integers, such as (None, 16)")
    return tuple(None if size is None else arguments.integer(where, name, size) for size in sizes)


def nested(where: str, name: str, value: Any) -> Shapes:
    """Return `value`, one shape or a sequence of shapes, as `dims` does, several in a list."""
    if isinstance(value, Sequence) and value and all(isinstance(shape, (list, tuple)) for shape in value):
        return [dims(where, name, shape) for shape in value]
    return dims(where, name, value)


def shapes_of(arrays: Any) -> Shapes:
    """Return the shape of an array, of a list of arrays the list of shapes."""
    return [array.shape for array in arrays] if isinstance(arrays, list) else arrays.shape


def fits(shape: Dims, expected: Dims) -> bool:
    """Tell whether `shape` is `expected`, where None stands for any size in either."""
    return len(shape) == len(expected) and all(
        a is None or b is None or a == b for a, b in zip(shape, expected, strict=True)
    )


def images(where: str, shape: Dims, channels: int | None = None) -> None:
    """ValueError unless `shape` is that of a batch of images, with `channels` channels if that is known."""
    spatial(where, 2, shape, channels)


def spatial(where: str, rank: int, shape: Dims, channels: int | None = None) -> None:
    """ValueError unless `shape` is that of a batch of images (`rank` 2) or of sequences (1), likewise."""
    if not fits(shape, (None,) * (rank + 1) + (channels,)):
        wanted = "channels" if channels is None else channels
        axes = "height, width" if rank == 2 else "steps"
        hint = "; add the channel axis with x[..., None]" if len(shape) == rank + 1 else ""
        raise ValueError(f"{where}: input must have shape (batch, {axes}, {wanted}); got {shape}{hint}")


def per_axis(where: str, rank: int, name: str, value: object, minimum: int = 1) -> tuple[int, ...]:
    """Return `value` as one integer of at least `minimum` for each of `rank` axes, 1 or 2."""
    return (arguments.pair if rank == 2 else arguments.single)(where, name, value, minimum)


def of_images(rank: int, sizes: tuple[int, ...], row: int = 1) -> tuple[int, int]:
    """Return sizes along the axes of an image; a sequence is one of a single row, along which the size is `row`.

    >>> of_images(1, (5,))
    (1, 5)
    """
    height, width = sizes if rank == 2 else (row, *sizes)
    return height, width


def channels_last(where: str, data_format: str | None) -> str:
    """Return 'channels_last', which None is too; ValueError for any other order of the axes."""
    given = data_format.lower() if isinstance(data_format, str) else data_format
    if given is not None and not (isinstance(given, str) and given == CHANNELS_LAST):
        first = isinstance(given, str) and given == "channels_first"
        hint = "; move the channels with numpy.moveaxis(x, 1, -1)" if first else ""
        raise ValueError(f"{where}: data_format must be 'channels_last'; got {arguments.shown(data_format)}{hint}")
    return CHANNELS_LAST


def padding(where: str, value: str, valid: tuple[str, ...] = PADDINGS) -> str:
    """Return `value`, one of `valid` in letters of any case, in small ones; ValueError else."""
    return arguments.choice(where, "padding", value.lower() if isinstance(value, str) else value, valid)
