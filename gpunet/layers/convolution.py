"""Conv2D: y = activation(x * W + b), images with the channels last."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any, TypeAlias, Unpack

from gpunet import arguments
from gpunet.backend.arrays import Array
from gpunet.initializers import InitializerLike
from gpunet.layers import shapes
from gpunet.layers.activating import ActivationArgument
from gpunet.layers.base import CommonArguments, Forward
from gpunet.layers.kernel_layer import KernelLayer
from gpunet.layers.shapes import Dims, dims
from gpunet.ops.activation import Activation
from gpunet.ops.convolution import (
    convolution,
    convolution_gradients,
    convolution_input_gradient,
    convolution_kernel_gradient,
)
from gpunet.ops.convolution_pooling import (
    convolution_pooling,
    convolution_pooling_gradients,
    convolution_pooling_input_gradient,
    convolution_pooling_kernel_gradient,
    convolution_pooling_value,
)
from gpunet.ops.convolution_sizes import Geometry
from gpunet.ops.dropping import Dropping
from gpunet.ops.windows import output_size, window_pads

_Pair: TypeAlias = tuple[int, int]


class Conv2D(KernelLayer):
    """y[n, p, q, f] = activation(sum_rsc x[n, p u - top + r d, q v - left + s e, c] kernel[r, s, c, f] + bias[f]).

    x is (batch, H, W, C), y is (batch, P, Q, filters); (u, v) are the strides, (d, e) the dilation rates. The kernel is
    (R, S, C / groups, filters): with groups > 1, group g of the filters sees group g of the channels. 'valid' pads
    nothing, P = floor((H - (R - 1) d - 1) / u) + 1; 'same' pads zeros, an odd one at the end, P = ceil(H / u).

    The arguments are Keras's; `data_format` can only be 'channels_last'. ValueError for strides and dilation rates both
    above 1, for channels or filters that `groups` does not divide, and for a kernel bigger than its input.

    >>> Conv2D(16, 3, strides=2, padding="same").compute_output_shape((None, 50, 50, 1))
    (None, 25, 25, 16)
    """

    def __init__(
        self,
        filters: int,
        kernel_size: int | tuple[int, int],
        strides: int | tuple[int, int] = (1, 1),
        padding: str = "valid",
        data_format: str | None = None,
        dilation_rate: int | tuple[int, int] = (1, 1),
        groups: int = 1,
        activation: ActivationArgument = None,
        use_bias: bool = True,
        kernel_initializer: InitializerLike | None = "glorot_uniform",
        bias_initializer: InitializerLike | None = "zeros",
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        kernel_constraint: Any = None,
        bias_constraint: Any = None,
        **kwargs: Unpack[CommonArguments],
    ) -> None:
        super().__init__(
            activation=activation,
            use_bias=use_bias,
            kernel_initializer=kernel_initializer,
            bias_initializer=bias_initializer,
            kernel_regularizer=kernel_regularizer,
            bias_regularizer=bias_regularizer,
            activity_regularizer=activity_regularizer,
            kernel_constraint=kernel_constraint,
            bias_constraint=bias_constraint,
            **kwargs,
        )
        where = self.where
        self.filters = arguments.integer(where, "filters", filters)
        self.kernel_size = arguments.pair(where, "kernel_size", kernel_size)
        self.strides = arguments.pair(where, "strides", strides)
        self.padding = shapes.padding(where, padding)
        self.data_format = shapes.channels_last(where, data_format)
        self.dilation_rate = arguments.pair(where, "dilation_rate", dilation_rate)
        self.groups = arguments.integer(where, "groups", groups)
        if self.filters % self.groups:
            raise ValueError(f"{where}: filters must be a multiple of groups, {self.groups}; got {self.filters}")
        if max(self.strides) > 1 and max(self.dilation_rate) > 1:
            raise ValueError(
                f"{where}: strides must be 1 where dilation_rate is above 1; "
                f"got strides {self.strides} and dilation_rate {self.dilation_rate}"
            )

    def check_input_shape(self, shape: Dims) -> None:
        channels = self._kernel.shape[2] * self.groups if self._kernel is not None else None
        shapes.images(self.where, shape, channels)
        if shape[3] is not None and shape[3] % self.groups:
            raise ValueError(
                f"{self.where}: channels of the input must be a multiple of groups, {self.groups}; got {shape}"
            )

    def build(self, input_shape: Dims) -> None:
        if input_shape[3] is None:
            raise ValueError(f"{self.where}: channels of the input must be known to build; got {input_shape}")
        self.compute_output_shape(input_shape)  # refuses a kernel bigger than its input
        self._add_kernel((*self.kernel_size, input_shape[3] // self.groups, self.filters), input_shape)

    def compute_output_shape(self, input_shape: Any) -> Dims:
        shape = dims(self.where, "input_shape", input_shape)
        self.check_input_shape(shape)
        height, width = (
            None if size is None else output_size(size, *window, self.padding, self.where)
            for size, window in zip(shape[1:3], self._windows, strict=True)
        )
        return (shape[0], height, width, self.filters)

    @property
    def _windows(self) -> list[tuple[int, int, int]]:
        """The kernel's size, stride and dilation, for rows and for columns."""
        return list(zip(self.kernel_size, self.strides, self.dilation_rate, strict=True))

    def _geometry(self, height: int, width: int) -> Geometry:
        windows = self.kernel_size, self.strides, self.dilation_rate
        return _geometry((height, width), *windows, self.padding, self.groups)

    @property
    def _weights(self) -> tuple[Array, Array | None]:
        return self.kernel.value, self._bias.value if self._bias is not None else None

    def _affine(self, x: Array, activation: Activation, dropping: Dropping | None = None) -> Forward:
        w, b = self._weights
        geometry = self._geometry(x.shape[1], x.shape[2])
        y, saved = convolution(x, w, b, activation, geometry, dropping)
        scale = 1.0 if dropping is None else dropping.scale

        def backward(dy: Array) -> Array | None:
            how = activation, geometry
            return self._backward(
                partial(convolution_kernel_gradient, x, dy, saved, *how, scale=scale),
                partial(convolution_input_gradient, dy, saved, w, *how, x.shape, scale),
                partial(convolution_gradients, x, dy, saved, w, *how, scale=scale),
            )

        return y, backward

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

    @property
    def sum_length(self) -> int | None:
        """The number of terms of a sum, R S C / groups; None before the layer is built."""
        return math.prod(self._kernel.shape[:-1]) if self._kernel is not None else None

    def apply_with_pooling(self, x: Array, training: bool, activation: Activation, padding: str) -> Forward:
        """Run the layer with `activation` for its own, and max-pooling by 2 x 2 with strides of 2, as one op."""
        self.check_input(x)
        w, b = self._weights
        how = (activation, self._geometry(x.shape[1], x.shape[2]), padding)
        if not training:

            def backward_of_inference(dy: Array) -> Array | None:  # seldom wanted, so what it needs is not kept
                return self.apply_with_pooling(x, True, activation, padding)[1](dy)

            return convolution_pooling_value(x, w, b, *how), backward_of_inference
        y, saved, winner = convolution_pooling(x, w, b, *how)

        def backward(dy: Array) -> Array | None:
            given = dy, saved, winner
            return self._backward(
                partial(convolution_pooling_kernel_gradient, x, *given, *how),
                partial(convolution_pooling_input_gradient, *given, w, *how, x.shape),
                partial(convolution_pooling_gradients, x, *given, w, *how),
            )

        return y, backward

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "filters": self.filters,
            "kernel_size": list(self.kernel_size),
            "strides": list(self.strides),
            "padding": self.padding,
            "data_format": self.data_format,
            "dilation_rate": list(self.dilation_rate),
            "groups": self.groups,
        }


@lru_cache
def _geometry(size: _Pair, kernel: _Pair, strides: _Pair, dilation: _Pair, padding: str, groups: int) -> Geometry:
    rows, columns = (window_pads(*along, padding) for along in zip(size, kernel, strides, dilation, strict=True))
    return Geometry(strides=strides, dilation=dilation, pads=(rows, columns), groups=groups)
