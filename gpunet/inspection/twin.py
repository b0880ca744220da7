"""A copy of a model on another device, with the same weights, optimizer state and random streams."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any, TypeVar

from gpunet.backend.arrays import Array, Device, assign, device_of, empty, is_array, to_host
from gpunet.layers.state import LayerState
from gpunet.training.structure import leaves
from gpunet.training.trainer import Trainer

Model = TypeVar("Model", bound=Trainer)


def twin(model: Model, device: Device) -> Model:
    """Return a copy of a built `model` on `device`, which shares no array with it: training the copy leaves it alone.

    Arrays that layers, the loss or the optimizer keep as attributes, alone or in lists, tuples or dicts, go there too.
    TypeError for what Python cannot copy, such as an open file.
    """
    # deepcopy takes what `memo` holds for a copy that is made already.
    memo: dict[int, Any] = {id(array): _moved(array, device) for array in _arrays(model)}
    try:
        copied = copy.deepcopy(model, memo)
    except TypeError as error:
        raise TypeError(f"{model.where}: a layer, the loss or the optimizer must be one to copy; {error}") from error
    for layer in _layers(copied):
        if layer._device is not None:
            layer._device = device
    return copied


def _moved(array: Array, device: Device) -> Array:
    moved = empty(array.shape, array.dtype, device)
    assign(moved, array if device_of(array) == device else to_host(array))
    return moved


def _arrays(model: Trainer) -> Iterator[Array]:
    """Yield the arrays of a model that must lie where it computes."""
    yield from (parameter.value for parameter in model.weights)
    if model.optimizer is not None:
        yield from model.optimizer.variables.values()
    for owner in (*_layers(model), *leaves(model.loss), model.optimizer):
        for value in ({} if owner is None else vars(owner)).values():
            members = value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else ()
            yield from (one for one in (value, *members) if is_array(one) and device_of(one) == model.device)


def _layers(layer: LayerState) -> Iterator[LayerState]:
    yield layer
    for inner in layer.sublayers:
        yield from _layers(inner)
