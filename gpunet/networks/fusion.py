"""Fusion of neighbouring layers: what a network runs as one op, and why or why not.

- Dense or Conv2D, and an activation layer after it: the activation is applied where the matrix product ends, before
  anything is written to memory.
- Conv2D, such an activation or none, and MaxPooling2D by 2 x 2: only the maxima are written to memory.
- Dense or Conv2D, ReLU, and Dropout: elements are dropped where the matrix product ends, and the output tells the
  gradient which.
- The final softmax and its loss: the gradient of cross-entropy after a softmax is (probabilities - targets) / batch, in
  one stable op, where the two gradients one after the other divide by probabilities that may round to 0. So a network
  that ends in a softmax can stop before it (`forward_logits`), and training hands what it got to the loss's
  `with_logits()`.

Results are those of the layers one after the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from gpunet.backend.arrays import Array, device_of
from gpunet.layers.base import Forward, Layer
from gpunet.layers.convolution import Conv2D
from gpunet.layers.dropout import Dropout
from gpunet.layers.kernel_layer import KernelLayer
from gpunet.layers.pooling import MaxPooling2D
from gpunet.ops import trace
from gpunet.ops.activation import Activation
from gpunet.ops.convolution_pooling import LONGEST_SUM
from gpunet.ops.windows import POOL


@dataclass(frozen=True)
class Unit:
    """A layer and what its kernel does besides: the activation of the layer after it, a max-pooling or a dropout."""

    layer: Layer
    activation_layer: Layer | None = None
    pooling_layer: MaxPooling2D | None = None
    dropout_layer: Dropout | None = None

    @property
    def layers(self) -> tuple[Layer, ...]:
        every = (self.layer, self.activation_layer, self.pooling_layer, self.dropout_layer)
        return tuple(layer for layer in every if layer is not None)

    @property
    def operation(self) -> Activation | None:
        """The activation that the kernel applies, if it is a kernel that can apply one."""
        if self.activation_layer is not None:
            return self.activation_layer.as_operation
        return self.layer.operation if isinstance(self.layer, KernelLayer) else None

    @property
    def name(self) -> str:
        """The names of its layers."""
        return " + ".join(layer.name for layer in self.layers)

    def apply(self, x: Array, training: bool, logits: bool) -> Forward:
        """Run the unit, without its final softmax if `logits`."""
        if self.dropout_layer is not None:
            return self._apply_dropping(self.dropout_layer, x, training)
        if len(self.layers) == 1:
            return self.layer.apply_logits(x, training) if logits else self.layer.apply(x, training)
        assert self.operation is not None
        if self.pooling_layer is None:
            return trace.layer(self.name, self.layer.apply_with_activation, x, training, self.operation)
        assert isinstance(self.layer, Conv2D)
        padding = self.pooling_layer.padding
        return trace.layer(self.name, self.layer.apply_with_pooling, x, training, self.operation, padding)

    def _apply_dropping(self, dropout: Dropout, x: Array, training: bool) -> Forward:
        if not training:
            return replace(self, dropout_layer=None).apply(x, training, logits=False)
        assert isinstance(self.layer, KernelLayer) and self.operation is not None
        with dropout.drawing(device_of(x)) as dropping:
            return trace.layer(self.name, self.layer.apply_with_dropping, x, self.operation, dropping)


def ends_in_softmax(layers: Sequence[Layer]) -> bool:
    """Tell whether the last of `layers` ends in a softmax that can be left to the loss."""
    return bool(layers) and layers[-1].ends_in_softmax


def units(layers: Sequence[Layer], fuse: bool) -> list[Unit]:
    """Return `layers` in order, as units; with `fuse` False each is one of its own."""
    if not fuse:
        return [Unit(layer) for layer in layers]
    found: list[Unit] = []
    for layer in layers:
        larger = grown(found[-1], layer) if found else None
        if larger is None:
            found.append(Unit(layer))
        else:
            found[-1] = larger
    return found


def grown(unit: Unit, follower: Layer) -> Unit | None:
    """Return `unit` with the layer after it, if its kernel can do what that does; None if not."""
    if unit.pooling_layer is not None or unit.dropout_layer is not None:
        return None
    if isinstance(follower, MaxPooling2D):
        return None if pooling_obstacle(unit, follower) else replace(unit, pooling_layer=follower)
    if isinstance(follower, Dropout):
        return None if dropout_obstacle(unit, follower) else replace(unit, dropout_layer=follower)
    if unit.activation_layer is not None or obstacle(unit.layer, follower):
        return None
    return replace(unit, activation_layer=follower)


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


def _act_of_its_own(*layers: tuple[Layer, type[Layer]]) -> str | None:
    """Return what a layer does beside what its class is known for; None if none of `layers` does anything."""
    for layer, known in layers:
        if not layer.runs_forward_of(known):
            return f"{layer.where} has a forward of its own"
        if layer.activity_regularizer is not None:
            return f"{layer.where} has an activity regularizer"
    return None


def pooling_obstacle(unit: Unit, pooling: MaxPooling2D) -> str | None:
    """Return why `pooling` cannot be done by the kernel of `unit`; None if it can."""
    layer = unit.layer
    if not isinstance(layer, Conv2D):
        return f"{layer.where} is no convolution"
    own = _act_of_its_own((layer, KernelLayer), (pooling, MaxPooling2D))
    if own is not None:
        return own
    if unit.operation is None:
        return f"no kernel of a convolution applies the activation of {layer.where}"
    if not pooling.pool_size == pooling.strides == (POOL, POOL):
        windows = f"windows of {pooling.pool_size} with strides of {pooling.strides}"
        return f"{pooling.where} has {windows}, where the kernel of a convolution can have {(POOL, POOL)} for both"
    if layer.sum_length is None:
        return f"{layer.where} is not built, and so the length of its sums not known"
    if layer.sum_length > LONGEST_SUM:
        return f"the sums of {layer.where} have {layer.sum_length} terms, and may have {LONGEST_SUM}"
    return None


def dropout_obstacle(unit: Unit, dropout: Dropout) -> str | None:
    """Return why `dropout` cannot be done by the kernel of `unit`; None if it can."""
    layer = unit.layer
    if not isinstance(layer, KernelLayer) or unit.pooling_layer is not None:
        return f"{unit.layers[-1].where} ends in no matrix product"
    own = _act_of_its_own((layer, KernelLayer), (dropout, Dropout))
    if own is not None:
        return own
    if unit.operation is not Activation.RELU:
        return f"{unit.layers[-1].where} does not end in relu, which alone leaves 0 where something was dropped"
    if dropout.noise_shape is not None or not 0 < dropout.rate < 1:
        return f"{dropout.where} has a noise_shape, or a rate of 0 or 1"
    return None


def neighbours(found: Sequence[Unit]) -> list[tuple[Unit, Unit | None, Layer | None]]:
    """Return the units of a chain, each with the unit before it and the layer after it."""
    followers = [*(unit.layer for unit in found[1:]), None]
    return list(zip(found, [None, *found], followers, strict=False))


def explanation(placed: Sequence[tuple[Unit, Unit | None, Layer | None]], fuse: bool) -> str:
    """Return what runs as one op and what does not, and why: a line for each unit, with its neighbours."""
    rows = []
    for unit, before, follower in placed:
        rows.append((unit.name, _describe(unit, before, follower) if fuse else "by itself: fusion is switched off"))
    width = max((len(names) for names, _ in rows), default=0)
    return "\n".join(f"{names:<{width}}  {text}" for names, text in rows)


def _describe(unit: Unit, before: Unit | None, follower: Layer | None) -> str:
    layer = unit.layer
    if unit.pooling_layer is not None:
        applied = "" if unit.operation in (None, Activation.LINEAR) else f"{unit.operation.value} is applied and "
        return f"one op: {applied}maxima are taken where the product ends"
    if unit.dropout_layer is not None:
        return "one op: relu is applied, and in training elements are dropped, where the product ends"
    if unit.activation_layer is not None and unit.operation is not None:
        return f"one op: {unit.operation.value} is applied where the product ends"
    if follower is None and layer.ends_in_softmax:
        return "its softmax is one op with the loss, if that is a cross-entropy of probabilities"
    if isinstance(layer, MaxPooling2D) and before is not None and isinstance(before.layer, Conv2D):
        return f"by itself: {pooling_obstacle(before, layer)}"
    if isinstance(layer, Dropout) and before is not None:
        return f"by itself: {dropout_obstacle(before, layer)}"
    if isinstance(follower, (MaxPooling2D, Dropout)):
        return "by itself"  # why, if there is more to say, is said of the pooling
    if follower is not None and (layer.takes_activation or follower.as_operation is not None):
        return f"by itself: {obstacle(layer, follower)}"
    return "by itself"
