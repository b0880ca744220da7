"""Objects named by strings, as in Keras: 'adam', {'class_name': 'Adam', 'config': {…}}, Adam or Adam().

An own class or function is found by its name among the custom objects, which whoever loads it passes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeGuard, TypeVar

from gpunet import arguments

T = TypeVar("T")

_FUNCTION = "function"  # the class name of own functions in configurations

_custom_objects: ContextVar[Mapping[str, Any] | None] = ContextVar("gpunet_custom_objects", default=None)


@contextmanager
def custom_object_scope(objects: Mapping[str, Any] | None) -> Iterator[None]:
    """Inside this `with` block, `objects` (own classes and functions by name) are known, beside those known before."""
    token = _custom_objects.set({**(_custom_objects.get() or {}), **(objects or {})})
    try:
        yield
    finally:
        _custom_objects.reset(token)


def custom_object(name: str) -> Any:
    """Return the custom object called `name`; None if there is none."""
    return (_custom_objects.get() or {}).get(name)


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
        return _made(where, identifier, {})
    if isinstance(identifier, str):
        return _made(where, _choose(where, identifier, base, choices), {})
    if isinstance(identifier, Mapping) and {"class_name", "config"} <= set(identifier):
        return _made(where, _choose(where, identifier["class_name"], base, choices), identifier["config"])
    raise TypeError(f"{where} must be a name or a {base.__name__}; got {arguments.shown(identifier)}")


def _made(where: str, cls: type[T], config: Any) -> T:
    """Return cls(**config); errors say what it was for."""
    if not isinstance(config, Mapping) or not all(isinstance(name, str) for name in config):
        raise TypeError(f"{where} must have a dict of arguments as 'config'; got {arguments.shown(config)}")
    try:
        return cls(**config)
    except TypeError as error:
        raise TypeError(f"{where} cannot be made: {error}") from error
    except ValueError as error:
        raise ValueError(f"{where} cannot be made: {error}") from error


def _choose(where: str, name: str, base: type[T], choices: Mapping[str, type[T]]) -> type[T]:
    custom = custom_object(name) if isinstance(name, str) else None
    if isinstance(custom, type) and issubclass(custom, base):
        return custom
    named = {cls.__name__: cls for cls in choices.values()} | dict(choices)
    if not isinstance(name, str) or name not in named:
        raise ValueError(f"{where} must be one of {', '.join(map(repr, sorted(choices)))}; got {arguments.shown(name)}")
    return named[name]


def serialize(instance: Any) -> dict[str, Any] | None:
    """Return the class name and configuration of `instance`, in JSON's types; a function's name; None for None."""
    if instance is None:
        return None
    if not hasattr(instance, "get_config"):
        return serialize_function(instance)
    return {"class_name": type(instance).__name__, "config": instance.get_config()}


def serialize_function(function: Callable[..., Any]) -> dict[str, Any]:
    """Return the configuration of an own function: its name."""
    return {"class_name": _FUNCTION, "config": getattr(function, "__name__", type(function).__name__)}


def is_function(identifier: Any) -> TypeGuard[Mapping[str, Any]]:
    """Tell whether `identifier` is what `serialize_function` returned."""
    return isinstance(identifier, Mapping) and identifier.get("class_name") == _FUNCTION


def deserialize_function(where: str, config: Mapping[str, Any]) -> Callable[..., Any]:
    """Return the own function that `serialize_function` named; ValueError if it is not among the custom objects."""
    name = config.get("config")
    function: Callable[..., Any] | None = custom_object(name) if isinstance(name, str) else None
    if not callable(function):
        raise ValueError(
            f"{where} must be an own function that is known here; got {arguments.shown(name)}; "
            f"pass custom_objects={{{name!r}: the function}}"
        )
    return function
