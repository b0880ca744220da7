"""RMSprop."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gpunet import arguments
from gpunet.backend.arrays import Array
from gpunet.ops.rmsprop import rmsprop
from gpunet.optimizers.base import Optimizer
from gpunet.optimizers.settings import Rate


class RMSprop(Optimizer):
    """v = rho v + (1 - rho) g^2, w -= learning_rate g / sqrt(v + epsilon).

    With `centered` the square of a mean a = rho a + (1 - rho) g is subtracted from v in the root; with `momentum` w
    changes by m = momentum m + that step. Tieleman & Hinton 2012, "Neural networks for machine learning", lecture 6.5.

        model.compile(optimizer=RMSprop(1e-3, momentum=0.9), loss="mse")
    """

    element_wise = True

    def __init__(
        self,
        learning_rate: Rate = 0.001,
        rho: float = 0.9,
        momentum: float = 0.0,
        epsilon: float = 1e-7,
        centered: bool = False,
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
        self.rho = arguments.real("RMSprop", "rho", rho, minimum=0, maximum=1)
        self.momentum = arguments.real("RMSprop", "momentum", momentum, minimum=0, maximum=1)
        self.epsilon = arguments.real("RMSprop", "epsilon", epsilon, minimum=0)
        self.centered = arguments.boolean("RMSprop", "centered", centered)
        others = (*("momentum",) * (self.momentum > 0), *("average_gradient",) * self.centered)
        self.slot_names = ("velocity", *others)

    def update(self, w: Array, gradient: Array, slots: Mapping[str, Array]) -> None:
        velocity, average, momentum = (slots.get(name) for name in ("velocity", "average_gradient", "momentum"))
        assert velocity is not None
        numbers = self.rho, self.momentum, self.epsilon
        rmsprop(w, gradient, velocity, average, momentum, self._learning_rate, *numbers)

    def get_config(self) -> dict[str, Any]:
        own = {"rho": self.rho, "momentum": self.momentum, "epsilon": self.epsilon, "centered": self.centered}
        return super().get_config() | own
