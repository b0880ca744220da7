"""Shapes of layers' inputs and outputs: batch first, None where any size will do."""

from __future__ import annotations

from typing import Any, TypeAlias

from gpunet import arguments

Dims: TypeAlias = tuple[int | None, ...]

CHANNELS_LAST = "channels_last"
PADDINGS = ("valid", "same")


def dims(where: str, name: str, value: Any) -> Dims:
    """Return `value`, a sequence of integers of at least 1 and of Nones, as a tuple; TypeError or ValueError else."""
    sizes = arguments.members(where, name, value, "a tuple of integers, such as (None, 16)")
    return tuple(None if size is None else arguments.integer(where, name, size) for size in sizes)


def fits(shape: Dims, expected: Dims) -> bool:
    """Tell whether `shape` is `expected`, where None stands for any size in either."""
    return len(shape) == len(expected) and all(
        a is None or b is None or a == b for a, b in zip(shape, expected, strict=True)
    )


def images(where: str, shape: Dims, channels: int | None = None) -> None:
    """ValueError unless `shape` is that of a batch of images, with `channels` channels if that is known."""
    if not fits(shape, (None, None, None, channels)):
        wanted = "channels" if channels is None else channels
        hint = "; add the channel axis with x[..., None]" if len(shape) == 3 else ""
        raise ValueError(f"{where}: input must have shape (batch, height, width, {wanted}); got {shape}{hint}")


def channels_last(where: str, data_format: str | None) -> str:
    """Return 'channels_last', which None is too; ValueError for any other order of the axes."""
    given = data_format.lower() if isinstance(data_format, str) else data_format
    if given is not None and not (isinstance(given, str) and given == CHANNELS_LAST):
        first = isinstance(given, str) and given == "channels_first"
        hint = "; move the channels with numpy.moveaxis(x, 1, -1)" if first else ""
        raise ValueError(f"{where}: data_format must be 'channels_last'; got {arguments.shown(data_format)}{hint}")
    return CHANNELS_LAST


def padding(where: str, value: str) -> str:
    """Return `value`, 'valid' or 'same' in letters of any case, in small ones; ValueError else."""
    return arguments.choice(where, "padding", value.lower() if isinstance(value, str) else value, PADDINGS)
