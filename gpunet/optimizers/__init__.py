"""Optimizers, with Keras's names, arguments and formulas.

model.compile(optimizer="adam")
model.compile(optimizer=optimizers.SGD(0.1, momentum=0.9))
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gpunet import identifiers
from gpunet.optimizers import schedules
from gpunet.optimizers.adadelta import Adadelta
from gpunet.optimizers.adafactor import Adafactor
from gpunet.optimizers.adagrad import Adagrad
from gpunet.optimizers.adam import Adam, AdamW
from gpunet.optimizers.adamax import Adamax
from gpunet.optimizers.base import Optimizer
from gpunet.optimizers.ftrl import Ftrl
from gpunet.optimizers.lamb import Lamb
from gpunet.optimizers.lion import Lion
from gpunet.optimizers.muon import Muon
from gpunet.optimizers.nadam import Nadam
from gpunet.optimizers.rmsprop import RMSprop
from gpunet.optimizers.sgd import SGD

__all__ = [
    "NAMES",
    "SGD",
    "Adadelta",
    "Adafactor",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "Ftrl",
    "Lamb",
    "Lion",
    "Muon",
    "Nadam",
    "Optimizer",
    "RMSprop",
    "deserialize",
    "get",
    "schedules",
    "serialize",
]

_CHOICES: dict[str, type[Optimizer]] = {
    cls.__name__.lower(): cls
    for cls in (*(Adadelta, Adafactor, Adagrad, Adam, AdamW, Adamax, Ftrl, Lamb, Lion, Muon, Nadam, RMSprop, SGD),)
}
NAMES = tuple(_CHOICES)


def get(identifier: Any, where: str = "optimizers.get: identifier") -> Optimizer:
    """Return the optimizer called `identifier`: 'adam', 'SGD' in any case, a class, an instance, a configuration.

    An own class is found by its name among the custom objects, and those that were registered. ValueError lists the
    valid names for an unknown one; TypeError for anything else.
    """
    if isinstance(identifier, str):
        identifier = _known_name(identifier)
    elif isinstance(identifier, Mapping) and isinstance(identifier.get("class_name"), str):
        identifier = {**identifier, "class_name": _known_name(identifier["class_name"])}
    return identifiers.resolve(where, identifier, Optimizer, _CHOICES)  # type: ignore[type-abstract]


def _known_name(name: str) -> str:
    """Return `name` in lower case, as ours are known; that of an own class as it is."""
    return name.lower() if identifiers.custom_object(name) is None else name


def serialize(optimizer: Optimizer) -> dict[str, Any] | None:
    """Return the class name and configuration of `optimizer`, without its slots."""
    return identifiers.serialize(optimizer)


def deserialize(config: Any) -> Optimizer:
    """Return what `serialize` was given, not built."""
    return get(config, "optimizers.deserialize: config")
