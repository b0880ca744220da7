"""What constructors of networks take, those of classes of the user's among them, and what they were given."""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping
from typing import Any


def takes_ends(cls: type) -> bool:
    """Tell whether the constructor of a class of networks takes what describes one: layers, or inputs and outputs.

    So do those of gpunet, and of the user's those that have these arguments, or hand on whatever they get.
    """
    make: Any = cls.__init__  # type: ignore[misc]
    if make.__module__.partition(".")[0] == __name__.partition(".")[0]:
        return True
    parameters = inspect.signature(make).parameters
    kinds = {parameter.kind for parameter in parameters.values()}
    anything = {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD}
    return {"inputs", "outputs"} <= set(parameters) or anything <= kinds


def plain_arguments(cls: type, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any] | None:
    """Return what `cls` is called with, by names; None if that is not all of JSON's types, or does not fit."""
    try:
        bound = inspect.signature(cls.__init__).bind(None, *args, **kwargs).arguments  # type: ignore[misc]
        given = dict(list(bound.items())[1:])
        for name, parameter in inspect.signature(cls.__init__).parameters.items():  # type: ignore[misc]
            if parameter.kind is parameter.VAR_KEYWORD:
                given |= given.pop(name, {})
            elif parameter.kind is parameter.VAR_POSITIONAL and given.pop(name, ()):
                return None
        plain: dict[str, Any] = json.loads(json.dumps(given))
    except (TypeError, ValueError, RecursionError):
        return None
    return plain


def constructed(cls: type[Any], config: Mapping[str, Any]) -> Any:
    """Return cls(**config); name and trainable are set afterwards where its constructor takes none."""
    parameters = inspect.signature(cls.__init__).parameters.values()
    takes_all = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)
    names = {parameter.name for parameter in parameters}
    left = {key for key in ("name", "trainable") if key in config and not (takes_all or key in names)}
    model = cls(**{key: value for key, value in config.items() if key not in left})
    if "name" in left:
        model._name = config["name"]
    if "trainable" in left and not config["trainable"]:
        model.trainable = False
    return model
