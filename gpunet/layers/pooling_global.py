"""Global pooling layers: the maximum or the mean of each channel of an image or a sequence, channels last."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Unpack

from gpunet import arguments
from gpunet.backend.arrays import Array
from gpunet.layers import shapes
from gpunet.layers.base import Forward, Layer, LayerArguments
from gpunet.layers.shapes import Dims, dims
from gpunet.ops.global_max_pooling import global_max_pooling, global_max_pooling_gradient
from gpunet.ops.pooling import global_average_pooling, global_average_pooling_gradient


class _GlobalPooling(Layer):
    """A layer that turns each channel of an image, `_rank` 2, or of a sequence, 1, into one number."""

    _rank: ClassVar[int]

    def __init__(
        self, data_format: str | None = None, keepdims: bool = False, **kwargs: Unpack[LayerArguments]
    ) -> None:
        super().__init__(**kwargs)
        self.data_format = shapes.channels_last(self.where, data_format)
        self.keepdims = arguments.boolean(self.where, "keepdims", keepdims)

    def check_input_shape(self, shape: Dims) -> None:
        shapes.spatial(self.where, self._rank, shape)

    def compute_output_shape(self, input_shape: Any) -> Dims:
        shape = dims(self.where, "input_shape", input_shape)
        self.check_input_shape(shape)
        return (shape[0], *(1,) * (self._rank * self.keepdims), shape[-1])

    def _result(self, y: Array, gradient: Callable[[Array], Array]) -> Forward:
        """Return y (batch, C) as the layer gives it, and the way back by `gradient`, of such arrays."""
        batch, channels = y.shape
        if not self.keepdims:
            return y, gradient
        return y.reshape(batch, *(1,) * self._rank, channels), lambda dy: gradient(dy.reshape(batch, channels))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "data_format": self.data_format, "keepdims": self.keepdims}


class _GlobalAveragePooling(_GlobalPooling):
    def forward(self, x: Array, training: bool) -> Forward:
        shape = x.shape
        images = x if self._rank == 2 else x.reshape(shape[0], 1, *shape[1:])
        image_shape = images.shape

        def gradient(dy: Array) -> Array:
            return global_average_pooling_gradient(dy, image_shape).reshape(shape)

        return self._result(global_average_pooling(images), gradient)


class _GlobalMaxPooling(_GlobalPooling):
    def forward(self, x: Array, training: bool) -> Forward:
        y, count = global_max_pooling(x)
        return self._result(y, lambda dy: global_max_pooling_gradient(dy, x, y, count))


class GlobalAveragePooling2D(_GlobalAveragePooling):
    """y[n, c] = mean of x[n, :, :, c]; x is (batch, H, W, C), y (batch, C), or (batch, 1, 1, C) with `keepdims`."""

    _rank = 2


class GlobalAveragePooling1D(_GlobalAveragePooling):
    """y[n, c] = mean of x[n, :, c]; x is (batch, L, C), y (batch, C), or (batch, 1, C) with `keepdims`."""

    _rank = 1


class GlobalMaxPooling2D(_GlobalMaxPooling):
    """y[n, c] = max of x[n, :, :, c]; x is (batch, H, W, C), y (batch, C), or (batch, 1, 1, C) with `keepdims`.

    Elements that are the maximum of their channel share its gradient, as with Keras.

    >>> GlobalMaxPooling2D(keepdims=True).compute_output_shape((None, 9, 9, 64))
    (None, 1, 1, 64)
    """

    _rank = 2


class GlobalMaxPooling1D(_GlobalMaxPooling):
    """y[n, c] = max of x[n, :, c]; x is (batch, L, C), y (batch, C), or (batch, 1, C) with `keepdims`.

    Elements that are the maximum of their channel share its gradient, as with Keras.
    """

    _rank = 1


GlobalAvgPool2D = GlobalAveragePooling2D
GlobalAvgPool1D = GlobalAveragePooling1D
GlobalMaxPool2D = GlobalMaxPooling2D
GlobalMaxPool1D = GlobalMaxPooling1D
