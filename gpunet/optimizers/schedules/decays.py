"""Schedules that fall by powers, quotients or pieces."""

from __future__ import annotations

from typing import Any

from gpunet import arguments
from gpunet.ops.learning_rate import Formula
from gpunet.optimizers.schedules.base import KnownSchedule


class _QuotientDecay(KnownSchedule):
    """What ExponentialDecay and InverseTimeDecay have in common."""

    def __init__(
        self,
        initial_learning_rate: float,
        decay_steps: float,
        decay_rate: float,
        staircase: bool = False,
        name: str | None = None,
    ) -> None:
        super().__init__(name, type(self).__name__)
        self.initial_learning_rate = self._real("initial_learning_rate", initial_learning_rate)
        self.decay_steps = self._steps("decay_steps", decay_steps)
        self.decay_rate = self._real("decay_rate", decay_rate)
        self.staircase = arguments.boolean(type(self).__name__, "staircase", staircase)
        self.numbers = (self.initial_learning_rate, self.decay_steps, self.decay_rate, float(self.staircase))

    def get_config(self) -> dict[str, Any]:
        return {
            "initial_learning_rate": self.initial_learning_rate,
            "decay_steps": self.decay_steps,
            "decay_rate": self.decay_rate,
            "staircase": self.staircase,
            "name": self.name,
        }


class ExponentialDecay(_QuotientDecay):
    """rate = initial_learning_rate decay_rate^(step / decay_steps), the exponent rounded down with `staircase`.

    >>> ExponentialDecay(0.5, decay_steps=10, decay_rate=0.5)(20)
    0.125
    """

    formula = Formula.EXPONENTIAL

    def __init__(
        self,
        initial_learning_rate: float,
        decay_steps: float,
        decay_rate: float,
        staircase: bool = False,
        name: str | None = "ExponentialDecay",
    ) -> None:
        super().__init__(initial_learning_rate, decay_steps, decay_rate, staircase, name)


class InverseTimeDecay(_QuotientDecay):
    """rate = initial_learning_rate / (1 + decay_rate step / decay_steps), the quotient rounded down with `staircase`.

    >>> InverseTimeDecay(0.5, decay_steps=10, decay_rate=0.5)(20)
    0.25
    """

    formula = Formula.INVERSE_TIME

    def __init__(
        self,
        initial_learning_rate: float,
        decay_steps: float,
        decay_rate: float,
        staircase: bool = False,
        name: str | None = "InverseTimeDecay",
    ) -> None:
        super().__init__(initial_learning_rate, decay_steps, decay_rate, staircase, name)


class PolynomialDecay(KnownSchedule):
    """rate = (initial_learning_rate - end_learning_rate) (1 - min(step / decay_steps, 1))^power + end_learning_rate.

    With `cycle`, decay_steps is multiplied by the smallest whole number that keeps the quotient at 1 or below.

    >>> PolynomialDecay(0.5, decay_steps=10, end_learning_rate=0.25)(5)
    0.375
    """

    formula = Formula.POLYNOMIAL

    def __init__(
        self,
        initial_learning_rate: float,
        decay_steps: float,
        end_learning_rate: float = 0.0001,
        power: float = 1.0,
        cycle: bool = False,
        name: str | None = "PolynomialDecay",
    ) -> None:
        super().__init__(name, "PolynomialDecay")
        self.initial_learning_rate = self._real("initial_learning_rate", initial_learning_rate)
        self.decay_steps = self._steps("decay_steps", decay_steps)
        self.end_learning_rate = self._real("end_learning_rate", end_learning_rate)
        self.power = self._real("power", power)
        self.cycle = arguments.boolean("PolynomialDecay", "cycle", cycle)
        rates = self.initial_learning_rate, self.decay_steps, self.end_learning_rate
        self.numbers = (*rates, self.power, float(self.cycle))

    def get_config(self) -> dict[str, Any]:
        return {
            "initial_learning_rate": self.initial_learning_rate,
            "decay_steps": self.decay_steps,
            "end_learning_rate": self.end_learning_rate,
            "power": self.power,
            "cycle": self.cycle,
            "name": self.name,
        }


class PiecewiseConstantDecay(KnownSchedule):
    """rate = values[k], where k is the number of `boundaries` that are smaller than step.

    `boundaries` grow; there is one value more.

    >>> schedule = PiecewiseConstantDecay([100, 200], [0.1, 0.01, 0.001])
    >>> schedule(100), schedule(101), schedule(201)
    (0.1, 0.01, 0.001)
    """

    formula = Formula.PIECES

    def __init__(self, boundaries: Any, values: Any, name: str | None = "PiecewiseConstant") -> None:
        super().__init__(name, "PiecewiseConstant")
        where = "PiecewiseConstantDecay"
        self.boundaries = [
            self._real("boundaries", one)
            for one in arguments.members(where, "boundaries", boundaries, "a list of numbers")
        ]
        self.values = [
            self._real("values", one) for one in arguments.members(where, "values", values, "a list of numbers")
        ]
        if len(self.values) != len(self.boundaries) + 1:
            raise ValueError(
                f"{where}: values must have one number more than boundaries, {len(self.boundaries) + 1}; got "
                f"{len(self.values)}"
            )
        if any(a >= b for a, b in zip(self.boundaries, self.boundaries[1:], strict=False)):
            raise ValueError(f"{where}: boundaries must grow; got {arguments.shown(self.boundaries)}")
        self.numbers = (float(len(self.boundaries)), *self.boundaries, *self.values)

    def get_config(self) -> dict[str, Any]:
        return {"boundaries": list(self.boundaries), "values": list(self.values), "name": self.name}
