"""The `activation` argument of layers: what `gpunet.activations` knows, or a layer, as `Dense(3, ReLU(6))` in Keras."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

from gpunet import activations, identifiers
from gpunet.activations import ActivationFunction, ActivationLike
from gpunet.backend.arrays import Array
from gpunet.layers import serialization
from gpunet.layers.base import Forward, Layer
from gpunet.layers.shapes import Dims, dims

ActivationArgument: TypeAlias = ActivationLike | Layer


def get(owner: Layer, activation: ActivationArgument, keeps_shape: bool = True) -> ActivationFunction | Layer:
    """Return the function or the layer that `activation` stands for in `owner`; TypeError for a layer of other dtype.

    ValueError lists the valid names for an unknown one, and refuses glu, which halves an axis, if `keeps_shape`.
    """
    if isinstance(activation, Mapping) and _describes_layer(activation):
        try:
            activation = serialization.deserialize(activation)
        except TypeError as error:
            raise TypeError(f"{owner.where}: activation cannot be made: {error}") from error
        except ValueError as error:
            raise ValueError(f"{owner.where}: activation cannot be made: {error}") from error
    if not isinstance(activation, Layer):
        function = activations.get(activation, owner.where)
        if keeps_shape and activations.halves(function):
            raise ValueError(
                f"{owner.where}: activation must keep the shape of its input; got glu, which halves an axis; add it as "
                f"a layer, Activation('glu')"
            )
        return function
    if activation.dtype != owner.dtype:
        raise TypeError(f"{owner.where}: activation must have dtype {owner.dtype}; got a layer of {activation.dtype}")
    return activation


def _describes_layer(config: Mapping[str, Any]) -> bool:
    name = config.get("class_name")
    return not identifiers.is_function(config) and name not in activations.NAMES


def build(owner: Layer, activation: ActivationFunction | Layer, shape: Dims) -> None:
    """Build an activation that is a layer for inputs of `shape`; ValueError if it does not keep that shape."""
    if not isinstance(activation, Layer):
        return
    if not activation.built:
        activation.build(shape)
    made = dims(activation.where, "output shape", activation.compute_output_shape(shape))
    if made != shape:
        raise ValueError(f"{owner.where}: activation must keep the shape {shape}; got {made} from {activation.where}")


def forward(owner: Layer, activation: ActivationFunction | Layer, x: Array, training: bool) -> Forward:
    """Return y = activation(x) and the closure backward(dy) -> dx."""
    if isinstance(activation, Layer):
        return activation.apply(x, training)
    return activations.forward(activation, x, owner.where)


def ends_in_softmax(activation: ActivationFunction | Layer) -> bool:
    """Tell whether `activation` ends in a softmax over the last axis, before which `forward_logits` stops."""
    return activation.ends_in_softmax if isinstance(activation, Layer) else activation is activations.softmax


def forward_logits(activation: ActivationFunction | Layer, x: Array, training: bool) -> Forward:
    """Return what `forward` would without the final softmax."""
    return activation.apply_logits(x, training) if isinstance(activation, Layer) else (x, lambda dy: dy)


def serialize(activation: ActivationFunction | Layer) -> str | dict[str, Any]:
    """Return what `get` reads back, in JSON's types."""
    return serialization.serialize(activation) if isinstance(activation, Layer) else activations.serialize(activation)
