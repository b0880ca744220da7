"""What every layer does: it is built once its input shape is known, runs forward, and back by a closure.

`forward(x, training)` returns `(y, backward)`. `backward(dy)` adds to the gradients of the layer's trainable
parameters and returns dx; where `needs_input_gradient` is False it may return None instead. What backward needs of the
forward pass lives in the closure, so that a layer may be used twice in one step, and is freed with it.

A layer of several inputs, whose class says `takes_list = True`, is given a list, and its backward returns the list of
their gradients; one of several outputs returns y as a list, and is given dy so. Shapes are lists then, too.

An own layer is a subclass with `build` (if it has weights) and `forward`:

    class Scale(Layer):  # y = a x, with one a per feature
        def build(self, input_shape):
            self.a = self.add_weight((input_shape[-1],), "ones", name="a")

        def forward(self, x, training):
            a = self.a.value

            def backward(dy):
                self.a.add_gradient((dy * x).sum(axis=tuple(range(x.ndim - 1))))
                return dy * a

            return x * a, backward
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any, Self, TypeAlias, TypedDict

import numpy as np

from gpunet import activations, arguments, identifiers, regularizers
from gpunet.backend.arrays import CPU, Array, contiguous, device_of, to_device, to_host, zeros
from gpunet.backend.devices import current_device
from gpunet.backend.interrupts import undisturbed
from gpunet.backend.locks import Lock
from gpunet.layers.shapes import Dims, Shapes, dims, nested, shapes_of
from gpunet.layers.state import LayerState
from gpunet.layers.symbolic import Node, call, is_symbolic
from gpunet.ops import arithmetic, trace
from gpunet.ops.activation import Activation

# Of arrays, or of lists of them where there are several inputs or outputs.
Backward: TypeAlias = Callable[[Any], Any]
Forward: TypeAlias = tuple[Any, Backward]


building = Lock()  # one thread at a time builds layers, so that one that several threads need is built once


class CommonArguments(TypedDict, total=False):
    """The arguments that every layer takes by keyword only."""

    trainable: bool
    dtype: Any
    name: str | None
    input_shape: Sequence[int | None] | None
    input_dim: int | None


class LayerArguments(CommonArguments, total=False):
    """The arguments that every layer takes beside its own."""

    activity_regularizer: Any


def _recorded(build: Callable[[Any, Any], None]) -> Callable[[Any, Any], None]:
    """Wrap a `build` so that the layer knows when it is built, and is as it was before if building fails."""

    @functools.wraps(build)
    def recorded_build(self: Layer, input_shape: Any) -> None:
        if self._building:  # super().build(input_shape) inside an own build
            build(self, input_shape)
            return
        shape = nested(self.where, "input_shape", input_shape)
        self.check_number(shape)
        self.check_input_shape(shape)
        was_built = self.built
        if not was_built:
            self._remember_state()
        device = current_device()
        try:
            self._building = True
            build(self, shape)
            with undisturbed():
                self.built, self._device, self.build_shape = True, device, shape
        except BaseException:
            if not was_built:
                self.forget_build()
            raise
        finally:
            self._building = False

    recorded_build.records = True  # type: ignore[attr-defined]
    return recorded_build


class Layer(LayerState):
    """A layer of a network; the module tells how to write one.

    Arguments, all by keyword: `activity_regularizer`, whose value for the output, divided by the batch size, joins the
    loss; `trainable`; `dtype`, 'float32' or 'float64', None is `floatx()`; `name`; and for the first layer of a
    Sequential `input_shape`, without the batch (or `input_dim`, for one axis).
    """

    takes_list = False  # whether a list of arrays is several inputs, and not the rows of one

    def __init__(
        self,
        *,
        activity_regularizer: Any = None,
        trainable: bool = True,
        dtype: Any = None,
        name: str | None = None,
        input_shape: Sequence[int | None] | None = None,
        input_dim: int | None = None,
        **unknown: Any,
    ) -> None:
        where = type(self).__name__
        if unknown:
            known = ", ".join([*own_arguments(type(self)), *LayerArguments.__annotations__])
            raise TypeError(f"{where}: arguments must be among {known}; got {', '.join(unknown)}")
        super().__init__(name, dtype, trainable)
        self.activity_regularizer = regularizers.get(activity_regularizer, f"{where}: activity_regularizer")
        if input_dim is not None:
            input_shape = (arguments.integer(where, "input_dim", input_dim),)
        self.input_shape_argument = None if input_shape is None else dims(where, "input_shape", input_shape)
        self.needs_input_gradient = True  # a model sets it False for layers below which nothing is trained
        self._activity_losses: list[Array] = []
        self._building = False
        self.build_shape: Shapes = None  # for which the layer was built, if it was and has a build

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls._has_build = cls.build is not Layer.build
        if cls._has_build and not hasattr(cls.build, "records"):
            cls.build = _recorded(cls.build)  # type: ignore[assignment, method-assign]

    def build(self, input_shape: Any) -> None:
        """Make the weights, by `add_weight`, for inputs of `input_shape`, the batch (None) first."""

    def forward(self, x: Any, training: bool) -> Forward:
        """Return y and the closure backward(dy) -> dx."""
        raise NotImplementedError(f"{self.where}: forward must be defined")

    @property
    def input(self) -> Any:
        """The symbolic tensor, or the list of them, that the layer was called on; AttributeError unless that was once.

        >>> from gpunet.layers import Dense, Input
        >>> x = Input((3,))
        >>> layer = Dense(2)
        >>> y = layer(x)
        >>> layer.input == x, layer.output == y
        (True, True)
        """
        return self._only_call("input").inputs

    @property
    def output(self) -> Any:
        """What the layer returned for a symbolic tensor; AttributeError unless it was called once on one."""
        return self._only_call("output").outputs

    def _only_call(self, name: str) -> Node:
        nodes = self.calls.nodes
        if len(nodes) != 1:
            raise AttributeError(
                f"{self.where}: {name} must be that of one call on a symbolic tensor; got {len(nodes)} calls; keep "
                "what the calls return"
            )
        return nodes[0]

    def check_number(self, inputs: Any) -> None:
        """ValueError if `inputs`, what there is of several inputs in a list, are several for a layer that takes one."""
        if isinstance(inputs, list) and not self.takes_list:
            raise ValueError(f"{self.where}: input must be one array or tensor; got a list of {len(inputs)}")

    def check_input_shape(self, shape: Any) -> None:
        """ValueError, naming the layer and what it expects, unless it can take inputs of `shape`."""
        for one in shape if isinstance(shape, list) else [shape]:
            if not one:
                raise ValueError(f"{self.where}: input must have shape (batch, ...); got {one}")

    def compute_output_shape(self, input_shape: Any) -> Shapes:
        """Return the output's shape for `input_shape`, both with the batch first.

        A layer that does not define this is run forward once on zeros; it must be built.
        """
        shape = nested(self.where, "input_shape", input_shape)
        inputs: list[Dims] = shape if isinstance(shape, list) else [shape]
        if not self.built or any(None in one[1:] for one in inputs):
            raise ValueError(
                f"{self.where}: input_shape must be known but for the batch, and the layer be built; got {shape}, "
                f"built={self.built}; define compute_output_shape for other cases"
            )
        known = [[1 if size is None else size for size in one] for one in inputs]
        x = [zeros(tuple(sizes), self.dtype, self.device) for sizes in known]
        y, _ = self.apply(x if isinstance(shape, list) else x[0], training=False)
        self.clear_activity_losses()
        batch = inputs[0][0]
        return [(batch, *one.shape[1:]) for one in y] if isinstance(y, list) else (batch, *y.shape[1:])

    def runs_forward_of(self, cls: type[Layer]) -> bool:
        """Tell whether `forward` is that of `cls`; a subclass with one of its own may do more, and is run as it is."""
        return type(self).forward is cls.forward

    @property
    def ends_in_softmax(self) -> bool:
        """Whether the layer's last act is a softmax over the last axis, before which `forward_logits` stops."""
        return False

    def forward_logits(self, x: Any, training: bool) -> Forward:
        """Return what `forward` would without the final softmax."""
        raise ValueError(f"{self.where}: forward_logits must be called on a layer that ends in a softmax")

    @property
    def as_operation(self) -> Activation | None:
        """The activation that the layer is, if a matrix product can apply it to what it computes; None if not."""
        return None

    @property
    def takes_activation(self) -> bool:
        """Whether the layer ends in a matrix product that can apply an activation: see `apply_with_activation`."""
        return False

    def apply_with_activation(self, x: Array, training: bool, activation: Activation) -> Forward:
        """Run the layer and `activation` after it as one op, where `takes_activation`."""
        raise ValueError(f"{self.where}: apply_with_activation must be called on a layer that takes an activation")

    def __call__(self, x: Any, training: bool | None = None) -> Any:
        """Return y for an array of any device, or a list, of real numbers; builds the layer if need be.

        An array of the host is copied to the layer's device, and y back to the host. TypeError if x lies on a device
        that is not the layer's. A layer with several inputs takes a list of arrays. For a symbolic tensor, that of an
        `Input` or what a layer made of one, y is such a tensor, and `training`, unless it is None, holds for this call
        whenever a model runs it.
        """
        if is_symbolic(x):
            return call(self, x, training)
        several = self.takes_list and isinstance(x, (list, tuple))
        given = [activations.as_floats(self.where, one, self.dtype) for one in (x if several else [x])]
        inputs: Any = given if several else given[0]
        self.check_input(inputs)
        arrays = [self._on_device(one) for one in given]
        rows = [array.shape[1:] for array in arrays]
        self.build_for(rows if several else rows[0])
        self.clear_activity_losses()
        y, _ = self.apply(arrays if several else arrays[0], bool(training))
        if any(device_of(one) != CPU for one in given):
            return y
        return [_own_copy(one, given) for one in y] if isinstance(y, list) else _own_copy(y, given)

    def build_for(self, row: Sequence[Any]) -> None:
        """Build the layer for samples of shape `row`, for several inputs a list of shapes, unless it is built."""
        if not self.built:
            with building:
                if not self.built:  # by another thread meanwhile
                    self.build([(None, *one) for one in row] if isinstance(row, list) else (None, *row))

    def _on_device(self, x: Array) -> Array:
        """Return `x`, copied from the host if it lies there, where the layer can use it."""
        device = device_of(x)
        runs_anywhere = self.built and not self.weights
        if device == CPU:
            return to_device(contiguous(x), self.device)
        if device != self.device and not runs_anywhere:
            raise TypeError(
                f"{self.where}: x must be on {self.device}, where the layer is, or on the host; got an array on "
                f"{device}; copy it with gpunet.to_device"
            )
        return contiguous(x)

    def check_input(self, x: Any) -> None:
        """ValueError, naming the layer, unless it can take `x`."""
        self.check_input_shape(shapes_of(x))
        for one in x if isinstance(x, list) else [x]:
            if one.size == 0:
                raise ValueError(f"{self.where}: input must have sizes of at least 1; got shape {one.shape}")

    def apply(self, x: Any, training: bool) -> Forward:
        """Run `forward` on an array of the layer's device and dtype, with the checks and the activity regularizer."""
        return trace.layer(self.name, self._checked_forward, x, training)

    def _checked_forward(self, x: Any, training: bool) -> Forward:
        self.check_input(x)
        if not self.built:  # one inside a layer or model of the user's that leaves it to the first run
            self.build_for([one.shape[1:] for one in x] if isinstance(x, list) else x.shape[1:])
        result = self.forward(x, training)
        if not (isinstance(result, tuple) and len(result) == 2 and callable(result[1])):
            raise TypeError(f"{self.where}: forward must return (y, backward); got {type(result).__name__}")
        return result if self.activity_regularizer is None else self._regularize_activity(*result)

    def apply_logits(self, x: Any, training: bool) -> Forward:
        """Run `forward_logits` likewise."""
        return trace.layer(self.name, self._checked_forward_logits, x, training)

    def _checked_forward_logits(self, x: Any, training: bool) -> Forward:
        self.check_input(x)
        return self.forward_logits(x, training)

    def _regularize_activity(self, y: Any, backward: Backward) -> Forward:
        """Note the activity regularizer's value for y over the batch size, and add its gradient to dy."""
        regularizer = self.activity_regularizer
        assert regularizer is not None
        for one in y if isinstance(y, list) else [y]:
            self._activity_losses.append(arithmetic.scale(regularizer.value(one), 1 / one.shape[0]))

        def regularized(y: Array, dy: Array) -> Array:
            dr = zeros(y.shape, y.dtype, device_of(y))
            regularizer.add_gradient(y, dr)
            dr = arithmetic.scale(dr, 1 / y.shape[0])
            arithmetic.add_in_place(dr, dy)
            return dr

        def regularized_backward(dy: Any) -> Any:
            if isinstance(y, list):
                return backward([regularized(*pair) for pair in zip(y, dy, strict=True)])
            return backward(regularized(y, dy))

        return y, regularized_backward

    @property
    def sublayers(self) -> Sequence[Layer]:
        return [layer for layer in super().sublayers if isinstance(layer, Layer)]

    @property
    def activity_losses(self) -> list[Array]:
        """What activity regularizers, here and in layers inside, gave since `clear_activity_losses`: (1,) arrays."""
        losses = list(self._activity_losses)
        for layer in self.sublayers:
            losses += layer.activity_losses
        return losses

    def clear_activity_losses(self) -> None:
        """Forget the activity losses of earlier runs; a network does so at every forward."""
        self._activity_losses.clear()
        for layer in self.sublayers:
            layer.clear_activity_losses()

    def prepare_gradients(self, needs_input_gradient: bool = True) -> None:
        """Say whether `backward` must return dx."""
        self.needs_input_gradient = needs_input_gradient

    @property
    def needs_backward(self) -> bool:
        """Whether `backward` has anything to do: dx is wanted, or a parameter is trained."""
        return self.needs_input_gradient or any(parameter.trainable for parameter in self.weights)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments, in JSON's types; a subclass adds its own."""
        own = own_arguments(type(self))
        if own and type(self).get_config is Layer.get_config:
            raise NotImplementedError(f"{self.where}: get_config must be defined, and return {', '.join(own)} too")
        config: dict[str, Any] = {"name": self.name, "trainable": self.trainable, "dtype": self.dtype}
        if self.activity_regularizer is not None:
            config["activity_regularizer"] = identifiers.serialize(self.activity_regularizer)
        return config

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """Return the layer that `get_config` described, with new weights."""
        return cls(**config)

    def count_params(self) -> int:
        """Return the number of scalars in all weights; ValueError if the layer is not built."""
        if not self.built:
            raise ValueError(f"{self.where}: must be built before its parameters are counted; call build(input_shape)")
        return sum(parameter.size for parameter in self.weights)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} name={self.name}, built={self.built}>"


def _own_copy(y: Array, given: Sequence[Array]) -> Array:
    """Return `y` on the host, and so that it shares no memory with what was given."""
    host = to_host(y)
    return host.copy() if any(np.may_share_memory(host, one) for one in given) else host


def own_arguments(cls: type) -> list[str]:
    """Return the names of the constructor's arguments that are not those of every layer."""
    names = inspect.signature(cls).parameters.values()
    plain = [name.name for name in names if name.kind not in (name.VAR_KEYWORD, name.VAR_POSITIONAL)]
    return [name for name in plain if name not in LayerArguments.__annotations__]
