"""Each activation on a float array, with its way back: (x, its arguments) -> y and the closure backward(dy) -> dx."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeAlias

from gpunet import arguments
from gpunet.backend.arrays import Array
from gpunet.ops import activation as activation_op
from gpunet.ops import glu as glu_op
from gpunet.ops import log_softmax as log_softmax_op
from gpunet.ops import pointwise as pointwise_op
from gpunet.ops import softmax as softmax_op
from gpunet.ops import sparsemax as sparsemax_op
from gpunet.ops.activation import LEAKY_SLOPE, Activation
from gpunet.ops.pointwise import Pointwise

Forward: TypeAlias = tuple[Array, Callable[[Array], Array]]


def element_wise(x: Array, kind: Activation) -> Forward:
    """Run an activation that matrix products know."""
    if kind is Activation.LINEAR:
        return x, lambda dy: dy
    y = activation_op.activate(x, kind)
    saved = x if kind.saves_input else y
    return y, lambda dy: activation_op.activate_gradient(dy, saved, kind)


def pointwise(x: Array, kind: Pointwise, a: float = 0.0, b: float = 0.0) -> Forward:
    """Run an activation that they do not know."""
    y = pointwise_op.pointwise(x, kind, a, b)
    return y, lambda dy: pointwise_op.pointwise_gradient(dy, x, kind, a)


def relu(x: Array, negative_slope: float = 0.0, max_value: float | None = None, threshold: float = 0.0) -> Forward:
    negative_slope = arguments.real("relu", "negative_slope", negative_slope)
    max_value = None if max_value is None else arguments.real("relu", "max_value", max_value)
    threshold = arguments.real("relu", "threshold", threshold)
    if max_value is None and threshold == 0 and negative_slope in (0, LEAKY_SLOPE):
        return element_wise(x, Activation.LEAKY_RELU if negative_slope else Activation.RELU)
    shape = (max_value, negative_slope, threshold)
    return activation_op.relu(x, *shape), lambda dy: activation_op.relu_gradient(dy, x, *shape)


def leaky_relu(x: Array, negative_slope: float = LEAKY_SLOPE) -> Forward:
    return relu(x, negative_slope)


def relu6(x: Array) -> Forward:
    return relu(x, max_value=6.0)


def elu(x: Array, alpha: float = 1.0) -> Forward:
    alpha = arguments.real("elu", "alpha", alpha)
    if alpha == 1:
        return element_wise(x, Activation.ELU)
    return activation_op.elu(x, alpha), lambda dy: activation_op.elu_gradient(dy, x, alpha)


def celu(x: Array, alpha: float = 1.0) -> Forward:
    alpha = arguments.real("celu", "alpha", alpha)
    if alpha <= 0:
        raise ValueError(f"celu: alpha must be above 0; got {alpha!r}")
    return pointwise(x, Pointwise.CELU, alpha)


def gelu(x: Array, approximate: bool = False) -> Forward:
    return element_wise(x, gelu_form(approximate))


def gelu_form(approximate: bool) -> Activation:
    """Return which of the two GELUs `approximate` asks for."""
    return Activation.GELU_TANH if arguments.boolean("gelu", "approximate", approximate) else Activation.GELU


def hard_shrink(x: Array, threshold: float = 0.5) -> Forward:
    return pointwise(x, Pointwise.HARD_SHRINK, arguments.real("hard_shrink", "threshold", threshold, minimum=0))


def soft_shrink(x: Array, threshold: float = 0.5) -> Forward:
    return pointwise(x, Pointwise.SOFT_SHRINK, arguments.real("soft_shrink", "threshold", threshold, minimum=0))


def squareplus(x: Array, b: float = 4) -> Forward:
    return pointwise(x, Pointwise.SQUAREPLUS, math.sqrt(arguments.real("squareplus", "b", b, minimum=0)))


def threshold(x: Array, threshold: float, default_value: float) -> Forward:
    limit = arguments.real("threshold", "threshold", threshold)
    return pointwise(x, Pointwise.THRESHOLD, limit, arguments.real("threshold", "default_value", default_value))


def softmax(x: Array, axis: int = -1) -> Forward:
    y = softmax_op.softmax(x, axis)
    return y, lambda dy: softmax_op.softmax_gradient(dy, y, axis)


def log_softmax(x: Array, axis: int = -1) -> Forward:
    y = log_softmax_op.log_softmax(x, axis)
    return y, lambda dy: log_softmax_op.log_softmax_gradient(dy, y, axis)


def sparsemax(x: Array, axis: int = -1) -> Forward:
    y = sparsemax_op.sparsemax(x, axis)
    return y, lambda dy: sparsemax_op.sparsemax_gradient(dy, y, axis)


def glu(x: Array, axis: int = -1) -> Forward:
    return glu_op.glu(x, axis), lambda dy: glu_op.glu_gradient(dy, x, axis)
