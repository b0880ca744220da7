"""Adamax."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from gpunet import arguments
from gpunet.backend.arrays import Array, Device, to_device
from gpunet.ops.adam import adamax
from gpunet.ops.optimizer_step import advance_adam
from gpunet.optimizers.base import Optimizer
from gpunet.optimizers.moments import BELOW_ONE
from gpunet.optimizers.settings import Rate


class Adamax(Optimizer):
    """m += (1 - beta_1)(g - m), u = max(beta_2 u, |g|), w -= learning_rate m / ((1 - beta_1^t)(u + epsilon)).

    In step t = 1, 2, ... Section 7.1 of Kingma & Ba 2015, "Adam: a method for stochastic optimization".

        model.compile(optimizer=Adamax(0.002), loss="mse")
    """

    slot_names = ("momentum", "norm")
    element_wise = True

    def __init__(
        self,
        learning_rate: Rate = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
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
        self.beta_1 = arguments.real("Adamax", "beta_1", beta_1, minimum=0, maximum=BELOW_ONE)
        self.beta_2 = arguments.real("Adamax", "beta_2", beta_2, minimum=0, maximum=BELOW_ONE)
        self.epsilon = arguments.real("Adamax", "epsilon", epsilon, minimum=0)
        self._step_size: Array = np.zeros(1)

    def make_state(self, device: Device) -> None:
        self._step_size = to_device(self._step_size, device)

    def advance(self) -> None:
        # Adam's correction without that of v, for there is no mean to correct in u.
        advance_adam(self._iterations, self._learning_rate, self._step_size, self.beta_1, 0.0, self._every)

    def update(self, w: Array, gradient: Array, slots: Mapping[str, Array]) -> None:
        step_size, numbers = self._step_size, (self.beta_1, self.beta_2, self.epsilon)
        adamax(w, gradient, slots["momentum"], slots["norm"], step_size, *numbers)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"beta_1": self.beta_1, "beta_2": self.beta_2, "epsilon": self.epsilon}
