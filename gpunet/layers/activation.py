"""Layers that apply an activation: Activation, ReLU, Softmax."""

from __future__ import annotations

from typing import Any, Unpack

from gpunet import activations, arguments
from gpunet.activations import ActivationLike
from gpunet.backend.arrays import Array
from gpunet.layers.base import Forward, Layer, LayerArguments
from gpunet.layers.shapes import Dims, dims
from gpunet.ops import activation as activation_op
from gpunet.ops import softmax as softmax_op

_MOST_AXES = 64  # of a NumPy array


class _ElementWise(Layer):
    """A layer whose output has its input's shape."""

    def compute_output_shape(self, input_shape: Any) -> Dims:
        shape = dims(self.where, "input_shape", input_shape)
        self.check_input_shape(shape)
        return shape

    def _softmax(self, x: Array, axis: int = -1) -> Forward:
        y = softmax_op.softmax(x, axis)
        return y, lambda dy: softmax_op.softmax_gradient(dy, y, axis) if self.needs_input_gradient else None

    def _identity(self, x: Array) -> Forward:
        return x, lambda dy: dy if self.needs_input_gradient else None


class Activation(_ElementWise):
    """y = activation(x), a name or a function of `gpunet.activations`.

    >>> Activation("relu")([[-1.0, 2.0]])
    array([[0., 2.]], dtype=float32)
    """

    def __init__(self, activation: ActivationLike, **kwargs: Unpack[LayerArguments]) -> None:
        super().__init__(**kwargs)
        self.activation = activations.get(activation, self.where)
        self._operation = activations.operation(self.activation)

    def forward(self, x: Array, training: bool) -> Forward:
        operation = self._operation
        if operation is None:
            return self._softmax(x)
        if operation is activation_op.Activation.LINEAR:
            return self._identity(x)
        y = activation_op.activate(x, operation)
        saved = x if operation.saves_input else y

        def backward(dy: Array) -> Array | None:
            return activation_op.activate_gradient(dy, saved, operation) if self.needs_input_gradient else None

        return y, backward

    @property
    def ends_in_softmax(self) -> bool:
        return self._operation is None and self.activity_regularizer is None

    def forward_logits(self, x: Array, training: bool) -> Forward:
        return self._identity(x) if self.ends_in_softmax else super().forward_logits(x, training)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "activation": activations.serialize(self.activation)}


class ReLU(_ElementWise):
    """y = min(x, max_value) where x > threshold, else negative_slope (x - threshold).

    `max_value` None is no limit; all three must be at least 0.
    """

    def __init__(
        self,
        max_value: float | None = None,
        negative_slope: float = 0.0,
        threshold: float = 0.0,
        **kwargs: Unpack[LayerArguments],
    ) -> None:
        super().__init__(**kwargs)
        self.max_value = None if max_value is None else arguments.real(self.where, "max_value", max_value, minimum=0)
        self.negative_slope = arguments.real(self.where, "negative_slope", negative_slope, minimum=0)
        self.threshold = arguments.real(self.where, "threshold", threshold, minimum=0)

    def forward(self, x: Array, training: bool) -> Forward:
        shape = (self.max_value, self.negative_slope, self.threshold)

        def backward(dy: Array) -> Array | None:
            return activation_op.relu_gradient(dy, x, *shape) if self.needs_input_gradient else None

        return activation_op.relu(x, *shape), backward

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "max_value": self.max_value,
            "negative_slope": self.negative_slope,
            "threshold": self.threshold,
        }


class Softmax(_ElementWise):
    """y[..., i, ...] = exp(x[..., i, ...]) / sum_j exp(x[..., j, ...]), i and j counting along `axis`, an integer."""

    def __init__(self, axis: int = -1, **kwargs: Unpack[LayerArguments]) -> None:
        super().__init__(**kwargs)
        self.axis = arguments.integer(self.where, "axis", axis, minimum=-_MOST_AXES)

    def check_input_shape(self, shape: Dims) -> None:
        super().check_input_shape(shape)
        if not -len(shape) <= self.axis < len(shape):
            raise ValueError(f"{self.where}: axis must be one of the input's {len(shape)} axes; got {self.axis}")

    def forward(self, x: Array, training: bool) -> Forward:
        return self._softmax(x, self.axis)

    @property
    def ends_in_softmax(self) -> bool:
        return self.axis == -1 and self.activity_regularizer is None

    def forward_logits(self, x: Array, training: bool) -> Forward:
        return self._identity(x) if self.ends_in_softmax else super().forward_logits(x, training)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "axis": self.axis}
