"""Layers that apply an activation: Activation, ReLU, Softmax."""

from __future__ import annotations

from typing import Any, Unpack

from gpunet import activations, arguments
from gpunet.backend.arrays import Array
from gpunet.layers import activating
from gpunet.layers.activating import ActivationArgument
from gpunet.layers.base import Forward, Layer, LayerArguments
from gpunet.layers.element_wise import ElementWise
from gpunet.layers.shapes import Dims
from gpunet.ops import activation as activation_op
from gpunet.ops import softmax as softmax_op
from gpunet.ops.activation import LEAKY_SLOPE
from gpunet.ops.activation import Activation as Operation

_MOST_AXES = 64  # of a NumPy array


class Activation(ElementWise):
    """y = activation(x), a name, a function (see `gpunet.activations`), or a layer.

    >>> Activation("relu")([[-1.0, 2.0]])
    array([[0., 2.]], dtype=float32)
    """

    def __init__(self, activation: ActivationArgument, **kwargs: Unpack[LayerArguments]) -> None:
        super().__init__(**kwargs)
        self.activation = activating.get(self, activation, keeps_shape=False)

    def compute_output_shape(self, input_shape: Any) -> Dims:
        shape = super().compute_output_shape(input_shape)
        return shape if isinstance(self.activation, Layer) else activations.output_shape(self.activation, shape)

    def build(self, input_shape: Dims) -> None:
        activating.build(self, self.activation, input_shape)

    def forward(self, x: Array, training: bool) -> Forward:
        return activating.forward(self, self.activation, x, training)

    @property
    def as_operation(self) -> Operation | None:
        if isinstance(self.activation, Layer) or not self.runs_forward_of(Activation):
            return None
        return activations.operation(self.activation)

    @property
    def ends_in_softmax(self) -> bool:
        plain = self.activity_regularizer is None and self.runs_forward_of(Activation)
        return plain and activating.ends_in_softmax(self.activation)

    def forward_logits(self, x: Array, training: bool) -> Forward:
        if not self.ends_in_softmax:
            return super().forward_logits(x, training)
        return activating.forward_logits(self.activation, x, training)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "activation": activating.serialize(self.activation)}


class ReLU(ElementWise):
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
        return activation_op.relu(x, *shape), lambda dy: activation_op.relu_gradient(dy, x, *shape)

    @property
    def as_operation(self) -> Operation | None:
        if self.max_value is not None or self.threshold or not self.runs_forward_of(ReLU):
            return None
        return {0.0: Operation.RELU, LEAKY_SLOPE: Operation.LEAKY_RELU}.get(self.negative_slope)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "max_value": self.max_value,
            "negative_slope": self.negative_slope,
            "threshold": self.threshold,
        }


class Softmax(ElementWise):
    """y[..., i, ...] = exp(x[..., i, ...]) / sum_j exp(x[..., j, ...]), i and j counting along `axis`, an integer."""

    def __init__(self, axis: int = -1, **kwargs: Unpack[LayerArguments]) -> None:
        super().__init__(**kwargs)
        self.axis = arguments.integer(self.where, "axis", axis, minimum=-_MOST_AXES)

    def check_input_shape(self, shape: Dims) -> None:
        super().check_input_shape(shape)
        if not -len(shape) <= self.axis < len(shape):
            raise ValueError(f"{self.where}: axis must be one of the input's {len(shape)} axes; got {self.axis}")

    def forward(self, x: Array, training: bool) -> Forward:
        y = softmax_op.softmax(x, self.axis)
        return y, lambda dy: softmax_op.softmax_gradient(dy, y, self.axis)

    @property
    def ends_in_softmax(self) -> bool:
        return self.axis == -1 and self.activity_regularizer is None and self.runs_forward_of(Softmax)

    def forward_logits(self, x: Array, training: bool) -> Forward:
        return (x, lambda dy: dy) if self.ends_in_softmax else super().forward_logits(x, training)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "axis": self.axis}
