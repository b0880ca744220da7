"""Conv2DTranspose and Conv1DTranspose: the transpose of a convolution, which makes images larger."""

from __future__ import annotations

from functools import lru_cache, partial
from typing import Any, TypeAlias, Unpack

from gpunet import arguments
from gpunet.backend.arrays import Array
from gpunet.initializers import InitializerLike
from gpunet.layers import shapes
from gpunet.layers.activating import ActivationArgument
from gpunet.layers.base import CommonArguments, Forward
from gpunet.layers.convolution_windows import WindowLayer
from gpunet.layers.shapes import Dims
from gpunet.ops.activation import Activation
from gpunet.ops.bias_gradient import bias_gradient
from gpunet.ops.convolution import convolution, convolution_kernel_gradient
from gpunet.ops.convolution_sizes import Geometry
from gpunet.ops.convolution_transposed import convolution_transposed
from gpunet.ops.dropping import Dropping

_Pair: TypeAlias = tuple[int, int]


class _TransposedConvolution(WindowLayer):
    """Conv2DTranspose or Conv1DTranspose."""

    def __init__(self, *, filters: int, output_padding: int | tuple[int, ...] | None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        where = self.where
        self.filters = arguments.integer(where, "filters", filters)
        self.output_padding: tuple[int, ...] | None = None
        if output_padding is not None:
            self.output_padding = shapes.per_axis(where, self._rank, "output_padding", output_padding, minimum=0)
            if any(more >= stride for more, stride in zip(self.output_padding, self.strides, strict=True)):
                raise ValueError(
                    f"{where}: output_padding must be below strides, {self.strides}; got {self.output_padding}"
                )

    @property
    def _channels(self) -> int | None:
        return self._kernel.shape[-1] if self._kernel is not None else None

    def _output_channels(self, channels: int | None) -> int:
        return self.filters

    @property
    def _more(self) -> tuple[int | None, ...]:
        """The `output_padding` along each axis."""
        return (None,) * self._rank if self.output_padding is None else self.output_padding

    def build(self, input_shape: Dims) -> None:
        channels = self._known_channels(input_shape)
        self._add_kernel((*self.kernel_size, self.filters, channels), input_shape, self.filters)

    def compute_output_shape(self, input_shape: Any) -> Dims:
        shape = shapes.dims(self.where, "input_shape", input_shape)
        self.check_input_shape(shape)
        axes = zip(shape[1:-1], self.kernel_size, self.strides, self.dilation_rate, self._more, strict=True)
        sizes = tuple(
            None if size is None else _along(size, kernel, stride, dilation, more, self.padding)[0]
            for size, kernel, stride, dilation, more in axes
        )
        if 0 in sizes:
            raise ValueError(
                f"{self.where}: output must have sizes of at least 1; got {sizes} for input {shape}; "
                f"use a bigger input or output_padding"
            )
        return (shape[0], *sizes, self.filters)

    def _run(self, x: Array, activation: Activation, dropping: Dropping | None) -> Forward:
        rank = self._rank
        window = (shapes.of_images(rank, sizes) for sizes in (self.kernel_size, self.strides, self.dilation_rate))
        more = self._more if rank == 2 else (None, *self._more)
        size, geometry = _transposed((x.shape[1], x.shape[2]), *window, more, self.padding)
        shape = x.shape[0], *size, self.filters
        w = self._as_filters(self.kernel.value)
        y, saved = convolution_transposed(x, w, self._bias_value, activation, geometry, shape, dropping)
        scale = 1.0 if dropping is None else dropping.scale

        def fill(dy: Array, dw: Array, db: Array | None) -> Array:
            dz = bias_gradient(dy, saved, activation, db, scale)
            convolution_kernel_gradient(dz, x, x, Activation.LINEAR, geometry, self._as_filters(dw), None)
            return dz

        def backward(dy: Array) -> Array | None:
            if self._is_trained:
                dz = self._add_gradients(partial(fill, dy))
            elif self.needs_input_gradient:
                dz = bias_gradient(dy, saved, activation, None, scale)
            return convolution(dz, w, None, Activation.LINEAR, geometry)[0] if self.needs_input_gradient else None

        return y, backward

    def _as_filters(self, kernel: Array) -> Array:
        """Return the kernel, or memory for its gradient, as filters of images: a view."""
        filters: Array = kernel.reshape((1,) * (2 - self._rank) + kernel.shape)
        return filters

    def get_config(self) -> dict[str, Any]:
        padding = None if self.output_padding is None else list(self.output_padding)
        return {**super().get_config(), "filters": self.filters, "output_padding": padding}


def _along(
    size: int, kernel: int, stride: int, dilation: int, more: int | None, padding: str
) -> tuple[int, tuple[int, int]]:
    """Return the output's size along an axis, and what is cut off before and after it of all that windows reach.

    'valid' cuts nothing; 'same' leaves `size` strides, or, with an `output_padding` of `more`, as many elements behind
    the last window's middle. What is to come behind all windows has a negative number: there y is f(b).
    """
    span = (kernel - 1) * dilation + 1
    reached = (size - 1) * stride + span
    if padding == "valid":
        length = reached + (max(stride - span, 0) if more is None else more)
        return length, (0, reached - length)
    length = size * stride if more is None else (size - 1) * stride + span % 2 + more
    total = reached - length
    before = max(total // 2, 0)
    return length, (before, total - before)


@lru_cache
def _transposed(
    size: _Pair, kernel: _Pair, strides: _Pair, dilation: _Pair, more: tuple[int | None, ...], padding: str
) -> tuple[_Pair, Geometry]:
    """Return the output's size, and how the windows of the convolution that is transposed lie on it."""
    axes = zip(size, kernel, strides, dilation, more, strict=True)
    (height, rows), (width, columns) = (_along(*axis, padding) for axis in axes)
    # A window that would begin behind the last one does not fit: less than a stride is left there.
    pads = (rows[0], max(rows[1], 0)), (columns[0], max(columns[1], 0))
    return (height, width), Geometry(strides=strides, dilation=dilation, pads=pads)


class Conv2DTranspose(_TransposedConvolution):
    """y = activation(z + bias), where z is what the gradient of a Conv2D with this kernel makes of dy = x.

    z[n, h, w, f] = sum of x[n, p, q, c] kernel[r, s, f, c] over p u + r d = h + top and q v + s e = w + left. x is
    (batch, P, Q, C), y is (batch, H, W, filters), the kernel (R, S, filters, C); (u, v) are the strides, (d, e) the
    dilation rates. 'valid' keeps all, H = (P - 1) u + max((R - 1) d + 1, u); 'same' keeps H = P u. With
    `output_padding` a, H is (P - 1) u + (R - 1) d + 1 + a, or, for 'same', (P - 1) u + ((R - 1) d + 1) mod 2 + a.

    The arguments are Keras's; `data_format` can only be 'channels_last'. ValueError for strides and dilation rates both
    above 1, and for an `output_padding` that is not below the strides.

    >>> Conv2DTranspose(16, 3, strides=2, padding="same").compute_output_shape((None, 25, 25, 8))
    (None, 50, 50, 16)
    """

    _rank = 2

    def __init__(
        self,
        filters: int,
        kernel_size: int | tuple[int, int],
        strides: int | tuple[int, int] = (1, 1),
        padding: str = "valid",
        output_padding: int | tuple[int, int] | None = None,
        data_format: str | None = None,
        dilation_rate: int | tuple[int, int] = (1, 1),
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
            output_padding=output_padding,
            data_format=data_format,
            dilation_rate=dilation_rate,
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


class Conv1DTranspose(_TransposedConvolution):
    """z[n, l, f] = sum of x[n, p, c] kernel[r, f, c] over p u + r d = l + left; y = activation(z + bias).

    x is (batch, P, C), y is (batch, L, filters), the kernel (R, filters, C); arguments and errors are those of
    Conv2DTranspose, with one number where an image has two.
    """

    _rank = 1

    def __init__(
        self,
        filters: int,
        kernel_size: int | tuple[int],
        strides: int | tuple[int] = 1,
        padding: str = "valid",
        output_padding: int | tuple[int] | None = None,
        data_format: str | None = None,
        dilation_rate: int | tuple[int] = 1,
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
            output_padding=output_padding,
            data_format=data_format,
            dilation_rate=dilation_rate,
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


Convolution2DTranspose = Conv2DTranspose
Convolution1DTranspose = Conv1DTranspose
