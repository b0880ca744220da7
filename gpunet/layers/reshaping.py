"""Layers that see the same numbers in another shape."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Unpack

from gpunet import arguments
from gpunet.backend.arrays import Array
from gpunet.layers import shapes
from gpunet.layers.base import Forward, Layer, LayerArguments
from gpunet.layers.shapes import Dims, dims


class _View(Layer):
    """A layer whose output is its input with the shape of `compute_output_shape`."""

    def forward(self, x: Array, training: bool) -> Forward:
        shape = x.shape
        target = [size for size in self.compute_output_shape(shape) if size is not None]  # all are known here
        return x.reshape(target), lambda dy: dy.reshape(shape)


class Flatten(_View):
    """y[n, i] = x[n, ...], i counting the elements of a sample in C order; x is (batch, ...), y (batch, features).

    >>> Flatten()([[[1, 2], [3, 4]]])
    array([[1., 2., 3., 4.]], dtype=float32)
    """

    def __init__(self, data_format: str | None = None, **kwargs: Unpack[LayerArguments]) -> None:
        super().__init__(**kwargs)
        self.data_format = shapes.channels_last(self.where, data_format)

    def compute_output_shape(self, input_shape: Any) -> Dims:
        shape = dims(self.where, "input_shape", input_shape)
        self.check_input_shape(shape)
        return (shape[0], _size(shape[1:]))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "data_format": self.data_format}


class Reshape(_View):
    """y[n] = x[n] in C order as `target_shape`, of which one size may be -1: what is left.

    ValueError if the sizes do not multiply to those of the input.

    >>> Reshape((-1, 2)).compute_output_shape((None, 12))
    (None, 6, 2)
    """

    def __init__(self, target_shape: Sequence[int], **kwargs: Unpack[LayerArguments]) -> None:
        super().__init__(**kwargs)
        sizes = arguments.integers(self.where, "target_shape", target_shape, minimum=-1)
        if 0 in sizes or sizes.count(-1) > 1:
            raise ValueError(
                f"{self.where}: target_shape must have sizes of at least 1, and one -1 at most; got {sizes}"
            )
        self.target_shape = sizes

    def compute_output_shape(self, input_shape: Any) -> Dims:
        shape = dims(self.where, "input_shape", input_shape)
        self.check_input_shape(shape)
        size = _size(shape[1:])
        if size is None:
            return (shape[0], *(None if target == -1 else target for target in self.target_shape))
        known = math.prod(target for target in self.target_shape if target != -1)
        fixed = -1 not in self.target_shape
        if size % known or (fixed and size != known):
            wanted = f"{known} elements" if fixed else f"a multiple of {known} elements"
            raise ValueError(f"{self.where}: input must have {wanted} a sample, as target_shape has; got shape {shape}")
        return (shape[0], *(size // known if target == -1 else target for target in self.target_shape))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "target_shape": list(self.target_shape)}


def _size(sizes: Dims) -> int | None:
    """Return the product of `sizes`, None if one is unknown."""
    return None if None in sizes else math.prod(size for size in sizes if size is not None)
