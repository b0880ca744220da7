"""The public models: networks that can be trained and saved."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gpunet import arguments
from gpunet.identifiers import custom_object_scope
from gpunet.inspection.inspected import Inspected
from gpunet.layers.loading import weights_from_file
from gpunet.networks.sequential import SequentialNetwork
from gpunet.saving import model_file
from gpunet.training import checkpoint


class Sequential(Inspected, SequentialNetwork):
    """y = layer_n(… layer_2(layer_1(x))): a stack of layers, with Keras's compile, fit, evaluate, predict and save.

    `layers` may begin with an `Input`; else the first layer may name its `input_shape`, or the first data do.

    >>> model = Sequential([Input((8, 8, 1)), Flatten(), Dense(10, activation="softmax")])
    >>> model.compile("adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    >>> history = model.fit(x, y, batch_size=32, epochs=5, verbose=0)
    >>> model.save("model.gpunet")
    """

    def save(self, filepath: str | os.PathLike[str], overwrite: bool = True) -> None:
        """Write the model to one file, for `gpunet.load_model`: saving/model_file.py has the format.

        That is its architecture, weights, compile configuration, optimizer and random streams. A file at `filepath` is
        replaced, at once and by a complete one, or with `overwrite=False` refused by FileExistsError. ValueError if the
        model is not built.
        """
        model_file.write(self._target("save", filepath, overwrite), checkpoint.content_of(self))

    def save_weights(self, filepath: str | os.PathLike[str], overwrite: bool = True) -> None:
        """Write the weights alone to a safetensors file, for `load_weights`; errors as from `save`."""
        model_file.write_weights(self._target("save_weights", filepath, overwrite), checkpoint.weights_of(self))

    def load_weights(self, filepath: str | os.PathLike[str]) -> None:
        """Take the weights from a file of `save_weights`; or from one of `save`, and only the weights.

        ValueError, before anything changes, if the file is damaged or something else, or if its weights are not those
        of this model in name, shape and dtype; FileNotFoundError if there is none.
        """
        where = f"{self.where}.load_weights"
        if not self.built:
            raise ValueError(f"{where}: the model must be built; call build(input_shape), or fit it")
        path = arguments.path(where, "filepath", filepath)
        weights = model_file.read_weights(where, path)
        checkpoint.check_weights(f"{where}: {path}", self, weights)
        checkpoint.set_weights(self, weights)

    def _target(self, method: str, filepath: str | os.PathLike[str], overwrite: bool) -> Path:
        """Return the path to write to."""
        where = f"{self.where}.{method}"
        if not self.built:
            raise ValueError(f"{where}: the model must be built; call build(input_shape), or fit it")
        path = Path(arguments.path(where, "filepath", filepath))
        if not arguments.boolean(where, "overwrite", overwrite) and path.exists():
            raise FileExistsError(f"{where}: filepath must be free with overwrite=False; got {path}")
        return path


def load_model(filepath: str | os.PathLike[str], custom_objects: Mapping[str, Any] | None = None) -> Sequential:
    """Return the model that `save` wrote to `filepath`, on the current device, compiled as it was.

    Its optimizer and the random numbers of its layers go on where they were. `custom_objects` holds own classes (of
    layers, initializers, …) and own functions by name: nothing in the file is executed. ValueError, naming the file, if
    it is damaged or of something else.
    """
    path = arguments.path("load_model", "filepath", filepath)
    where = f"load_model: {path}"
    content = model_file.read("load_model", path)
    architecture = content.architecture
    if architecture.get("class_name") != Sequential.__name__:
        raise ValueError(f"{where}: the architecture must be a Sequential; got {architecture.get('class_name')!r}")
    scalars = sum(array.size for array in content.weights.values())
    try:
        with custom_object_scope(custom_objects):
            with weights_from_file(scalars):
                model = Sequential.from_config(architecture["config"])
            model.compile_from_config(content.compile_config)
        checkpoint.restore(where, model, content)
    except (TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ValueError(f"{where}: the file does not describe a model ({error})") from error
    except ValueError as error:
        raise error if str(error).startswith(where) else ValueError(f"{where}: {error}") from error
    return model
