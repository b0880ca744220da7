"""The public models: networks that can be trained and saved."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gpunet.backend.arrays import HostArray
from gpunet.identifiers import custom_object_scope
from gpunet.inspection.inspected import Inspected
from gpunet.layers.loading import weights_from_file
from gpunet.layers.serialization import serialize
from gpunet.networks.sequential import SequentialNetwork
from gpunet.saving import model_file
from gpunet.saving.model_file import ModelFile


class Sequential(Inspected, SequentialNetwork):
    """y = layer_n(… layer_2(layer_1(x))): a stack of layers, with Keras's compile, fit, evaluate, predict and save.

    `layers` may begin with an `Input`; else the first layer may name its `input_shape`, or the first data do.

    >>> model = Sequential([Input((8, 8, 1)), Flatten(), Dense(10, activation="softmax")])
    >>> model.compile("adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    >>> history = model.fit(x, y, batch_size=32, epochs=5, verbose=0)
    >>> model.save("model.gpunet")
    """

    def save(self, path: str | os.PathLike[str], overwrite: bool = True) -> None:
        """Write architecture, weights and compile configuration to one file, for `gpunet.load_model`.

        A file at `path` is replaced, at once and by a complete one, or with `overwrite=False` refused by
        FileExistsError. ValueError if the model is not built.
        """
        where = f"{self.where}.save"
        if not self.built:
            raise ValueError(f"{where}: the model must be built; call build(input_shape), or fit it")
        if not overwrite and Path(path).exists():
            raise FileExistsError(f"{where}: path must be free with overwrite=False; got {os.fspath(path)}")
        with self.turn:  # between two steps, if another thread trains the model
            weights = {name: parameter.numpy() for name, parameter in self.parameters_by_path.items()}
        model_file.write(path, ModelFile(serialize(self), self.get_compile_config(), weights))


def load_model(path: str | os.PathLike[str], custom_objects: Mapping[str, Any] | None = None) -> Sequential:
    """Return the model that `save` wrote to `path`, on the current device, compiled as it was.

    `custom_objects` holds own classes (of layers, initializers, …) and own functions by name: nothing in the file is
    executed. ValueError, naming the file, if it is damaged or of something else. The optimizer starts anew.
    """
    where = f"load_model: {os.fspath(path)}"
    content = model_file.read(path)
    architecture = content.architecture
    if architecture.get("class_name") != Sequential.__name__:
        raise ValueError(f"{where}: the architecture must be a Sequential; got {architecture.get('class_name')!r}")
    scalars = sum(array.size for array in content.weights.values())
    try:
        with custom_object_scope(custom_objects):
            with weights_from_file(scalars):
                model = Sequential.from_config(architecture["config"])
            model.compile_from_config(content.compile_config)
    except (TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ValueError(f"{where}: the file does not describe a model ({error})") from error
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error
    _set_weights(where, model, content.weights)
    return model


def _set_weights(where: str, model: Sequential, weights: Mapping[str, HostArray]) -> None:
    """Copy `weights` into the model; ValueError unless they are its own in name, shape and dtype."""
    parameters = model.parameters_by_path
    if set(parameters) != set(weights):
        differing = ", ".join(sorted(set(parameters) ^ set(weights)))
        raise ValueError(f"{where}: the weights must be those of the architecture; {differing} differ")
    for name, parameter in parameters.items():
        array = weights[name]
        if (array.shape, array.dtype) != (parameter.shape, parameter.dtype):
            expected = f"{parameter.dtype} of shape {parameter.shape}"
            raise ValueError(f"{where}: {name} must be {expected}; got {array.dtype} of shape {array.shape}")
    for name, parameter in parameters.items():
        parameter.assign(weights[name])
