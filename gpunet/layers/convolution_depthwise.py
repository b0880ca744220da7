"""DepthwiseConv2D and DepthwiseConv1D: every channel is convolved with filters of its own."""

from __future__ import annotations

from typing import Any, Unpack

from gpunet import arguments
from gpunet.backend.arrays import Shape
from gpunet.initializers import InitializerLike
from gpunet.layers.activating import ActivationArgument
from gpunet.layers.base import CommonArguments
from gpunet.layers.convolution import GroupedConvolution
from gpunet.layers.shapes import Dims, of_images


class _DepthwiseConvolution(GroupedConvolution):
    """DepthwiseConv2D or DepthwiseConv1D: a convolution with a group for each channel."""

    _kernel_prefix = "depthwise"
    _takes_strides_and_dilation = True

    def __init__(self, *, depth_multiplier: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.depthwise_initializer = self.kernel_initializer
        self.depthwise_regularizer = self.kernel_regularizer
        self.depthwise_constraint = self.kernel_constraint
        self.depth_multiplier = arguments.integer(self.where, "depth_multiplier", depth_multiplier)

    @property
    def _groups(self) -> int:
        return self.kernel.shape[-2]

    @property
    def _channels(self) -> int | None:
        return self._kernel.shape[-2] if self._kernel is not None else None

    def _output_channels(self, channels: int | None) -> int | None:
        return None if channels is None else channels * self.depth_multiplier

    @property
    def _filters_shape(self) -> Shape:
        *size, channels, multiplier = self.kernel.shape
        return (*of_images(self._rank, tuple(size)), 1, channels * multiplier)

    def build(self, input_shape: Dims) -> None:
        channels = self._known_channels(input_shape)
        shape = (*self.kernel_size, channels, self.depth_multiplier)
        self._add_kernel(shape, input_shape, channels * self.depth_multiplier)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "depth_multiplier": self.depth_multiplier}


class DepthwiseConv2D(_DepthwiseConvolution):
    """y[n, p, q, c M + m] = activation(sum_rs x[n, p u - top + r d, q v - left + s e, c] kernel[r, s, c, m] + bias).

    x is (batch, H, W, C), y is (batch, P, Q, C M), M being `depth_multiplier`; the kernel is (R, S, C, M), the bias
    (C M). Strides (u, v), dilation rates (d, e), which may both be above 1, and padding are those of Conv2D.

    The arguments are Keras's; `data_format` can only be 'channels_last'. ValueError for a kernel bigger than its input.

    >>> DepthwiseConv2D(3, padding="same", depth_multiplier=2).compute_output_shape((None, 50, 50, 8))
    (None, 50, 50, 16)
    """

    _rank = 2

    def __init__(
        self,
        kernel_size: int | tuple[int, int],
        strides: int | tuple[int, int] = (1, 1),
        padding: str = "valid",
        depth_multiplier: int = 1,
        data_format: str | None = None,
        dilation_rate: int | tuple[int, int] = (1, 1),
        activation: ActivationArgument = None,
        use_bias: bool = True,
        depthwise_initializer: InitializerLike | None = "glorot_uniform",
        bias_initializer: InitializerLike | None = "zeros",
        depthwise_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        depthwise_constraint: Any = None,
        bias_constraint: Any = None,
        **kwargs: Unpack[CommonArguments],
    ) -> None:
        super().__init__(
            kernel_size=kernel_size,
            strides=strides,
            padding=padding,
            depth_multiplier=depth_multiplier,
            data_format=data_format,
            dilation_rate=dilation_rate,
            activation=activation,
            use_bias=use_bias,
            depthwise_initializer=depthwise_initializer,
            bias_initializer=bias_initializer,
            depthwise_regularizer=depthwise_regularizer,
            bias_regularizer=bias_regularizer,
            activity_regularizer=activity_regularizer,
            depthwise_constraint=depthwise_constraint,
            bias_constraint=bias_constraint,
            **kwargs,
        )


class DepthwiseConv1D(_DepthwiseConvolution):
    """y[n, p, c M + m] = activation(sum_r x[n, p u - left + r d, c] kernel[r, c, m] + bias[c M + m]).

    x is (batch, L, C), y is (batch, P, C M), the kernel (R, C, M); arguments and errors are those of DepthwiseConv2D,
    with one number where an image has two.
    """

    _rank = 1

    def __init__(
        self,
        kernel_size: int | tuple[int],
        strides: int | tuple[int] = 1,
        padding: str = "valid",
        depth_multiplier: int = 1,
        data_format: str | None = None,
        dilation_rate: int | tuple[int] = 1,
        activation: ActivationArgument = None,
        use_bias: bool = True,
        depthwise_initializer: InitializerLike | None = "glorot_uniform",
        bias_initializer: InitializerLike | None = "zeros",
        depthwise_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        depthwise_constraint: Any = None,
        bias_constraint: Any = None,
        **kwargs: Unpack[CommonArguments],
    ) -> None:
        super().__init__(
            kernel_size=kernel_size,
            strides=strides,
            padding=padding,
            depth_multiplier=depth_multiplier,
            data_format=data_format,
            dilation_rate=dilation_rate,
            activation=activation,
            use_bias=use_bias,
            depthwise_initializer=depthwise_initializer,
            bias_initializer=bias_initializer,
            depthwise_regularizer=depthwise_regularizer,
            bias_regularizer=bias_regularizer,
            activity_regularizer=activity_regularizer,
            depthwise_constraint=depthwise_constraint,
            bias_constraint=bias_constraint,
            **kwargs,
        )
