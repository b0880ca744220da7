"""Run a model without a trace: what training changes is put back, bit for bit."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from gpunet.backend.arrays import Array, assign, is_array, to_host
from gpunet.backend.random import Stream
from gpunet.metrics import Metric
from gpunet.networks.network import Network
from gpunet.optimizers import Optimizer
from gpunet.parameters import Parameter


@contextmanager
def unchanged(network: Network, optimizer: Optimizer | None, metrics: Sequence[Metric]) -> Iterator[None]:
    """Put back, after a `with` block that trains `network`, its weights and random streams, optimizer and metrics.

    The network must be built; its optimizer may be built in the block. What layers of your own keep beside weights and
    streams is not known here.
    """
    restorers = [_value_of(parameter) for parameter in network.weights]
    restorers += [_attributes_of(metric) for metric in metrics]
    restorers += [_step_of(stream) for stream in network.streams]
    before = {} if optimizer is None else {name: _copy(array) for name, array in optimizer.variables.items()}
    try:
        yield
    finally:
        for restore in restorers:
            restore()
        for name, array in ({} if optimizer is None else optimizer.variables).items():
            if name not in before and optimizer is not None:  # a slot that did not exist
                before[name] = np.full(array.shape, optimizer.initial_value(name), array.dtype)
            assign(array, before[name])
        for parameter in network.weights:
            parameter.gradient = None


def _copy(array: Array) -> Array:
    return to_host(array).copy()


def _contents_of(array: Array) -> Callable[[], None]:
    before = _copy(array)
    return lambda: assign(array, before)


def _value_of(parameter: Parameter) -> Callable[[], None]:
    before = _copy(parameter.value)
    return lambda: assign(parameter.value, before)  # an optimizer may have moved it to another array


def _step_of(stream: Stream) -> Callable[[], None]:
    before = stream.step

    def restore() -> None:
        stream.step = before

    return restore


def _attributes_of(owner: Any) -> Callable[[], None]:
    """Return what gives an object its attributes back, and those that are arrays their contents."""
    attributes = dict(vars(owner))
    contents = [_contents_of(value) for value in attributes.values() if is_array(value)]

    def restore() -> None:
        vars(owner).clear()
        vars(owner).update(attributes)
        for one in contents:
            one()

    return restore
