"""A graph of layers, cut out of calls on symbolic tensors. The public `Model` adds training to it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Self

import numpy as np

from gpunet import arguments
from gpunet.backend.arrays import Array, Device, Shape, device_of, is_array, zeros
from gpunet.default_dtype import floatx
from gpunet.identifiers import custom_object_scope
from gpunet.layers.base import Backward, Forward, Layer
from gpunet.layers.input import InputLayer
from gpunet.layers.shapes import Dims, Shapes, fits, nested
from gpunet.layers.state import LayerState
from gpunet.layers.symbolic import Node, SymbolicTensor
from gpunet.networks import fusion, structure
from gpunet.networks.graph import graph_between
from gpunet.networks.graph_config import config_of, graph_from
from gpunet.networks.network import Network, run_back, run_unit
from gpunet.networks.plan import Call, Plan
from gpunet.ops import trace
from gpunet.ops.merging import add


class _Done(NamedTuple):
    """A step that was run forward: its way back, its calls, and what its outputs are like."""

    layer: Layer
    backward: Backward
    first: Call
    last: Call
    wants_dx: tuple[bool, ...]
    made: list[tuple[Shape, np.dtype[Any], Device]]


class GraphNetwork(Network):
    """y = what the calls of layers between the symbolic tensors `inputs` and `outputs` compute.

    Either is a tensor, a list or a dict of tensors; of several outputs y is a list, in the order of the list or of the
    dict's sorted keys. A layer may be called several times: its gradients add up. ValueError if an output depends on an
    Input that is not in `inputs`, if one of these leads to no output, or if two layers have one name.

    >>> from gpunet.layers import Add, Dense, Input
    >>> x = Input((16,))
    >>> h = Dense(16, activation="relu")(x)
    >>> GraphNetwork(x, Dense(2)(Add()([x, h]))).output_shape
    (None, 2)
    """

    def __init__(self, inputs: Any, outputs: Any, name: str | None = None, trainable: bool = True) -> None:
        super().__init__(name=name)
        ends = structure.tensors(self.where, "inputs", inputs), structure.tensors(self.where, "outputs", outputs)
        graph = graph_between(self.where, *ends)
        self._nodes = graph.nodes  # before what refers to their ends: so a copy goes from node to node, not deeper
        self._depths = graph.depths
        self._layers = graph.layers
        self._plan = Plan(graph)
        self._input_tensors, self._output_tensors = graph.inputs, graph.outputs
        self._input_keys = sorted(inputs) if isinstance(inputs, dict) else None
        self._output_keys = sorted(outputs) if isinstance(outputs, dict) else None
        self._inputs_are_list = isinstance(inputs, (list, tuple))
        self._outputs_are_list = isinstance(outputs, (list, tuple))
        self._check_dtypes()
        self._check_devices()
        self.rename_parameters()
        self.build_shape, self.built = self.input_shape, True
        if not arguments.boolean(self.where, "trainable", trainable):
            self.trainable = False

    def build(self, input_shape: Any) -> None:
        """Do nothing: the layers are built as they are called."""

    def forget_build(self) -> None:
        """Do nothing, likewise."""

    def _check_dtypes(self) -> None:
        for layer in self._layers:
            if layer.dtype != self.dtype and not isinstance(layer, InputLayer):
                raise TypeError(
                    f"{self.where}: all layers must have one dtype; got {layer.where} of {layer.dtype} beside "
                    f"{self.dtype}; gpunet.set_floatx sets it for all layers"
                )

    # Layers, tensors and shapes.

    @property
    def layers(self) -> list[Layer]:
        """The layers from the inputs, which are among them, to the outputs, in the order of Keras."""
        return list(self._layers)

    @property
    def sublayers(self) -> Sequence[Layer]:
        return self._layers

    @property
    def dtype(self) -> str:
        """The dtype of the layers."""
        return next((layer.dtype for layer in self._layers if not isinstance(layer, InputLayer)), floatx())

    @property
    def nodes(self) -> list[Node]:
        """The calls of layers in the order in which they run, those that stand for the inputs among them."""
        return list(self._nodes)

    @property
    def depths(self) -> list[int]:
        """For each node the number of calls on the longest way to an output."""
        return list(self._depths)

    def connections_of(self, layer: LayerState) -> str:
        tensors = [tensor for node in self.nodes_of(layer) for tensor in node.input_tensors]
        taken = (f"{tensor.layer.name}[{tensor.node.number}][{tensor.index}]" for tensor in tensors)
        return ", ".join(taken) or "-"

    def nodes_of(self, layer: LayerState) -> list[Node]:
        """Return the calls of `layer` in this network, in the order in which they were made."""
        return sorted((node for node in self._nodes if node.layer is layer), key=lambda node: node.number)

    @property
    def is_chain(self) -> bool:  # type: ignore[override]
        """Whether each call takes what the one before it gives, and no layer is called twice: as in a Sequential."""
        calls = Counter(node.layer for node in self._nodes)
        simple = all(len(node.input_tensors) <= 1 and calls[node.layer] == 1 for node in self._nodes)
        return simple and len(set(self._depths)) == len(self._depths)

    @property
    def inputs(self) -> list[SymbolicTensor]:
        """The symbolic tensors of the inputs, in order."""
        return list(self._input_tensors)

    @property
    def outputs(self) -> list[SymbolicTensor]:
        """The symbolic tensors of the outputs, in order."""
        return list(self._output_tensors)

    @property
    def input(self) -> Any:
        """The symbolic tensors of the inputs, in the form in which they were given."""
        return _as_given(self._input_tensors, self._input_keys, self._inputs_are_list)

    @property
    def output(self) -> Any:
        """The symbolic tensors of the outputs, in the form in which they were given."""
        return _as_given(self._output_tensors, self._output_keys, self._outputs_are_list)

    @property
    def input_shape(self) -> Shapes:
        shapes = [tensor.shape for tensor in self._input_tensors]
        return shapes if len(shapes) > 1 else shapes[0]

    @property
    def output_shape(self) -> Shapes:
        shapes = [tensor.shape for tensor in self._output_tensors]
        return shapes if len(shapes) > 1 else shapes[0]

    @property
    def input_names(self) -> list[str]:
        return self._input_keys or [tensor.name for tensor in self._input_tensors]

    @property
    def output_names(self) -> list[str]:
        return self._output_keys or [tensor.name for tensor in self._output_tensors]

    @property
    def takes_list(self) -> bool:  # type: ignore[override]
        """Whether there are several inputs."""
        return len(self._input_tensors) > 1

    def layer_output_shape(self, index: int) -> Shapes:
        nodes = self.nodes_of(self._layers[index])
        shapes = nodes[-1].output_shapes
        return shapes if nodes[-1].is_list else shapes[0]

    def arrange_inputs(self, x: Any) -> Any:
        if isinstance(x, dict):
            names = self.input_names
            if set(x) != set(names):
                raise ValueError(f"{self.where}: inputs must have the names {self.input_names}; got {list(x)}")
            x = [x[name] for name in names]
            return x if self.takes_list else x[0]
        if isinstance(x, (list, tuple)) and len(x) == 1 and not self.takes_list:
            rank = len(self._input_tensors[0].shape)
            is_one = isinstance(x[0], SymbolicTensor) or (is_array(x[0]) and x[0].ndim == rank)
            return x[0] if is_one else x  # else the rows of an input
        return x

    def pack_outputs(self, y: Any) -> Any:
        if self._output_keys is None:
            return y
        return dict(zip(self._output_keys, y if isinstance(y, list) else [y], strict=True))

    def check_input_shape(self, shape: Any) -> None:
        super().check_input_shape(shape)
        given = shape if isinstance(shape, list) else [shape]
        if len(given) != len(self._input_tensors):
            raise ValueError(
                f"{self.where}: inputs must be {len(self._input_tensors)}, {self.input_names}; got {len(given)}"
            )
        for one, tensor in zip(given, self._input_tensors, strict=True):
            if not fits(one[1:], tensor.shape[1:]):
                name = f" {tensor.name!r}" if len(given) > 1 else ""
                hint = "; add the channel axis with x[..., None]" if one[1:] == tensor.shape[1:-1] else ""
                raise ValueError(f"{self.where}: input{name} must have shape {tensor.shape}; got {one}{hint}")

    def compute_output_shape(self, input_shape: Any) -> Shapes:
        shape = nested(self.where, "input_shape", input_shape)
        self.check_input_shape(shape)
        shapes: dict[int, Dims] = dict(enumerate(shape if isinstance(shape, list) else [shape]))
        for call in self._plan.calls:
            sources = [shapes[source] for source in call.sources]
            made = call.layer.compute_output_shape(sources if call.takes_list else sources[0])
            shapes.update(zip(call.targets, made if call.gives_list else [made], strict=True))
        found = [shapes[output] for output in self._plan.outputs]
        return found if len(found) > 1 else found[0]

    def get_config(self) -> dict[str, Any]:
        """Return name, layers with their calls, inputs and outputs, in JSON's types: see networks/graph_config.py."""
        return config_of(self)

    @classmethod
    def from_config(cls, config: Mapping[str, Any], custom_objects: Mapping[str, Any] | None = None) -> Self:
        """Return the network that `get_config` described, with new weights.

        `custom_objects` holds own classes and functions by name.
        """
        with custom_object_scope(custom_objects):
            inputs, outputs = graph_from(cls.__name__, config)
        network = cls(inputs, outputs, name=config["name"])
        network._trainable = bool(config.get("trainable", True))
        return network

    # Fusion.

    @property
    def softmax_outputs(self) -> list[bool]:
        plain = self.fuse and self.runs_forward_of(GraphNetwork)
        return [plain and possible for possible in self._plan.softmax_outputs()]

    @property
    def ends_in_softmax(self) -> bool:
        return self.softmax_outputs == [True]

    def explain_fusion(self) -> str:
        return fusion.explanation(self._plan.placed(self.fuse), self.fuse)

    # Running.

    def forward(self, x: Any, training: bool) -> Forward:
        """Return y and backward for x, a list for several inputs, of the network's dtype, on its device."""
        return self.run(x, training, [False] * len(self._output_tensors))

    def forward_logits(self, x: Any, training: bool) -> Forward:
        """Return what `forward` would without the final softmax of the only output."""
        return self.run(x, training, [True]) if self.ends_in_softmax else super().forward_logits(x, training)

    def run(self, x: Any, training: bool, logits: Sequence[bool]) -> Forward:
        self.clear_activity_losses()
        return self._run(x, training, logits)

    def apply(self, x: Any, training: bool) -> Forward:
        return trace.layer(self.name, self._run, x, training, [False] * len(self._output_tensors))

    def apply_logits(self, x: Any, training: bool) -> Forward:
        return trace.layer(self.name, self._run, x, training, [True])

    def _run(self, x: Any, training: bool, logits: Sequence[bool]) -> Forward:
        self.check_input(x)
        plan = self._plan
        stopping = {output for output, stop in zip(plan.outputs, logits, strict=True) if stop}
        values: dict[int, Array] = dict(enumerate(x if isinstance(x, list) else [x]))
        wanted = set(values) if self.needs_input_gradient else set()  # values whose gradient somebody below needs
        uses, done = Counter(plan.uses), list[_Done]()
        for unit, first, last in ((step.unit, step.first, step.last) for step in plan.steps(self.fuse)):
            given = [values[source] for source in first.sources]
            uses.subtract(first.sources)
            for source in first.sources:
                if not uses[source]:
                    values.pop(source, None)  # what backward needs of it is kept by the layers
            mode = training if first.training is None else first.training
            y, backward = run_unit(
                unit, given if first.takes_list else given[0], mode, not stopping.isdisjoint(last.targets)
            )
            made: list[Array] = y if last.gives_list else [y]
            values.update(zip(last.targets, made, strict=True))
            wants_dx = tuple(source in wanted for source in first.sources)
            if any(wants_dx) or any(parameter.trainable for layer in unit.layers for parameter in layer.weights):
                wanted.update(last.targets)
                kinds = [(one.shape, one.dtype, device_of(one)) for one in made]
                done.append(_Done(unit.layer, backward, first, last, wants_dx, kinds))
        results = [values[output] for output in plan.outputs]
        inputs = [(one.shape, one.dtype, device_of(one)) for one in (x if isinstance(x, list) else [x])]
        return results if len(results) > 1 else results[0], lambda dy: self._back(done, dy, inputs)

    def _back(self, done: list[_Done], dy: Any, inputs: list[tuple[Shape, np.dtype[Any], Device]]) -> Any:
        """Return the gradients of the inputs; those of a value that several take are added up, in a fixed order."""
        parts: dict[int, list[Array]] = {}  # of the gradient of each value
        for output, one in zip(self._plan.outputs, dy if isinstance(dy, list) else [dy], strict=True):
            parts.setdefault(output, []).append(one)
        for layer, backward, first, last, wants_dx, made in reversed(done):
            found = [_sum(parts.pop(target, [])) for target in last.targets]
            if all(one is None for one in found):
                continue
            dys = [zeros(*kind) if one is None else one for one, kind in zip(found, made, strict=True)]
            dx = run_back(layer, backward, dys if last.gives_list else dys[0])
            dxs = dx if isinstance(dx, list) else [dx] * len(first.sources)
            for source, wanted, one in zip(first.sources, wants_dx, dxs, strict=True):
                if wanted and one is None:
                    raise TypeError(f"{layer.where}: backward must return dx for the layers before it; got None")
                if wanted:
                    parts.setdefault(source, []).append(one)
        if not self.needs_input_gradient:
            return None
        totals = [_sum(parts.pop(source, [])) for source in self._plan.inputs]
        dxs = [zeros(*kind) if one is None else one for one, kind in zip(totals, inputs, strict=True)]
        return dxs if self.takes_list else dxs[0]

    def prepare_gradients(self, needs_input_gradient: bool = False) -> None:
        self.needs_input_gradient = needs_input_gradient
        wanted = set(self._plan.inputs) if needs_input_gradient else set()
        needs = dict.fromkeys(self._layers, False)  # of a layer with several calls, what any of them needs
        for call in self._plan.calls:
            needed = not wanted.isdisjoint(call.sources)
            needs[call.layer] |= needed
            if needed or call.layer.trainable_weights:
                wanted.update(call.targets)
        for layer, needed in needs.items():
            layer.prepare_gradients(needed)


def _as_given(tensors: list[SymbolicTensor], keys: list[str] | None, is_list: bool) -> Any:
    if keys is not None:
        return dict(zip(keys, tensors, strict=True))
    return list(tensors) if is_list else tensors[0]


def _sum(parts: Sequence[Array]) -> Array | None:
    """Return the sum of gradients, which are left as they are; None if there are none."""
    return None if not parts else parts[0] if len(parts) == 1 else add(list(parts))
