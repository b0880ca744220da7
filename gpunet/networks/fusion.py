"""Fusion of neighbouring layers: what a network runs as one op, and why or why not.

- Dense or Conv2D, and an activation layer after it: the activation is applied where the matrix product ends, before
  anything is written to memory.
- The final softmax and its loss: the gradient of cross-entropy after a softmax is (probabilities - targets) / batch, in
  one stable op, where the two gradients one after the other divide by probabilities that may round to 0. So a network
  that ends in a softmax can stop before it (`forward_logits`), and training hands what it got to the loss's
  `with_logits()`.

Results are those of the layers one after the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gpunet.backend.arrays import Array
from gpunet.layers.base import Forward, Layer
from gpunet.ops import trace
from gpunet.ops.activation import Activation


@dataclass(frozen=True)
class Unit:
    """A layer and, where its kernel can apply it, the activation of the layer after it."""

    layer: Layer
    activation_layer: Layer | None = None
    operation: Activation = Activation.LINEAR

    @property
    def layers(self) -> tuple[Layer, ...]:
        return (self.layer,) if self.activation_layer is None else (self.layer, self.activation_layer)

    @property
    def name(self) -> str:
        """The names of its layers."""
        return " + ".join(layer.name for layer in self.layers)

    def apply(self, x: Array, training: bool, logits: bool) -> Forward:
        """Run the unit, without its final softmax if `logits`."""
        if self.activation_layer is not None:
            return trace.layer(self.name, self.layer.apply_with_activation, x, training, self.operation)
        return self.layer.apply_logits(x, training) if logits else self.layer.apply(x, training)


def ends_in_softmax(layers: Sequence[Layer]) -> bool:
    """Tell whether the last of `layers` ends in a softmax that can be left to the loss."""
    return bool(layers) and layers[-1].ends_in_softmax


def units(layers: Sequence[Layer], fuse: bool) -> list[Unit]:
    """Return `layers` in order, as units; with `fuse` False each is one of its own."""
    found: list[Unit] = []
    rest = list(layers)
    while rest:
        layer = rest.pop(0)
        if fuse and rest and obstacle(layer, rest[0]) is None:
            follower = rest.pop(0)
            operation = follower.as_operation
            assert operation is not None
            found.append(Unit(layer, follower, operation))
        else:
            found.append(Unit(layer))
    return found


def obstacle(layer: Layer, follower: Layer) -> str | None:
    """Return why `follower` cannot become the activation of `layer`; None if it can."""
    if follower.as_operation is None:
        return f"{follower.where} is no activation that a kernel applies"
    if not layer.takes_activation:
        return f"{layer.where} ends in no matrix product without an activation"
    for one in (layer, follower):
        if one.activity_regularizer is not None:
            return f"{one.where} has an activity regularizer"
    return None


def explanation(layers: Sequence[Layer], fuse: bool) -> str:
    """Return what runs as one op and what does not, and why: a line for each unit."""
    found = units(layers, fuse)
    rows = []
    for number, unit in enumerate(found, start=1):
        follower = found[number].layer if number < len(found) else None
        rows.append((unit.name, _describe(unit, fuse, follower)))
    width = max((len(names) for names, _ in rows), default=0)
    return "\n".join(f"{names:<{width}}  {text}" for names, text in rows)


def _describe(unit: Unit, fuse: bool, follower: Layer | None) -> str:
    if not fuse:
        return "by itself: fusion is switched off"
    if unit.activation_layer is not None:
        return f"one op: {unit.operation.value} is applied where the product ends"
    if follower is None and unit.layer.ends_in_softmax:
        return "its softmax is one op with the loss, if that is a cross-entropy of probabilities"
    if follower is not None and (unit.layer.takes_activation or follower.as_operation is not None):
        return f"by itself: {obstacle(unit.layer, follower)}"
    return "by itself"
