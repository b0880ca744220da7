"""What Dense and convolutions share: a kernel, a bias, an activation, and their arguments."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, TypeVar

from gpunet import activations, arguments, constraints, identifiers, initializers, regularizers
from gpunet.backend.arrays import Array
from gpunet.initializers import InitializerLike
from gpunet.layers import activating
from gpunet.layers.activating import ActivationArgument
from gpunet.layers.base import Backward, Forward, Layer
from gpunet.layers.shapes import Dims
from gpunet.ops.activation import Activation
from gpunet.ops.dropping import Dropping
from gpunet.parameters import Parameter

T = TypeVar("T")

_OF_KERNELS = ("initializer", "regularizer", "constraint")


class KernelLayer(Layer):
    """y = activation(affine(x)); a subclass defines `_affine` and, in `build`, calls `_add_kernel`.

    The kernel's own arguments are `kernel_initializer`, `kernel_regularizer` and `kernel_constraint`, or what stands
    for 'kernel' in a subclass, `_kernel_prefix`.
    """

    _kernel_prefix: ClassVar[str] = "kernel"

    def __init__(
        self,
        *,
        activation: ActivationArgument,
        use_bias: bool,
        bias_initializer: InitializerLike | None,
        bias_regularizer: Any,
        bias_constraint: Any,
        **kwargs: Any,
    ) -> None:
        kernel = self._kernel_prefix
        initializer, regularizer, constraint = (kwargs.pop(f"{kernel}_{what}") for what in _OF_KERNELS)
        super().__init__(**kwargs)
        where = self.where
        self.activation = activating.get(self, activation)
        self.use_bias = arguments.boolean(where, "use_bias", use_bias)
        self.kernel_initializer = initializers.get(initializer, f"{where}: {kernel}_initializer")
        self.bias_initializer = initializers.get(bias_initializer, f"{where}: bias_initializer")
        self.kernel_regularizer = regularizers.get(regularizer, f"{where}: {kernel}_regularizer")
        self.bias_regularizer = regularizers.get(bias_regularizer, f"{where}: bias_regularizer")
        self.kernel_constraint = constraints.get(constraint, f"{where}: {kernel}_constraint")
        self.bias_constraint = constraints.get(bias_constraint, f"{where}: bias_constraint")
        self._operation = None if isinstance(self.activation, Layer) else activations.operation(self.activation)
        self._kernel: Parameter | None = None
        self._bias: Parameter | None = None

    def _add_kernel(self, shape: tuple[int, ...], input_shape: Dims, features: int, name: str = "kernel") -> None:
        """Make the kernel, the bias of `features` elements, and what an activation that is a layer has of weights."""
        self._kernel = self.add_weight(
            shape,
            self.kernel_initializer,
            name=name,
            regularizer=self.kernel_regularizer,
            constraint=self.kernel_constraint,
        )
        if self.use_bias:
            self._bias = self.add_weight(
                (features,),
                self.bias_initializer,
                name="bias",
                regularizer=self.bias_regularizer,
                constraint=self.bias_constraint,
            )
        activating.build(self, self.activation, self.compute_output_shape(input_shape))

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
        y, activation_backward = activating.forward(self, self.activation, z, training)
        return y, self._chain(affine_backward, activation_backward)

    def _affine(self, x: Array, activation: Activation, dropping: Dropping | None = None) -> Forward:
        """Return y = activation(affine(x)), with elements dropped if so, and its backward."""
        raise NotImplementedError

    @property
    def operation(self) -> Activation | None:
        """The activation that the kernel applies; None where another op or a layer has to."""
        return self._operation

    @property
    def takes_activation(self) -> bool:
        return self._operation is Activation.LINEAR and self.runs_forward_of(KernelLayer)

    def apply_with_activation(self, x: Array, training: bool, activation: Activation) -> Forward:
        if not self.takes_activation:
            return super().apply_with_activation(x, training, activation)
        self.check_input(x)
        return self._affine(x, activation)

    def apply_with_dropping(self, x: Array, activation: Activation, dropping: Dropping) -> Forward:
        """Run the layer with `activation`, ReLU, for its own, and a dropout after it, as one op."""
        self.check_input(x)
        return self._affine(x, activation, dropping)

    @property
    def ends_in_softmax(self) -> bool:
        plain = self.activity_regularizer is None and self.runs_forward_of(KernelLayer)
        return plain and activating.ends_in_softmax(self.activation)

    def forward_logits(self, x: Array, training: bool) -> Forward:
        if not self.ends_in_softmax:
            return super().forward_logits(x, training)
        z, affine_backward = self._affine(x, Activation.LINEAR)
        logits, activation_backward = activating.forward_logits(self.activation, z, training)
        return logits, self._chain(affine_backward, activation_backward)

    def _chain(self, affine_backward: Backward, activation_backward: Backward) -> Backward:
        def backward(dy: Array) -> Any:
            dz = activation_backward(dy)
            if dz is None:
                raise TypeError(f"{self.where}: backward of the activation must return dx; got None")
            return affine_backward(dz)

        return backward

    @property
    def _is_trained(self) -> bool:
        return self.kernel.trainable or (self._bias is not None and self._bias.trainable)

    def _add_gradients(self, compute: Callable[[Array, Array | None], T]) -> T:
        """Add the gradients that `compute(dw, db)` writes, and return its result; without a trained bias db is None."""
        dw = self.kernel.gradient_target()
        bias = self._bias if self._bias is not None and self._bias.trainable else None
        db = None if bias is None else bias.gradient_target()
        result = compute(dw, db)
        self.kernel.add_gradient(dw)
        if bias is not None and db is not None:
            bias.add_gradient(db)
        return result

    def get_config(self) -> dict[str, Any]:
        kernel = self._kernel_prefix
        return {
            **super().get_config(),
            "activation": activating.serialize(self.activation),
            "use_bias": self.use_bias,
            f"{kernel}_initializer": identifiers.serialize(self.kernel_initializer),
            "bias_initializer": identifiers.serialize(self.bias_initializer),
            f"{kernel}_regularizer": identifiers.serialize(self.kernel_regularizer),
            "bias_regularizer": identifiers.serialize(self.bias_regularizer),
            f"{kernel}_constraint": identifiers.serialize(self.kernel_constraint),
            "bias_constraint": identifiers.serialize(self.bias_constraint),
        }
