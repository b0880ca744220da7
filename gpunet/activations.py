"""Activations: element-wise functions (and softmax) for eager use, and the names by which layers know them.

Each takes an array of any device, or a list, and returns an array of that device; integers become `floatx()`. Layers
run the same functions through `gpunet.ops`, where they are fused into the matrix multiplication before them.

Where a layer takes an activation, `functools.partial` gives one other arguments, `partial(elu, alpha=0.5)`, and an own
function takes an array of the layer's device and returns y and the closure backward(dy) -> dx:

    def square(x):
        return x * x, lambda dy: 2 * x * dy
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, TypeAlias

import numpy as np

from gpunet import arguments, identifiers
from gpunet.backend.arrays import Array, is_array
from gpunet.default_dtype import floatx
from gpunet.ops import activation as activation_op
from gpunet.ops import softmax as softmax_op
from gpunet.ops.activation import LEAKY_SLOPE, Activation

ActivationFunction: TypeAlias = Callable[..., Any]
ActivationLike: TypeAlias = ActivationFunction | str | Mapping[str, Any] | None
Forward: TypeAlias = tuple[Array, Callable[[Array], Array]]


def linear(x: Any) -> Array:
    """y = x."""
    return as_floats("linear", x)


def relu(x: Any, negative_slope: float = 0.0, max_value: float | None = None, threshold: float = 0.0) -> Array:
    """y = min(x, max_value) where x >= threshold, else negative_slope (x - threshold).

    >>> relu([0.25, 0.5, 3.0], max_value=1)
    array([0.25, 0.5 , 1.  ], dtype=float32)
    """
    return _relu(as_floats("relu", x), negative_slope, max_value, threshold)[0]


def leaky_relu(x: Any, negative_slope: float = LEAKY_SLOPE) -> Array:
    """y = x where x >= 0, else negative_slope x."""
    return _relu(as_floats("leaky_relu", x), negative_slope)[0]


def sigmoid(x: Any) -> Array:
    """y = 1 / (1 + exp(-x))."""
    return activation_op.activate(as_floats("sigmoid", x), Activation.SIGMOID)


def tanh(x: Any) -> Array:
    """y = tanh(x)."""
    return activation_op.activate(as_floats("tanh", x), Activation.TANH)


def elu(x: Any, alpha: float = 1.0) -> Array:
    """y = x where x > 0, else alpha (exp(x) - 1). Clevert et al. 2016, arXiv:1511.07289."""
    return _elu(as_floats("elu", x), alpha)[0]


def gelu(x: Any, approximate: bool = False) -> Array:
    """y = x Phi(x), Phi the normal distribution's. Hendrycks 2016, arXiv:1606.08415.

    With `approximate`, y = x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2.
    """
    return activation_op.activate(as_floats("gelu", x), _gelu_form(approximate))


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
    return _softmax(as_floats("softmax", x), axis)[0]


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
    """Return the function that `identifier` names, is, or as a configuration describes; None is linear.

    A `partial` of a function of this module comes back with all its arguments. ValueError lists the valid names for an
    unknown one; TypeError for what cannot be called.
    """
    if identifier is None:
        return linear
    if isinstance(identifier, str):
        return _FUNCTIONS[arguments.choice(where, "activation", identifier, _FUNCTIONS)]
    if isinstance(identifier, Mapping):
        return _from_config(identifier, where)
    if isinstance(identifier, partial) and identifier.func in _FUNCTIONS.values():
        return _with_all_arguments(identifier, where)
    if not callable(identifier) or isinstance(identifier, type):
        raise TypeError(f"{where}: activation must be a name or a function; got {arguments.shown(identifier)}")
    return identifier


def serialize(activation: ActivationFunction) -> str | dict[str, Any]:
    """Return what `get` reads back, in JSON's types: a name, with its arguments for a `partial`.

    An own function is told by its name; `get` finds it among the custom objects.
    """
    if activation in _FUNCTIONS.values():
        return activation.__name__
    if isinstance(activation, partial) and activation.func in _FUNCTIONS.values():
        return {"class_name": activation.func.__name__, "config": dict(activation.keywords)}
    return identifiers.serialize_function(activation)


def deserialize(name: str | Mapping[str, Any]) -> ActivationFunction:
    """Return the function that `serialize` told of."""
    return get(name, "activations.deserialize")


def operation(activation: ActivationFunction) -> Activation | None:
    """Return what computes `activation` in the epilogues of `gpunet.ops`; None if it needs a pass of its own."""
    if isinstance(activation, partial) and activation.func is gelu:
        return _gelu_form(activation.keywords["approximate"])
    if activation is softmax or activation not in _FUNCTIONS.values():
        return None
    return Activation(activation.__name__)


def forward(activation: ActivationFunction, x: Array, where: str) -> Forward:
    """Return y and the closure backward(dy) -> dx; `activation` comes from `get`, x is an array of floats.

    TypeError, beginning with `where`, unless an own function returns two such things.
    """
    kind = operation(activation)
    if kind is not None:
        return _element_wise(x, kind)
    if activation is softmax:
        return _softmax(x)
    if isinstance(activation, partial) and activation.func in _WITH_ARGUMENTS:
        return _WITH_ARGUMENTS[activation.func](x, **activation.keywords)
    result = activation(x)
    if not (isinstance(result, tuple) and len(result) == 2 and callable(result[1])):
        raise TypeError(
            f"{where}: activation must return y and the closure backward(dy) -> dx, as a tuple; "
            f"{getattr(activation, '__name__', activation)} returned {type(result).__name__}; nothing here can "
            f"differentiate it"
        )
    return result


def _element_wise(x: Array, kind: Activation) -> Forward:
    if kind is Activation.LINEAR:
        return x, lambda dy: dy
    y = activation_op.activate(x, kind)
    saved = x if kind.saves_input else y
    return y, lambda dy: activation_op.activate_gradient(dy, saved, kind)


def _relu(x: Array, negative_slope: float, max_value: float | None = None, threshold: float = 0.0) -> Forward:
    negative_slope = arguments.real("relu", "negative_slope", negative_slope)
    max_value = None if max_value is None else arguments.real("relu", "max_value", max_value)
    threshold = arguments.real("relu", "threshold", threshold)
    if max_value is None and threshold == 0 and negative_slope in (0, LEAKY_SLOPE):
        return _element_wise(x, Activation.LEAKY_RELU if negative_slope else Activation.RELU)
    shape = (max_value, negative_slope, threshold)
    return activation_op.relu(x, *shape), lambda dy: activation_op.relu_gradient(dy, x, *shape)


def _elu(x: Array, alpha: float) -> Forward:
    alpha = arguments.real("elu", "alpha", alpha)
    if alpha == 1:
        return _element_wise(x, Activation.ELU)
    return activation_op.elu(x, alpha), lambda dy: activation_op.elu_gradient(dy, x, alpha)


def _softmax(x: Array, axis: int = -1) -> Forward:
    y = softmax_op.softmax(x, axis)
    return y, lambda dy: softmax_op.softmax_gradient(dy, y, axis)


def _gelu_form(approximate: bool) -> Activation:
    return Activation.GELU_TANH if arguments.boolean("gelu", "approximate", approximate) else Activation.GELU


NAMES = tuple(_FUNCTIONS)
_WITH_ARGUMENTS: Mapping[ActivationFunction, Callable[..., Forward]] = {
    relu: _relu,
    leaky_relu: _relu,
    elu: _elu,
    softmax: _softmax,
}


def _from_config(config: Mapping[str, Any], where: str) -> ActivationFunction:
    if identifiers.is_function(config):
        function: ActivationFunction = identifiers.deserialize_function(f"{where}: activation", config)
        return function
    if not {"class_name", "config"} <= set(config):
        raise ValueError(f"{where}: activation must have 'class_name' and 'config'; got {arguments.shown(config)}")
    return get(partial(get(config["class_name"], where), **config["config"]), where)


def _with_all_arguments(activation: partial[Any], where: str) -> ActivationFunction:
    """Return the `partial` with the arguments that it leaves at their defaults, or the function if it has none."""
    function = activation.func
    try:
        bound = inspect.signature(function).bind(None, *activation.args, **activation.keywords)
    except TypeError as error:
        raise TypeError(f"{where}: arguments of activation {function.__name__} must fit; {error}") from None
    bound.apply_defaults()
    given = dict(list(bound.arguments.items())[1:])
    return partial(function, **given) if given else function
