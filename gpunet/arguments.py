"""Checks of arguments, one wording for all: `<where>: <argument> must <rule>; got <value>`."""

from __future__ import annotations

import math
import operator
import os
from collections.abc import Iterable, Mapping, Sequence, Set
from typing import Any, TypeVar

import numpy as np

T = TypeVar("T")

_LARGEST = 2**63 - 1  # sizes and counts reach kernels as 64-bit integers
_LONGEST = 300  # characters of a value in an error


def integer(where: str, name: str, value: object, minimum: int = 1, maximum: int = _LARGEST) -> int:
    """Return `value` as an int from `minimum` to `maximum`; TypeError or ValueError else."""
    if isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{where}: {name} must be an integer; got {shown(value)}")
    try:
        number = operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        raise TypeError(f"{where}: {name} must be an integer; got {shown(value)}") from None
    if number < minimum:
        raise ValueError(f"{where}: {name} must be at least {minimum}; got {shown(number)}")
    if number > maximum:
        most = "2**63 - 1" if maximum == _LARGEST else maximum
        raise ValueError(f"{where}: {name} must be at most {most}; got {shown(number)}")
    return number


def shown(value: object) -> str:
    """Return `value` as errors show it: its repr, shortened if it is long, or its type where it cannot be shown."""
    try:
        text = repr(value)
    except Exception:  # of an object of the user's, or an integer of thousands of digits
        return f"an object of {type(value).__name__}"
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def real(where: str, name: str, value: object, minimum: float = -math.inf, maximum: float = math.inf) -> float:
    """Return `value` as a finite float from `minimum` to `maximum`; TypeError or ValueError else."""
    if isinstance(value, (np.generic, np.ndarray)):
        is_number = value.dtype.kind in "iuf" and value.ndim == 0
    else:
        is_number = not isinstance(value, (bool, str))
    if not is_number:
        raise TypeError(f"{where}: {name} must be a number; got {shown(value)}")
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        raise TypeError(f"{where}: {name} must be a number; got {shown(value)}") from None
    except OverflowError:  # an integer of more than 308 digits
        number = math.inf
    if not math.isfinite(number) or not minimum <= number <= maximum:
        raise ValueError(f"{where}: {name} must be {_bounds(minimum, maximum)}; got {shown(value)}")
    return number


def _bounds(minimum: float, maximum: float) -> str:
    if math.isfinite(minimum) and math.isfinite(maximum):
        return f"from {minimum:g} to {maximum:g}"
    if math.isfinite(minimum):
        return f"finite and at least {minimum:g}"
    if math.isfinite(maximum):
        return f"finite and at most {maximum:g}"
    return "finite"


def boolean(where: str, name: str, value: object) -> bool:
    """Return `value` as a bool; TypeError if it is anything else."""
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{where}: {name} must be True or False; got {shown(value)}")
    return bool(value)


def text(where: str, name: str, value: object, default: str) -> str:
    """Return `value`, a string, or `default` where it is None or empty; TypeError else."""
    if value is not None and not isinstance(value, str):
        raise TypeError(f"{where}: {name} must be a string; got {shown(value)}")
    return value or default


def path(where: str, name: str, value: object) -> str:
    """Return the path that `value`, a string or an os.PathLike, stands for; TypeError else."""
    found = os.fspath(value) if isinstance(value, (str, os.PathLike)) else None
    if not isinstance(found, str):
        raise TypeError(f"{where}: {name} must be a path; got {shown(value)}")
    return found


def pair(where: str, name: str, value: object, minimum: int = 1) -> tuple[int, int]:
    """Return one integer doubled, or two integers, each at least `minimum`."""
    if isinstance(value, Sequence) and not isinstance(value, (str, bytes)):
        if len(value) != 2:
            raise ValueError(f"{where}: {name} must be one integer or two; got {shown(value)}")
        return integer(where, name, value[0], minimum), integer(where, name, value[1], minimum)
    number = integer(where, name, value, minimum)
    return number, number


def single(where: str, name: str, value: object, minimum: int = 1) -> tuple[int]:
    """Return one integer, or a sequence of one, as a tuple; it is at least `minimum`."""
    if isinstance(value, Sequence) and not isinstance(value, (str, bytes)):
        if len(value) != 1:
            raise ValueError(f"{where}: {name} must be one integer; got {shown(value)}")
        value = value[0]
    return (integer(where, name, value, minimum),)


def members(where: str, name: str, value: object, kind: str) -> tuple[Any, ...]:
    """Return what is in `value`, a list or the like, whose order counts; TypeError, which asks for `kind`, else."""
    if not isinstance(value, (str, bytes, Mapping, Set)) and isinstance(value, Iterable):
        try:
            return tuple(value)
        except TypeError:  # an array without axes
            pass
    raise TypeError(f"{where}: {name} must be {kind}; got {shown(value)}")


def integers(where: str, name: str, value: object, minimum: int = 1) -> tuple[int, ...]:
    """Return `value`, a sequence of integers of at least `minimum`, as a tuple."""
    return tuple(integer(where, name, size, minimum) for size in members(where, name, value, "a tuple of integers"))


def choice(where: str, name: str, value: T, valid: Iterable[T]) -> T:
    """Return the one of `valid` that `value` is; ValueError that lists them else."""
    valid = tuple(valid)
    # Other objects, arrays for one, may answer a comparison by anything.
    plain = value is None or isinstance(value, (str, int, float, np.bool_, np.integer, np.floating))
    for option in valid if plain else ():
        if value == option:
            return option
    listed = ", ".join(repr(option) for option in valid)
    raise ValueError(f"{where}: {name} must be one of {listed}; got {shown(value)}")


def floating(where: str, dtype: Any) -> np.dtype[Any]:
    """Return `dtype` as float32 or float64 (None is float32); TypeError else."""
    resolved = dtype_of(np.float32 if dtype is None else dtype)
    if resolved not in (np.dtype(np.float32), np.dtype(np.float64)):
        raise TypeError(f"{where}: dtype must be 'float32' or 'float64'; got {shown(dtype)}")
    return resolved


def dtype_of(value: Any) -> np.dtype[Any]:
    """Return the dtype that `value` stands for, that of objects where it stands for none."""
    try:
        found: np.dtype[Any] = np.dtype(value)
    except Exception:  # NumPy raises whatever reading the description of a dtype comes to
        found = np.dtype(object)
    return found
