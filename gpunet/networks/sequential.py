"""A stack of layers, each fed with the output of the one before it. The public `Sequential` adds training to it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Self

from gpunet import arguments
from gpunet.backend.arrays import Array
from gpunet.backend.devices import device
from gpunet.backend.interrupts import undisturbed
from gpunet.default_dtype import floatx
from gpunet.identifiers import custom_object_scope
from gpunet.layers.base import Backward, Forward, Layer
from gpunet.layers.input import InputLayer
from gpunet.layers.serialization import deserialize, serialize
from gpunet.layers.shapes import Dims, dims, fits
from gpunet.layers.symbolic import Node, SymbolicTensor
from gpunet.networks import fusion
from gpunet.networks.network import HOW_TO_BUILD, Network, run_back, run_unit
from gpunet.ops import trace


class SequentialNetwork(Network):
    """y = layer_n(... layer_2(layer_1(x))).

    It is built as layers are added where the input's shape is known (from an `Input`, `input_shape=` of the first
    layer, or a built network as the first layer), else by `build(input_shape)` or the first data. The same layer may
    appear more than once. A layer that does not fit is refused and leaves the network as it was.

    >>> from gpunet.layers import Dense, Input
    >>> network = SequentialNetwork([Input((16,)), Dense(32)])
    >>> network.output_shape
    (None, 32)
    """

    def __init__(self, layers: Iterable[Any] | None = None, trainable: bool = True, name: str | None = None) -> None:
        super().__init__(trainable=trainable, name=name)
        self._input: InputLayer | None = None
        self._layers: list[Layer] = []
        self._shapes: list[Dims] = []  # of the input and of each built layer's output
        self._nodes: list[Node] = []  # the calls that make them, for models that are cut out of this one
        self._input_comes_from_build = False
        given = () if layers is None else arguments.members(self.where, "layers", layers, "a list of layers")
        for layer in given:
            if not isinstance(layer, (Layer, SymbolicTensor)):
                raise TypeError(
                    f"{self.where}: layers must be Layers, after an Input or none; got {arguments.shown(layer)}"
                )
            self.add(layer)

    def add(self, layer: Layer | SymbolicTensor) -> None:
        """Put `layer` on top, and build it if the input's shape is known.

        TypeError for what is no layer or of another dtype; ValueError for a second layer of the same name, an Input
        that is not first, and a layer that cannot take what the layers below give.
        """
        if isinstance(layer, SymbolicTensor) and isinstance(layer.layer, InputLayer):
            layer = layer.layer
        if not isinstance(layer, Layer):
            raise TypeError(f"{self.where}: layer must be a Layer or an Input; got {arguments.shown(layer)}")
        if isinstance(layer, InputLayer):
            self._add_input(layer)
            return
        name = layer.name
        if any(name == other.name and layer is not other for other in self._layers):
            raise ValueError(f"{self.where}: names of layers must be unique; got a second {name!r}; pass name=")
        if layer is self:
            raise ValueError(f"{self.where}: layer must be another one; got the network itself")
        if self._layers and layer.dtype != self.dtype:
            raise TypeError(
                f"{self.where}: all layers must have one dtype; got {layer.where} of {layer.dtype} after {self.dtype}; "
                f"gpunet.set_floatx sets it for all layers"
            )
        self._put(layer)
        if not self.trainable:
            layer.trainable = False

    def _put(self, layer: Layer) -> None:
        """Append `layer` and build it if possible; if that fails, everything is as it was."""
        before, was_built = (self._input, self._shapes, self._nodes, self.built), layer.built
        count = len(self._layers)
        try:
            if self._input is None and not self._layers:
                self._input = _implied_input(layer)
            self._layers.append(layer)
            self._build_rest()
        except BaseException:
            del self._layers[count:]
            self._input, self._shapes, self._nodes, self.built = before
            if not was_built:
                layer.forget_build()
            raise

    def _add_input(self, layer: InputLayer) -> None:
        if self._input is not None or self._layers:
            present = self._input.batch_shape if self._input is not None else "layers"
            raise ValueError(f"{self.where}: Input must come first, and once; got it after {present}")
        self._input = layer

    def pop(self) -> Layer:
        """Take the last layer off and return it; ValueError if there is none."""
        if not self._layers:
            raise ValueError(f"{self.where}: must have a layer to pop; it has none")
        layer = self._layers.pop()
        del self._shapes[len(self._layers) + 1 :], self._nodes[len(self._layers) + 1 :]
        self.built = self.built and bool(self._layers)
        return layer

    def build(self, input_shape: Any) -> None:
        """Build all layers for inputs of `input_shape`, the batch (None) first.

        ValueError if there are no layers, or if the network is built for another shape.
        """
        if not self._layers:
            raise ValueError(f"{self.where}: must have a layer to be built; call add(layer)")
        if self._input is None:
            self._input = InputLayer(batch_shape=input_shape, dtype=self._layers[0].dtype)
            self._input_comes_from_build = True
        self._build_rest()

    def forget_build(self) -> None:
        super().forget_build()
        self._shapes.clear()
        self._nodes.clear()
        if self._input_comes_from_build:
            self._input = None

    def _build_rest(self) -> None:
        """Build the layers that are not, and find the shapes, if that of the input is known."""
        if self._input is None:
            return
        shapes = self._shapes or [self._input.batch_shape]
        nodes = self._nodes or [self._input.tensor.node]
        with device(self.device):
            for layer in self._layers[len(shapes) - 1 :]:
                layer.check_input_shape(shapes[-1])
                if not layer.built:
                    layer.build(shapes[-1])
                shape = dims(layer.where, "output shape", layer.compute_output_shape(shapes[-1]))
                shapes = [*shapes, shape]
                nodes = [*nodes, Node(layer, nodes[-1].outputs, None, [shape], False).registered()]
        self._check_devices()
        self.rename_parameters()
        with undisturbed():
            self._shapes, self._nodes, self.built = shapes, nodes, bool(self._layers)

    # Shapes and names.

    @property
    def layers(self) -> list[Layer]:
        """The layers in order, without the Input."""
        return list(self._layers)

    @property
    def sublayers(self) -> Sequence[Layer]:
        return list({id(layer): layer for layer in self._layers}.values())

    @property
    def dtype(self) -> str:
        """The dtype of the layers."""
        return self._layers[0].dtype if self._layers else floatx()

    @property
    def input_shape(self) -> Dims:
        """The shape of the input, the batch first; AttributeError before the network is built."""
        self._check_shape_is_known("input_shape")
        return self._shapes[0]

    @property
    def output_shape(self) -> Dims:
        """The shape of the output, the batch first; AttributeError before the network is built."""
        self._check_shape_is_known("output_shape")
        return self._shapes[-1]

    @property
    def input_names(self) -> list[str]:
        self._check_shape_is_known("input_names")
        return [self._nodes[0].layer.name]

    @property
    def output_names(self) -> list[str]:
        self._check_shape_is_known("output_names")
        return [self._layers[-1].name]

    @property
    def inputs(self) -> list[SymbolicTensor]:
        """The symbolic tensor of the input, in a list, of which models can be made: see `gpunet.Model`."""
        self._check_shape_is_known("inputs")
        return self._nodes[0].output_tensors

    @property
    def outputs(self) -> list[SymbolicTensor]:
        """The symbolic tensor of the output, in a list."""
        self._check_shape_is_known("outputs")
        return self._nodes[-1].output_tensors

    @property
    def input(self) -> SymbolicTensor:
        """The symbolic tensor of the input."""
        return self.inputs[0]

    @property
    def output(self) -> SymbolicTensor:
        """The symbolic tensor of the output."""
        return self.outputs[0]

    def layer_output_shape(self, index: int) -> Dims | None:
        """Return the shape of the output of layer number `index`; None if it is not known yet."""
        return self._shapes[index + 1] if index + 1 < len(self._shapes) else None

    def check_input_shape(self, shape: Dims) -> None:
        super().check_input_shape(shape)
        expected = self._input.batch_shape if self._input is not None else None
        if expected is not None and not fits(shape[1:], expected[1:]):
            first = f", the input of {self._layers[0].where}" if self._layers else ""
            hint = "; add the channel axis with x[..., None]" if shape[1:] == expected[1:-1] else ""
            raise ValueError(f"{self.where}: input must have shape {expected}{first}; got {shape}{hint}")

    def compute_output_shape(self, input_shape: Any) -> Dims:
        for layer in self._layers:
            input_shape = layer.compute_output_shape(input_shape)
        return tuple(input_shape)

    # Running.

    def forward(self, x: Array, training: bool) -> Forward:
        """Return y and backward; x must be of the network's dtype, on its device. ValueError if it is not built."""
        self.clear_activity_losses()
        return self._run(x, training, logits=False)

    def forward_logits(self, x: Array, training: bool) -> Forward:
        """Return what `forward` would without the final softmax."""
        if not self.ends_in_softmax:
            return super().forward_logits(x, training)
        self.clear_activity_losses()
        return self._run(x, training, logits=True)

    def apply(self, x: Array, training: bool) -> Forward:
        return trace.layer(self.name, self._run, x, training, logits=False)

    def apply_logits(self, x: Array, training: bool) -> Forward:
        return trace.layer(self.name, self._run, x, training, logits=True)

    def run(self, x: Array, training: bool, logits: Sequence[bool]) -> Forward:
        return self.forward_logits(x, training) if any(logits) else self.forward(x, training)

    @property
    def ends_in_softmax(self) -> bool:
        return self.fuse and self.runs_forward_of(SequentialNetwork) and fusion.ends_in_softmax(self._layers)

    @property
    def softmax_outputs(self) -> list[bool]:
        return [self.ends_in_softmax]

    def explain_fusion(self) -> str:
        return fusion.explanation(fusion.neighbours(fusion.units(self._layers, self.fuse)), self.fuse)

    def _run(self, x: Array, training: bool, logits: bool) -> Forward:
        if not self.built:
            raise ValueError(f"{self.where}: must be built before it is used; {HOW_TO_BUILD}")
        self.check_input(x)
        steps: list[tuple[Layer, Backward]] = []
        units = fusion.units(self._layers, self.fuse)
        for number, unit in enumerate(units, start=1):
            x, backward = run_unit(unit, x, training, logits and number == len(units))
            if unit.layer.needs_backward:  # what others saved for backward is freed here
                steps.append((unit.layer, backward))
        return x, lambda dy: self._back(steps, dy)

    def _back(self, steps: list[tuple[Layer, Backward]], dy: Array) -> Array | None:
        for number, (layer, backward) in reversed(list(enumerate(steps))):
            dx = run_back(layer, backward, dy)
            if dx is None:
                if number:
                    raise TypeError(f"{layer.where}: backward must return dx for the layers before it; got None")
                return None
            dy = dx
        return dy if self.needs_input_gradient else None

    def prepare_gradients(self, needs_input_gradient: bool = False) -> None:
        self.needs_input_gradient = needs_input_gradient
        needed = needs_input_gradient
        for layer in self._layers:  # one that appears twice is told last what its upper place needs
            layer.prepare_gradients(needed)
            needed = needed or bool(layer.trainable_weights)

    # Description.

    def get_config(self) -> dict[str, Any]:
        """Return the name and the layers' class names and configurations, in JSON's types."""
        layers = [*([self._input] if self._input is not None else []), *self._layers]
        return {"name": self.name, "trainable": self.trainable, "layers": [serialize(layer) for layer in layers]}

    @classmethod
    def from_config(cls, config: Mapping[str, Any], custom_objects: Mapping[str, Any] | None = None) -> Self:
        """Return the network that `get_config` described, with new weights.

        `custom_objects` holds own classes and functions by name. A network that was built is built again.
        """
        if not {"name", "layers"} <= set(config):
            raise ValueError(f"{cls.__name__}: configuration must have 'name' and 'layers'; got {sorted(config)}")
        network = cls(name=config["name"])
        with custom_object_scope(custom_objects):
            for layer in config["layers"]:
                if isinstance(layer, Mapping) and layer.get("class_name") == cls.__name__:
                    network.add(cls.from_config(layer["config"]))
                else:
                    network.add(deserialize(layer))
        network._trainable = bool(config.get("trainable", True))
        return network


def _implied_input(layer: Layer) -> InputLayer | None:
    """Return the Input that the first layer tells of, by `input_shape=` or by being a built network."""
    if layer.input_shape_argument is not None:
        return InputLayer(layer.input_shape_argument, dtype=layer.dtype)
    if isinstance(layer, Network) and layer.built:
        return InputLayer(batch_shape=layer.input_shape, dtype=layer.dtype)
    return None
