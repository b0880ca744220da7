"""Nadam."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from gpunet import arguments
from gpunet.backend.arrays import Array, Device, to_device
from gpunet.ops.adam import nadam
from gpunet.ops.optimizer_step import advance_nadam
from gpunet.optimizers.base import Optimizer
from gpunet.optimizers.moments import BELOW_ONE
from gpunet.optimizers.settings import Rate


class Nadam(Optimizer):
    """m and v as Adam, w -= learning_rate (u' m / (1 - P u') + (1 - u) g / (1 - P)) / (sqrt(v / c) + epsilon).

    c = 1 - beta_2^t, u = beta_1 (1 - 0.96^t / 2) in step t = 1, 2, ..., u' is that of the
    next step, P the product of u so far. Dozat 2016, "Incorporating Nesterov momentum into Adam".

        model.compile(optimizer=Nadam(1e-3), loss="mse")
    """

    slot_names = ("momentum", "velocity")
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
        self.beta_1 = arguments.real("Nadam", "beta_1", beta_1, minimum=0, maximum=BELOW_ONE)
        self.beta_2 = arguments.real("Nadam", "beta_2", beta_2, minimum=0, maximum=BELOW_ONE)
        self.epsilon = arguments.real("Nadam", "epsilon", epsilon, minimum=0)
        self._factors: Array = np.zeros(6)

    def make_state(self, device: Device) -> None:
        self._factors = to_device(self._factors, device)

    def advance(self) -> None:
        advance_nadam(self._iterations, self._learning_rate, self._factors, self.beta_1, self.beta_2, self._every)

    def update(self, w: Array, gradient: Array, slots: Mapping[str, Array]) -> None:
        factors, numbers = self._factors, (self.beta_1, self.beta_2, self.epsilon)
        nadam(w, gradient, slots["momentum"], slots["velocity"], factors, *numbers)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"beta_1": self.beta_1, "beta_2": self.beta_2, "epsilon": self.epsilon}
