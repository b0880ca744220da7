"""SeparableConv2D and SeparableConv1D: a depthwise convolution, then one by 1 x 1 that mixes the channels."""

from __future__ import annotations

from functools import partial
from typing import Any, Unpack

from gpunet import arguments, constraints, identifiers, initializers, regularizers
from gpunet.backend.arrays import Array
from gpunet.initializers import InitializerLike
from gpunet.layers.activating import ActivationArgument
from gpunet.layers.base import Backward, CommonArguments, Forward
from gpunet.layers.convolution_windows import WindowLayer
from gpunet.layers.shapes import Dims, of_images
from gpunet.ops.activation import Activation
from gpunet.ops.convolution import (
    convolution,
    convolution_gradients,
    convolution_input_gradient,
    convolution_kernel_gradient,
)
from gpunet.ops.convolution_sizes import Geometry
from gpunet.ops.dropping import Dropping
from gpunet.parameters import Parameter

_POINTWISE = Geometry()


class _SeparableConvolution(WindowLayer):
    """SeparableConv2D or SeparableConv1D; the kernel that a KernelLayer has is the pointwise one."""

    _kernel_prefix = "pointwise"
    _takes_strides_and_dilation = True

    def __init__(
        self,
        *,
        filters: int,
        depth_multiplier: int,
        depthwise_initializer: InitializerLike | None,
        depthwise_regularizer: Any,
        depthwise_constraint: Any,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        where = self.where
        self.filters = arguments.integer(where, "filters", filters)
        self.depth_multiplier = arguments.integer(where, "depth_multiplier", depth_multiplier)
        self.depthwise_initializer = initializers.get(depthwise_initializer, f"{where}: depthwise_initializer")
        self.depthwise_regularizer = regularizers.get(depthwise_regularizer, f"{where}: depthwise_regularizer")
        self.depthwise_constraint = constraints.get(depthwise_constraint, f"{where}: depthwise_constraint")
        self.pointwise_initializer = self.kernel_initializer
        self.pointwise_regularizer = self.kernel_regularizer
        self.pointwise_constraint = self.kernel_constraint
        self._depthwise: Parameter | None = None

    @property
    def depthwise_kernel(self) -> Parameter:
        """The filters of the channels; AttributeError before the layer is built."""
        if self._depthwise is None:
            raise AttributeError(f"{self.where}: must be built before its kernels are used; call build(input_shape)")
        return self._depthwise

    @property
    def pointwise_kernel(self) -> Parameter:
        """The filters by 1 x 1; AttributeError before the layer is built."""
        return self.kernel

    @property
    def _channels(self) -> int | None:
        return self._depthwise.shape[-2] if self._depthwise is not None else None

    def _output_channels(self, channels: int | None) -> int:
        return self.filters

    def build(self, input_shape: Dims) -> None:
        channels = self._known_channels(input_shape)
        depthwise = self.add_weight(
            (*self.kernel_size, channels, self.depth_multiplier),
            self.depthwise_initializer,
            name="depthwise_kernel",
            regularizer=self.depthwise_regularizer,
            constraint=self.depthwise_constraint,
        )
        shape = (*(1,) * self._rank, channels * self.depth_multiplier, self.filters)
        self._add_kernel(shape, input_shape, self.filters, name="pointwise_kernel")
        self._depthwise = depthwise

    def forget_build(self) -> None:
        super().forget_build()
        self._depthwise = None

    def _filters(self, kernel: Array) -> Array:
        """Return the depthwise kernel, or memory for its gradient, as filters of images: a view."""
        filters: Array = kernel.reshape(*of_images(self._rank, self.kernel_size), 1, -1)
        return filters

    def _points(self, kernel: Array) -> Array:
        """Return the pointwise kernel likewise."""
        filters: Array = kernel.reshape(1, 1, -1, self.filters)
        return filters

    def _run(self, x: Array, activation: Activation, dropping: Dropping | None) -> Forward:
        z, depthwise_backward = self._run_depthwise(x)
        w = self._points(self.kernel.value)
        y, saved = convolution(z, w, self._bias_value, activation, _POINTWISE, dropping)
        how = activation, _POINTWISE
        scale = 1.0 if dropping is None else dropping.scale
        goes_on = self.needs_input_gradient or self.depthwise_kernel.trainable

        def kernel(dy: Array, dw: Array, db: Array | None) -> None:
            convolution_kernel_gradient(z, dy, saved, *how, self._points(dw), db, scale)

        def both(dy: Array, dw: Array, db: Array | None) -> Array:
            return convolution_gradients(z, dy, saved, w, *how, self._points(dw), db, scale)

        def backward(dy: Array) -> Array | None:
            if not goes_on:
                if self._is_trained:
                    self._add_gradients(partial(kernel, dy))
                return None
            if self._is_trained:
                dz = self._add_gradients(partial(both, dy))
            else:
                dz = convolution_input_gradient(dy, saved, w, *how, z.shape, scale)
            dx: Array | None = depthwise_backward(dz)
            return dx

        return y, backward

    def _run_depthwise(self, x: Array) -> tuple[Array, Backward]:
        parameter = self.depthwise_kernel
        w, geometry = self._filters(parameter.value), self._geometry(x.shape[1], x.shape[2], x.shape[3])
        how = Activation.LINEAR, geometry
        z, saved = convolution(x, w, None, *how)

        def backward(dz: Array) -> Array | None:
            if not parameter.trainable:
                return convolution_input_gradient(dz, saved, w, *how, x.shape) if self.needs_input_gradient else None
            dw, dx = parameter.gradient_target(), None
            if self.needs_input_gradient:
                dx = convolution_gradients(x, dz, saved, w, *how, self._filters(dw), None)
            else:
                convolution_kernel_gradient(x, dz, saved, *how, self._filters(dw), None)
            parameter.add_gradient(dw)
            return dx

        return z, backward

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "filters": self.filters,
            "depth_multiplier": self.depth_multiplier,
            "depthwise_initializer": identifiers.serialize(self.depthwise_initializer),
            "depthwise_regularizer": identifiers.serialize(self.depthwise_regularizer),
            "depthwise_constraint": identifiers.serialize(self.depthwise_constraint),
        }


class SeparableConv2D(_SeparableConvolution):
    """y = activation(z * pointwise_kernel + bias), z = x * depthwise_kernel for each channel by itself.

    x is (batch, H, W, C), z (batch, P, Q, C M) as DepthwiseConv2D makes it without a bias, M being `depth_multiplier`,
    and y (batch, P, Q, filters). The kernels are (R, S, C, M) and (1, 1, C M, filters).

    The arguments are Keras's; `data_format` can only be 'channels_last'. ValueError for a kernel bigger than its input.

    >>> SeparableConv2D(32, 3, strides=2, padding="same").compute_output_shape((None, 50, 50, 8))
    (None, 25, 25, 32)
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
        depth_multiplier: int = 1,
        activation: ActivationArgument = None,
        use_bias: bool = True,
        depthwise_initializer: InitializerLike | None = "glorot_uniform",
        pointwise_initializer: InitializerLike | None = "glorot_uniform",
        bias_initializer: InitializerLike | None = "zeros",
        depthwise_regularizer: Any = None,
        pointwise_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        depthwise_constraint: Any = None,
        pointwise_constraint: Any = None,
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
            depth_multiplier=depth_multiplier,
            activation=activation,
            use_bias=use_bias,
            depthwise_initializer=depthwise_initializer,
            pointwise_initializer=pointwise_initializer,
            bias_initializer=bias_initializer,
            depthwise_regularizer=depthwise_regularizer,
            pointwise_regularizer=pointwise_regularizer,
            bias_regularizer=bias_regularizer,
            activity_regularizer=activity_regularizer,
            depthwise_constraint=depthwise_constraint,
            pointwise_constraint=pointwise_constraint,
            bias_constraint=bias_constraint,
            **kwargs,
        )


class SeparableConv1D(_SeparableConvolution):
    """y = activation(z * pointwise_kernel + bias), z = x * depthwise_kernel for each channel by itself.

    x is (batch, L, C), y is (batch, P, filters), the kernels (R, C, M) and (1, C M, filters); arguments and errors are
    those of SeparableConv2D, with one number where an image has two.
    """

    _rank = 1

    def __init__(
        self,
        filters: int,
        kernel_size: int | tuple[int],
        strides: int | tuple[int] = 1,
        padding: str = "valid",
        data_format: str | None = None,
        dilation_rate: int | tuple[int] = 1,
        depth_multiplier: int = 1,
        activation: ActivationArgument = None,
        use_bias: bool = True,
        depthwise_initializer: InitializerLike | None = "glorot_uniform",
        pointwise_initializer: InitializerLike | None = "glorot_uniform",
        bias_initializer: InitializerLike | None = "zeros",
        depthwise_regularizer: Any = None,
        pointwise_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        depthwise_constraint: Any = None,
        pointwise_constraint: Any = None,
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
            depth_multiplier=depth_multiplier,
            activation=activation,
            use_bias=use_bias,
            depthwise_initializer=depthwise_initializer,
            pointwise_initializer=pointwise_initializer,
            bias_initializer=bias_initializer,
            depthwise_regularizer=depthwise_regularizer,
            pointwise_regularizer=pointwise_regularizer,
            bias_regularizer=bias_regularizer,
            activity_regularizer=activity_regularizer,
            depthwise_constraint=depthwise_constraint,
            pointwise_constraint=pointwise_constraint,
            bias_constraint=bias_constraint,
            **kwargs,
        )


SeparableConvolution2D = SeparableConv2D
SeparableConvolution1D = SeparableConv1D
