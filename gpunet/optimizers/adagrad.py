"""Adagrad."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gpunet import arguments
from gpunet.backend.arrays import Array
from gpunet.ops.rmsprop import adagrad
from gpunet.optimizers.base import Optimizer
from gpunet.optimizers.settings import Rate


class Adagrad(Optimizer):
    """v += g^2, w -= learning_rate g / sqrt(v + epsilon); v is `initial_accumulator_value` at first.

    Duchi et al. 2011, "Adaptive subgradient methods for online learning and stochastic optimization".

        model.compile(optimizer=Adagrad(0.01), loss="mse")
    """

    slot_names = ("accumulator",)
    element_wise = True

    def __init__(
        self,
        learning_rate: Rate = 0.001,
        initial_accumulator_value: float = 0.1,
        epsilon: float = 1e-7,
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
        first = arguments.real("Adagrad", "initial_accumulator_value", initial_accumulator_value, minimum=0)
        self.initial_accumulator_value = first
        self.initial_slots = {"accumulator": first}
        self.epsilon = arguments.real("Adagrad", "epsilon", epsilon, minimum=0)

    def update(self, w: Array, gradient: Array, slots: Mapping[str, Array]) -> None:
        adagrad(w, gradient, slots["accumulator"], self._learning_rate, self.epsilon)

    def get_config(self) -> dict[str, Any]:
        own = {"initial_accumulator_value": self.initial_accumulator_value, "epsilon": self.epsilon}
        return super().get_config() | own
