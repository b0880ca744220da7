"""What a layer holds: its name and dtype, its weights, and the layers inside it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import count
from typing import Any

import numpy as np

from gpunet import arguments, changes, constraints, initializers, regularizers
from gpunet.activations import as_floats
from gpunet.backend.arrays import Array, Device, HostArray, Shape, to_device, to_host
from gpunet.backend.devices import current_device
from gpunet.backend.random import Stream
from gpunet.backend.shortage import told
from gpunet.default_dtype import floatx
from gpunet.initializers import InitializerLike
from gpunet.layers.loading import placeholder
from gpunet.layers.naming import auto_name
from gpunet.layers.symbolic import Calls
from gpunet.parameters import Parameter

_PLAIN = (bool, int, float, str)  # two of which can be compared without asking what they hold
_LISTS_WITHOUT_LAYERS = frozenset({"_trained", "_fixed", "_activity_losses", "_nodes", "_shapes"})


class LayerState:
    """The part of a layer that does not compute: names, weights, layers kept as attributes (or in lists of them)."""

    _holders: Mapping[str, None] = {}  # names of attributes that may hold layers, in order of assignment
    _has_build = False  # whether the class defines a build, and its layers are unbuilt at first

    def __init__(self, name: str | None, dtype: Any, trainable: bool) -> None:
        where = type(self).__name__
        if name is not None and (not isinstance(name, str) or not name or "/" in name):
            raise ValueError(f"{where}: name must be a string without '/'; got {arguments.shown(name)}")
        self._dtype: str = arguments.floating(where, floatx() if dtype is None else dtype).name
        self._trainable = arguments.boolean(where, "trainable", trainable)
        self._name = auto_name(where) if name is None else name
        self._device: Device | None = None
        self._trained: list[Parameter] = []  # that add_weight was asked to make trainable
        self._fixed: list[Parameter] = []  # that it was asked not to
        self.calls = Calls()  # on symbolic tensors
        self._before_build: tuple[int, int, set[int]] = (0, 0, set())
        self.built = not self._has_build

    @property
    def name(self) -> str:
        """The layer's name, unique in its model."""
        try:
            return self._name
        except AttributeError:
            raise RuntimeError(f"{type(self).__name__}: __init__ must call super().__init__() first") from None

    @property
    def where(self) -> str:
        """The class and name of the layer, which open its error messages."""
        return f"{type(self).__name__} {self.name!r}"

    @property
    def dtype(self) -> str:
        """The dtype of weights, inputs and outputs, 'float32' or 'float64'."""
        return self._dtype

    @property
    def device(self) -> Device:
        """Where the weights lie, or will: until the layer is built, the current device."""
        weight = self._any_weight()
        return self._device or current_device() if weight is None else weight.device

    def _any_weight(self) -> Parameter | None:
        own = self._trained or self._fixed
        return own[0] if own else next(filter(None, (layer._any_weight() for layer in self.sublayers)), None)

    @property
    def sublayers(self) -> Sequence[LayerState]:
        """The layers that are attributes of this one, alone or in a list or tuple, each once."""
        attributes = vars(self)
        found: dict[int, LayerState] = {}
        for name in self._holders:
            value = attributes.get(name)
            members = value if isinstance(value, (list, tuple)) else (value,)
            found.update({id(member): member for member in members if isinstance(member, LayerState)})
        return list(found.values())

    def __setattr__(self, name: str, value: Any) -> None:
        before = vars(self).get(name, changes)  # which no attribute is
        super().__setattr__(name, value)
        if before is not value and not (isinstance(value, _PLAIN) and type(before) is type(value) and before == value):
            changes.note(f"{type(self).__name__}.{name}")
        # Which attributes may hold layers is noted here, so that `sublayers`, asked for at every step, need not look at
        # all of them. A list counts even when it is empty: layers may be appended to it later.
        members = value if isinstance(value, tuple) else (value,)
        if name not in _LISTS_WITHOUT_LAYERS and any(isinstance(member, (LayerState, list)) for member in members):
            vars(self).setdefault("_holders", {})[name] = None

    @property
    def weights(self) -> list[Parameter]:
        """All parameters, each once: the layer's own, first those made trainable, then those of the layers inside."""
        found = {id(parameter): parameter for parameter in self._trained + self._fixed}
        for layer in self.sublayers:
            found.update({id(parameter): parameter for parameter in layer.weights})
        return list(found.values())

    @property
    def parameters(self) -> list[Parameter]:
        """`weights`, by the name that training uses."""
        return self.weights

    @property
    def trainable_weights(self) -> list[Parameter]:
        """The parameters that training changes."""
        return [parameter for parameter in self.weights if parameter.trainable] if self._trainable else []

    @property
    def trainable_parameters(self) -> list[Parameter]:
        """`trainable_weights`, by the name that training uses."""
        return self.trainable_weights

    @property
    def non_trainable_weights(self) -> list[Parameter]:
        """The parameters that training leaves alone."""
        return [parameter for parameter in self.weights if not (self._trainable and parameter.trainable)]

    @property
    def fixed_weights(self) -> list[Parameter]:
        """The parameters that were made not to be trained: if a step changes them, it is in the forward pass."""
        inner = (parameter for layer in self.sublayers for parameter in layer.fixed_weights)
        return list({id(parameter): parameter for parameter in (*self._fixed, *inner)}.values())

    @property
    def streams(self) -> list[Stream]:
        """The random streams that are attributes of this layer or of layers inside, each once."""
        return list({id(stream): stream for _, stream in self.named_streams()}.values())

    @property
    def trainable(self) -> bool:
        """Whether training changes the weights; setting it sets it for the layers inside too."""
        return self._trainable

    @trainable.setter
    def trainable(self, value: bool) -> None:
        self._trainable = arguments.boolean(self.where, "trainable", value)
        for parameter in self._trained:
            parameter.trainable = self._trainable
            parameter.gradient = None
        for layer in self.sublayers:
            layer.trainable = self._trainable

    def add_weight(
        self,
        shape: Sequence[int] = (),
        initializer: InitializerLike | None = None,
        *,
        name: str | None = None,
        dtype: Any = None,
        trainable: bool = True,
        regularizer: Any = None,
        constraint: Any = None,
    ) -> Parameter:
        """Make a weight on the current device, in `build` or `__init__`; initializer None is 'glorot_uniform'."""
        if self.built and self._has_build:
            raise ValueError(f"{self.where}: add_weight must be called in the first build; the layer is built already")
        taken = {parameter.name for parameter in self._trained + self._fixed}
        if name is None:
            name = next(name for name in _numbered("weight") if name not in taken)
        elif name in taken:
            raise ValueError(f"{self.where}: name of a weight must be unique in its layer; got {name!r} twice")
        shape = arguments.integers(self.where, f"shape of {name}", shape)
        kind = arguments.floating(self.where, self.dtype if dtype is None else dtype)
        try:
            value = self._initial_value(name, shape, initializer, kind)
        except MemoryError as error:
            raise told(f"{self.where}: {name} must fit in memory; got shape {shape} of {kind}: {error}") from None
        parameter = Parameter(
            value,
            name,
            arguments.boolean(self.where, "trainable", trainable) and self._trainable,
            regularizers.get(regularizer, f"{self.where}: regularizer of {name}"),
            constraints.get(constraint, f"{self.where}: constraint of {name}"),
            path=f"{self.name}/{name}",
        )
        (self._trained if trainable else self._fixed).append(parameter)
        return parameter

    def named_layers(self, prefix: str = "") -> Iterator[tuple[str, LayerState]]:
        """Yield the layers inside, at any depth, by their paths: each before those inside of it."""
        for layer in self.sublayers:
            yield prefix + layer.name, layer
            yield from layer.named_layers(f"{prefix}{layer.name}/")

    def named_streams(self) -> Iterator[tuple[str, Stream]]:
        """Yield the random streams by their paths, 'dropout/stream', those of the layers inside included."""
        for path, layer in [("", self), *self.named_layers()]:
            for name, value in vars(layer).items():
                if isinstance(value, Stream):
                    yield f"{path}/{name}".removeprefix("/"), value

    def _initial_value(
        self, name: str, shape: Shape, initializer: InitializerLike | None, dtype: np.dtype[Any]
    ) -> Array:
        """Return what `initializer` draws, on the current device; zeros where a file is about to fill them."""
        where = f"{self.where}: initializer of {name}"
        value = placeholder(self.where, shape, dtype)
        if value is None:
            value = to_host(as_floats(where, initializers.get(initializer, where)(shape, dtype=dtype), dtype))
        if value.shape != shape:
            raise ValueError(f"{where} must return shape {shape}; got {value.shape}")
        return to_device(np.array(value, order="C"), current_device())

    def get_weights(self) -> list[HostArray]:
        """Return copies of all weights, on the host."""
        return [parameter.numpy() for parameter in self.weights]

    def set_weights(self, weights: Iterable[Any]) -> None:
        """Copy arrays of the right shapes, in the order of `get_weights`, into the weights.

        ValueError if their number or a shape is another; then no weight has changed.
        """
        values, parameters = list(weights), self.weights
        if len(values) != len(parameters):
            raise ValueError(f"{self.where}: weights must be {len(parameters)} arrays; got {len(values)}")
        checked: list[Array] = [parameter.check(value) for parameter, value in zip(parameters, values, strict=True)]
        for parameter, value in zip(parameters, checked, strict=True):
            parameter.assign(value)

    def name_parameters(self, prefix: str = "") -> None:
        """Give every parameter the path `prefix`, layer, layer inside, …, name, joined by '/'."""
        path = f"{prefix}{self.name}/"
        for parameter in self._trained + self._fixed:
            if parameter.path != path + parameter.name:  # else nothing is noted to have changed
                parameter.path = path + parameter.name
        for layer in self.sublayers:
            layer.name_parameters(path)

    def forget_build(self) -> None:
        """Drop what the first build made, so that the layer can be built for other inputs."""
        trained, fixed, built = self._before_build
        del self._trained[trained:], self._fixed[fixed:]
        for layer in self.sublayers:
            if id(layer) not in built:
                layer.forget_build()
        self.built = not self._has_build
        self._device = None

    def _remember_state(self) -> None:
        """Note what there is before the first build, for `forget_build`."""
        built = {id(layer) for layer in self.sublayers if layer.built}
        self._before_build = (len(self._trained), len(self._fixed), built)


def _numbered(name: str) -> Iterator[str]:
    yield name
    yield from (f"{name}_{number}" for number in count(1))
