"""Networks: layers made of layers, run forward and back. Training is in `gpunet.training`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from gpunet import arguments
from gpunet.backend.arrays import Array, HostArray, zeros
from gpunet.backend.locks import Lock
from gpunet.backend.shortage import blame
from gpunet.layers.base import Backward, Forward, Layer, building, own_arguments
from gpunet.layers.shapes import Dims, Shapes
from gpunet.layers.state import LayerState
from gpunet.layers.symbolic import is_symbolic
from gpunet.networks.fusion import Unit
from gpunet.networks.summary import summary_text
from gpunet.networks.turns import Turns
from gpunet.parameters import Parameter


class Network(Layer):
    """A layer made of layers: a chain, a graph, or, with a `forward` of its own, whatever that runs.

    It is built once the shape of its input is known. `forward(x, training)` returns y and the closure backward(dy) that
    fills the gradients of all trainable parameters and stops where nothing below is trained (`prepare_gradients`).
    """

    def __init__(self, trainable: bool = True, name: str | None = None) -> None:
        super().__init__(trainable=trainable, name=name)
        self._fuse = True
        self.turn = Lock()  # of the thread whose batch runs: what it reads and changes is no other's meanwhile
        self.turns = Turns()

    @property
    def layers(self) -> list[Layer]:
        """The layers in order."""
        return list(self.sublayers)

    def get_layer(self, name: str | None = None, index: int | None = None) -> Layer:
        """Return the layer called `name`, or number `index`; ValueError if there is none."""
        layers = self.layers
        if (name is None) == (index is None):
            raise ValueError(f"{self.where}: either name or index must be given; got {name!r} and {index!r}")
        if index is not None:
            if not -len(layers) <= index < len(layers):
                raise ValueError(f"{self.where}: index must be below {len(layers)}; got {index}")
            return layers[index]
        for layer in layers:
            if layer.name == name:
                return layer
        raise ValueError(f"{self.where}: name must be one of {[layer.name for layer in layers]}; got {name!r}")

    def build(self, input_shape: Any) -> None:
        """Build the layers for inputs of `input_shape`, the batch (None) first: each as it is run on zeros."""
        inputs = input_shape if isinstance(input_shape, list) else [input_shape]
        if any(None in shape[1:] for shape in inputs):
            raise ValueError(
                f"{self.where}: input_shape must be known but for the batch; got {input_shape}; define build for others"
            )
        x = [zeros((shape[0] or 1, *shape[1:]), self.dtype, self.device) for shape in inputs]
        self.forward(x if isinstance(input_shape, list) else x[0], False)
        self.clear_activity_losses()
        self.rename_parameters()

    # Shapes and names.

    @property
    def input_shape(self) -> Shapes:
        """The shape of the input, the batch first, a list for several; AttributeError before the network is built."""
        self._check_shape_is_known("input_shape")
        return self.build_shape

    @property
    def output_shape(self) -> Shapes:
        """The shape of the output, the batch first, a list for several; AttributeError before the network is built."""
        self._check_shape_is_known("output_shape")
        return self.compute_output_shape(self.build_shape)

    @property
    def input_shapes(self) -> list[Dims]:
        """The shapes of all inputs, the batch first; AttributeError before the network is built."""
        shape = self.input_shape
        return shape if isinstance(shape, list) else [shape]

    @property
    def output_shapes(self) -> list[Dims]:
        """The shapes of all outputs, the batch first; AttributeError before the network is built."""
        shape = self.output_shape
        return shape if isinstance(shape, list) else [shape]

    @property
    def input_names(self) -> list[str]:
        """The names of the inputs, by which data may be given; AttributeError before the network is built."""
        return [f"input_{number}" for number, _ in enumerate(self.input_shapes, start=1)]

    @property
    def output_names(self) -> list[str]:
        """The names of the outputs, as in losses and logs; AttributeError before the network is built."""
        return [f"output_{number}" for number, _ in enumerate(self.output_shapes, start=1)]

    def _check_shape_is_known(self, name: str) -> None:
        if not self.built:
            raise AttributeError(f"{self.where}: {name} must be known first; {HOW_TO_BUILD}")

    def layer_output_shape(self, index: int) -> Shapes:
        """Return the shape of the output of layer number `index`; None if it is not known."""
        return None

    is_chain = True  # whether it is shown as one layer after the other

    def connections_of(self, layer: LayerState) -> str:
        """Return what the calls of `layer` take, as in 'dense[0][0]': a layer, the numbers of its call and output."""
        return "-"

    def arrange_inputs(self, x: Any) -> Any:
        """Return the inputs of `x`, which may be a dict by name, as `forward` takes them: one, or a list in order."""
        return x

    def pack_outputs(self, y: Any) -> Any:
        """Return what `forward` gave in the form in which the outputs of the model were given: a dict, say."""
        return y

    # Fusion.

    @property
    def fuse(self) -> bool:
        """Whether neighbouring layers may run as one op, True at first; setting it sets it for networks inside too."""
        return self._fuse

    @fuse.setter
    def fuse(self, value: bool) -> None:
        self._fuse = arguments.boolean(self.where, "fuse", value)
        for layer in self.layers:
            if isinstance(layer, Network):
                layer.fuse = self._fuse

    def explain_fusion(self) -> str:
        """Return which layers run as one op and which do not, and why: a line for each op.

        >>> from gpunet import Dense, ReLU, Sequential
        >>> print(Sequential([Dense(3, name="dense"), ReLU(name="relu")]).explain_fusion())
        dense + relu  one op: relu is applied where the product ends
        """
        return f"{self.name}  by itself: it has a forward of its own"

    # Running.

    def __call__(self, x: Any, training: bool | None = None) -> Any:
        x = self.arrange_inputs(x)
        if is_symbolic(x):
            return self.pack_outputs(super().__call__(x, training))
        if not self.built:
            with building:  # before the turn, as all who take both
                return self._call(x, training)
        return self._call(x, training)

    def _call(self, x: Any, training: bool | None) -> Any:
        with self.turn:
            return self.pack_outputs(super().__call__(x, training))

    def get_weights(self) -> list[HostArray]:
        """Return copies of all weights, on the host: those between two steps, if another thread trains the network."""
        with self.turn:
            return super().get_weights()

    @property
    def softmax_outputs(self) -> list[bool]:
        """For each output, whether the network can stop before a softmax that it ends in: see `run`."""
        return [False for _ in self.output_shapes]

    def run(self, x: Any, training: bool, logits: Sequence[bool]) -> Forward:
        """Return y and backward for x, which are arrays, or lists of them where there are several inputs or outputs.

        `logits` says for each output whether to stop before its final softmax, where `softmax_outputs` allows it.
        """
        self.clear_activity_losses()
        return self._checked_forward(x, training)

    def prepare_gradients(self, needs_input_gradient: bool = False) -> None:
        """Find out which layers must return dx: those above a trained parameter, or all if this network must itself."""
        self.needs_input_gradient = needs_input_gradient
        for layer in self.sublayers:  # in what order they run is not known here
            layer.prepare_gradients(True)

    # Description.

    def rename_parameters(self) -> None:
        """Give the parameters their paths in this network; ValueError if two have one.

        Another network with the same layers gives them others.
        """
        for layer in self.sublayers:
            layer.name_parameters()
        paths = [parameter.path for parameter in self.weights]
        twice = sorted({path for path in paths if paths.count(path) > 1})
        if twice:
            raise ValueError(f"{self.where}: names of layers inside a layer must be unique; got two {twice[0]!r}")

    def _check_devices(self) -> None:
        places = {layer.where: layer.device for layer in self.sublayers if layer.weights}
        if len(set(places.values())) > 1:
            listed = ", ".join(f"{where} on {place}" for where, place in places.items())
            raise TypeError(f"{self.where}: all layers must be on one device; got {listed}")

    @property
    def parameters_by_path(self) -> dict[str, Parameter]:
        """All parameters by their paths, 'dense_1/kernel', in order."""
        self.rename_parameters()
        return {parameter.path: parameter for parameter in self.weights}

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments, in JSON's types; a subclass with arguments of its own adds these."""
        own = own_arguments(type(self))
        if own and type(self).get_config is Network.get_config:
            raise NotImplementedError(f"{self.where}: get_config must be defined, and return {', '.join(own)} too")
        return {"name": self.name, "trainable": self.trainable}

    def summary_text(
        self,
        line_length: int | None = None,
        positions: Sequence[float] | None = None,
        expand_nested: bool = False,
        show_trainable: bool = False,
        layer_range: Sequence[str] | None = None,
        optimizer_arrays: Sequence[Array] = (),
    ) -> str:
        """Return Keras's table of layers, output shapes and parameters; see `networks/summary.py`."""
        return summary_text(self, line_length, positions, expand_nested, show_trainable, layer_range, optimizer_arrays)

    def to_json(self, **options: Any) -> str:
        """Return class name and configuration as JSON; `options` are those of `json.dumps`."""
        return json.dumps({"class_name": type(self).__name__, "config": self.get_config()}, **options)


HOW_TO_BUILD = "give it an Input, call build(input_shape), or call it on data"


def run_unit(unit: Unit, x: Any, training: bool, logits: bool) -> Forward:
    """Run `unit`; if there is no memory for that, the error says of what layer."""
    try:
        return unit.apply(x, training, logits)
    except MemoryError as error:
        blame(error, f"the forward pass of {unit.layer.where}")
        raise


def run_back(layer: Layer, backward: Backward, dy: Any) -> Any:
    """Return dx of `layer`, with errors likewise."""
    try:
        return backward(dy)
    except MemoryError as error:
        blame(error, f"the backward pass of {layer.where}")
        raise
