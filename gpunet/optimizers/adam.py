"""Adam and AdamW."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from gpunet import arguments
from gpunet.backend.arrays import Array, Device, to_device
from gpunet.ops.adam import adam
from gpunet.ops.optimizer_step import advance_adam
from gpunet.optimizers.base import Optimizer
from gpunet.optimizers.moments import BELOW_ONE
from gpunet.optimizers.settings import Rate


class Adam(Optimizer):
    """m += (1 - beta_1)(g - m), v += (1 - beta_2)(g^2 - v), w -= a m / (sqrt(v) + epsilon).

    a = learning_rate sqrt(1 - beta_2^t) / (1 - beta_1^t) in step t = 1, 2, ..., so that epsilon is the "epsilon hat"
    just before section 2.1 of Kingma & Ba 2015, "Adam: a method for stochastic optimization", as in Keras. With
    `amsgrad` the greatest v so far is divided by: Reddi et al. 2018, "On the convergence of Adam and beyond".

        model.compile(optimizer=Adam(1e-3), loss="sparse_categorical_crossentropy")
    """

    element_wise = True

    def __init__(
        self,
        learning_rate: Rate = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        amsgrad: bool = False,
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
        where = type(self).__name__
        self.beta_1 = arguments.real(where, "beta_1", beta_1, minimum=0, maximum=BELOW_ONE)
        self.beta_2 = arguments.real(where, "beta_2", beta_2, minimum=0, maximum=BELOW_ONE)
        self.epsilon = arguments.real(where, "epsilon", epsilon, minimum=0)
        self.amsgrad = arguments.boolean(where, "amsgrad", amsgrad)
        self.slot_names = ("momentum", "velocity", "velocity_hat") if self.amsgrad else ("momentum", "velocity")
        self._step_size: Array = np.zeros(1)

    def make_state(self, device: Device) -> None:
        self._step_size = to_device(self._step_size, device)

    def advance(self) -> None:
        betas = self.beta_1, self.beta_2
        advance_adam(self._iterations, self._learning_rate, self._step_size, *betas, self._every)

    def update(self, w: Array, gradient: Array, slots: Mapping[str, Array]) -> None:
        momentum, velocity, hat = slots["momentum"], slots["velocity"], slots.get("velocity_hat")
        adam(w, gradient, momentum, velocity, self._step_size, self.beta_1, self.beta_2, self.epsilon, hat)

    def get_config(self) -> dict[str, Any]:
        betas = {"beta_1": self.beta_1, "beta_2": self.beta_2}
        return super().get_config() | betas | {"epsilon": self.epsilon, "amsgrad": self.amsgrad}


class AdamW(Adam):
    """As Adam, but before it w decays by weight_decay learning_rate w, whatever the gradient.

    Loshchilov & Hutter 2019, "Decoupled weight decay regularization".

        model.compile(optimizer=AdamW(1e-3, weight_decay=0.01), loss="sparse_categorical_crossentropy")
    """

    def __init__(
        self,
        learning_rate: Rate = 0.001,
        weight_decay: float = 0.004,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        amsgrad: bool = False,
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
        decay = arguments.real("AdamW", "weight_decay", weight_decay, minimum=0)
        own = beta_1, beta_2, epsilon, amsgrad
        clips = clipnorm, clipvalue, global_clipnorm
        averages = use_ema, ema_momentum, ema_overwrite_frequency
        scales = loss_scale_factor, gradient_accumulation_steps
        super().__init__(learning_rate, *own, decay, *clips, *averages, *scales, name)
