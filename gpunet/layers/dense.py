"""Dense: y = activation(x W + b)."""

from __future__ import annotations

from functools import partial
from typing import Any, Unpack

from gpunet import arguments
from gpunet.backend.arrays import Array
from gpunet.initializers import InitializerLike
from gpunet.layers.activating import ActivationArgument
from gpunet.layers.base import CommonArguments, Forward
from gpunet.layers.kernel_layer import KernelLayer
from gpunet.layers.shapes import Dims, dims
from gpunet.ops.activation import Activation
from gpunet.ops.dense import dense, dense_input_gradient, dense_kernel_gradient
from gpunet.ops.dropping import Dropping


class Dense(KernelLayer):
    """y[..., n] = activation(sum_k x[..., k] kernel[k, n] + bias[n]).

    x is (batch, ..., K), y is (batch, ..., units); kernel (K, units), bias (units,). The arguments are Keras's:
    `activation` a name, a function (see `gpunet.activations`), a layer or None; initializers, regularizers and
    constraints names, instances or None. ValueError for units below 1 and for inputs with another last axis than the
    one built for.

    >>> layer = Dense(2, activation="relu", kernel_initializer="ones")
    >>> layer([[1.0, 2.0, 3.0]])
    array([[6., 6.]], dtype=float32)
    """

    def __init__(
        self,
        units: int,
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
        self.units = arguments.integer(self.where, "units", units)

    def check_input_shape(self, shape: Dims) -> None:
        features = self._kernel.shape[0] if self._kernel is not None else None
        if len(shape) < 2 or (features is not None and shape[-1] not in (features, None)):
            wanted = "features" if features is None else features
            raise ValueError(f"{self.where}: input must have shape (batch, ..., {wanted}); got {shape}")

    def build(self, input_shape: Dims) -> None:
        if input_shape[-1] is None:
            raise ValueError(f"{self.where}: last axis of the input must be known to build; got {input_shape}")
        self._add_kernel((input_shape[-1], self.units), input_shape, self.units)

    def compute_output_shape(self, input_shape: Any) -> Dims:
        shape = dims(self.where, "input_shape", input_shape)
        self.check_input_shape(shape)
        return (*shape[:-1], self.units)

    def _affine(self, x: Array, activation: Activation, dropping: Dropping | None = None) -> Forward:
        w, b = self.kernel.value, self._bias.value if self._bias is not None else None
        rows = x.reshape(-1, x.shape[-1])
        y, saved = dense(rows, w, b, activation, dropping)
        scale = 1.0 if dropping is None else dropping.scale

        def backward(dy: Array) -> Array | None:
            dy = dy.reshape(y.shape)
            if self._is_trained:
                self._add_gradients(partial(dense_kernel_gradient, rows, dy, saved, activation, scale=scale))
            if not self.needs_input_gradient:
                return None
            return dense_input_gradient(dy, saved, w, activation, scale).reshape(x.shape)

        return y.reshape(*x.shape[:-1], self.units), backward

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "units": self.units}
