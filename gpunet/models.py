"""The public models: networks that can be trained and saved."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Self

from gpunet import arguments
from gpunet.identifiers import custom_object, custom_object_scope
from gpunet.inspection.inspected import Inspected
from gpunet.layers.base import own_arguments
from gpunet.layers.loading import weights_from_file
from gpunet.layers.serialization import deserialize
from gpunet.networks.cloning import CloneFunction, Cloning
from gpunet.networks.constructors import constructed, plain_arguments, takes_ends
from gpunet.networks.functional import GraphNetwork
from gpunet.networks.graph_config import is_graph
from gpunet.networks.sequential import SequentialNetwork
from gpunet.saving import model_file
from gpunet.training import checkpoint
from gpunet.training.matching import matched


class Model(Inspected):
    """A network with Keras's compile, fit, evaluate, predict and save.

    `Model(inputs, outputs)` is a `Functional`: what the layers between some symbolic tensors and others compute.

    >>> x = Input((8,))
    >>> h = Dense(8, activation="relu")(x)
    >>> model = Model(inputs=x, outputs=Dense(10, activation="softmax")(h))
    >>> type(model).__name__
    'Functional'

    A subclass has layers as attributes and a `forward` that returns y and the way back, as in a layer of your own. Its
    layers are built as they are first run, unless it has a `build`. It is trained and saved as others are; to be loaded
    it is passed in `custom_objects`, or registered with `register_serializable`. What its constructor was called with
    is saved where that is of JSON's types; otherwise it has `get_config`.

        class Doubled(Model):  # y = dense(dense(x))
            def __init__(self):
                super().__init__()
                self.dense = Dense(8)

            def forward(self, x, training):
                h, back_first = self.dense.apply(x, training)
                y, back_second = self.dense.apply(h, training)
                return y, lambda dy: back_first(back_second(dy))

    Or it has no `forward`, and hands symbolic tensors to `super().__init__(inputs=…, outputs=…)`: then it is a
    `Functional`, with a class and methods of its own:

        class Classifier(Model):
            def __init__(self, classes):
                x = Input((8,))
                super().__init__(inputs=x, outputs=Dense(classes, activation="softmax")(x))
    """

    _called_with: dict[str, Any] | None = None  # of a class with a constructor of its own, in JSON's types

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        made: Any = object.__new__(Functional if cls is Model and (args or "inputs" in kwargs) else cls)
        vars(made)["_called_with"] = None if takes_ends(cls) else plain_arguments(cls, args, kwargs)
        return made  # type: ignore[no-any-return]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if (args or "inputs" in kwargs) and not isinstance(self, (SequentialNetwork, GraphNetwork)):
            _make_functional(type(self))
        super().__init__(*args, **kwargs)

    def get_config(self) -> dict[str, Any]:
        """Return what `from_config` makes the model of, in JSON's types.

        For a class with a constructor of its own that is what this was called with; NotImplementedError if there is
        something among it that is not of JSON's types.
        """
        if takes_ends(type(self)):
            return super().get_config()
        if self._called_with is None:
            raise NotImplementedError(
                f"{self.where}: get_config must be defined, and return {', '.join(own_arguments(type(self)))} too, "
                "which were not given in JSON's types"
            )
        return {"name": self.name, "trainable": self.trainable, **self._called_with}

    @classmethod
    def from_config(cls, config: Mapping[str, Any], custom_objects: Mapping[str, Any] | None = None) -> Self:
        """Return the model that `get_config` described, with new weights.

        `custom_objects` holds own classes and functions by name.
        """
        with custom_object_scope({**_models(), **(custom_objects or {})}):
            if not takes_ends(cls):
                made: Self = constructed(cls, config)
                return made
            if is_graph(config) and not issubclass(cls, GraphNetwork):
                _make_functional(cls)
            return super().from_config(dict(config))

    def save(self, filepath: str | os.PathLike[str], overwrite: bool = True) -> None:
        """Write the model to one file, for `gpunet.load_model`: saving/model_file.py has the format.

        That is its architecture, weights, compile configuration, optimizer and random streams. A file at `filepath` is
        replaced, at once and by a complete one, or with `overwrite=False` refused by FileExistsError. ValueError if the
        model is not built, or of a class of your own whose constructor got what no file can hold, and that has no
        `get_config` of its own.
        """
        path = self._target("save", filepath, overwrite)
        try:
            content = checkpoint.content_of(self)
        except NotImplementedError as error:
            raise ValueError(
                f"{self.where}.save: the model must tell its arguments; {error}; or use save_weights"
            ) from error
        model_file.write(path, content)

    def save_weights(self, filepath: str | os.PathLike[str], overwrite: bool = True) -> None:
        """Write the weights alone to a safetensors file, for `load_weights`; errors as from `save`."""
        model_file.write_weights(self._target("save_weights", filepath, overwrite), checkpoint.weights_of(self))

    def load_weights(self, filepath: str | os.PathLike[str]) -> None:
        """Take the weights from a file of `save_weights`; or from one of `save`, and only the weights.

        They are found by name; where only the numbers that layers without names are given differ, as in a second model
        of the same code, by order. ValueError, before anything changes, if the file is damaged or something else, or if
        its weights are not those of this model in name, shape and dtype; FileNotFoundError if there is none.
        """
        where = f"{self.where}.load_weights"
        if not self.built:
            raise ValueError(f"{where}: the model must be built; call build(input_shape), or fit it")
        path = arguments.path(where, "filepath", filepath)
        weights = matched(self, *model_file.read_weights(where, path))
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


class Sequential(Model, SequentialNetwork):
    """y = layer_n(… layer_2(layer_1(x))): a stack of layers, with Keras's compile, fit, evaluate, predict and save.

    `layers` may begin with an `Input`; else the first layer may name its `input_shape`, or the first data do.

    >>> model = Sequential([Input((8, 8, 1)), Flatten(), Dense(10, activation="softmax")])
    >>> model.compile("adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    >>> history = model.fit(x, y, batch_size=32, epochs=5, verbose=0)
    >>> model.save("model.gpunet")
    """

    def __init__(self, layers: Iterable[Any] | None = None, trainable: bool = True, name: str | None = None) -> None:
        super().__init__(layers, trainable, name)


class Functional(Model, GraphNetwork):
    """y = what the layers between the symbolic tensors `inputs` and `outputs` compute; `Model(inputs, outputs)`.

    Either is a tensor, a list, or a dict by name. Layers called several times share their weights; models may be called
    as layers, and smaller models cut out:

    >>> from gpunet.layers import Add
    >>> x = Input((16, 16, 3))
    >>> h = Conv2D(8, 3, padding="same", activation="relu", name="features")(x)
    >>> h = Conv2D(3, 3, padding="same")(h)
    >>> model = Model(x, Dense(10)(Flatten()(Add()([x, h]))))
    >>> Model(model.input, model.get_layer("features").output).output_shape
    (None, 16, 16, 8)
    """

    def __init__(self, inputs: Any, outputs: Any, name: str | None = None, trainable: bool = True) -> None:
        super().__init__(inputs, outputs, name, trainable)


def _make_functional(cls: type) -> None:
    """Put Functional in the place of Model among the bases of a class of the user's, and of those it derives from.

    TypeError if the class has a `forward` of its own, which would never be run.
    """
    if "forward" in {name for own in cls.__mro__ if own not in Model.__mro__ for name in vars(own)}:
        raise TypeError(
            f"{cls.__name__}: inputs and outputs must not be given by a class with a forward of its own; got both; "
            "leave one out"
        )
    for base in cls.__bases__:
        if base is not Model and issubclass(base, Model):
            _make_functional(base)
    cls.__bases__ = tuple(Functional if base is Model else base for base in cls.__bases__)


def _models() -> dict[str, type[Model]]:
    """Return the classes of models that configurations name."""
    return {"Sequential": Sequential, "Functional": Functional}


def model_from_json(json_string: str, custom_objects: Mapping[str, Any] | None = None) -> Model:
    """Return the model that `to_json` described, with new weights.

    `custom_objects` holds own classes and functions by name. ValueError if it describes none.

    >>> model_from_json(Sequential([Input((4,)), Dense(2)]).to_json()).output_shape
    (None, 2)
    """
    try:
        config = json.loads(json_string)
        with custom_object_scope({**_models(), **(custom_objects or {})}):
            model = deserialize(config)
    except (TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ValueError(f"model_from_json: json_string must describe a model; {error}") from error
    if not isinstance(model, Model):
        raise ValueError(f"model_from_json: json_string must describe a model; got {type(model).__name__}")
    return model


def clone_model(
    model: Model,
    input_tensors: Any = None,
    clone_function: CloneFunction | None = None,
    call_function: Callable[..., Any] | None = None,
    recursive: bool = False,
) -> Model:
    """Return a model of the same layers made anew, with new weights, compiled as `model` is.

    It begins with `input_tensors`, in the form of `model.input`, None for new Inputs. `clone_function(layer)` returns
    what stands in the place of a layer, an equal one if it is None; a layer that is called several times is asked for
    once. `call_function(layer, *args, **kwargs)` calls a new layer, and may do more; of a Functional alone. With
    `recursive` models inside are cloned in the same way, else by `clone_function`. ValueError for a model of a class of
    your own, whose layers are not known.

    >>> model = Sequential([Input((4,)), Dense(3), Dense(2)])
    >>> copy = clone_model(model)
    >>> copy.set_weights(model.get_weights())
    """
    arguments.boolean("clone_model", "recursive", recursive)
    copy: Any = Cloning(clone_function, call_function, recursive).clone(model, input_tensors)
    copy.compile_from_config(model.get_compile_config())
    cloned: Model = copy
    return cloned


def save_model(model: Model, filepath: str | os.PathLike[str], overwrite: bool = True) -> None:
    """Write `model` to one file, as `model.save` does.

    >>> save_model(Sequential([Input((4,)), Dense(2)]), "model.gpunet")
    >>> load_model("model.gpunet").output_shape
    (None, 2)
    """
    if not isinstance(model, Model):
        raise TypeError(f"save_model: model must be a Model; got {arguments.shown(model)}")
    model.save(filepath, overwrite)


def load_model(filepath: str | os.PathLike[str], custom_objects: Mapping[str, Any] | None = None) -> Model:
    """Return the model that `save` wrote to `filepath`, on the current device, compiled as it was.

    Its optimizer and the random numbers of its layers go on where they were. `custom_objects` holds own classes (of
    layers, initializers, …) and own functions by name: nothing in the file is executed. ValueError, naming the file, if
    it is damaged or of something else.
    """
    path = arguments.path("load_model", "filepath", filepath)
    where = f"load_model: {path}"
    content = model_file.read("load_model", path)
    architecture = content.architecture
    kind = architecture.get("class_name")
    scalars = sum(array.size for array in content.weights.values())
    try:
        with custom_object_scope(custom_objects):
            own = custom_object(kind) if isinstance(kind, str) else None
            cls = own if isinstance(own, type) and issubclass(own, Model) else _models().get(str(kind))
            if cls is None:
                raise ValueError(
                    f"{where}: the architecture must be a Sequential, a Functional, or a model among the custom "
                    f"objects; got {kind!r}; pass custom_objects={{{kind!r}: the class}}"
                )
            with weights_from_file(scalars):
                model = cls.from_config(architecture["config"])
                checkpoint.build(model, architecture)
            model.compile_from_config(content.compile_config)
        checkpoint.restore(where, model, content)
    except (TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ValueError(f"{where}: the file does not describe a model ({error})") from error
    except ValueError as error:
        raise error if str(error).startswith(where) else ValueError(f"{where}: {error}") from error
    return model
