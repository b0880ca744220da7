"""Activations: element-wise functions (and some along an axis) for eager use, and the names by which layers know them.

Each takes an array of any device, or a list, and returns an array of that device; integers become `floatx()`. Layers
run the same functions through `gpunet.ops`, where the most common are fused into the matrix multiplication before them.

Where a layer takes an activation, `functools.partial` gives one other arguments, `partial(elu, alpha=0.5)`, and an own
function takes an array of the layer's device and returns y and the closure backward(dy) -> dx:

    def square(x):
        return x * x, lambda dy: 2 * x * dy
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from types import FunctionType
from typing import Any, TypeAlias, TypeGuard

from gpunet import arguments, identifiers
from gpunet.activations import forwards
from gpunet.activations.conversion import as_floats
from gpunet.activations.forwards import Forward
from gpunet.activations.functions import (
    celu,
    elu,
    exponential,
    gelu,
    glu,
    hard_shrink,
    hard_sigmoid,
    hard_silu,
    hard_tanh,
    leaky_relu,
    linear,
    log_sigmoid,
    log_softmax,
    mish,
    relu,
    relu6,
    selu,
    sigmoid,
    silu,
    soft_shrink,
    softmax,
    softplus,
    softsign,
    sparse_plus,
    sparse_sigmoid,
    sparsemax,
    squareplus,
    tanh,
    tanh_shrink,
    threshold,
)
from gpunet.backend.arrays import Array
from gpunet.ops.activation import Activation
from gpunet.ops.pointwise import Pointwise

swish, hard_swish = silu, hard_silu  # Keras's other names for them

ActivationFunction: TypeAlias = Callable[..., Any]
ActivationLike: TypeAlias = ActivationFunction | str | Mapping[str, Any] | None

# What computes each function: a matrix product's epilogue, a kernel of its own, or what forwards.py says.
_FUSED: Mapping[ActivationFunction, Activation] = {
    linear: Activation.LINEAR,
    relu: Activation.RELU,
    leaky_relu: Activation.LEAKY_RELU,
    sigmoid: Activation.SIGMOID,
    tanh: Activation.TANH,
    elu: Activation.ELU,
    gelu: Activation.GELU,
    silu: Activation.SILU,
    softplus: Activation.SOFTPLUS,
}
_POINTWISE: Mapping[ActivationFunction, Pointwise] = {
    selu: Pointwise.SELU,
    softsign: Pointwise.SOFTSIGN,
    hard_sigmoid: Pointwise.HARD_SIGMOID,
    hard_silu: Pointwise.HARD_SILU,
    hard_tanh: Pointwise.HARD_TANH,
    tanh_shrink: Pointwise.TANH_SHRINK,
    sparse_plus: Pointwise.SPARSE_PLUS,
    sparse_sigmoid: Pointwise.SPARSE_SIGMOID,
    mish: Pointwise.MISH,
    log_sigmoid: Pointwise.LOG_SIGMOID,
    exponential: Pointwise.EXPONENTIAL,
}
_FORWARDS: Mapping[ActivationFunction, Callable[..., Forward]] = {
    relu: forwards.relu,
    leaky_relu: forwards.leaky_relu,
    relu6: forwards.relu6,
    elu: forwards.elu,
    celu: forwards.celu,
    gelu: forwards.gelu,
    hard_shrink: forwards.hard_shrink,
    soft_shrink: forwards.soft_shrink,
    squareplus: forwards.squareplus,
    threshold: forwards.threshold,
    softmax: forwards.softmax,
    log_softmax: forwards.log_softmax,
    sparsemax: forwards.sparsemax,
    glu: forwards.glu,
}
_KNOWN = frozenset({*_FUSED, *_POINTWISE, *_FORWARDS})
_FUNCTIONS: Mapping[str, ActivationFunction] = {
    **{function.__name__: function for table in (_FUSED, _FORWARDS, _POINTWISE) for function in table},
    "swish": silu,
    "hard_swish": hard_silu,
}
NAMES = tuple(_FUNCTIONS)


def get(identifier: ActivationLike, where: str = "activations.get") -> ActivationFunction:
    """Return the function that `identifier` names, is, or as a configuration describes; None is linear.

    A `partial` of a function of this module comes back with all its arguments. A name may be that of an own function
    among the custom objects. ValueError lists the valid names for an unknown one; TypeError for what cannot be called.
    """
    if identifier is None:
        return linear
    if isinstance(identifier, str):
        own = identifiers.custom_object(identifier)
        identifier = own if callable(own) else _named(identifier, where)
    if isinstance(identifier, Mapping):
        return _from_config(identifier, where)
    if _is_partial(identifier) or identifier is threshold:
        return _with_all_arguments(identifier if _is_partial(identifier) else partial(threshold), where)
    if not callable(identifier) or isinstance(identifier, type):
        raise TypeError(f"{where}: activation must be a name or a function; got {arguments.shown(identifier)}")
    return identifier


def serialize(activation: ActivationFunction) -> str | dict[str, Any]:
    """Return what `get` reads back, in JSON's types: a name, with its arguments for a `partial`.

    An own function is told by its name; `get` finds it among the custom objects.
    """
    if _is_known(activation):
        return activation.__name__
    if _is_partial(activation):
        return {"class_name": activation.func.__name__, "config": dict(activation.keywords)}
    return identifiers.serialize_function(activation)


def deserialize(name: str | Mapping[str, Any]) -> ActivationFunction:
    """Return the function that `serialize` told of."""
    return get(name, "activations.deserialize")


def operation(activation: ActivationFunction) -> Activation | None:
    """Return what computes `activation` in the epilogues of `gpunet.ops`; None if it needs a pass of its own."""
    if isinstance(activation, partial) and activation.func is gelu:
        return forwards.gelu_form(activation.keywords["approximate"])
    return _FUSED.get(activation) if _is_known(activation) else None


def halves(activation: ActivationFunction) -> bool:
    """Tell whether y has another shape than x: half of an axis, as for `glu`."""
    return _parts(activation)[0] is glu


def output_shape(activation: ActivationFunction, shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
    """Return the shape of y for x of `shape`: the same, but for `glu`."""
    if not halves(activation):
        return shape
    axis = _parts(activation)[1].get("axis", -1)
    if not -len(shape) <= axis < len(shape):
        raise ValueError(f"glu: axis must be one of the {len(shape)} axes of x; got {axis}")
    half = list(shape)
    size = half[axis]
    if size is not None and size % 2:
        raise ValueError(f"glu: x must have an even size along axis {axis}; got shape {shape}")
    half[axis] = None if size is None else size // 2
    return tuple(half)


def forward(activation: ActivationFunction, x: Array, where: str) -> Forward:
    """Return y and the closure backward(dy) -> dx; `activation` comes from `get`, x is an array of floats.

    TypeError, beginning with `where`, unless an own function returns two such things.
    """
    kind = operation(activation)
    if kind is not None:
        return forwards.element_wise(x, kind)
    function, keywords = _parts(activation)
    if function is not None:
        own = _FORWARDS.get(function)
        return forwards.pointwise(x, _POINTWISE[function]) if own is None else own(x, **keywords)
    result = activation(x)
    if not (isinstance(result, tuple) and len(result) == 2 and callable(result[1])):
        raise TypeError(
            f"{where}: activation must return y and the closure backward(dy) -> dx, as a tuple; "
            f"{getattr(activation, '__name__', activation)} returned {type(result).__name__}; nothing here can "
            f"differentiate it"
        )
    return result


def _is_known(activation: object) -> bool:
    """Tell whether `activation` is a function of this module; an own object need not be hashable."""
    return isinstance(activation, FunctionType) and activation in _KNOWN


def _is_partial(activation: object) -> TypeGuard[partial[Any]]:
    return isinstance(activation, partial) and _is_known(activation.func)


def _parts(activation: ActivationFunction) -> tuple[ActivationFunction | None, Mapping[str, Any]]:
    """Return which function of this module `activation` is, and its arguments; None for an own one."""
    if _is_partial(activation):
        return activation.func, activation.keywords
    return (activation if _is_known(activation) else None), {}


def _named(name: str, where: str) -> ActivationFunction:
    return _FUNCTIONS[arguments.choice(where, "activation", name, _FUNCTIONS)]


def _from_config(config: Mapping[str, Any], where: str) -> ActivationFunction:
    if identifiers.is_function(config):
        function: ActivationFunction = identifiers.deserialize_function(f"{where}: activation", config)
        return function
    if not {"class_name", "config"} <= set(config):
        raise ValueError(f"{where}: activation must have 'class_name' and 'config'; got {arguments.shown(config)}")
    return get(partial(_named(config["class_name"], where), **config["config"]), where)


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


__all__ = [
    "NAMES",
    "ActivationFunction",
    "ActivationLike",
    "Forward",
    "as_floats",
    "celu",
    "deserialize",
    "elu",
    "exponential",
    "forward",
    "gelu",
    "get",
    "glu",
    "halves",
    "hard_shrink",
    "hard_sigmoid",
    "hard_silu",
    "hard_swish",
    "hard_tanh",
    "leaky_relu",
    "linear",
    "log_sigmoid",
    "log_softmax",
    "mish",
    "operation",
    "output_shape",
    "relu",
    "relu6",
    "selu",
    "serialize",
    "sigmoid",
    "silu",
    "soft_shrink",
    "softmax",
    "softplus",
    "softsign",
    "sparse_plus",
    "sparse_sigmoid",
    "sparsemax",
    "squareplus",
    "swish",
    "tanh",
    "tanh_shrink",
    "threshold",
]
