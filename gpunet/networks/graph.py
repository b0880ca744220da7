"""What lies between some symbolic tensors and others: the calls of layers, sorted as Keras sorts them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from gpunet.layers.base import Layer
from gpunet.layers.input import InputLayer
from gpunet.layers.symbolic import Node, SymbolicTensor


@dataclass(frozen=True)
class Graph:
    """Nodes in an order in which they can be run, those of Inputs included, and the layers in the order of Keras.

    `depths` counts for each node the calls on the longest way to an output.
    """

    inputs: list[SymbolicTensor]
    outputs: list[SymbolicTensor]
    nodes: list[Node]
    layers: list[Layer]
    depths: list[int]


def graph_between(where: str, inputs: Sequence[SymbolicTensor], outputs: Sequence[SymbolicTensor]) -> Graph:
    """Return the graph that computes `outputs` from `inputs`.

    An input that a layer has made becomes an Input of its own, and calls that depend on it new ones, of which the
    layers are not told. ValueError, with a name, if an output depends on another Input, if an input does not lead to
    an output, or if two layers have one name.
    """
    if len(set(inputs)) < len(inputs):
        twice = next(tensor for number, tensor in enumerate(inputs) if tensor in inputs[:number])
        raise ValueError(f"{where}: inputs must differ; got {twice.name!r} twice")
    nodes, seen = _sorted(inputs, outputs)
    for node in nodes:
        if isinstance(node.layer, InputLayer) and node.outputs not in inputs:
            raise ValueError(
                f"{where}: outputs must depend on inputs alone; got an output that needs the Input "
                f"{node.layer.name!r} too; add it to inputs"
            )
    used = {tensor for node in nodes for tensor in node.input_tensors} | set(outputs)
    for tensor in inputs:
        if tensor not in used:
            raise ValueError(f"{where}: inputs must all lead to outputs; got {tensor.name!r}, which leads to none")
    if any(tensor.node.inputs is not None for tensor in inputs):
        return graph_between(where, *_cut(inputs, outputs, nodes))
    depths = _depths(nodes)
    layers = {node.layer: 0 for node in nodes}  # deepest first; of those as deep, in the order in which they were met
    for node, depth in depths.items():
        layers[node.layer] = max(layers[node.layer], depth)
    ordered = sorted(layers, key=lambda layer: (-layers[layer], seen[layer]))
    names = [layer.name for layer in ordered]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"{where}: names of layers must be unique; got two {name!r}; pass name=")
    in_order = sorted(nodes, key=lambda node: -depths[node])  # stable
    return Graph(list(inputs), list(outputs), in_order, ordered, [depths[node] for node in in_order])


def _sorted(inputs: Sequence[SymbolicTensor], outputs: Sequence[SymbolicTensor]) -> tuple[list[Node], dict[Layer, int]]:
    """Return the nodes that `outputs` need, each after those that it needs, and when each layer was first met.

    The search goes from the outputs back, and stops at `inputs`. It keeps its own stack: a graph may be deep.
    """
    ends = set(inputs)
    done: dict[Node, None] = {}
    begun: set[Node] = set()
    seen: dict[Layer, int] = {}
    stack: list[tuple[Node, Iterator[SymbolicTensor]]] = []

    def visit(tensor: SymbolicTensor) -> None:
        node = tensor.node
        if node not in begun and (tensor not in ends or node.inputs is None):
            begun.add(node)
            seen.setdefault(node.layer, len(seen))
            stack.append((node, iter(node.input_tensors)))

    for output in outputs:
        visit(output)
        while stack:
            node, rest = stack[-1]
            tensor = next(rest, None)
            if tensor is None:
                done[node] = None
                stack.pop()
            else:
                visit(tensor)
    return list(done), seen


def _depths(nodes: Sequence[Node]) -> dict[Node, int]:
    """Return the depth of each of `nodes`, at least that of its layer's later calls."""
    depths: dict[Node, int] = {}
    of_layers: dict[Layer, int] = {}
    for node in reversed(nodes):
        depth = max(depths.get(node, 0), of_layers.get(node.layer, 0))
        depths[node] = of_layers[node.layer] = depth
        for tensor in node.input_tensors:
            depths[tensor.node] = max(depth + 1, depths.get(tensor.node, 0))
    return {node: depths[node] for node in nodes}


def _cut(
    inputs: Sequence[SymbolicTensor], outputs: Sequence[SymbolicTensor], nodes: Sequence[Node]
) -> tuple[list[SymbolicTensor], list[SymbolicTensor]]:
    """Return inputs and outputs of a copy of the graph that begins with Inputs."""
    new: dict[SymbolicTensor, SymbolicTensor] = {}
    for tensor in inputs:
        is_input = tensor.node.inputs is None
        new[tensor] = tensor if is_input else InputLayer(batch_shape=tensor.shape, dtype=tensor.dtype).tensor
    for node in nodes:
        if node.inputs is None:
            continue
        given = [new[tensor] for tensor in node.input_tensors]
        x = given if isinstance(node.inputs, list) else given[0]
        copy = Node(node.layer, x, node.training, node.output_shapes, node.is_list)
        for tensor in node.output_tensors:
            new.setdefault(tensor, SymbolicTensor(copy, tensor.index))
    return [new[tensor] for tensor in inputs], [new[tensor] for tensor in outputs]
