"""Inputs and outputs in the form in which a user gives them: one thing, a list of them, or a dict by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from gpunet import arguments
from gpunet.layers.symbolic import SymbolicTensor


def flat(structure: Any) -> list[Any]:
    """Return what is in a structure, in order; a dict's in that of its sorted keys.

    >>> flat({"b": 2, "a": 1})
    [1, 2]
    """
    if isinstance(structure, dict):
        return [structure[key] for key in sorted(structure)]
    return list(structure) if isinstance(structure, (list, tuple)) else [structure]


def packed(structure: Any, values: Sequence[Any]) -> Any:
    """Return `values`, in the order of `flat`, in the form of `structure`; one alone in a list is not wrapped.

    >>> packed({"b": None, "a": None}, [1, 2])
    {'a': 1, 'b': 2}
    """
    if isinstance(structure, dict):
        return dict(zip(sorted(structure), values, strict=True))
    return list(values) if len(values) > 1 else values[0]


def mapped(structure: Any, function: Callable[[Any], Any]) -> Any:
    """Return the structure of what `function` makes of each thing."""
    if isinstance(structure, dict):
        return {key: function(value) for key, value in structure.items()}
    return [function(one) for one in structure] if isinstance(structure, (list, tuple)) else function(structure)


def tensors(where: str, name: str, structure: Any) -> list[SymbolicTensor]:
    """Return the symbolic tensors in a structure; TypeError for anything else, ValueError for none."""
    found = flat(structure)
    for one in found:
        if not isinstance(one, SymbolicTensor):
            raise TypeError(
                f"{where}: {name} must be symbolic tensors, one, or a list or dict of them; got {arguments.shown(one)}"
            )
    if not found:
        raise ValueError(f"{where}: {name} must have a tensor; got none")
    return found
