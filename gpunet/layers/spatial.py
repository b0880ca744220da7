"""Layers that move what they see: padding, cropping, repetition, and axes in another order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias, Unpack

from gpunet import arguments
from gpunet.backend.arrays import Array
from gpunet.layers import shapes
from gpunet.layers.base import Forward, Layer, LayerArguments
from gpunet.layers.shapes import Dims, dims
from gpunet.ops.rearrangement import pad, permute, repeat, repeat_gradient

Sides: TypeAlias = tuple[tuple[int, int], ...]
Both: TypeAlias = int | Sequence[int] | Sequence[Sequence[int]]


class _Resized(Layer):
    """A layer of inputs (batch, ..., channels) whose axes between these grow, or shrink, by `_sides` elements."""

    _sides: Sides
    _name_of_sides: str

    def check_input_shape(self, shape: Dims) -> None:
        _check_axes(self, shape, len(self._sides))
        for size, (before, after) in zip(shape[1:-1], self._sides, strict=True):
            if size is not None and size + before + after < 1:
                least = 1 - before - after
                raise ValueError(
                    f"{self.where}: input must have sizes of at least {least} along an axis with {self._name_of_sides} "
                    f"{(abs(before), abs(after))}; got shape {shape}"
                )

    def compute_output_shape(self, input_shape: Any) -> Dims:
        shape = dims(self.where, "input_shape", input_shape)
        self.check_input_shape(shape)
        grown = (
            None if size is None else size + before + after
            for size, (before, after) in zip(shape[1:-1], self._sides, strict=True)
        )
        return (shape[0], *grown, shape[-1])

    def forward(self, x: Array, training: bool) -> Forward:
        pads = [(0, 0), *self._sides, (0, 0)]
        return pad(x, pads), lambda dy: pad(dy, [(-before, -after) for before, after in pads])


class ZeroPadding2D(_Resized):
    """y is x with rows and columns of zeros around it; x is (batch, H, W, C).

    `padding` is one integer for all sides, (rows, columns), or ((top, bottom), (left, right)).

    >>> ZeroPadding2D(((1, 0), (2, 2))).compute_output_shape((None, 9, 9, 3))
    (None, 10, 13, 3)
    """

    _name_of_sides = "padding"

    def __init__(
        self, padding: Both = (1, 1), data_format: str | None = None, **kwargs: Unpack[LayerArguments]
    ) -> None:
        super().__init__(**kwargs)
        self.padding = _two_pairs(self.where, "padding", padding)
        self.data_format = shapes.channels_last(self.where, data_format)
        self._sides = self.padding

    def get_config(self) -> dict[str, Any]:
        padding = [list(sides) for sides in self.padding]
        return {**super().get_config(), "padding": padding, "data_format": self.data_format}


class ZeroPadding1D(_Resized):
    """y is x with steps of zeros before and after; x is (batch, steps, features), `padding` one integer or two."""

    _name_of_sides = "padding"

    def __init__(
        self,
        padding: int | tuple[int, int] = 1,
        data_format: str | None = None,
        **kwargs: Unpack[LayerArguments],
    ) -> None:
        super().__init__(**kwargs)
        self.padding = arguments.pair(self.where, "padding", padding, 0)
        self.data_format = shapes.channels_last(self.where, data_format)
        self._sides = (self.padding,)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "padding": list(self.padding), "data_format": self.data_format}


class Cropping2D(_Resized):
    """y is x without rows and columns at its edges; x is (batch, H, W, C).

    `cropping` is one integer for all sides, (rows, columns), or ((top, bottom), (left, right)). ValueError for inputs
    of which nothing would be left.

    >>> Cropping2D((1, 2)).compute_output_shape((None, 9, 9, 3))
    (None, 7, 5, 3)
    """

    _name_of_sides = "cropping"

    def __init__(
        self, cropping: Both = ((0, 0), (0, 0)), data_format: str | None = None, **kwargs: Unpack[LayerArguments]
    ) -> None:
        super().__init__(**kwargs)
        self.cropping = _two_pairs(self.where, "cropping", cropping)
        self.data_format = shapes.channels_last(self.where, data_format)
        self._sides = _opposite(self.cropping)

    def get_config(self) -> dict[str, Any]:
        cropping = [list(sides) for sides in self.cropping]
        return {**super().get_config(), "cropping": cropping, "data_format": self.data_format}


class Cropping1D(_Resized):
    """y is x without its first and last steps; x is (batch, steps, features), `cropping` one integer or two."""

    _name_of_sides = "cropping"

    def __init__(self, cropping: int | tuple[int, int] = (1, 1), **kwargs: Unpack[LayerArguments]) -> None:
        super().__init__(**kwargs)
        self.cropping = arguments.pair(self.where, "cropping", cropping, 0)
        self._sides = _opposite((self.cropping,))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "cropping": list(self.cropping)}


class UpSampling1D(Layer):
    """y[n, t, c] = x[n, t // size, c]; x is (batch, steps, features), y (batch, size steps, features)."""

    def __init__(self, size: int = 2, **kwargs: Unpack[LayerArguments]) -> None:
        super().__init__(**kwargs)
        self.size = arguments.integer(self.where, "size", size)

    def check_input_shape(self, shape: Dims) -> None:
        _check_axes(self, shape, 1)

    def compute_output_shape(self, input_shape: Any) -> Dims:
        shape = dims(self.where, "input_shape", input_shape)
        self.check_input_shape(shape)
        return (shape[0], None if shape[1] is None else self.size * shape[1], shape[2])

    def forward(self, x: Array, training: bool) -> Forward:
        repeats = (1, self.size, 1)
        return repeat(x, repeats), lambda dy: repeat_gradient(dy, repeats)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "size": self.size}


class RepeatVector(Layer):
    """y[i, t, c] = x[i, c] for t < n; x is (batch, features), y (batch, n, features).

    >>> RepeatVector(2)([[1.0, 3.0]])
    array([[[1., 3.],
            [1., 3.]]], dtype=float32)
    """

    def __init__(self, n: int, **kwargs: Unpack[LayerArguments]) -> None:
        super().__init__(**kwargs)
        self.n = arguments.integer(self.where, "n", n)

    def check_input_shape(self, shape: Dims) -> None:
        if len(shape) != 2:
            raise ValueError(f"{self.where}: input must have shape (batch, features); got {shape}")

    def compute_output_shape(self, input_shape: Any) -> Dims:
        shape = dims(self.where, "input_shape", input_shape)
        self.check_input_shape(shape)
        return (shape[0], self.n, shape[1])

    def forward(self, x: Array, training: bool) -> Forward:
        repeats = (1, self.n, 1)
        y = repeat(x.reshape(x.shape[0], 1, x.shape[1]), repeats)
        return y, lambda dy: repeat_gradient(dy, repeats).reshape(x.shape)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "n": self.n}


class Permute(Layer):
    """y has the axes of x in another order: axis i of y is axis dims[i - 1] of x, counted from 1, after the batch.

    >>> Permute((2, 1)).compute_output_shape((None, 10, 64))
    (None, 64, 10)
    """

    def __init__(self, dims: Sequence[int], **kwargs: Unpack[LayerArguments]) -> None:
        super().__init__(**kwargs)
        self.dims = arguments.integers(self.where, "dims", dims)
        if sorted(self.dims) != list(range(1, len(self.dims) + 1)):
            raise ValueError(f"{self.where}: dims must be 1 to {len(self.dims)} in some order; got {self.dims}")

    def check_input_shape(self, shape: Dims) -> None:
        if len(shape) != 1 + len(self.dims):
            raise ValueError(f"{self.where}: input must have {len(self.dims)} axes after the batch; got shape {shape}")

    def compute_output_shape(self, input_shape: Any) -> Dims:
        shape = dims(self.where, "input_shape", input_shape)
        self.check_input_shape(shape)
        return (shape[0], *(shape[axis] for axis in self.dims))

    def forward(self, x: Array, training: bool) -> Forward:
        axes = (0, *self.dims)
        back = sorted(range(len(axes)), key=axes.__getitem__)
        return permute(x, axes), lambda dy: permute(dy, back)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "dims": list(self.dims)}


def _check_axes(layer: Layer, shape: Dims, count: int) -> None:
    """ValueError unless inputs of `shape` have `count` axes between the batch and the channels."""
    if count == 2:
        shapes.images(layer.where, shape)
    elif len(shape) != 3:
        raise ValueError(f"{layer.where}: input must have shape (batch, steps, features); got {shape}")


def _two_pairs(where: str, name: str, value: Both) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return the pair for rows and that for columns, of one integer, two, or two pairs, each of at least 0."""
    if isinstance(value, Sequence) and not isinstance(value, (str, bytes)):
        if len(value) != 2:
            raise ValueError(f"{where}: {name} must be an integer, two, or two pairs; got {arguments.shown(value)}")
        return arguments.pair(where, name, value[0], 0), arguments.pair(where, name, value[1], 0)
    number = arguments.integer(where, name, value, 0)
    return (number, number), (number, number)


def _opposite(sides: Sides) -> Sides:
    return tuple((-before, -after) for before, after in sides)
