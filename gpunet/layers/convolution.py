"""Conv2D and Conv1D: y = activation(x * W + b), images and sequences with the channels last."""

from __future__ import annotations

import math
from functools import partial
from typing import Any, Unpack

from gpunet import arguments
from gpunet.backend.arrays import Array, Shape
from gpunet.initializers import InitializerLike
from gpunet.layers.activating import ActivationArgument
from gpunet.layers.base import CommonArguments, Forward
from gpunet.layers.convolution_windows import WindowLayer
from gpunet.layers.shapes import Dims
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
from gpunet.ops.dropping import Dropping
from gpunet.ops.windows import CAUSAL, PADDINGS


class GroupedConvolution(WindowLayer):
    """A convolution whose filters, in groups, see the channels of their group; a subclass defines `_filters_shape`."""

    @property
    def _filters_shape(self) -> Shape:
        """The shape of the kernel as the filters of images, (R, S, channels of a group, filters)."""
        raise NotImplementedError

    @property
    def _groups(self) -> int:
        raise NotImplementedError

    def _as_filters(self, kernel: Array) -> Array:
        """Return the kernel, or memory for its gradient, as filters: a view."""
        filters: Array = kernel.reshape(self._filters_shape)
        return filters

    def _run(self, x: Array, activation: Activation, dropping: Dropping | None) -> Forward:
        w, b = self._as_filters(self.kernel.value), self._bias_value
        geometry = self._geometry(x.shape[1], x.shape[2], self._groups)
        y, saved = convolution(x, w, b, activation, geometry, dropping)
        scale = 1.0 if dropping is None else dropping.scale
        how = activation, geometry

        # dy is handed to them: what is closed over stays as long as the error of a step for which there was no memory.
        def kernel(dy: Array, dw: Array, db: Array | None) -> None:
            convolution_kernel_gradient(x, dy, saved, *how, self._as_filters(dw), db, scale)

        def both(dy: Array, dw: Array, db: Array | None) -> Array:
            return convolution_gradients(x, dy, saved, w, *how, self._as_filters(dw), db, scale)

        def backward(dy: Array) -> Array | None:
            pixels = partial(convolution_input_gradient, dy, saved, w, *how, x.shape, scale)
            return self._backward(partial(kernel, dy), pixels, partial(both, dy))

        return y, backward


class _Convolution(GroupedConvolution):
    """Conv2D or Conv1D."""

    def __init__(self, *, filters: int, groups: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        where = self.where
        self.filters = arguments.integer(where, "filters", filters)
        self.groups = arguments.integer(where, "groups", groups)
        if self.filters % self.groups:
            raise ValueError(f"{where}: filters must be a multiple of groups, {self.groups}; got {self.filters}")

    @property
    def _groups(self) -> int:
        return self.groups

    @property
    def _channels(self) -> int | None:
        return self._kernel.shape[-2] * self.groups if self._kernel is not None else None

    def _output_channels(self, channels: int | None) -> int:
        return self.filters

    @property
    def _filters_shape(self) -> Shape:
        return (1,) * (2 - self._rank) + self.kernel.shape

    def check_input_shape(self, shape: Dims) -> None:
        super().check_input_shape(shape)
        if shape[-1] is not None and shape[-1] % self.groups:
            raise ValueError(
                f"{self.where}: channels of the input must be a multiple of groups, {self.groups}; got {shape}"
            )

    def build(self, input_shape: Dims) -> None:
        channels = self._known_channels(input_shape)
        self._add_kernel((*self.kernel_size, channels // self.groups, self.filters), input_shape, self.filters)

    @property
    def sum_length(self) -> int | None:
        """The number of terms of a sum, R S C / groups; None before the layer is built."""
        return math.prod(self._kernel.shape[:-1]) if self._kernel is not None else None

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "filters": self.filters, "groups": self.groups}


class Conv2D(_Convolution):
    """y[n, p, q, f] = activation(sum_rsc x[n, p u - top + r d, q v - left + s e, c] kernel[r, s, c, f] + bias[f]).

    x is (batch, H, W, C), y is (batch, P, Q, filters); (u, v) are the strides, (d, e) the dilation rates. The kernel is
    (R, S, C / groups, filters): with groups > 1, group g of the filters sees group g of the channels. 'valid' pads
    nothing, P = floor((H - (R - 1) d - 1) / u) + 1; 'same' pads zeros, an odd one at the end, P = ceil(H / u).

    The arguments are Keras's; `data_format` can only be 'channels_last'. ValueError for strides and dilation rates both
    above 1, for channels or filters that `groups` does not divide, and for a kernel bigger than its input.

    >>> Conv2D(16, 3, strides=2, padding="same").compute_output_shape((None, 50, 50, 1))
    (None, 25, 25, 16)
    """

    _rank = 2

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
            filters=filters,
            kernel_size=kernel_size,
            strides=strides,
            padding=padding,
            data_format=data_format,
            dilation_rate=dilation_rate,
            groups=groups,
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

    def apply_with_pooling(self, x: Array, training: bool, activation: Activation, padding: str) -> Forward:
        """Run the layer with `activation` for its own, and max-pooling by 2 x 2 with strides of 2, as one op."""
        self.check_input(x)
        w, b = self.kernel.value, self._bias_value
        how = (activation, self._geometry(x.shape[1], x.shape[2], self.groups), padding)
        if not training:

            def backward_of_inference(dy: Array) -> Any:  # seldom wanted, so what it needs is not kept
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


class Conv1D(_Convolution):
    """y[n, p, f] = activation(sum_rc x[n, p u - left + r d, c] kernel[r, c, f] + bias[f]).

    x is (batch, L, C), y is (batch, P, filters), the kernel (R, C / groups, filters); u is the stride, d the dilation
    rate. Padding as Conv2D, and 'causal': (R - 1) d zeros before the first step, so that y[n, p] sees no step after
    p u, P = ceil(L / u). Arguments and errors are those of Conv2D, with one number where an image has two.

    >>> Conv1D(16, 3, padding="causal", dilation_rate=4).compute_output_shape((None, 100, 8))
    (None, 100, 16)
    """

    _rank = 1
    _paddings = (*PADDINGS, CAUSAL)

    def __init__(
        self,
        filters: int,
        kernel_size: int | tuple[int],
        strides: int | tuple[int] = 1,
        padding: str = "valid",
        data_format: str | None = None,
        dilation_rate: int | tuple[int] = 1,
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
            filters=filters,
            kernel_size=kernel_size,
            strides=strides,
            padding=padding,
            data_format=data_format,
            dilation_rate=dilation_rate,
            groups=groups,
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


Convolution2D = Conv2D
Convolution1D = Conv1D
