"""Pooling layers: the maximum or the mean of windows of an image, channels last."""

from __future__ import annotations

from typing import Any, Unpack

from gpunet import arguments
from gpunet.backend.arrays import Array
from gpunet.layers import shapes
from gpunet.layers.base import Forward, Layer, LayerArguments
from gpunet.layers.shapes import Dims, dims
from gpunet.ops.pooling import (
    average_pooling,
    average_pooling_gradient,
    global_average_pooling,
    global_average_pooling_gradient,
    max_pooling,
    max_pooling_gradient,
)
from gpunet.ops.windows import output_size


class _Pooling2D(Layer):
    """A layer that turns each window of `pool_size`, `strides` apart, into one number per channel."""

    def __init__(
        self,
        pool_size: int | tuple[int, int] = (2, 2),
        strides: int | tuple[int, int] | None = None,
        padding: str = "valid",
        data_format: str | None = None,
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(name=name, **kwargs)
        self.pool_size = arguments.pair(self.where, "pool_size", pool_size)
        self.strides = self.pool_size if strides is None else arguments.pair(self.where, "strides", strides)
        self.padding = shapes.padding(self.where, padding)
        self.data_format = shapes.channels_last(self.where, data_format)

    def check_input_shape(self, shape: Dims) -> None:
        shapes.images(self.where, shape)

    def compute_output_shape(self, input_shape: Any) -> Dims:
        shape = dims(self.where, "input_shape", input_shape)
        self.check_input_shape(shape)
        height, width = (
            None if size is None else output_size(size, pool, stride, 1, self.padding, self.where)
            for size, pool, stride in zip(shape[1:3], self.pool_size, self.strides, strict=True)
        )
        return (shape[0], height, width, shape[3])

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "pool_size": list(self.pool_size),
            "strides": list(self.strides),
            "padding": self.padding,
            "data_format": self.data_format,
        }


class MaxPooling2D(_Pooling2D):
    """y[n, p, q, c] = max of x[n, :, :, c] in window (p, q), which starts at (p u, q v) for strides (u, v).

    x is (batch, H, W, C); `strides` None is `pool_size`. With padding 'same' windows may reach over the edge, where
    there is nothing to take the maximum of. The gradient goes to the first maximum of each window.

    >>> MaxPooling2D((2, 2), padding="same").compute_output_shape((None, 9, 9, 64))
    (None, 5, 5, 64)
    """

    def forward(self, x: Array, training: bool) -> Forward:
        y, winner = max_pooling(x, self.pool_size, self.strides, self.padding)
        shape = x.shape

        def backward(dy: Array) -> Array:
            return max_pooling_gradient(dy, winner, self.pool_size, self.strides, self.padding, shape)

        return y, backward


class AveragePooling2D(_Pooling2D):
    """y[n, p, q, c] = mean of x[n, :, :, c] in window (p, q), which starts at (p u, q v) for strides (u, v).

    x is (batch, H, W, C); `strides` None is `pool_size`. With padding 'same' windows may reach over the edge; the mean
    is that of the elements inside.
    """

    def forward(self, x: Array, training: bool) -> Forward:
        y = average_pooling(x, self.pool_size, self.strides, self.padding)
        shape = x.shape

        def backward(dy: Array) -> Array:
            return average_pooling_gradient(dy, self.pool_size, self.strides, self.padding, shape)

        return y, backward


class GlobalAveragePooling2D(Layer):
    """y[n, c] = mean of x[n, :, :, c]; x is (batch, H, W, C), y (batch, C), or (batch, 1, 1, C) with `keepdims`."""

    def __init__(
        self, data_format: str | None = None, keepdims: bool = False, **kwargs: Unpack[LayerArguments]
    ) -> None:
        super().__init__(**kwargs)
        self.data_format = shapes.channels_last(self.where, data_format)
        self.keepdims = arguments.boolean(self.where, "keepdims", keepdims)

    def check_input_shape(self, shape: Dims) -> None:
        shapes.images(self.where, shape)

    def compute_output_shape(self, input_shape: Any) -> Dims:
        shape = dims(self.where, "input_shape", input_shape)
        self.check_input_shape(shape)
        return (shape[0], 1, 1, shape[3]) if self.keepdims else (shape[0], shape[3])

    def forward(self, x: Array, training: bool) -> Forward:
        shape = x.shape
        batch, channels = shape[0], shape[3]
        y = global_average_pooling(x)

        def backward(dy: Array) -> Array:
            return global_average_pooling_gradient(dy.reshape(batch, channels), shape)

        return y.reshape(batch, 1, 1, channels) if self.keepdims else y, backward

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "data_format": self.data_format, "keepdims": self.keepdims}


MaxPool2D = MaxPooling2D
AvgPool2D = AveragePooling2D
GlobalAvgPool2D = GlobalAveragePooling2D
