"""Objects named by strings, as in Keras: 'adam', {'class_name': 'Adam', 'config': {…}}, Adam or Adam().

An own class or function is found by its name among the custom objects, which whoever loads it passes, or among those
that were registered.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from types import FunctionType
from typing import Any, TypeGuard, TypeVar

from gpunet import arguments

T = TypeVar("T")
R = TypeVar("R")

_FUNCTION = "function"  # the class name of own functions in configurations

_registered: dict[str, Any] = {}  # own classes and functions by 'package>name'
_names: dict[Any, str] = {}  # and the other way round

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
    """Return the custom object called `name`, or registered so; None if there is none.

    One registered as 'package>name' may be given as a custom object by its name alone.
    """
    scope = _custom_objects.get() or {}
    for known, key in ((scope, name), (_registered, name), (scope, name.rpartition(">")[2])):
        if key in known:
            return known[key]
    return None


def register_serializable(package: str = "Custom", name: str | None = None) -> Callable[[R], R]:
    """Return a decorator that makes an own class or function known by 'package>name' to whatever loads it.

    `name` None is its own name. Configurations and files tell of it by that name, and need no `custom_objects`. One
    registered later under a name takes its place. ValueError for a class without `get_config`; TypeError for what is
    neither class nor function.

    >>> @register_serializable("Docs")
    ... def double(x):
    ...     return 2 * x, lambda dy: 2 * dy
    >>> get_registered_name(double)
    'Docs>double'
    """
    for argument, value in (("package", package), ("name", name)):
        if not isinstance(value, str) and not (argument == "name" and value is None):
            raise TypeError(f"register_serializable: {argument} must be a string; got {arguments.shown(value)}")

    def register(own: R) -> R:
        if not callable(own) or not hasattr(own, "__name__"):
            raise TypeError(f"register_serializable: object must be a class or a function; got {arguments.shown(own)}")
        if isinstance(own, type) and not hasattr(own, "get_config"):
            raise ValueError(f"register_serializable: class must have get_config; got {own.__name__}")
        full = f"{package}>{own.__name__ if name is None else name}"
        _registered[full] = own
        _names[own] = full
        return own

    return register


def get_registered_name(own: Any) -> str:
    """Return the name under which a class or function was registered, else its own name."""
    found: str | None = _names.get(own) if isinstance(own, (type, FunctionType)) else None
    return found or str(getattr(own, "__name__", type(own).__name__))


def get_registered_object(
    name: str, custom_objects: Mapping[str, Any] | None = None, module_objects: Mapping[str, Any] | None = None
) -> Any:
    """Return what is called `name` among the custom objects of this scope, those registered, and those given.

    They are asked in this order; None if nobody knows the name.
    """
    found = custom_object(name)
    for given in (custom_objects, module_objects):
        found = (given or {}).get(name) if found is None else found
    return found


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
    return {"class_name": get_registered_name(type(instance)), "config": instance.get_config()}


def serialize_function(function: Callable[..., Any]) -> dict[str, Any]:
    """Return the configuration of an own function: its name."""
    return {"class_name": _FUNCTION, "config": get_registered_name(function)}


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
