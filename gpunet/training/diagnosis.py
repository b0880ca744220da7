"""Which number of a training step is the first that is not finite, in the order in which the step computes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from gpunet.backend.arrays import Array, to_host
from gpunet.networks.network import Network
from gpunet.ops import trace
from gpunet.parameters import Parameter


class Finding(NamedTuple):
    """What is not finite: the kind of thing, and value, name and index in words, as in 'nan in the loss'."""

    kind: str
    text: str


def first_nonfinite(
    network: Network, repeat: Callable[..., None], batch: Sequence[Array], labels: Sequence[tuple[str, str]]
) -> Finding:
    """Return what is not finite first in a step on `batch`, which `repeat` does but for the update.

    `labels` are kinds and names of its arrays; there may be fewer arrays. The order is: x, y, sample weights, the
    weights, outputs of layers, the loss and its penalties, then back the gradients of weights and inputs of layers, at
    last the gradients of penalties. Of layers in a layer, those inside come first.
    """
    search = _Search(network)
    for (kind, name), array in zip(labels, batch, strict=False):
        search.look(kind, name, array)
    for parameter in network.weights:
        search.look("weights", parameter.path, parameter.value, " before the forward pass")
    with trace.observed(search), np.errstate(all="ignore"):
        repeat(*batch)
        search.look_at_gradients(network.weights)
        search.look_at_penalties()
    return search.found or Finding("loss and gradients", "others, which a second run of the step does not have")


class _Search(trace.Observer):
    """Looks at all that it is shown until something is not finite, which is then `found`."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.found: Finding | None = None
        self._parameters = network.trainable_parameters

    def look(self, kind: str, name: str, array: Array, remark: str = "") -> None:
        if self.found is not None or array.dtype.kind != "f":
            return
        host = to_host(array)
        finite = np.isfinite(host)
        if finite.all():
            return
        index = tuple(int(i) for i in np.unravel_index(int(np.argmin(finite)), host.shape))
        place = f" at index {index}" if host.size > 1 else ""
        self.found = Finding(kind, f"{host[index]} in {name}{place}{remark}")

    def see(self, array: Array | None) -> None:
        name, direction = self._place
        if name == "loss" and not self._named:
            self._look_at_loss(direction, array)
        elif name == "penalty" and not self._named:
            self._look_at_penalty(array)
        elif direction == trace.FORWARD:
            self._look_at_output(name, array)
        else:
            # Of layers that run as one op, the first has the weights.
            prefix = f"{name.split(' + ')[0]}/"
            self.look_at_gradients([one for one in self._parameters if one.path.startswith(prefix)])
            if array is not None:
                self.look("gradients", f"the gradient of the input of {name}", array)

    def look_at_gradients(self, parameters: list[Parameter]) -> None:
        for parameter in parameters:
            if parameter.gradient is not None:
                self.look("gradients", f"the gradient of {parameter.path}", parameter.gradient)

    def look_at_penalties(self) -> None:
        for parameter in self._parameters:
            if parameter.gradient is not None and parameter.regularizer is not None and self.found is None:
                parameter.regularizer.add_gradient(parameter.value, parameter.gradient)
                self.look("gradients", f"the gradient of the penalty on {parameter.path}", parameter.gradient)

    def _look_at_output(self, name: str, array: Array | None) -> None:
        if array is not None:
            self.look("outputs", f"the output of {name}", array)

    def _look_at_loss(self, direction: trace.Pass, array: Array | None) -> None:
        assert array is not None
        if direction == trace.BACKWARD:
            self.look("gradients", "the gradient of the loss for the output", array)
        else:
            self.look("loss", "the loss", array)

    def _look_at_penalty(self, array: Array | None) -> None:
        assert array is not None
        for parameter in self._parameters:
            if parameter.regularizer is not None and not np.isfinite(to_host(array)).all():
                penalty = parameter.regularizer.value(parameter.value)
                self.look("loss", f"the penalty on {parameter.path}", penalty)
        self.look("loss", "a penalty that joins the loss", array)
