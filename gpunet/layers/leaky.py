"""Activations with arguments as layers: LeakyReLU, PReLU, ELU."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, Unpack

from gpunet import arguments, constraints, identifiers, initializers, regularizers
from gpunet.backend.arrays import Array
from gpunet.initializers import InitializerLike
from gpunet.layers.base import Forward, LayerArguments
from gpunet.layers.element_wise import ElementWise
from gpunet.layers.shapes import Dims, fits
from gpunet.ops import activation as activation_op
from gpunet.ops.activation import LEAKY_SLOPE
from gpunet.ops.activation import Activation as Operation
from gpunet.ops.prelu import prelu, prelu_alpha_gradient, prelu_gradient


class LeakyReLU(ElementWise):
    """y = x where x > 0, else negative_slope x; ValueError unless the slope is at least 0.

    `alpha` is the old name of `negative_slope`, taken with a warning. Maas et al. 2013, "Rectifier nonlinearities
    improve neural network acoustic models".

    >>> LeakyReLU(0.5)([[-1.0, 2.0]])
    array([[-0.5,  2. ]], dtype=float32)
    """

    def __init__(self, negative_slope: float = 0.3, **kwargs: Any) -> None:
        if "alpha" in kwargs:
            negative_slope = kwargs.pop("alpha")
            warnings.warn("LeakyReLU: alpha is the old name; say negative_slope", DeprecationWarning, stacklevel=2)
        super().__init__(**kwargs)
        self.negative_slope = arguments.real(self.where, "negative_slope", negative_slope, minimum=0)

    def forward(self, x: Array, training: bool) -> Forward:
        shape = (None, self.negative_slope)
        return activation_op.relu(x, *shape), lambda dy: activation_op.relu_gradient(dy, x, *shape)

    @property
    def as_operation(self) -> Operation | None:
        if not self.runs_forward_of(LeakyReLU):
            return None
        return {0.0: Operation.RELU, LEAKY_SLOPE: Operation.LEAKY_RELU}.get(self.negative_slope)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "negative_slope": self.negative_slope}


class ELU(ElementWise):
    """y = x where x > 0, else alpha (exp(x) - 1). Clevert et al. 2016, arXiv:1511.07289."""

    def __init__(self, alpha: float = 1.0, **kwargs: Unpack[LayerArguments]) -> None:
        super().__init__(**kwargs)
        self.alpha = arguments.real(self.where, "alpha", alpha)

    def forward(self, x: Array, training: bool) -> Forward:
        return activation_op.elu(x, self.alpha), lambda dy: activation_op.elu_gradient(dy, x, self.alpha)

    @property
    def as_operation(self) -> Operation | None:
        return Operation.ELU if self.alpha == 1 and self.runs_forward_of(ELU) else None

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "alpha": self.alpha}


class PReLU(ElementWise):
    """y = x where x > 0, else alpha x, alpha trained: one for each element of a sample.

    `shared_axes`, an axis or several, counted from 1 on, have one alpha together: [1, 2] for one a channel of images.
    He et al. 2015, "Delving deep into rectifiers", arXiv:1502.01852.
    """

    def __init__(
        self,
        alpha_initializer: InitializerLike = "Zeros",
        alpha_regularizer: Any = None,
        alpha_constraint: Any = None,
        shared_axes: int | Sequence[int] | None = None,
        **kwargs: Unpack[LayerArguments],
    ) -> None:
        super().__init__(**kwargs)
        self.alpha_initializer = initializers.get(alpha_initializer, f"{self.where}: alpha_initializer")
        self.alpha_regularizer = regularizers.get(alpha_regularizer, f"{self.where}: alpha_regularizer")
        self.alpha_constraint = constraints.get(alpha_constraint, f"{self.where}: alpha_constraint")
        several = isinstance(shared_axes, Sequence) and not isinstance(shared_axes, (str, bytes))
        axes = shared_axes if several or shared_axes is None else (shared_axes,)
        self.shared_axes = None if axes is None else list(arguments.integers(self.where, "shared_axes", axes))

    def check_input_shape(self, shape: Dims) -> None:
        super().check_input_shape(shape)
        beyond = [axis for axis in self.shared_axes or () if axis >= len(shape)]
        if beyond:
            last = len(shape) - 1
            raise ValueError(f"{self.where}: shared_axes must be from 1 to {last} for inputs of {shape}; got {beyond}")
        if self.built:
            known = tuple(None if size == 1 else size for size in self.alpha.shape)
            if not fits(shape[1:], known):
                raise ValueError(f"{self.where}: input must fit alpha of shape {self.alpha.shape}; got {shape}")

    def build(self, input_shape: Dims) -> None:
        sizes = []
        for axis, size in enumerate(input_shape[1:], 1):
            size = 1 if axis in (self.shared_axes or ()) else size
            if size is None:
                raise ValueError(
                    f"{self.where}: input must have known sizes but for the batch and shared_axes; got {input_shape}"
                )
            sizes.append(size)
        self.alpha = self.add_weight(
            sizes,
            self.alpha_initializer,
            name="alpha",
            regularizer=self.alpha_regularizer,
            constraint=self.alpha_constraint,
        )

    def forward(self, x: Array, training: bool) -> Forward:
        alpha = self.alpha.value

        def backward(dy: Array) -> Array | None:
            if self.alpha.trainable:
                dalpha = self.alpha.gradient_target()
                prelu_alpha_gradient(dy, x, dalpha)
                self.alpha.add_gradient(dalpha)
            return prelu_gradient(dy, x, alpha) if self.needs_input_gradient else None

        return prelu(x, alpha), backward

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "alpha_initializer": identifiers.serialize(self.alpha_initializer),
            "alpha_regularizer": identifiers.serialize(self.alpha_regularizer),
            "alpha_constraint": identifiers.serialize(self.alpha_constraint),
            "shared_axes": self.shared_axes,
        }
