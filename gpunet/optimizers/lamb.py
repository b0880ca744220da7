"""Lamb."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gpunet import arguments
from gpunet.backend.arrays import Array, Device, to_device
from gpunet.ops.lamb import lamb
from gpunet.ops.optimizer_step import advance_lamb
from gpunet.optimizers.base import GroupOptimizer
from gpunet.optimizers.flat import FlatParameters
from gpunet.optimizers.moments import BELOW_ONE
from gpunet.optimizers.settings import Rate


class Lamb(GroupOptimizer):
    """m and v as Adam, s = m / (1 - beta_1^t) / (sqrt(v / (1 - beta_2^t)) + epsilon), w -= learning_rate (|w| / |s|) s.

    In step t = 1, 2, ... |w| and |s| are the norms of a parameter and its step; where one is 0 the quotient is 1. You
    et al. 2020, "Large batch optimization for deep learning: training BERT in 76 minutes".

        model.compile(optimizer=Lamb(1e-3), loss="mse")
    """

    slot_names = ("momentum", "velocity")

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
        self.beta_1 = arguments.real("Lamb", "beta_1", beta_1, minimum=0, maximum=BELOW_ONE)
        self.beta_2 = arguments.real("Lamb", "beta_2", beta_2, minimum=0, maximum=BELOW_ONE)
        self.epsilon = arguments.real("Lamb", "epsilon", epsilon, minimum=0)
        self._corrections: Array = np.zeros(2)

    def make_state(self, device: Device) -> None:
        self._corrections = to_device(self._corrections, device)

    def advance(self) -> None:
        advance_lamb(self._iterations, self._corrections, self.beta_1, self.beta_2, self._every)

    def update_group(self, group: FlatParameters, runs: Sequence[slice]) -> None:
        rates, numbers = (self._learning_rate, self._corrections), (self.beta_1, self.beta_2, self.epsilon)
        for run in runs:
            w, gradient, slots = group.parts(group.layout.span(run.start, run.stop))
            lamb(w, gradient, slots["momentum"], slots["velocity"], group.rules, run, *rates, *numbers)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"beta_1": self.beta_1, "beta_2": self.beta_2, "epsilon": self.epsilon}
