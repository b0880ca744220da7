"""Passes: one forward and backward pass of a model, with a copy of all that its layers hand to each other.

A pass runs as a training step does, fused layers as one, and may be given what the layers of another pass were given:
then what a layer makes of it does not depend on the layers before it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from gpunet.backend.arrays import Array, HostArray, device_of, to_device, to_host
from gpunet.backend.threads import one_blas_thread
from gpunet.ops.trace import BACKWARD, FORWARD, UPDATE, Forward, Observer, layer, observed
from gpunet.parameters import Parameter
from gpunet.training.step import run_network
from gpunet.training.trainer import Trainer

_MOVED_BY = 16  # units of the last place


class Point(NamedTuple):
    """An array of a pass: which, of which layer, by its path, in which pass of the step."""

    layer: str
    direction: str
    array: str


@dataclass
class Record:
    """What a pass did: `made` holds what its layers computed, in that order, `given` what each was given.

    What only hands on an array that another layer made is not in `made`; the gradients of parameters are, and by
    path, summed over all uses, in `gradients`. `changed` are weights that layers changed themselves, such as averages.
    """

    made: dict[Point, HostArray] = field(default_factory=dict)
    given: dict[Point, HostArray] = field(default_factory=dict)
    gradients: dict[str, HostArray] = field(default_factory=dict)
    changed: dict[Point, HostArray] = field(default_factory=dict)


def weight_point(parameter: Parameter) -> Point:
    """Return what the rows of updates call a weight."""
    return Point(parameter.path.removesuffix(f"/{parameter.name}"), UPDATE, parameter.name)


@one_blas_thread()
def run_pass(
    model: Trainer, batch: Sequence[HostArray], given: Record | None = None, noise: np.random.Generator | None = None
) -> Record:
    """Run a pass, which uses up `model`, on `batch`; its layers get what those of `given` got, if it is there.

    With `noise` all that they get is moved by up to 16 units in the last place of each number.
    """
    objective = model.objective
    objective.reset()  # whose means may lie on the device that the model was copied from
    watcher = _Watcher(model, given, noise)
    roles = objective.roles([to_device(array.copy(), model.device) for array in batch])
    model.prepare_gradients()
    before = {parameter.path: parameter.numpy() for parameter in model.weights}
    for parameter in model.weights:
        parameter.gradient = None
    watcher.latest = roles.inputs[0]
    logits = objective.takes_logits(model.softmax_outputs)
    losses = objective.over_parts(roles, logits, model.dtype, parts=1)

    def loss_of(outputs: Any) -> Forward:
        """Run the losses in the form that a layer has; they need no dy."""
        listed = outputs if isinstance(outputs, list) else [outputs]
        values, gradients = objective.forward(losses, roles, listed, model.device)

        def backward(_: Any) -> Any:
            dz = gradients()
            return dz if isinstance(outputs, list) else dz[0]

        return values if len(values) > 1 else values[0], backward

    with observed(watcher):
        z, backward = run_network(model, roles.inputs, True, logits)
        value, loss_backward = layer("loss", loss_of, z)
        backward(loss_backward(value))
    for parameter in model.weights:
        if not np.array_equal(parameter.numpy(), before[parameter.path], equal_nan=True):
            watcher.record.changed[weight_point(parameter)] = parameter.numpy()
    return watcher.record


class _Watcher(Observer):
    """Runs the layers of one pass, and keeps what they get and make."""

    def __init__(self, model: Trainer, given: Record | None, noise: np.random.Generator | None) -> None:
        super().__init__()
        self.record = Record()
        self.latest: Any = None  # made or given last: who gets just this has it from another layer
        self._given = None if given is None else given.given
        self._noise = noise
        self._weights = model.weights
        self._path: list[str] = []
        self._uses: Counter[str] = Counter()
        self._calls = 0

    def layer(self, name: str, run: Callable[..., Forward], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Forward:
        parent = "/".join(self._path) or "model"
        self._path.append(name)
        path = "/".join(self._path)
        self._uses[path] += 1
        if self._uses[path] > 1:
            path = f"{path} #{self._uses[path]}"
        self._calls += 1
        calls = self._calls
        x = self._arrived(args[0], Point(path, FORWARD, "x"), parent)
        y, backward = run(x, *args[1:], **kwargs)
        if not self._handed_on(y, calls):
            self._keep(Point(path, FORWARD, "y"), y)
        self.latest = y
        self._path.pop()
        return y, lambda dy: self._back(backward, dy, path, parent)

    def _back(self, backward: Callable[[Any], Any], dy: Any, path: str, parent: str) -> Any:
        self._calls += 1
        calls = self._calls
        dx = backward(self._arrived(dy, Point(path, BACKWARD, "dy"), parent))
        self._keep_gradients(path)
        if dx is not None:
            if not self._handed_on(dx, calls):
                self._keep(Point(path, BACKWARD, "dx"), dx)
            self.latest = dx
        return dx

    def _handed_on(self, arrays: Any, calls: int) -> bool:
        """Tell whether a call has returned what a call inside it made."""
        return arrays is self.latest and calls < self._calls

    def _arrived(self, arrays: Any, point: Point, parent: str) -> Any:
        """Return what the layer is to be given in place of `arrays`, one or a list, between two layers of `parent`."""
        given = [None if one is None else self._arrived_one(one, place, parent) for place, one in _each(point, arrays)]
        self.latest = given if isinstance(arrays, list) else given[0]
        return self.latest

    def _arrived_one(self, array: Array, point: Point, parent: str) -> Array:
        """Note one array that has arrived, and return what is to be given in its place."""
        host = _copy(array)
        if array is not self.latest:
            self.record.made[Point(parent, point.direction, f"{point.array} of {point.layer}")] = host
        self.record.given[point] = host
        if self._given is not None:
            if point not in self._given:
                raise RuntimeError(f"parity: layers must run alike on both devices; {point.layer} runs on one only")
            host = self._given[point]
            array = to_device(host.copy() if self._noise is None else moved(host, self._noise), device_of(array))
        return array

    def _keep(self, point: Point, arrays: Any) -> None:
        for place, array in _each(point, arrays):
            if array is not None:
                self.record.made[place] = _copy(array)

    def _keep_gradients(self, path: str) -> None:
        """Take the gradients that a layer has just added, before others come."""
        names = Counter(parameter.name for parameter in self._weights if parameter.gradient is not None)
        for parameter in self._weights:
            if parameter.gradient is None:
                continue
            gradient = _copy(parameter.gradient)
            parameter.gradient = None
            name = parameter.name if names[parameter.name] == 1 else f" {parameter.path}"
            self.record.made[Point(path, BACKWARD, f"d{name}")] = gradient
            so_far = self.record.gradients.get(parameter.path)
            self.record.gradients[parameter.path] = gradient if so_far is None else so_far + gradient


def _each(point: Point, arrays: Any) -> list[tuple[Point, Array | None]]:
    """Return `arrays`, one or those of a list, each with what it is called: 'x', or 'x[0]', 'x[1]', …."""
    if not isinstance(arrays, list):
        return [(point, arrays)]
    return [(point._replace(array=f"{point.array}[{number}]"), array) for number, array in enumerate(arrays)]


def moved(array: HostArray, noise: np.random.Generator) -> HostArray:
    """Return `array` with each number changed by up to 16 units in its last place; integers stay as they are."""
    if array.dtype.kind != "f":
        return array.copy()
    factors = 1 + noise.uniform(-_MOVED_BY, _MOVED_BY, array.shape) * np.finfo(array.dtype).eps
    changed: HostArray = (array * factors).astype(array.dtype)
    return changed


def _copy(array: Array) -> HostArray:
    host = to_host(array)
    return host.copy() if host is array else host
