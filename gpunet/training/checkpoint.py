"""What a checkpoint keeps of a model, and how it is put back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from gpunet.backend.arrays import HostArray, to_host
from gpunet.layers.serialization import serialize
from gpunet.networks.constructors import takes_ends
from gpunet.networks.functional import GraphNetwork
from gpunet.networks.network import Network
from gpunet.networks.sequential import SequentialNetwork
from gpunet.saving.model_file import ModelFile
from gpunet.training.compiled import Compiled

# Callbacks change the first two; names matter where weights or random streams have them in their paths.
_MAY_DIFFER = frozenset({"trainable", "learning_rate", "name"})


def content_of(model: Compiled, training: dict[str, Any] | None = None) -> ModelFile:
    """Return everything about `model`, and where a running `fit` stands; the model must be built."""
    optimizer = model.optimizer
    with model.turn:  # all of it of one step, if another thread trains the model
        variables = optimizer.variables if optimizer is not None and optimizer.built else {}
        return ModelFile(
            architecture_of(model),
            model.get_compile_config(),
            weights_of(model),
            {name: np.array(to_host(array)) for name, array in variables.items()},
            {path: list(stream.state) for path, stream in model.named_streams()},
            training,
        )


def architecture_of(model: Compiled) -> dict[str, Any]:
    """Return class name and configuration, and where these do not tell it, the shapes that the model is built for."""
    described = serialize(model)
    if isinstance(model, GraphNetwork) or (isinstance(model, SequentialNetwork) and takes_ends(type(model))):
        return described
    return described | {"build_config": {"input_shape": json.loads(json.dumps(model.build_shape))}}


def build(model: Compiled, architecture: Mapping[str, Any]) -> None:
    """Build a new `model` for the shapes that `architecture_of` told, if it did."""
    shape = architecture.get("build_config", {}).get("input_shape")
    if shape is not None and not model.built:
        several = bool(shape) and isinstance(shape[0], list)
        model.build([tuple(one) for one in shape] if several else tuple(shape))


def weights_of(model: Network) -> dict[str, HostArray]:
    """Return copies of the weights by their paths, on the host."""
    with model.turn:
        return {path: parameter.numpy() for path, parameter in model.parameters_by_path.items()}


def restore(where: str, model: Compiled, content: ModelFile) -> None:
    """Give a built `model` the weights, the optimizer's variables and the random streams in `content`.

    ValueError, before anything changes, unless they are those of this model.
    """
    check_weights(where, model, content.weights)
    streams = dict(model.named_streams())
    if content.streams and set(content.streams) != set(streams):
        differing = ", ".join(sorted(set(content.streams) ^ set(streams)))
        raise ValueError(f"{where}: the random streams must be those of the model; {differing} differ")
    if content.optimizer:
        if model.optimizer is None:
            raise ValueError(f"{where}: the model must be compiled to take an optimizer's variables")
        model.optimizer.build(model.weights)
        try:
            model.optimizer.set_variables(content.optimizer)
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from error
    for path, stream in streams.items():
        if path in content.streams:
            stream.state = content.streams[path]
    set_weights(model, content.weights)


def check_weights(where: str, model: Network, weights: Mapping[str, HostArray]) -> None:
    """ValueError unless `weights` are the model's own in name, shape and dtype."""
    parameters = model.parameters_by_path
    if set(parameters) != set(weights):
        differing = ", ".join(sorted(set(parameters) ^ set(weights)))
        raise ValueError(f"{where}: the weights must be those of the architecture; {differing} differ")
    for name, parameter in parameters.items():
        array = weights[name]
        if (array.shape, array.dtype) != (parameter.shape, parameter.dtype):
            expected = f"{parameter.dtype} of shape {parameter.shape}"
            raise ValueError(f"{where}: {name} must be {expected}; got {array.dtype} of shape {array.shape}")


def set_weights(model: Network, weights: Mapping[str, HostArray]) -> None:
    """Copy `weights`, which `check_weights` has seen, into the model."""
    for path, parameter in model.parameters_by_path.items():
        parameter.assign(weights[path])


def check_same(where: str, model: Compiled, content: ModelFile) -> None:
    """ValueError, that says where they differ, unless `model` is built and compiled as the one in `content` was.

    What is trainable, and the learning rate, may differ: callbacks change them.
    """
    for part, saved, own in (
        ("architecture", content.architecture, architecture_of(model)),
        ("compile", content.compile_config, model.get_compile_config()),
    ):
        found = _difference(part, saved, own)
        if found is not None:
            raise ValueError(f"{where}: the model must be the one that the training began with; {found}")


def _difference(place: str, saved: Any, own: Any) -> str | None:
    """Return where two configurations differ first, in words; None if they do not."""
    if isinstance(saved, dict) and isinstance(own, dict):
        keys = [key for key in {**saved, **own} if key not in _MAY_DIFFER]
        pairs = [(f"{place}.{key}", saved.get(key), own.get(key)) for key in keys]
    elif isinstance(saved, (list, tuple)) and isinstance(own, (list, tuple)) and len(saved) == len(own):
        pairs = [(f"{place}[{number}]", *both) for number, both in enumerate(zip(saved, own, strict=True))]
    else:
        return None if saved == own else f"{place} was {saved!r} and is {own!r}"
    return next(filter(None, (_difference(*pair) for pair in pairs)), None)
