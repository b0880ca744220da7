"""Adadelta."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gpunet import arguments
from gpunet.backend.arrays import Array
from gpunet.ops.rmsprop import adadelta
from gpunet.optimizers.base import Optimizer
from gpunet.optimizers.settings import Rate


class Adadelta(Optimizer):
    """v = rho v + (1 - rho) g^2, s = sqrt(d + epsilon) g / sqrt(v + epsilon), d = rho d + (1 - rho) s^2.

    And w -= learning_rate s. Zeiler 2012, "ADADELTA: an adaptive learning rate method".

        model.compile(optimizer=Adadelta(1.0), loss="mse")
    """

    slot_names = ("accumulated_grad", "accumulated_delta_var")
    element_wise = True

    def __init__(
        self,
        learning_rate: Rate = 0.001,
        rho: float = 0.95,
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
        self.rho = arguments.real("Adadelta", "rho", rho, minimum=0, maximum=1)
        self.epsilon = arguments.real("Adadelta", "epsilon", epsilon, minimum=0)

    def update(self, w: Array, gradient: Array, slots: Mapping[str, Array]) -> None:
        squares, deltas = slots["accumulated_grad"], slots["accumulated_delta_var"]
        adadelta(w, gradient, squares, deltas, self._learning_rate, self.rho, self.epsilon)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"rho": self.rho, "epsilon": self.epsilon}
