"""Copies of networks with new layers, and so new weights."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from gpunet import arguments
from gpunet.layers import Input
from gpunet.layers.base import Layer
from gpunet.layers.input import InputLayer
from gpunet.layers.symbolic import SymbolicTensor
from gpunet.networks import structure
from gpunet.networks.constructors import takes_ends
from gpunet.networks.functional import GraphNetwork
from gpunet.networks.network import Network
from gpunet.networks.sequential import SequentialNetwork

CloneFunction = Callable[[Layer], Layer]


class Cloning:
    """What the clones of a model and of the models inside it share: each layer's clone."""

    def __init__(self, function: CloneFunction | None, call: Callable[..., Any] | None, recursive: bool) -> None:
        self._function, self._call, self._recursive = function, call, recursive
        self._clones: dict[int, Layer] = {}

    def clone(self, model: Any, input_tensors: Any = None) -> Network:
        """Return the clone of a network."""
        if isinstance(model, GraphNetwork):
            return self._graph(model, input_tensors)
        if isinstance(model, SequentialNetwork) and self._call is None:
            return self._chain(model, input_tensors)
        rule = "a Sequential or a Functional" if self._call is None else "a Functional, for a call_function"
        raise ValueError(f"clone_model: model must be {rule}; got {arguments.shown(model)}")

    def _layer(self, layer: Layer) -> Layer:
        """Return the clone of a layer, the same each time."""
        if id(layer) not in self._clones:
            is_model = isinstance(layer, (SequentialNetwork, GraphNetwork))
            if is_model and (self._recursive or self._function is None):
                inside = Cloning(self._function, None if isinstance(layer, SequentialNetwork) else self._call, True)
                inside._clones = self._clones
                made: Any = inside.clone(layer)
            else:
                made = _equal(layer) if self._function is None else self._function(layer)
            if not isinstance(made, Layer):
                raise TypeError(f"clone_model: clone_function must return a layer; got {arguments.shown(made)}")
            self._clones[id(layer)] = made
        return self._clones[id(layer)]

    def _chain(self, model: SequentialNetwork, input_tensors: Any) -> Network:
        layers: list[Any] = [self._layer(layer) for layer in model.layers]
        if input_tensors is not None:
            given = structure.tensors("clone_model", "input_tensors", input_tensors)
            if len(given) != 1 or not isinstance(given[0].layer, InputLayer):
                raise ValueError("clone_model: input_tensors must be one Input for a Sequential; got others")
            layers.insert(0, given[0])
        elif model.built:
            layers.insert(0, _new_input(model.inputs[0]))
        copy: Network = _class_for(model)(layers, trainable=model.trainable, name=model.name)
        return copy

    def _graph(self, model: GraphNetwork, input_tensors: Any) -> Network:
        if input_tensors is None:
            input_tensors = structure.mapped(model.input, _new_input)
        given = structure.tensors("clone_model", "input_tensors", input_tensors)
        if len(given) != len(model.inputs):
            raise ValueError(f"clone_model: input_tensors must be {len(model.inputs)}; got {len(given)}")
        made = dict(zip(model.inputs, given, strict=True))
        for node in model.nodes:
            if node.inputs is None:
                continue
            layer = self._layer(node.layer)
            call = layer if self._call is None else partial(self._call, layer)
            kwargs = {} if node.training is None else {"training": node.training}
            outputs = call(structure.mapped(node.inputs, made.__getitem__), **kwargs)
            made.update(zip(node.output_tensors, structure.flat(outputs), strict=True))
        outputs = structure.mapped(model.output, made.__getitem__)
        copy: GraphNetwork = _class_for(model)(input_tensors, outputs, name=model.name)
        copy._trainable = model.trainable
        return copy


def _class_for(model: Network) -> Any:
    """Return the class of `model`, or where its constructor makes the layers itself the one that it derives from."""
    return next(cls for cls in type(model).__mro__ if takes_ends(cls))


def _new_input(tensor: SymbolicTensor) -> SymbolicTensor:
    return Input(batch_shape=tensor.shape, dtype=tensor.dtype, name=tensor.name)


def _equal(layer: Layer) -> Layer:
    return type(layer).from_config(layer.get_config())
