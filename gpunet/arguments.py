"""Checks of arguments, one wording for all: `<where>: <argument> must <rule>; got <value>`."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

import numpy as np

T = TypeVar("T")


def integer(where: str, name: str, value: object, minimum: int = 1, maximum: int | None = None) -> int:
    """Return `value` as an int from `minimum` to `maximum`; TypeError or ValueError else."""
    if isinstance(value, (bool, np.bool_)) or not hasattr(value, "__index__"):
        raise TypeError(f"{where}: {name} must be an integer; got {value!r}")
    number = operator.index(value)
    if number < minimum or (maximum is not None and number > maximum):
        bounds = f"at least {minimum}" if maximum is None else f"from {minimum} to {maximum}"
        raise ValueError(f"{where}: {name} must be {bounds}; got {number}")
    return number


def real(where: str, name: str, value: object, minimum: float = -math.inf, maximum: float = math.inf) -> float:
    """Return `value` as a finite float from `minimum` to `maximum`; TypeError or ValueError else."""
    if isinstance(value, (bool, np.bool_, str)) or not hasattr(value, "__float__"):
        raise TypeError(f"{where}: {name} must be a number; got {value!r}")
    number = float(value)
    if not math.isfinite(number) or not minimum <= number <= maximum:
        raise ValueError(f"{where}: {name} must be {_bounds(minimum, maximum)}; got {value!r}")
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
        raise TypeError(f"{where}: {name} must be True or False; got {value!r}")
    return bool(value)


def pair(where: str, name: str, value: object, minimum: int = 1) -> tuple[int, int]:
    """Return one integer doubled, or two integers, each at least `minimum`."""
    if isinstance(value, Sequence) and not isinstance(value, str):
        if len(value) != 2:
            raise ValueError(f"{where}: {name} must be one integer or two; got {value!r}")
        return integer(where, name, value[0], minimum), integer(where, name, value[1], minimum)
    number = integer(where, name, value, minimum)
    return number, number


def shape(where: str, name: str, value: object) -> tuple[int, ...]:
    """Return `value`, a sequence of integers of at least 1, as a tuple."""
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise TypeError(f"{where}: {name} must be a tuple of integers; got {value!r}")
    return tuple(integer(where, name, size) for size in value)


def choice(where: str, name: str, value: T, valid: Iterable[T]) -> T:
    """Return `value` if it is among `valid`; ValueError that lists them else."""
    valid = tuple(valid)
    if value not in valid:
        listed = ", ".join(repr(option) for option in valid)
        raise ValueError(f"{where}: {name} must be one of {listed}; got {value!r}")
    return value


def floating(where: str, dtype: Any) -> np.dtype[Any]:
    """Return `dtype` as float32 or float64 (None is float32); TypeError else."""
    resolved = dtype_of(np.float32 if dtype is None else dtype)
    if resolved not in (np.dtype(np.float32), np.dtype(np.float64)):
        raise TypeError(f"{where}: dtype must be 'float32' or 'float64'; got {dtype!r}")
    return resolved


def dtype_of(value: Any) -> np.dtype[Any]:
    """Return the dtype that `value` stands for, that of objects where it stands for none."""
    try:
        found: np.dtype[Any] = np.dtype(value)
    except Exception:  # NumPy raises whatever reading the description of a dtype comes to
        found = np.dtype(object)
    return found
