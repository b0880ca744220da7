"""What convolution layers share: windows over images or sequences, and the weights that they are multiplied with."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, ClassVar, TypeAlias

from gpunet.backend.arrays import Array
from gpunet.layers import shapes
from gpunet.layers.base import Forward
from gpunet.layers.kernel_layer import KernelLayer
from gpunet.layers.shapes import Dims, dims
from gpunet.ops.activation import Activation
from gpunet.ops.convolution_sizes import Geometry
from gpunet.ops.dropping import Dropping
from gpunet.ops.windows import PADDINGS, padded_output_size, window_pads

_Pair: TypeAlias = tuple[int, int]


class WindowLayer(KernelLayer):
    """A layer whose kernel meets windows of its input; a subclass defines `_run`, on images.

    Images (batch, H, W, C) have `_rank` 2, sequences (batch, L, C) have 1: they are images of one row.
    """

    _rank: ClassVar[int]
    _paddings: ClassVar[tuple[str, ...]] = PADDINGS
    _takes_strides_and_dilation: ClassVar[bool] = False

    def __init__(
        self,
        *,
        kernel_size: int | tuple[int, ...],
        strides: int | tuple[int, ...],
        padding: str,
        data_format: str | None,
        dilation_rate: int | tuple[int, ...],
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        where, rank = self.where, self._rank
        self.kernel_size = shapes.per_axis(where, rank, "kernel_size", kernel_size)
        self.strides = shapes.per_axis(where, rank, "strides", strides)
        self.padding = shapes.padding(where, padding, self._paddings)
        self.data_format = shapes.channels_last(where, data_format)
        self.dilation_rate = shapes.per_axis(where, rank, "dilation_rate", dilation_rate)
        if max(self.strides) > 1 and max(self.dilation_rate) > 1 and not self._takes_strides_and_dilation:
            raise ValueError(
                f"{where}: strides must be 1 where dilation_rate is above 1; "
                f"got strides {self.strides} and dilation_rate {self.dilation_rate}"
            )

    @property
    def _channels(self) -> int | None:
        """The channels of the input; None before the layer is built."""
        raise NotImplementedError

    def _output_channels(self, channels: int | None) -> int | None:
        """Return the channels of the output for so many of the input."""
        raise NotImplementedError

    def check_input_shape(self, shape: Dims) -> None:
        shapes.spatial(self.where, self._rank, shape, self._channels)

    def _known_channels(self, input_shape: Dims) -> int:
        """Return the channels of an input that the layer can be built for; ValueError if it cannot."""
        channels = input_shape[-1]
        if channels is None:
            raise ValueError(f"{self.where}: channels of the input must be known to build; got {input_shape}")
        self.compute_output_shape(input_shape)  # refuses a kernel bigger than its input
        return channels

    def compute_output_shape(self, input_shape: Any) -> Dims:
        shape = dims(self.where, "input_shape", input_shape)
        self.check_input_shape(shape)
        axes = zip(shape[1:-1], self.kernel_size, self.strides, self.dilation_rate, strict=True)
        sizes = (None if size is None else self._output_size(size, *window) for size, *window in axes)
        return (shape[0], *sizes, self._output_channels(shape[-1]))

    def _output_size(self, size: int, kernel: int, stride: int, dilation: int) -> int:
        """Return the size of the output along an axis."""
        pads = window_pads(size, kernel, stride, dilation, self.padding)
        return padded_output_size(size, kernel, stride, dilation, pads, self.where)

    def _geometry(self, height: int, width: int, groups: int) -> Geometry:
        """Return how windows lie on images."""
        along = (shapes.of_images(self._rank, sizes) for sizes in (self.kernel_size, self.strides, self.dilation_rate))
        return _geometry((height, width), *along, self.padding, groups)

    def _affine(self, x: Array, activation: Activation, dropping: Dropping | None = None) -> Forward:
        if self._rank == 2:
            return self._run(x, activation, dropping)
        batch, steps, channels = x.shape
        images, image_backward = self._run(x.reshape(batch, 1, steps, channels), activation, dropping)
        shape = images.shape

        def backward(dy: Array) -> Array | None:
            dx = image_backward(dy.reshape(shape))
            return None if dx is None else dx.reshape(batch, steps, channels)

        return images.reshape(batch, *shape[2:]), backward

    def _run(self, x: Array, activation: Activation, dropping: Dropping | None) -> Forward:
        """Return what `_affine` does, for images."""
        raise NotImplementedError

    @property
    def _bias_value(self) -> Array | None:
        return self._bias.value if self._bias is not None else None

    def _backward(
        self,
        kernel: Callable[[Array, Array | None], None],
        pixels: Callable[[], Array],
        both: Callable[[Array, Array | None], Array],
    ) -> Array | None:
        """Run what is needed of kernel(dw, db), pixels() and both(dw, db); return dx if it is needed."""
        if not self._is_trained:
            return pixels() if self.needs_input_gradient else None
        return self._add_gradients(both if self.needs_input_gradient else kernel)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "kernel_size": list(self.kernel_size),
            "strides": list(self.strides),
            "padding": self.padding,
            "data_format": self.data_format,
            "dilation_rate": list(self.dilation_rate),
        }


@lru_cache
def _geometry(size: _Pair, kernel: _Pair, strides: _Pair, dilation: _Pair, padding: str, groups: int) -> Geometry:
    rows, columns = (window_pads(*along, padding) for along in zip(size, kernel, strides, dilation, strict=True))
    return Geometry(strides=strides, dilation=dilation, pads=(rows, columns), groups=groups)
