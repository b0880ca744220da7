"""Adam."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gpunet import arguments
from gpunet.backend.arrays import Array, to_device
from gpunet.ops.adam import adam
from gpunet.ops.optimizer_step import advance_adam
from gpunet.optimizers.base import Optimizer
from gpunet.parameters import Parameter

_BELOW_ONE = float(np.nextafter(1, 0))  # beta = 1 would keep the moments at 0 and divide by 0


class Adam(Optimizer):
    """m += (1 - beta_1)(g - m), v += (1 - beta_2)(g^2 - v), w -= a m / (sqrt(v) + epsilon).

    a = learning_rate sqrt(1 - beta_2^t) / (1 - beta_1^t) in step t = 1, 2, ..., so that epsilon is the "epsilon hat"
    just before section 2.1 of Kingma & Ba 2015, "Adam: a method for stochastic optimization", as in Keras.

        model.compile(optimizer=Adam(1e-3), loss="sparse_categorical_crossentropy")
    """

    slot_names = ("momentum", "velocity")
    element_wise = True

    def __init__(
        self,
        learning_rate: float = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        *,
        weight_decay: float | None = None,
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(
            learning_rate,
            weight_decay=weight_decay,
            clipnorm=clipnorm,
            clipvalue=clipvalue,
            global_clipnorm=global_clipnorm,
            name=name,
        )
        self.beta_1 = arguments.real("Adam", "beta_1", beta_1, minimum=0, maximum=_BELOW_ONE)
        self.beta_2 = arguments.real("Adam", "beta_2", beta_2, minimum=0, maximum=_BELOW_ONE)
        self.epsilon = arguments.real("Adam", "epsilon", epsilon, minimum=0)
        self._step_size: Array = np.zeros(1)

    def build(self, parameters: Sequence[Parameter]) -> None:
        super().build(parameters)
        if parameters:
            self._step_size = to_device(self._step_size, parameters[0].device)

    def advance(self) -> None:
        advance_adam(self._iterations, self._learning_rate, self._step_size, self.beta_1, self.beta_2)

    def update(self, w: Array, gradient: Array, slots: Mapping[str, Array]) -> None:
        momentum, velocity, step_size = slots["momentum"], slots["velocity"], self._step_size
        adam(w, gradient, momentum, velocity, step_size, self.beta_1, self.beta_2, self.epsilon)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"beta_1": self.beta_1, "beta_2": self.beta_2, "epsilon": self.epsilon}
