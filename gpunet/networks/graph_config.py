"""A graph of layers as a configuration in JSON's types, with Keras's keys, and back.

Each layer has its class name, configuration and name, and its calls under 'inbound_nodes': the arguments of each, with
tensors as ['name of a layer', number of its call, number of that call's output]. So layers that are called several
times stay one layer, and so do models inside.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from gpunet import arguments
from gpunet.layers.base import Layer
from gpunet.layers.input import InputLayer
from gpunet.layers.serialization import deserialize, serialize
from gpunet.layers.symbolic import Node, SymbolicTensor
from gpunet.networks.structure import mapped

if TYPE_CHECKING:
    from gpunet.networks.functional import GraphNetwork

_TENSOR = "__keras_tensor__"
_KEYS = {"name", "layers", "input_layers", "output_layers"}


def is_graph(config: Mapping[str, Any]) -> bool:
    """Tell whether a configuration describes a graph."""
    return set(config) >= _KEYS


def config_of(network: GraphNetwork) -> dict[str, Any]:
    """Return the configuration of a graph."""
    calls = {layer: network.nodes_of(layer) for layer in network.layers}
    numbers = {node: number for nodes in calls.values() for number, node in enumerate(nodes)}

    def place(tensor: SymbolicTensor) -> list[Any]:
        return [tensor.layer.name, numbers[tensor.node], tensor.index]

    def described(node: Node) -> dict[str, Any]:
        kwargs = {} if node.training is None else {"training": node.training}
        return {"args": [mapped(node.inputs, lambda tensor: _described(tensor, place(tensor)))], "kwargs": kwargs}

    layers = []
    for layer, nodes in calls.items():
        inbound = [described(node) for node in nodes if node.inputs is not None]
        layers.append({**serialize(layer), "name": layer.name, "inbound_nodes": inbound})
    return {
        "name": network.name,
        "trainable": network.trainable,
        "layers": layers,
        "input_layers": mapped(network.input, place),
        "output_layers": mapped(network.output, place),
    }


def _described(tensor: SymbolicTensor, place: list[Any]) -> dict[str, Any]:
    config = {"shape": list(tensor.shape), "dtype": tensor.dtype, "keras_history": place}
    return {"class_name": _TENSOR, "config": config}


def graph_from(where: str, config: Mapping[str, Any]) -> tuple[Any, Any]:
    """Return the input and output tensors that a configuration describes, made by new layers.

    ValueError, which begins with `where`, if it does not describe a graph.
    """
    if not is_graph(config):
        raise ValueError(f"{where}: configuration must have {', '.join(sorted(_KEYS))}; got {sorted(config)}")
    layers = {entry["name"]: deserialize(entry) for entry in config["layers"]}
    made: dict[str, list[Node]] = {name: [] for name in layers}
    waiting: dict[str, list[Any]] = {}
    for entry in config["layers"]:
        layer = layers[entry["name"]]
        if isinstance(layer, InputLayer):
            made[entry["name"]].append(layer.tensor.node)
        waiting[entry["name"]] = list(entry["inbound_nodes"])
    while any(waiting.values()):
        before = sum(map(len, waiting.values()))
        for name, calls in waiting.items():
            while calls and (node := _called(where, layers[name], calls[0], made)) is not None:
                made[name].append(node)
                calls.pop(0)
        if sum(map(len, waiting.values())) == before:
            stuck = [name for name, calls in waiting.items() if calls]
            raise ValueError(f"{where}: layers must be called on what others return; got none of that for {stuck}")

    def tensor_at(place: Any) -> SymbolicTensor:
        found = _tensor_at(where, place, made)
        if found is None:
            raise ValueError(f"{where}: input_layers and output_layers must name calls that there are; got {place!r}")
        return found

    return _placed(config["input_layers"], tensor_at), _placed(config["output_layers"], tensor_at)


def _called(where: str, layer: Layer, call: Any, made: Mapping[str, Sequence[Node]]) -> Node | None:
    """Do a call; None if not all of its inputs have been made."""
    args, training = call["args"], call["kwargs"].get("training")
    if len(args) != 1 or not set(call["kwargs"]) <= {"training"}:
        raise ValueError(f"{where}: a call must have one argument, and training; got {arguments.shown(call)}")
    if training is not None:
        arguments.boolean(where, "training", training)
    inputs = mapped(args[0], lambda one: one) if not _is_tensor(args[0]) else args[0]
    found = [
        _tensor_at(where, one["config"]["keras_history"], made)
        for one in (inputs if isinstance(inputs, list) else [inputs])
    ]
    if any(tensor is None for tensor in found):
        return None
    outputs = Layer.__call__(layer, found if isinstance(inputs, list) else found[0], training)
    node: Node = (outputs[0] if isinstance(outputs, list) else outputs).node
    return node


def _is_tensor(value: Any) -> bool:
    return isinstance(value, Mapping) and value.get("class_name") == _TENSOR


def _tensor_at(where: str, place: Any, made: Mapping[str, Sequence[Node]]) -> SymbolicTensor | None:
    """Return the tensor at [layer, number of its call, number of the output]; None if that is not made yet."""
    if not isinstance(place, (list, tuple)) or len(place) != 3 or place[0] not in made:
        raise ValueError(f"{where}: a tensor must be [layer, call, output] of a layer that there is; got {place!r}")
    name, number, index = place[0], *(arguments.integer(where, "call and output", one, minimum=0) for one in place[1:])
    if number >= len(made[name]):
        return None
    tensors = made[name][number].output_tensors
    if index >= len(tensors):
        raise ValueError(f"{where}: {name} must have an output {index}; it has {len(tensors)}")
    return tensors[index]


def _placed(places: Any, tensor_at: Callable[[Any], SymbolicTensor]) -> Any:
    """Return the tensors at `places`: one place, or a list or dict of them."""
    if isinstance(places, list) and len(places) == 3 and isinstance(places[0], str):
        return tensor_at(places)
    return mapped(places, tensor_at)
