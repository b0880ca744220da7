"""One file with a model: its weights, its architecture and compile configuration, and the state of its training.

It is a container (saving/container.py), described under the key 'gpunet_model', version 2, by

    architecture    class name and configuration, with those of all layers
    compile         the arguments of compile; empty if the model was not compiled
    streams         [seed, purpose, step] of each random stream of its layers, by path ('dropout/stream')
    training        where a running `fit` stands, in a checkpoint of one; null else
    order           the paths of the weights, as the model has them; files of earlier versions of gpunet lack it

Arrays are weights by their paths ('conv2d/kernel'), the optimizer's variables as '/optimizer/iterations' and
'/optimizer/conv2d/kernel/momentum', and arrays of `training` as '/training/0'. Version 1 had weights alone.

A file of weights alone has the key 'gpunet_weights' and, of all this, `order`.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gpunet.backend.arrays import HostArray
from gpunet.saving import container, tree
from gpunet.saving.container import Format

MODEL = Format("gpunet_model", "a model saved by gpunet", (2, 1), frozenset({"architecture", "compile"}))
WEIGHTS = Format("gpunet_weights", "weights saved by gpunet", (1,), frozenset())

# No path of a weight begins so: names of layers are not empty.
_OPTIMIZER, _TRAINING = "/optimizer/", "/training/"


@dataclass(frozen=True)
class ModelFile:
    """What a file holds."""

    architecture: dict[str, Any]
    compile_config: dict[str, Any]
    weights: dict[str, HostArray]
    optimizer: dict[str, HostArray] = field(default_factory=dict)
    streams: dict[str, list[int]] = field(default_factory=dict)
    training: dict[str, Any] | None = None  # of JSON's types and arrays


def write(path: str | os.PathLike[str], content: ModelFile) -> None:
    """Write a file at `path`: beside it first, then in its place, so that there is never half a file there."""
    attached: dict[str, HostArray] = {}
    description = {
        "architecture": content.architecture,
        "compile": content.compile_config,
        "streams": content.streams,
        "training": tree.pack("training", content.training, attached, _TRAINING),
        "order": list(content.weights),
    }
    optimizer = {_OPTIMIZER + name: array for name, array in content.optimizer.items()}
    container.write(Path(path), MODEL, description, content.weights | optimizer | attached)


def read(where: str, path: str | os.PathLike[str]) -> ModelFile:
    """Return what the file at `path` holds; `where` opens the errors.

    FileNotFoundError if there is no file. ValueError that names the file if it is damaged, not a model of gpunet, or of
    a later version than this one reads.
    """
    where = f"{where}: {os.fspath(path)}"
    description, arrays = container.read(where, Path(path), MODEL)
    streams, training = description.get("streams", {}), description.get("training")
    for part, value in (("architecture", description["architecture"]), ("compile", description["compile"])):
        _check_object(where, part, value)
    _check_object(where, "streams", streams)
    if training is not None:
        try:
            training = tree.unpack(training, arrays)
        except (ValueError, KeyError, RecursionError) as error:
            raise ValueError(f"{where}: the file is damaged: training does not describe one ({error})") from error
        _check_object(where, "training", training)
    return ModelFile(
        description["architecture"],
        description["compile"],
        _weights(arrays),
        _without(_OPTIMIZER, arrays),
        streams,
        training,
    )


def write_weights(path: str | os.PathLike[str], weights: dict[str, HostArray]) -> None:
    """Write a file of weights alone, in the way of `write`."""
    container.write(Path(path), WEIGHTS, {"order": list(weights)}, weights)


def read_weights(where: str, path: str | os.PathLike[str]) -> tuple[dict[str, HostArray], bool]:
    """Return the weights in a file of weights alone, or in that of a model, and whether they are in the model's order.

    Files of earlier versions of gpunet do not say what that is. Errors as from `read`.
    """
    where = f"{where}: {os.fspath(path)}"
    description, arrays = container.read(where, Path(path), WEIGHTS, MODEL)
    weights, order = _weights(arrays), description.get("order")
    if order is None:
        return weights, False
    names = order if isinstance(order, list) and all(isinstance(name, str) for name in order) else []
    if sorted(names) != sorted(weights):
        raise ValueError(f"{where}: the file is damaged: order must have the name of each weight once")
    return {name: weights[name] for name in names}, True


def _weights(arrays: dict[str, HostArray]) -> dict[str, HostArray]:
    return {name: array for name, array in arrays.items() if not name.startswith("/")}


def _without(prefix: str, arrays: dict[str, HostArray]) -> dict[str, HostArray]:
    """Return the arrays whose names begin with `prefix`, by the rest of their names."""
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}


def _check_object(where: str, part: str, value: Any) -> None:
    if not isinstance(value, dict):
        raise ValueError(f"{where}: the file is damaged: {part} must be an object; got {value!r}")
