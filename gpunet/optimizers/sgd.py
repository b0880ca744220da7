"""Stochastic gradient descent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gpunet import arguments
from gpunet.backend.arrays import Array
from gpunet.ops.sgd import sgd, sgd_momentum
from gpunet.optimizers.base import Optimizer
from gpunet.optimizers.settings import Rate


class SGD(Optimizer):
    """w -= learning_rate g; with momentum: velocity = momentum velocity - learning_rate g, w += velocity.

    With `nesterov` the last is w += momentum velocity - learning_rate g. `momentum` is from 0 to 1. Sutskever et al.
    2013, "On the importance of initialization and momentum in deep learning", in Keras's form.

        model.compile(optimizer=SGD(0.1, momentum=0.9, nesterov=True), loss="mse")
    """

    element_wise = True

    def __init__(
        self,
        learning_rate: Rate = 0.01,
        momentum: float = 0.0,
        nesterov: bool = False,
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
        self.momentum = arguments.real("SGD", "momentum", momentum, minimum=0, maximum=1)
        self.nesterov = arguments.boolean("SGD", "nesterov", nesterov)
        self.slot_names = ("momentum",) if self.momentum else ()

    def update(self, w: Array, gradient: Array, slots: Mapping[str, Array]) -> None:
        if self.momentum:
            sgd_momentum(w, gradient, slots["momentum"], self._learning_rate, self.momentum, self.nesterov)
        else:
            sgd(w, gradient, self._learning_rate)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"momentum": self.momentum, "nesterov": self.nesterov}
