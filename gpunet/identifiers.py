"""Objects named by strings, as in Keras: 'adam', {'class_name': 'Adam', 'config': {…}}, Adam or Adam()."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, TypeVar

T = TypeVar("T")


def snake_case(name: str) -> str:
    """Return `name` in lower case with underscores: 'MaxPooling2D' becomes 'max_pooling2d'."""
    name = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()


def resolve(where: str, identifier: Any, base: type[T], choices: Mapping[str, type[T]]) -> T:
    """Return the instance of `base` that `identifier` stands for.

    `where` names the argument, such as 'Dense: activation'. `identifier` is an instance of `base`, a class derived
    from it, a key of `choices`, or what `serialize` returned. ValueError lists the valid names for an unknown one;
    TypeError names `base` for anything else.
    """
    if isinstance(identifier, base):
        return identifier
    if isinstance(identifier, type) and issubclass(identifier, base):
        return identifier()
    if isinstance(identifier, str):
        return _choose(where, identifier, choices)()
    if isinstance(identifier, Mapping) and {"class_name", "config"} <= set(identifier):
        return _choose(where, identifier["class_name"], choices)(**identifier["config"])
    raise TypeError(f"{where} must be a name or a {base.__name__}; got {identifier!r}")


def _choose(where: str, name: str, choices: Mapping[str, type[T]]) -> type[T]:
    for cls in choices.values():
        if cls.__name__ == name:
            return cls
    try:
        return choices[name]
    except KeyError:
        raise ValueError(f"{where} must be one of {', '.join(map(repr, sorted(choices)))}; got {name!r}") from None


def serialize(instance: Any) -> dict[str, Any] | None:
    """Return the class name and configuration of `instance`, in JSON's types; None for None."""
    if instance is None:
        return None
    return {"class_name": type(instance).__name__, "config": instance.get_config()}
