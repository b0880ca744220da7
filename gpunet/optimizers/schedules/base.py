"""What every schedule of learning rates is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Self

from gpunet import arguments
from gpunet.ops.learning_rate import Formula, rate_at


class LearningRateSchedule(ABC):
    """rate = schedule(step), for the step after `step` = 0, 1, 2, ... others.

    An own schedule is a subclass with `__call__`, which gets an int and returns a number, and `get_config`:

        class Halving(LearningRateSchedule):
            def __call__(self, step):
                return 0.1 / 2 ** (step // 1000)

            def get_config(self):
                return {}

    It is called on the host, before every step. So is any other function given as learning rate, without an argument.
    The number is copied to the device, where a captured step finds it like any learning rate; what is here computes its
    rate on the device, in the captured step itself.
    """

    @abstractmethod
    def __call__(self, step: int) -> float:
        """Return the learning rate after `step` steps."""

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments, in JSON's types."""
        raise NotImplementedError(f"{type(self).__name__}: get_config must be defined for the schedule to be saved")

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """Return the schedule that `get_config` described."""
        return cls(**config)


class KnownSchedule(LearningRateSchedule):
    """A schedule whose formula a kernel computes, from `numbers`, which do not change."""

    formula: ClassVar[Formula]

    def __init__(self, name: str | None, default: str) -> None:
        self.name = arguments.text(type(self).__name__, "name", name, default)
        self.numbers: tuple[float, ...] = ()

    def __call__(self, step: int) -> float:
        return rate_at(self.formula, self.numbers, step)

    @property
    def is_overridden(self) -> bool:
        """Whether a subclass computes the rate in its own way."""
        return type(self).__call__ is not KnownSchedule.__call__

    def _real(self, name: str, value: object, minimum: float = 0.0) -> float:
        return arguments.real(type(self).__name__, name, value, minimum=minimum)

    def _steps(self, name: str, value: object) -> float:
        """Return a number of steps, more than 0."""
        number = self._real(name, value)
        if number < 1e-9:  # the quotient of the largest step and this is finite then
            raise ValueError(f"{type(self).__name__}: {name} must be at least 1e-09; got {arguments.shown(value)}")
        return number
