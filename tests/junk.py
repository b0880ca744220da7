"""Arguments of wrong types and values, for tests that hand them to everything public.

With GPUNET_TEST_LONG=1 tests that draw examples draw many more of them, and other ones at every run.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from typing import Any

import checks
import hypothesis
import numpy as np
from hypothesis import strategies as st

import gpunet

LONG_FACTOR = 40


class Odd:
    """An object that is nothing, and cannot be compared."""

    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("Odd cannot be compared")

    def __repr__(self) -> str:
        return "<Odd>"


class Silent:
    """An object that cannot be shown."""

    def __repr__(self) -> str:
        raise RuntimeError("Silent cannot be shown")


def _counting() -> Iterator[int]:
    yield from (1, 2)


_OBJECTS: tuple[Callable[[], Any], ...] = (
    *(object, Odd, dict, set, list, tuple, lambda: int, lambda: list, lambda: Odd, lambda: gpunet.Dense),
    *(lambda: len, lambda: lambda: 1, lambda: lambda *_, **__: None, lambda: iter([1]), _counting, lambda: range(3)),
    *(lambda: Path("x"), lambda: date(2020, 1, 1), lambda: ValueError("x"), lambda: ..., lambda: NotImplemented),
    *(lambda: gpunet.Dense(3), lambda: gpunet.optimizers.SGD(), lambda: gpunet.losses.MeanSquaredError()),
    *(lambda: gpunet.callbacks.Callback(), lambda: np, lambda: np.float32, lambda: slice(1)),
)
_PLAIN: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 7, 2**31, 2**63, -(2**63), 10**30, 10**400),
    *(0.0, -0.0, 0.5, -2.5, 1.0, 1e-320, 1e308),
    *(float("nan"), float("inf"), -float("inf"), 1j, "", "a", "relu", "1", "None", "a/b", "\x00", "\ud800", b"x"),
    *((), (1,), (1, 2), (1, 2, 3), (0,), (-1,), (None,), ("a",), (2.5,), (1, "a"), ((1, 2), (3, 4)), (10**30, 10**30)),
    *([], [1], [1, 2], [None, None], [[1], [2, 3]], [[]], ["a", "b"], [True, False], [float("nan")]),
    *({"a": 1}, {1: 2}, {"class_name": "Dense"}, {"class_name": 3, "config": {}}, {"class_name": "L2", "config": 3}),
    *({"class_name": "SGD", "config": {"units": 3}}, {"class_name": [], "config": []}, {"config": {}}, {1, 2}),
    *({"class_name": "function", "config": "f"}, {"class_name": "Adam", "config": {"epsilon": "x"}}),
    *({"class_name": "relu", "config": {"max_value": "x"}}, {"class_name": "Dense", "config": {}}, frozenset("ab")),
)
_ARRAYS: tuple[Callable[[], Any], ...] = (
    *(lambda: np.zeros(3), lambda: np.ones((2, 2), np.float32), lambda: np.array(1), lambda: np.array([2])),
    *(lambda: np.zeros((0, 3)), lambda: np.array("a"), lambda: np.array([None]), lambda: np.array([1j])),
    *(lambda: np.array(float("nan")), lambda: np.float32(0.5), lambda: np.float64("nan"), lambda: np.int8(-3)),
    *(lambda: np.bool_(True), lambda: np.str_("a"), lambda: np.datetime64("2020"), lambda: np.uint64(2**63)),
    *(lambda: np.ma.masked_array([1.0], [True]), lambda: np.zeros(2, "i4,f4"), lambda: np.longdouble(1)),
)
# What an error, or Hypothesis, cannot write down: Python refuses to write thousands of digits.
_UNSHOWABLE: tuple[Callable[[], Any], ...] = (Silent, lambda: -(10**5000), lambda: [10**5000], lambda: (Silent(),))
_SHOWABLE: tuple[Callable[[], Any], ...] = (*_OBJECTS, *((lambda value=value: value) for value in _PLAIN), *_ARRAYS)

MAKERS = (*_SHOWABLE, *_UNSHOWABLE)

_LEAVES = st.one_of(
    *(st.none(), st.booleans(), st.integers(), st.floats(), st.complex_numbers(), st.text(max_size=5)),
    *(st.binary(max_size=3), st.sampled_from(_SHOWABLE).map(lambda make: make())),
)
VALUES: st.SearchStrategy[Any] = st.recursive(
    _LEAVES,
    lambda inner: st.one_of(
        *(st.lists(inner, max_size=3), st.tuples(inner, inner), st.dictionaries(st.text(max_size=3), inner, max_size=2))
    ),
    max_leaves=5,
)


def examples(number: int) -> hypothesis.settings:
    """Return settings for `number` examples, the same at every run; in the long mode more, and others each time."""
    if checks.LONG:
        return hypothesis.settings(max_examples=number * LONG_FACTOR, derandomize=False)
    return hypothesis.settings(max_examples=number)


def public(module: Any) -> list[tuple[str, Callable[..., Any]]]:
    """Return the classes that a public module of gpunet offers, abstract ones left out, and `Input`."""
    found = []
    own = [name for name, value in vars(module).items() if getattr(value, "__module__", "") == module.__name__]
    for name in getattr(module, "__all__", own):
        value = getattr(module, name)
        if name.startswith("_"):
            continue
        if (inspect.isclass(value) and not inspect.isabstract(value)) or value is gpunet.Input:
            found.append((f"{module.__name__.removeprefix('gpunet.')}.{name}", value))
    return list({value: (title, value) for title, value in reversed(found)}.values())  # each under its first name


def arguments_of(constructor: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """Return the parameters of a constructor by name, those that it hands to its base classes by ** among them."""
    found: dict[str, inspect.Parameter] = {}
    makers = [cls.__init__ for cls in constructor.__mro__] if isinstance(constructor, type) else [constructor]
    for make in makers:
        parameters = list(inspect.signature(make).parameters.values())
        for parameter in parameters:
            if parameter.name != "self" and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
                found.setdefault(parameter.name, parameter)
        if all(parameter.kind is not parameter.VAR_KEYWORD for parameter in parameters):
            break
    return found


def names(error: Exception, argument: str) -> bool:
    """Tell whether the message of `error` has `argument` among its words."""
    return re.search(rf"(?<!\w){re.escape(argument)}(?!\w)", str(error)) is not None


def shown(value: Any) -> str:
    """Return `value` in words, for a message."""
    try:
        return f"{value!r:.80}"
    except Exception:
        return f"an object of {type(value).__name__}"
