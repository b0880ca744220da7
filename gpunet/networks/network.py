"""Networks: layers run one after another, forward and back. Training is in `gpunet.training`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from gpunet import arguments
from gpunet.backend.arrays import Array, HostArray
from gpunet.backend.locks import Lock
from gpunet.backend.shortage import blame
from gpunet.default_dtype import floatx
from gpunet.layers.base import Backward, Forward, Layer, building
from gpunet.layers.input import InputLayer
from gpunet.layers.shapes import Dims, fits
from gpunet.networks import fusion
from gpunet.networks.summary import summary_text
from gpunet.networks.turns import Turns
from gpunet.ops import trace
from gpunet.parameters import Parameter


class Network(Layer):
    """A layer made of layers, which run in the order of `layers`.

    It is built once the shape of its input is known. `forward(x, training)` returns y and the closure backward(dy) that
    fills the gradients of all trainable parameters and stops where nothing below is trained (`prepare_gradients`).
    """

    def __init__(self, trainable: bool = True, name: str | None = None) -> None:
        super().__init__(trainable=trainable, name=name)
        self._input: InputLayer | None = None
        self._layers: list[Layer] = []
        self._fuse = True
        self.turn = Lock()  # of the thread whose batch runs: what it reads and changes is no other's meanwhile
        self.turns = Turns()
        self._shapes: list[Dims] = []  # of the input and of each built layer's output

    @property
    def layers(self) -> list[Layer]:
        """The layers in order, without the Input."""
        return list(self._layers)

    @property
    def sublayers(self) -> Sequence[Layer]:
        return list({id(layer): layer for layer in self._layers}.values())

    def get_layer(self, name: str | None = None, index: int | None = None) -> Layer:
        """Return the layer called `name`, or number `index`; ValueError if there is none."""
        if (name is None) == (index is None):
            raise ValueError(f"{self.where}: either name or index must be given; got {name!r} and {index!r}")
        if index is not None:
            if not -len(self._layers) <= index < len(self._layers):
                raise ValueError(f"{self.where}: index must be below {len(self._layers)}; got {index}")
            return self._layers[index]
        for layer in self._layers:
            if layer.name == name:
                return layer
        raise ValueError(f"{self.where}: name must be one of {[layer.name for layer in self._layers]}; got {name!r}")

    # Shapes.

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

    def _check_shape_is_known(self, name: str) -> None:
        if not self.built:
            raise AttributeError(f"{self.where}: {name} must be known first; {HOW_TO_BUILD}")

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

    @property
    def dtype(self) -> str:
        """The dtype of the layers."""
        return self._layers[0].dtype if self._layers else floatx()

    # Fusion.

    @property
    def fuse(self) -> bool:
        """Whether neighbouring layers may run as one op, True at first; setting it sets it for networks inside too."""
        return self._fuse

    @fuse.setter
    def fuse(self, value: bool) -> None:
        self._fuse = arguments.boolean(self.where, "fuse", value)
        for layer in self._layers:
            if isinstance(layer, Network):
                layer.fuse = self._fuse

    def explain_fusion(self) -> str:
        """Return which layers run as one op and which do not, and why: a line for each op.

        >>> from gpunet import Dense, ReLU, Sequential
        >>> print(Sequential([Dense(3, name="dense"), ReLU(name="relu")]).explain_fusion())
        dense + relu  one op: relu is applied where the product ends
        """
        return fusion.explanation(self._layers, self.fuse)

    # Running.

    def __call__(self, x: Any, training: bool = False) -> Array:
        if not self.built:
            with building:  # before the turn, as all who take both
                return self._call(x, training)
        return self._call(x, training)

    def _call(self, x: Any, training: bool) -> Array:
        with self.turn:
            return super().__call__(x, training)

    def get_weights(self) -> list[HostArray]:
        """Return copies of all weights, on the host: those between two steps, if another thread trains the network."""
        with self.turn:
            return super().get_weights()

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

    @property
    def ends_in_softmax(self) -> bool:
        return self.fuse and self.runs_forward_of(Network) and fusion.ends_in_softmax(self._layers)

    def _run(self, x: Array, training: bool, logits: bool) -> Forward:
        if not self.built:
            raise ValueError(f"{self.where}: must be built before it is used; {HOW_TO_BUILD}")
        self.check_input(x)
        steps: list[tuple[Layer, Backward]] = []
        units = fusion.units(self._layers, self.fuse)
        for number, unit in enumerate(units, start=1):
            try:
                x, backward = unit.apply(x, training, logits and number == len(units))
            except MemoryError as error:
                blame(error, f"the forward pass of {unit.layer.where}")
                raise
            if unit.layer.needs_backward:  # what others saved for backward is freed here
                steps.append((unit.layer, backward))
        return x, lambda dy: self._back(steps, dy)

    def _back(self, steps: list[tuple[Layer, Backward]], dy: Array) -> Array | None:
        for number, (layer, backward) in reversed(list(enumerate(steps))):
            try:
                dx = backward(dy)
            except MemoryError as error:
                blame(error, f"the backward pass of {layer.where}")
                raise
            if dx is None:
                if number:
                    raise TypeError(f"{layer.where}: backward must return dx for the layers before it; got None")
                return None
            dy = dx
        return dy if self.needs_input_gradient else None

    def prepare_gradients(self, needs_input_gradient: bool = False) -> None:
        """Find out which layers must return dx: those above a trained parameter, or all if this network must itself."""
        self.needs_input_gradient = needs_input_gradient
        needed = needs_input_gradient
        for layer in self._layers:  # one that appears twice is told last what its upper place needs
            layer.prepare_gradients(needed)
            needed = needed or bool(layer.trainable_weights)

    # Description.

    @property
    def parameters_by_path(self) -> dict[str, Parameter]:
        """All parameters by their paths, 'dense_1/kernel', in order."""
        return {parameter.path: parameter for parameter in self.weights}

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
