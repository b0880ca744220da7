"""Schedules that fall as half a cosine. Loshchilov & Hutter 2017, "SGDR: stochastic gradient descent with restarts"."""

from __future__ import annotations

from typing import Any

from gpunet.ops.learning_rate import Formula
from gpunet.optimizers.schedules.base import KnownSchedule


class CosineDecay(KnownSchedule):
    """rate = r ((1 - alpha) (1 + cos(pi q)) / 2 + alpha), q = min(step / decay_steps, 1), r = initial_learning_rate.

    With `warmup_target` the rate first goes, in `warmup_steps`, from initial_learning_rate to it in a straight line;
    then it is r, and steps count from there.

    >>> CosineDecay(0.5, decay_steps=10)(5)
    0.25
    """

    formula = Formula.COSINE

    def __init__(
        self,
        initial_learning_rate: float,
        decay_steps: float,
        alpha: float = 0.0,
        name: str | None = "CosineDecay",
        warmup_target: float | None = None,
        warmup_steps: float = 0,
    ) -> None:
        super().__init__(name, "CosineDecay")
        self.initial_learning_rate = self._real("initial_learning_rate", initial_learning_rate)
        self.decay_steps = self._steps("decay_steps", decay_steps)
        self.alpha = self._real("alpha", alpha)
        self.warmup_target = None if warmup_target is None else self._real("warmup_target", warmup_target)
        self.warmup_steps = self._real("warmup_steps", warmup_steps)
        target, warmup = self.warmup_target, self.warmup_steps
        if target is None:
            target, warmup = self.initial_learning_rate, 0.0
        self.numbers = (self.initial_learning_rate, self.decay_steps, self.alpha, target, warmup)

    def get_config(self) -> dict[str, Any]:
        return {
            "initial_learning_rate": self.initial_learning_rate,
            "decay_steps": self.decay_steps,
            "alpha": self.alpha,
            "name": self.name,
            "warmup_target": self.warmup_target,
            "warmup_steps": self.warmup_steps,
        }


class CosineDecayRestarts(KnownSchedule):
    """rate = initial_learning_rate ((1 - alpha) m_mul^k (1 + cos(pi q)) / 2 + alpha), q of period k being over.

    Period 0 has `first_decay_steps` steps, every other one `t_mul` times as many as the one before it; `t_mul` is at
    least 1.

    >>> schedule = CosineDecayRestarts(0.5, first_decay_steps=10, m_mul=0.5)
    >>> schedule(5), schedule(10), schedule(20)
    (0.25, 0.25, 0.125)
    """

    formula = Formula.RESTARTS

    def __init__(
        self,
        initial_learning_rate: float,
        first_decay_steps: float,
        t_mul: float = 2.0,
        m_mul: float = 1.0,
        alpha: float = 0.0,
        name: str | None = "SGDRDecay",
    ) -> None:
        super().__init__(name, "SGDRDecay")
        self.initial_learning_rate = self._real("initial_learning_rate", initial_learning_rate)
        self.first_decay_steps = self._steps("first_decay_steps", first_decay_steps)
        self.t_mul = self._real("t_mul", t_mul, minimum=1)
        self.m_mul = self._real("m_mul", m_mul)
        self.alpha = self._real("alpha", alpha)
        steps = self.initial_learning_rate, self.first_decay_steps
        self.numbers = (*steps, self.t_mul, self.m_mul, self.alpha)

    def get_config(self) -> dict[str, Any]:
        return {
            "initial_learning_rate": self.initial_learning_rate,
            "first_decay_steps": self.first_decay_steps,
            "t_mul": self.t_mul,
            "m_mul": self.m_mul,
            "alpha": self.alpha,
            "name": self.name,
        }
