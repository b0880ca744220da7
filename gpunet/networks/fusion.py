"""Fusion of neighbouring layers: the final softmax and its loss.

The gradient of cross-entropy after a softmax is (probabilities - targets) / batch, in one stable op, where the two
gradients one after the other divide by probabilities that may round to 0. So a model that ends in a softmax can stop
before it (`forward_logits`), and training hands what it got to the loss's `with_logits()`.
"""

from __future__ import annotations

from collections.abc import Sequence

from gpunet.backend.arrays import Array
from gpunet.layers.base import Forward, Layer


def ends_in_softmax(layers: Sequence[Layer]) -> bool:
    """Tell whether the last of `layers` ends in a softmax that can be left to the loss."""
    return bool(layers) and layers[-1].ends_in_softmax


def apply(layer: Layer, x: Array, training: bool, logits: bool) -> Forward:
    """Run `layer`, without its final softmax if `logits`."""
    return layer.apply_logits(x, training) if logits else layer.apply(x, training)
