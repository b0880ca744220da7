"""Lion."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from gpunet import arguments
from gpunet.backend.arrays import Array
from gpunet.ops.lion import lion
from gpunet.optimizers.base import Optimizer
from gpunet.optimizers.settings import Rate

_ABOVE_ZERO = float(np.nextafter(0, 1))  # beta_1 = 0 would leave the sign of the gradient alone


class Lion(Optimizer):
    """w -= learning_rate sign(beta_1 m + (1 - beta_1) g), then m = beta_2 m + (1 - beta_2) g.

    Chen et al. 2023, "Symbolic discovery of optimization algorithms".

        model.compile(optimizer=Lion(1e-4, weight_decay=0.1), loss="mse")
    """

    slot_names = ("momentum",)
    element_wise = True

    def __init__(
        self,
        learning_rate: Rate = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.99,
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
        self.beta_1 = arguments.real("Lion", "beta_1", beta_1, minimum=_ABOVE_ZERO, maximum=1)
        self.beta_2 = arguments.real("Lion", "beta_2", beta_2, minimum=0, maximum=1)

    def update(self, w: Array, gradient: Array, slots: Mapping[str, Array]) -> None:
        lion(w, gradient, slots["momentum"], self._learning_rate, self.beta_1, self.beta_2)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"beta_1": self.beta_1, "beta_2": self.beta_2}
