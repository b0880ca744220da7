"""Adafactor."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from gpunet import arguments
from gpunet.backend.arrays import Array, Device, to_device
from gpunet.ops.adafactor import adafactor
from gpunet.ops.optimizer_step import advance_adafactor
from gpunet.optimizers.base import Optimizer
from gpunet.optimizers.settings import Rate

_SMALLEST = float(np.finfo(np.float32).tiny)


class Adafactor(Optimizer):
    """w -= max(epsilon_2, rms(w)) min(learning_rate, 1 / sqrt(t)) s / max(1, rms(s) / clip_threshold), s = g / sqrt(v).

    In step t = 1, 2, ..., with v = (1 - d) v + d (g^2 + epsilon_1), d = t^beta_2_decay. Of a matrix (the last two axes
    of w, if both are longer than 1) only the means of v along rows and columns are kept, and v is their product over
    the mean of all. `relative_step` is taken for Keras's sake: the rate is never more than 1 / sqrt(t) there either.
    Shazeer & Stern 2018, "Adafactor: adaptive learning rates with sublinear memory cost".

        model.compile(optimizer=Adafactor(0.01), loss="mse")
    """

    slot_names = ("velocity",)

    def __init__(
        self,
        learning_rate: Rate = 0.001,
        beta_2_decay: float = -0.8,
        epsilon_1: float = 1e-30,
        epsilon_2: float = 1e-3,
        clip_threshold: float = 1.0,
        relative_step: bool = True,
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
        self.beta_2_decay = arguments.real("Adafactor", "beta_2_decay", beta_2_decay, maximum=0)
        self.epsilon_1 = arguments.real("Adafactor", "epsilon_1", epsilon_1, minimum=0)
        self.epsilon_2 = arguments.real("Adafactor", "epsilon_2", epsilon_2, minimum=0)
        self.clip_threshold = arguments.real("Adafactor", "clip_threshold", clip_threshold, minimum=_SMALLEST)
        self.relative_step = arguments.boolean("Adafactor", "relative_step", relative_step)
        self._factors: Array = np.zeros(3)

    def make_state(self, device: Device) -> None:
        self._factors = to_device(self._factors, device)

    def advance(self) -> None:
        advance_adafactor(self._iterations, self._learning_rate, self._factors, self.beta_2_decay, self._every)

    def update(self, w: Array, gradient: Array, slots: Mapping[str, Array]) -> None:
        numbers = self.epsilon_1, self.epsilon_2, self.clip_threshold
        adafactor(w, gradient, slots["velocity"], self._factors, *numbers)

    def get_config(self) -> dict[str, Any]:
        epsilons = {"epsilon_1": self.epsilon_1, "epsilon_2": self.epsilon_2}
        rest = {"clip_threshold": self.clip_threshold, "relative_step": self.relative_step}
        return super().get_config() | {"beta_2_decay": self.beta_2_decay} | epsilons | rest
