"""Schedules of learning rates, with Keras's names, arguments and formulas.

model.compile(optimizer=optimizers.SGD(schedules.ExponentialDecay(0.1, decay_steps=1000, decay_rate=0.9)))
"""

from __future__ import annotations

from typing import Any

from gpunet import identifiers
from gpunet.optimizers.schedules.base import LearningRateSchedule
from gpunet.optimizers.schedules.cosine import CosineDecay, CosineDecayRestarts
from gpunet.optimizers.schedules.decays import (
    ExponentialDecay,
    InverseTimeDecay,
    PiecewiseConstantDecay,
    PolynomialDecay,
)

__all__ = [
    "CosineDecay",
    "CosineDecayRestarts",
    "ExponentialDecay",
    "InverseTimeDecay",
    "LearningRateSchedule",
    "PiecewiseConstantDecay",
    "PolynomialDecay",
    "deserialize",
    "serialize",
]

_CHOICES: dict[str, type[LearningRateSchedule]] = {
    cls.__name__: cls
    for cls in (
        CosineDecay,
        CosineDecayRestarts,
        ExponentialDecay,
        InverseTimeDecay,
        PiecewiseConstantDecay,
        PolynomialDecay,
    )
}


def serialize(learning_rate_schedule: LearningRateSchedule) -> dict[str, Any] | None:
    """Return the class name and configuration of a schedule."""
    return identifiers.serialize(learning_rate_schedule)


def deserialize(config: Any, where: str = "schedules.deserialize: config") -> LearningRateSchedule:
    """Return the schedule that `serialize` described. ValueError lists the valid names for an unknown one."""
    return identifiers.resolve(where, config, LearningRateSchedule, _CHOICES)  # type: ignore[type-abstract]
