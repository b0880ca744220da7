"""Ftrl."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gpunet import arguments
from gpunet.backend.arrays import Array
from gpunet.ops.ftrl import ftrl
from gpunet.optimizers.base import Optimizer
from gpunet.optimizers.settings import Rate


class Ftrl(Optimizer):
    """s = v + g^2, l += g + 2 shrinkage w - (s^p - v^p) / r w, v = s, w = (clip(l, -l1, l1) - l) / q.

    q = s^p / r + 2 (l2 + beta / (2 r)), with r the learning rate, p = -learning_rate_power; l1, l2 and shrinkage are
    the strengths of regularization; v is `initial_accumulator_value` at first. McMahan et al. 2013, "Ad click
    prediction: a view from the trenches".

        model.compile(optimizer=Ftrl(0.1, l1_regularization_strength=0.01), loss="mse")
    """

    slot_names = ("accumulator", "linear")
    element_wise = True

    def __init__(
        self,
        learning_rate: Rate = 0.001,
        learning_rate_power: float = -0.5,
        initial_accumulator_value: float = 0.1,
        l1_regularization_strength: float = 0.0,
        l2_regularization_strength: float = 0.0,
        l2_shrinkage_regularization_strength: float = 0.0,
        beta: float = 0.0,
        weight_decay: float | None = None,
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
        use_ema: bool = False,
        ema_momentum: float = 0.99,
        ema_overwrite_frequency: int | None = None,
        loss_scale_factor: float | None = None,
        gradient_accumulation_steps: int | None = None,
        name: str | None = None,
    ) -> None:
        clips = clipnorm, clipvalue, global_clipnorm
        averages = use_ema, ema_momentum, ema_overwrite_frequency
        scales = loss_scale_factor, gradient_accumulation_steps
        super().__init__(learning_rate, weight_decay, *clips, *averages, *scales, name)

        def checked(name: str, value: object) -> float:
            return arguments.real("Ftrl", name, value, minimum=0)

        self.learning_rate_power = arguments.real("Ftrl", "learning_rate_power", learning_rate_power, maximum=0)
        self.initial_accumulator_value = checked("initial_accumulator_value", initial_accumulator_value)
        self.l1_regularization_strength = checked("l1_regularization_strength", l1_regularization_strength)
        self.l2_regularization_strength = checked("l2_regularization_strength", l2_regularization_strength)
        shrinkage = checked("l2_shrinkage_regularization_strength", l2_shrinkage_regularization_strength)
        self.l2_shrinkage_regularization_strength = shrinkage
        self.beta = checked("beta", beta)
        self.initial_slots = {"accumulator": self.initial_accumulator_value}

    def update(self, w: Array, gradient: Array, slots: Mapping[str, Array]) -> None:
        strengths = self.l1_regularization_strength, self.l2_regularization_strength
        numbers = (-self.learning_rate_power, *strengths, 2 * self.l2_shrinkage_regularization_strength, self.beta)
        ftrl(w, gradient, slots["accumulator"], slots["linear"], self._learning_rate, *numbers)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {
            "learning_rate_power": self.learning_rate_power,
            "initial_accumulator_value": self.initial_accumulator_value,
            "l1_regularization_strength": self.l1_regularization_strength,
            "l2_regularization_strength": self.l2_regularization_strength,
            "l2_shrinkage_regularization_strength": self.l2_shrinkage_regularization_strength,
            "beta": self.beta,
        }
