"""A stack of layers, each fed with the output of the one before it. The public `Sequential` adds training to it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Self

from gpunet import arguments
from gpunet.backend.devices import device
from gpunet.backend.interrupts import undisturbed
from gpunet.identifiers import custom_object_scope
from gpunet.layers.base import Layer
from gpunet.layers.input import InputLayer, InputTensor
from gpunet.layers.serialization import deserialize, serialize
from gpunet.layers.shapes import dims
from gpunet.networks.network import Network


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
        self._input_comes_from_build = False
        given = () if layers is None else arguments.members(self.where, "layers", layers, "a list of layers")
        for layer in given:
            if not isinstance(layer, (Layer, InputTensor)):
                raise TypeError(
                    f"{self.where}: layers must be Layers, after an Input or none; got {arguments.shown(layer)}"
                )
            self.add(layer)

    def add(self, layer: Layer | InputTensor) -> None:
        """Put `layer` on top, and build it if the input's shape is known.

        TypeError for what is no layer or of another dtype; ValueError for a second layer of the same name, an Input
        that is not first, and a layer that cannot take what the layers below give.
        """
        if isinstance(layer, InputTensor):
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
        before, was_built = (self._input, self._shapes, self.built), layer.built
        count = len(self._layers)
        try:
            if self._input is None and not self._layers:
                self._input = _implied_input(layer)
            self._layers.append(layer)
            self._build_rest()
        except BaseException:
            del self._layers[count:]
            self._input, self._shapes, self.built = before
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
        del self._shapes[len(self._layers) + 1 :]
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
        if self._input_comes_from_build:
            self._input = None

    def _build_rest(self) -> None:
        """Build the layers that are not, and find the shapes, if that of the input is known."""
        if self._input is None:
            return
        shapes = self._shapes or [self._input.batch_shape]
        with device(self.device):
            for layer in self._layers[len(shapes) - 1 :]:
                layer.check_input_shape(shapes[-1])
                if not layer.built:
                    layer.build(shapes[-1])
                shape = layer.compute_output_shape(shapes[-1])
                shapes = [*shapes, dims(layer.where, "output shape", shape)]
        self._check_devices()
        self._name_parameters()
        with undisturbed():
            self._shapes, self.built = shapes, bool(self._layers)

    def _name_parameters(self) -> None:
        for layer in self._layers:
            layer.name_parameters()
        paths = [parameter.path for parameter in self.weights]
        twice = sorted({path for path in paths if paths.count(path) > 1})
        if twice:
            raise ValueError(f"{self.where}: names of layers inside a layer must be unique; got two {twice[0]!r}")

    def _check_devices(self) -> None:
        places = {layer.where: layer.device for layer in self._layers if layer.weights}
        if len(set(places.values())) > 1:
            listed = ", ".join(f"{where} on {place}" for where, place in places.items())
            raise TypeError(f"{self.where}: all layers must be on one device; got {listed}")

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
                if isinstance(layer, Mapping) and layer.get("class_name") in ("Sequential", cls.__name__):
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
