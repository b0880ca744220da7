"""What users give for several inputs or outputs, a list in their order or a dict by their names, brought in order."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from gpunet import arguments


def is_config(value: object) -> bool:
    """Tell whether `value` is the configuration of one object, and no dict by names."""
    return isinstance(value, Mapping) and {"class_name", "config"} <= set(value)


def is_nested(value: object) -> bool:
    """Tell whether `value` holds something for each of several outputs."""
    return isinstance(value, (list, tuple)) or (isinstance(value, Mapping) and not is_config(value))


def mapped(value: Any, function: Callable[[Any], Any]) -> Any:
    """Return `value` with `function` applied to all in it but None; tuples become lists."""
    if isinstance(value, (list, tuple)):
        return [mapped(one, function) for one in value]
    if is_nested(value):
        return {name: mapped(one, function) for name, one in value.items()}
    return None if value is None else function(value)


def leaves(value: Any) -> Iterator[Any]:
    """Yield all in `value` but None, at any depth."""
    if is_nested(value):
        for one in value.values() if isinstance(value, Mapping) else value:
            yield from leaves(one)
    elif value is not None:
        yield value


def in_order(where: str, what: str, value: Any, names: Sequence[str], kind: str = "arrays") -> list[Any]:
    """Return what `value`, a list of as many as there are names or a dict with them all, has for each of `names`.

    A dict may have more. ValueError that says what is expected for anything else.
    """
    rule = f"{where}: {what} must be a list of {len(names)} {kind}, for {', '.join(names)}, or a dict by these names"
    if isinstance(value, Mapping):
        missing = [name for name in names if name not in value]
        if missing:
            raise ValueError(f"{rule}; got a dict without {', '.join(missing)}")
        return [value[name] for name in names]
    if not isinstance(value, (list, tuple)):
        raise ValueError(f"{rule}; got {described(value)}")
    if len(value) != len(names):
        raise ValueError(f"{rule}; got a list of {len(value)}")
    return list(value)


def check_names(where: str, what: str, value: Any, names: Sequence[str]) -> None:
    """ValueError if `value` is a dict by names with one that is not among `names`."""
    unknown = [key for key in value if key not in names] if isinstance(value, Mapping) else []
    if unknown:
        raise ValueError(
            f"{where}: {what} must have no names but {', '.join(names)}; got {arguments.shown(unknown[0])}"
        )


def only(value: Any, name: str | None = None) -> Any:
    """Return the one array that `value` holds, a list of one array or a dict of it by `name`, else `value` itself.

    A list of anything else is an array in all but type.
    """
    if isinstance(value, Mapping) and len(value) == 1 and name in (None, *value):
        return next(iter(value.values()))
    if isinstance(value, (list, tuple)) and len(value) == 1 and len(getattr(value[0], "shape", ())) > 0:
        return value[0]
    return value


def described(value: object) -> str:
    """Return what `value` is, in a few words."""
    shape = getattr(value, "shape", None)
    return f"a {type(value).__name__}" if shape is None else f"an array of shape {shape}"
