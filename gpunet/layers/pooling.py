"""Pooling layers: the maximum or the mean of windows of an image or a sequence, channels last."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from gpunet.backend.arrays import Array
from gpunet.layers import shapes
from gpunet.layers.base import Forward, Layer
from gpunet.layers.shapes import Dims, dims, of_images
from gpunet.ops.pooling import average_pooling, average_pooling_gradient, max_pooling, max_pooling_gradient
from gpunet.ops.windows import output_size


class _Pooling(Layer):
    """A layer that turns each window of `pool_size`, `strides` apart, into one number per channel.

    Images (batch, H, W, C) have `_rank` 2, sequences (batch, L, C) have 1: they are images of one row.
    """

    _rank: ClassVar[int]

    def __init__(
        self,
        pool_size: int | tuple[int, ...] = 2,
        strides: int | tuple[int, ...] | None = None,
        padding: str = "valid",
        data_format: str | None = None,
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(name=name, **kwargs)
        where, rank = self.where, self._rank
        self.pool_size = shapes.per_axis(where, rank, "pool_size", pool_size)
        self.strides = self.pool_size if strides is None else shapes.per_axis(where, rank, "strides", strides)
        self.padding = shapes.padding(where, padding)
        self.data_format = shapes.channels_last(where, data_format)

    def check_input_shape(self, shape: Dims) -> None:
        shapes.spatial(self.where, self._rank, shape)

    def compute_output_shape(self, input_shape: Any) -> Dims:
        shape = dims(self.where, "input_shape", input_shape)
        self.check_input_shape(shape)
        sizes = (
            None if size is None else output_size(size, pool, stride, 1, self.padding, self.where)
            for size, pool, stride in zip(shape[1:-1], self.pool_size, self.strides, strict=True)
        )
        return (shape[0], *sizes, shape[-1])

    @property
    def _windows(self) -> tuple[tuple[int, int], tuple[int, int], str]:
        """The windows over images: their size, strides and padding."""
        return of_images(self._rank, self.pool_size), of_images(self._rank, self.strides), self.padding

    def _images(self, x: Array) -> Array:
        if self._rank == 2:
            return x
        self.compute_output_shape(x.shape)  # refuses windows longer than a sequence, which an op would call an image
        return x.reshape(x.shape[0], 1, *x.shape[1:])

    def _result(self, y: Array, shape: tuple[int, ...], gradient: Callable[[Array], Array]) -> Forward:
        """Return y, images, as the layer gives it for x of `shape`, and the way back by `gradient`, of images."""
        if self._rank == 2:
            return y, gradient
        image_shape = y.shape

        def backward(dy: Array) -> Array:
            return gradient(dy.reshape(image_shape)).reshape(shape)

        return y.reshape(image_shape[0], *image_shape[2:]), backward

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "pool_size": list(self.pool_size),
            "strides": list(self.strides),
            "padding": self.padding,
            "data_format": self.data_format,
        }


class _MaxPooling(_Pooling):
    def forward(self, x: Array, training: bool) -> Forward:
        images, windows = self._images(x), self._windows
        y, winner = max_pooling(images, *windows)
        shape = images.shape

        def gradient(dy: Array) -> Array:
            return max_pooling_gradient(dy, winner, *windows, shape)

        return self._result(y, x.shape, gradient)


class _AveragePooling(_Pooling):
    def forward(self, x: Array, training: bool) -> Forward:
        images, windows = self._images(x), self._windows
        y = average_pooling(images, *windows)
        shape = images.shape

        def gradient(dy: Array) -> Array:
            return average_pooling_gradient(dy, *windows, shape)

        return self._result(y, x.shape, gradient)


class _ImagePooling(_Pooling):
    _rank = 2

    def __init__(
        self,
        pool_size: int | tuple[int, int] = (2, 2),
        strides: int | tuple[int, int] | None = None,
        padding: str = "valid",
        data_format: str | None = None,
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(pool_size, strides, padding, data_format, name, **kwargs)


class MaxPooling2D(_ImagePooling, _MaxPooling):
    """y[n, p, q, c] = max of x[n, :, :, c] in window (p, q), which starts at (p u, q v) for strides (u, v).

    x is (batch, H, W, C); `strides` None is `pool_size`. With padding 'same' windows may reach over the edge, where
    there is nothing to take the maximum of. The gradient goes to the first maximum of each window.

    >>> MaxPooling2D((2, 2), padding="same").compute_output_shape((None, 9, 9, 64))
    (None, 5, 5, 64)
    """


class AveragePooling2D(_ImagePooling, _AveragePooling):
    """y[n, p, q, c] = mean of x[n, :, :, c] in window (p, q), which starts at (p u, q v) for strides (u, v).

    x is (batch, H, W, C); `strides` None is `pool_size`. With padding 'same' windows may reach over the edge; the mean
    is that of the elements inside.
    """


class MaxPooling1D(_MaxPooling):
    """y[n, p, c] = max of x[n, :, c] in window p, which starts at p u for strides of u.

    x is (batch, L, C); `strides` None is `pool_size`. Padding and gradient are those of MaxPooling2D.

    >>> MaxPooling1D(3, strides=2, padding="same").compute_output_shape((None, 9, 64))
    (None, 5, 64)
    """

    _rank = 1


class AveragePooling1D(_AveragePooling):
    """y[n, p, c] = mean of x[n, :, c] in window p, which starts at p u for strides of u.

    x is (batch, L, C); `strides` None is `pool_size`. With padding 'same' the mean is that of the elements inside.
    """

    _rank = 1


MaxPool2D = MaxPooling2D
AvgPool2D = AveragePooling2D
MaxPool1D = MaxPooling1D
AvgPool1D = AveragePooling1D
