"""Calls of layers on symbolic tensors, which stand for data that is not there yet: a graph, from which a model is cut.

    x = Input((16,))        a tensor, made by the node of an InputLayer
    h = Dense(32)(x)        a tensor, made by a new node, whose input is x
    model = Model(x, h)

A sum, difference, product or quotient of tensors, or of a tensor and a number, is a layer too: layers/arithmetic.py.

A tensor keeps the node that made it, a node its layer and its input tensors, so that a graph lives as long as one of
its last tensors, or a model that was made of it. A layer does not keep its nodes: it finds those that are alive.
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

from gpunet import layers
from gpunet.layers.shapes import Dims

if TYPE_CHECKING:
    from gpunet.layers.base import Layer


class Calls:
    """The nodes of one layer, in the order of the calls, as long as they are alive; a copy of the layer has none."""

    def __init__(self) -> None:
        self._nodes: list[weakref.ref[Node]] = []
        self.count = 0  # of all calls so far

    def __reduce__(self) -> tuple[type[Calls], tuple[()]]:
        return Calls, ()

    def add(self, node: Node) -> None:
        """Note a call; its number may be one that a copy of the node had."""
        self.count = max(self.count, node.number + 1)
        self._nodes = [known for known in self._nodes if known() is not None] + [weakref.ref(node)]

    @property
    def nodes(self) -> list[Node]:
        """The nodes that are alive."""
        return [node for node in (known() for known in self._nodes) if node is not None]


class Node:
    """One call of a layer: `inputs`, a tensor or a list of them, and what came out, by its shapes.

    `training` is what the call was told, None if nothing. `number` counts the calls of the layer.
    """

    def __init__(
        self, layer: Layer, inputs: Any, training: bool | None, output_shapes: Sequence[Dims], is_list: bool
    ) -> None:
        self.layer = layer
        self.inputs = inputs
        self.training = training
        self.output_shapes = list(output_shapes)
        self.is_list = is_list  # whether the layer returns a list
        self.number = layer.calls.count
        layer.calls.count += 1

    def registered(self) -> Node:
        """Let the layer know of this call."""
        self.layer.calls.add(self)
        return self

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self.layer.calls.add(self)

    @property
    def input_tensors(self) -> list[SymbolicTensor]:
        """The input tensors, in a list; none of an InputLayer."""
        return self.inputs if isinstance(self.inputs, list) else [] if self.inputs is None else [self.inputs]

    @property
    def output_tensors(self) -> list[SymbolicTensor]:
        """The output tensors, in a list."""
        return [SymbolicTensor(self, index) for index in range(len(self.output_shapes))]

    @property
    def outputs(self) -> Any:
        """What the call returned: a tensor, or a list of them."""
        return self.output_tensors if self.is_list else SymbolicTensor(self, 0)


@dataclass(frozen=True)
class SymbolicTensor:
    """Output number `index` of a call: it has a shape, the batch first, a dtype and a name, and no numbers."""

    node: Node
    index: int = 0

    @property
    def layer(self) -> Layer:
        """The layer that makes it."""
        return self.node.layer

    @property
    def shape(self) -> Dims:
        return self.node.output_shapes[self.index]

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def dtype(self) -> str:
        return getattr(self.layer, "input_dtype", self.layer.dtype)

    @property
    def name(self) -> str:
        """The name of the layer that makes it."""
        return self.layer.name

    __array_ufunc__ = None  # NumPy leaves `array + tensor` to the tensor

    def __add__(self, other: Any) -> Any:
        return layers.arithmetic.combined("+", self, other)

    def __radd__(self, other: Any) -> Any:
        return layers.arithmetic.combined("+", other, self)

    def __sub__(self, other: Any) -> Any:
        return layers.arithmetic.combined("-", self, other)

    def __rsub__(self, other: Any) -> Any:
        return layers.arithmetic.combined("-", other, self)

    def __mul__(self, other: Any) -> Any:
        return layers.arithmetic.combined("*", self, other)

    def __rmul__(self, other: Any) -> Any:
        return layers.arithmetic.combined("*", other, self)

    def __truediv__(self, other: Any) -> Any:
        return layers.arithmetic.combined("/", self, other)

    def __rtruediv__(self, other: Any) -> Any:
        return layers.arithmetic.combined("/", other, self)

    def __neg__(self) -> Any:
        return layers.arithmetic.combined("*", self, -1)

    def __getitem__(self, _: Any) -> NoReturn:
        layers.arithmetic.refuse("indexing", self)

    def __pow__(self, _: Any) -> NoReturn:
        layers.arithmetic.refuse("**", self)

    def __matmul__(self, _: Any) -> NoReturn:
        layers.arithmetic.refuse("@", self)

    def __lt__(self, _: Any) -> NoReturn:
        layers.arithmetic.refuse("comparison", self)

    __le__ = __gt__ = __ge__ = __lt__
    __rpow__, __rmatmul__ = __pow__, __matmul__

    def __repr__(self) -> str:
        return f"<SymbolicTensor shape={self.shape}, dtype={self.dtype}, name={self.name}>"

    def __array__(self, *_: Any, **__: Any) -> Any:
        raise TypeError(f"{self!r} stands for data and has none; call the model that is made of it on data")


def is_symbolic(x: Any) -> bool:
    """Tell whether `x` is a symbolic tensor, or a list, tuple or dict with one."""
    if isinstance(x, dict):
        x = list(x.values())
    return isinstance(x, SymbolicTensor) or (
        isinstance(x, (list, tuple)) and any(isinstance(one, SymbolicTensor) for one in x)
    )


def call(layer: Layer, x: Any, training: bool | None) -> Any:
    """Return what `layer` makes of the symbolic tensor x, or of a list of them; it is built if it is not yet.

    ValueError, naming the layer, if it cannot take tensors of these shapes; TypeError for tensors of another dtype, or
    beside arrays.
    """
    several = isinstance(x, (list, tuple))
    tensors = list(x) if several else [x]
    for one in tensors:
        if not isinstance(one, SymbolicTensor):
            raise TypeError(f"{layer.where}: inputs must all be symbolic tensors, or all arrays; got both")
        if one.dtype != layer.dtype and one.node.inputs is not None:
            raise TypeError(
                f"{layer.where}: input must have dtype {layer.dtype}; got {one!r}; gpunet.set_floatx sets it for all "
                "layers"
            )
    layer.check_number(tensors if several else x)
    shape: Any = [one.shape for one in tensors] if several else x.shape
    layer.check_input_shape(shape)
    layer.build_for([one[1:] for one in shape] if several else shape[1:])
    made = layer.compute_output_shape(shape)
    is_list = isinstance(made, list)
    node = Node(layer, tensors if several else x, training, made if is_list else [made], is_list)
    return node.registered().outputs
