"""What Dense and Conv2D share: a kernel, a bias, an activation, and their arguments."""

from __future__ import annotations

from typing import Any, Unpack

from gpunet import activations, arguments, constraints, identifiers, initializers, regularizers
from gpunet.activations import ActivationLike
from gpunet.backend.arrays import Array
from gpunet.initializers import InitializerLike
from gpunet.layers.base import Forward, Layer, LayerArguments
from gpunet.ops.activation import Activation
from gpunet.ops.softmax import softmax, softmax_gradient
from gpunet.parameters import Parameter


class KernelLayer(Layer):
    """y = activation(affine(x)); a subclass defines `_affine` and, in `build`, calls `_add_kernel`."""

    def __init__(
        self,
        *,
        activation: ActivationLike,
        use_bias: bool,
        kernel_initializer: InitializerLike | None,
        bias_initializer: InitializerLike | None,
        kernel_regularizer: Any,
        bias_regularizer: Any,
        kernel_constraint: Any,
        bias_constraint: Any,
        **kwargs: Unpack[LayerArguments],
    ) -> None:
        super().__init__(**kwargs)
        where = self.where
        self.activation = activations.get(activation, where)
        self.use_bias = arguments.boolean(where, "use_bias", use_bias)
        self.kernel_initializer = initializers.get(kernel_initializer, f"{where}: kernel_initializer")
        self.bias_initializer = initializers.get(bias_initializer, f"{where}: bias_initializer")
        self.kernel_regularizer = regularizers.get(kernel_regularizer, f"{where}: kernel_regularizer")
        self.bias_regularizer = regularizers.get(bias_regularizer, f"{where}: bias_regularizer")
        self.kernel_constraint = constraints.get(kernel_constraint, f"{where}: kernel_constraint")
        self.bias_constraint = constraints.get(bias_constraint, f"{where}: bias_constraint")
        self._operation = activations.operation(self.activation)
        self._kernel: Parameter | None = None
        self._bias: Parameter | None = None

    def _add_kernel(self, shape: tuple[int, ...]) -> None:
        """Make the kernel, and the bias for its last axis."""
        self._kernel = self.add_weight(
            shape,
            self.kernel_initializer,
            name="kernel",
            regularizer=self.kernel_regularizer,
            constraint=self.kernel_constraint,
        )
        if self.use_bias:
            self._bias = self.add_weight(
                shape[-1:],
                self.bias_initializer,
                name="bias",
                regularizer=self.bias_regularizer,
                constraint=self.bias_constraint,
            )

    def forget_build(self) -> None:
        super().forget_build()
        self._kernel = self._bias = None

    @property
    def kernel(self) -> Parameter:
        """The kernel; AttributeError before the layer is built."""
        if self._kernel is None:
            raise AttributeError(f"{self.where}: must be built before its kernel is used; call build(input_shape)")
        return self._kernel

    @property
    def bias(self) -> Parameter | None:
        """The bias, None without one; AttributeError before the layer is built."""
        if self._kernel is None:
            raise AttributeError(f"{self.where}: must be built before its bias is used; call build(input_shape)")
        return self._bias

    def forward(self, x: Array, training: bool) -> Forward:
        if self._operation is not None:
            return self._affine(x, self._operation)
        z, affine_backward = self._affine(x, Activation.LINEAR)
        y = softmax(z)
        return y, lambda dy: affine_backward(softmax_gradient(dy, y))

    def _affine(self, x: Array, activation: Activation) -> Forward:
        """Return y = activation(affine(x)) and its backward."""
        raise NotImplementedError

    @property
    def ends_in_softmax(self) -> bool:
        return self._operation is None and self.activity_regularizer is None

    def forward_logits(self, x: Array, training: bool) -> Forward:
        return self._affine(x, Activation.LINEAR) if self.ends_in_softmax else super().forward_logits(x, training)

    @property
    def _is_trained(self) -> bool:
        return self.kernel.trainable or (self._bias is not None and self._bias.trainable)

    def _take_gradients(self, dw: Array, db: Array | None) -> None:
        self.kernel.add_gradient(dw)
        if self._bias is not None and db is not None:
            self._bias.add_gradient(db)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "activation": activations.serialize(self.activation),
            "use_bias": self.use_bias,
            "kernel_initializer": identifiers.serialize(self.kernel_initializer),
            "bias_initializer": identifiers.serialize(self.bias_initializer),
            "kernel_regularizer": identifiers.serialize(self.kernel_regularizer),
            "bias_regularizer": identifiers.serialize(self.bias_regularizer),
            "kernel_constraint": identifiers.serialize(self.kernel_constraint),
            "bias_constraint": identifiers.serialize(self.bias_constraint),
        }
