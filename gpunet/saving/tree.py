"""Nested dicts and lists with arrays in them, taken apart into JSON and arrays by name, and put together again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from gpunet.backend.arrays import HostArray, is_array, to_host

_ARRAY = "array:"  # how a string begins that stands for an array, by its name
_TEXT = "text:"  # and one that stands for itself


def pack(where: str, tree: Any, arrays: dict[str, HostArray], prefix: str) -> Any:
    """Return `tree` in JSON's types; its arrays go into `arrays` as `prefix` and a number.

    TypeError, that begins with `where` and the place in the tree, for anything but dicts with strings as keys, lists,
    tuples (which become lists), numbers, strings, booleans, None and arrays.
    """
    if is_array(tree):
        name = f"{prefix}{len(arrays)}"
        arrays[name] = to_host(tree)
        return _ARRAY + name
    if isinstance(tree, np.generic):
        tree = tree.item()
    if isinstance(tree, str):
        return _TEXT + tree
    if tree is None or isinstance(tree, (bool, int, float)):
        return tree
    if isinstance(tree, (list, tuple)):
        return [pack(f"{where}[{number}]", value, arrays, prefix) for number, value in enumerate(tree)]
    if isinstance(tree, Mapping) and all(isinstance(key, str) for key in tree):
        return {key: pack(f"{where}[{key!r}]", value, arrays, prefix) for key, value in tree.items()}
    raise TypeError(f"{where} must be of JSON's types or an array, to be saved; got {type(tree).__name__}")


def unpack(tree: Any, arrays: Mapping[str, HostArray]) -> Any:
    """Return what `pack` took apart; ValueError for a string of another form, KeyError for an array that is missing."""
    if isinstance(tree, str):
        if tree.startswith(_TEXT):
            return tree.removeprefix(_TEXT)
        if not tree.startswith(_ARRAY):
            raise ValueError(f"a string must begin with {_TEXT!r} or {_ARRAY!r}; got {tree!r}")
        return arrays[tree.removeprefix(_ARRAY)]
    if isinstance(tree, list):
        return [unpack(value, arrays) for value in tree]
    if isinstance(tree, dict):
        return {key: unpack(value, arrays) for key, value in tree.items()}
    return tree
