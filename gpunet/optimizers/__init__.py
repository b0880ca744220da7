"""Optimizers, with Keras's names, arguments and formulas.

model.compile(optimizer="adam")
model.compile(optimizer=optimizers.SGD(0.1, momentum=0.9))
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gpunet import identifiers
from gpunet.optimizers.adam import Adam
from gpunet.optimizers.base import Optimizer
from gpunet.optimizers.sgd import SGD

__all__ = ["SGD", "Adam", "Optimizer", "deserialize", "get", "serialize"]

_CHOICES: dict[str, type[Optimizer]] = {"adam": Adam, "sgd": SGD}


def get(identifier: Any, where: str = "optimizers.get: identifier") -> Optimizer:
    """Return the optimizer called `identifier`: 'adam', 'SGD' in any case, a class, an instance, a configuration.

    ValueError lists the valid names for an unknown one; TypeError for anything else.
    """
    if isinstance(identifier, str):
        identifier = identifier.lower()
    elif isinstance(identifier, Mapping) and isinstance(identifier.get("class_name"), str):
        identifier = {**identifier, "class_name": identifier["class_name"].lower()}
    return identifiers.resolve(where, identifier, Optimizer, _CHOICES)  # type: ignore[type-abstract]


def serialize(optimizer: Optimizer) -> dict[str, Any] | None:
    """Return the class name and configuration of `optimizer`, without its slots."""
    return identifiers.serialize(optimizer)


def deserialize(config: Any) -> Optimizer:
    """Return what `serialize` was given, not built."""
    return get(config, "optimizers.deserialize: config")
