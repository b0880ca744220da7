"""Activations: element-wise functions (and softmax) for eager use, and the names by which layers know them.

Each takes an array of any device, or a list, and returns an array of that device; integers become `floatx()`. Layers
run the same functions through `gpunet.ops`, where they are fused into the matrix multiplication before them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np

from gpunet import arguments
from gpunet.backend.arrays import Array, is_array
from gpunet.floatx import floatx
from gpunet.ops import activation as activation_op
from gpunet.ops import softmax as softmax_op
from gpunet.ops.activation import LEAKY_SLOPE, Activation

ActivationFunction: TypeAlias = Callable[..., Array]
ActivationLike: TypeAlias = ActivationFunction | str | None


def linear(x: Any) -> Array:
    """y = x."""
    return as_floats("linear", x)


def relu(x: Any, negative_slope: float = 0.0, max_value: float | None = None, threshold: float = 0.0) -> Array:
    """y = min(x, max_value) where x >= threshold, else negative_slope (x - threshold).

    >>> relu([0.25, 0.5, 3.0], max_value=1)
    array([0.25, 0.5 , 1.  ], dtype=float32)
    """
    x = as_floats("relu", x)
    if negative_slope == 0 and max_value is None and threshold == 0:
        return activation_op.activate(x, Activation.RELU)
    return activation_op.relu(x, max_value, negative_slope, threshold)


def leaky_relu(x: Any, negative_slope: float = LEAKY_SLOPE) -> Array:
    """y = x where x >= 0, else negative_slope x."""
    x = as_floats("leaky_relu", x)
    if negative_slope == LEAKY_SLOPE:
        return activation_op.activate(x, Activation.LEAKY_RELU)
    return activation_op.relu(x, None, negative_slope, 0.0)


def sigmoid(x: Any) -> Array:
    """y = 1 / (1 + exp(-x))."""
    return activation_op.activate(as_floats("sigmoid", x), Activation.SIGMOID)


def tanh(x: Any) -> Array:
    """y = tanh(x)."""
    return activation_op.activate(as_floats("tanh", x), Activation.TANH)


def elu(x: Any, alpha: float = 1.0) -> Array:
    """y = x where x > 0, else exp(x) - 1. `alpha` must be 1. Clevert et al. 2016, arXiv:1511.07289."""
    arguments.choice("elu", "alpha", alpha, (1.0,))
    return activation_op.activate(as_floats("elu", x), Activation.ELU)


def gelu(x: Any, approximate: bool = False) -> Array:
    """y = x Phi(x), Phi the normal distribution's. `approximate` must be False. Hendrycks 2016, arXiv:1606.08415."""
    arguments.choice("gelu", "approximate", approximate, (False,))
    return activation_op.activate(as_floats("gelu", x), Activation.GELU)


def silu(x: Any) -> Array:
    """y = x / (1 + exp(-x)), also called swish. Ramachandran et al. 2017, arXiv:1710.05941."""
    return activation_op.activate(as_floats("silu", x), Activation.SILU)


def softplus(x: Any) -> Array:
    """y = log(1 + exp(x))."""
    return activation_op.activate(as_floats("softplus", x), Activation.SOFTPLUS)


def softmax(x: Any, axis: int = -1) -> Array:
    """y[..., i, ...] = exp(x[..., i, ...]) / sum_j exp(x[..., j, ...]), i and j counting along `axis`.

    >>> softmax([[0.0, 0.0]])
    array([[0.5, 0.5]], dtype=float32)
    """
    return softmax_op.softmax(as_floats("softmax", x), axis)


def as_floats(where: str, x: Any, dtype: Any = None) -> Array:
    """Return `x` as an array of `dtype`; None keeps float32 and float64, and makes integers and bools `floatx()`.

    An array stays on its device; anything else becomes a NumPy array. TypeError for complex numbers, text and objects.
    """
    array: Array = x if is_array(x) else np.asarray(x)
    if array.dtype.kind not in "biuf":
        raise TypeError(f"{where}: x must hold real numbers; got dtype {array.dtype} (from {type(x).__name__})")
    if dtype is None:
        dtype = array.dtype if array.dtype.name in ("float32", "float64") and is_array(x) else floatx()
    return array.astype(dtype, copy=False)


_FUNCTIONS: Mapping[str, ActivationFunction] = {
    "linear": linear,
    "relu": relu,
    "leaky_relu": leaky_relu,
    "sigmoid": sigmoid,
    "tanh": tanh,
    "softmax": softmax,
    "elu": elu,
    "gelu": gelu,
    "silu": silu,
    "swish": silu,
    "softplus": softplus,
}


def get(identifier: ActivationLike, where: str = "activations.get") -> ActivationFunction:
    """Return the function of this module called `identifier`; None is linear.

    ValueError lists the valid names for an unknown one. A function from elsewhere is refused with TypeError: nothing
    here knows its gradient.
    """
    if identifier is None:
        return linear
    if isinstance(identifier, str):
        return _FUNCTIONS[arguments.choice(where, "activation", identifier, _FUNCTIONS)]
    if identifier not in _FUNCTIONS.values():
        raise TypeError(
            f"{where}: activation must be a name or a function of gpunet.activations; got {identifier!r}; "
            f"write an own layer for an own function, its backward gives the gradient"
        )
    return identifier


def serialize(activation: ActivationFunction) -> str:
    """Return the name of a function of this module; `get` reads it back."""
    return get(activation, "activations.serialize").__name__


def deserialize(name: str) -> ActivationFunction:
    """Return the function that `serialize` named."""
    return get(name, "activations.deserialize")


def operation(function: ActivationFunction) -> Activation | None:
    """Return what computes `function` with its default arguments in `gpunet.ops`; None for softmax."""
    return None if function is softmax else Activation(function.__name__)
