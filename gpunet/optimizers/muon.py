"""Muon."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from gpunet import arguments
from gpunet.backend.arrays import Array, Device, device_of, empty, to_device
from gpunet.ops import arithmetic
from gpunet.ops.activation import Activation
from gpunet.ops.adam import adam
from gpunet.ops.dense import dense, dense_input_gradient, dense_kernel_gradient
from gpunet.ops.muon import combine, muon, muon_momentum
from gpunet.ops.optimizer_step import advance_adam
from gpunet.optimizers.base import GroupOptimizer
from gpunet.optimizers.flat import FlatParameters
from gpunet.optimizers.moments import BELOW_ONE
from gpunet.optimizers.settings import Rate
from gpunet.parameters import Parameter


class Muon(GroupOptimizer):
    """m += g - (1 - momentum) m, x = g + momentum m or, without `nesterov`, m; w -= learning_rate c o(x).

    For matrices; o(x) is nearly the closest orthogonal matrix to x: x over its norm, then `ns_steps` times
    x = muon_a x + (muon_b A + muon_c A A) x with A = x x' (Newton and Schulz's iteration). c is rms_rate times the root
    of the longer side, or 1 if `rms_rate` is None. Parameters with another number of axes, those whose path has
    'embedding' in it (with `exclude_embeddings`) and those whose path one of the patterns in `exclude_layers` finds are
    trained by AdamW, with learning_rate adam_lr_ratio and `adam_weight_decay`. Jordan et al. 2024, "Muon: an optimizer
    for hidden layers in neural networks"; Liu et al. 2025, "Muon is scalable for LLM training".

        model.compile(optimizer=Muon(0.02, exclude_layers=["logits"]), loss="mse")
    """

    slot_names = ("momentum", "velocity")

    def __init__(
        self,
        learning_rate: Rate = 0.001,
        adam_beta_1: float = 0.9,
        adam_beta_2: float = 0.999,
        adam_weight_decay: float | None = 0.004,
        epsilon: float = 1e-7,
        weight_decay: float | None = 0.004,
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
        use_ema: bool = False,
        ema_momentum: float = 0.99,
        ema_overwrite_frequency: int | None = None,
        loss_scale_factor: float | None = None,
        gradient_accumulation_steps: int | None = None,
        name: str | None = None,
        exclude_layers: Sequence[str] | None = None,
        exclude_embeddings: bool = True,
        muon_a: float = 3.4445,
        muon_b: float = -4.7750,
        muon_c: float = 2.0315,
        adam_lr_ratio: float = 1,
        momentum: float = 0.95,
        ns_steps: int = 5,
        nesterov: bool = True,
        rms_rate: float | None = 0.2,
    ) -> None:
        clips = clipnorm, clipvalue, global_clipnorm
        averages = use_ema, ema_momentum, ema_overwrite_frequency
        scales = loss_scale_factor, gradient_accumulation_steps
        super().__init__(learning_rate, weight_decay, *clips, *averages, *scales, name)
        self.adam_beta_1 = _real("adam_beta_1", adam_beta_1, maximum=BELOW_ONE)
        self.adam_beta_2 = _real("adam_beta_2", adam_beta_2, maximum=BELOW_ONE)
        self.adam_weight_decay = None if adam_weight_decay is None else _real("adam_weight_decay", adam_weight_decay)
        self.epsilon = _real("epsilon", epsilon)
        self.exclude_layers = _patterns(exclude_layers)
        self.exclude_embeddings = arguments.boolean("Muon", "exclude_embeddings", exclude_embeddings)
        self.muon_a = arguments.real("Muon", "muon_a", muon_a)
        self.muon_b = arguments.real("Muon", "muon_b", muon_b)
        self.muon_c = arguments.real("Muon", "muon_c", muon_c)
        self.adam_lr_ratio = _real("adam_lr_ratio", adam_lr_ratio)
        self.momentum = _real("momentum", momentum, maximum=1)
        self.ns_steps = arguments.integer("Muon", "ns_steps", ns_steps, 0)
        self.nesterov = arguments.boolean("Muon", "nesterov", nesterov)
        self.rms_rate = None if rms_rate is None else _real("rms_rate", rms_rate)
        self._step_size: Array = np.zeros(1)

    def make_state(self, device: Device) -> None:
        self._step_size = to_device(self._step_size, device)

    def _takes_adam(self, parameter: Parameter) -> bool:
        path = parameter.path
        is_embedding = self.exclude_embeddings and "embedding" in path.lower()
        return len(parameter.shape) != 2 or is_embedding or any(re.search(one, path) for one in self.exclude_layers)

    def _decay(self, parameter: Parameter) -> float:
        chosen = self.adam_weight_decay if self._takes_adam(parameter) else self.weight_decay
        return 0.0 if self._is_undecayed(parameter) else chosen or 0.0

    def advance(self) -> None:
        betas = self.adam_beta_1, self.adam_beta_2
        advance_adam(self._iterations, self._learning_rate, self._step_size, *betas, self._every)

    def update_group(self, group: FlatParameters, runs: Sequence[slice]) -> None:
        numbers = self.adam_beta_1, self.adam_beta_2, self.epsilon
        step_size = self._step_size
        if self.adam_lr_ratio != 1:
            step_size = arithmetic.scale(step_size, self.adam_lr_ratio)
        for parameter in group.parameters:
            w, g, slots = parameter.value, parameter.gradient, group.slots_by_path[parameter.path]
            if g is None:
                continue
            if self._takes_adam(parameter):
                adam(w, g, slots["momentum"], slots["velocity"], step_size, *numbers)
            else:
                x, factor = muon_momentum(g, slots["momentum"], self.momentum, self.nesterov)
                factors = self.muon_a, self.muon_b, self.muon_c
                x = _orthogonalized(arithmetic.scale_by(x, factor), self.ns_steps, *factors)
                times = 1.0 if self.rms_rate is None else math.sqrt(max(x.shape)) * self.rms_rate
                muon(w, x, self._learning_rate, times)

    def get_config(self) -> dict[str, Any]:
        # An explicit None would be taken for the default.
        own = ("adam_beta_1", "adam_beta_2", "adam_weight_decay", "epsilon", "weight_decay", "exclude_embeddings")
        matrices = ("muon_a", "muon_b", "muon_c", "adam_lr_ratio", "momentum", "ns_steps", "nesterov", "rms_rate")
        config = {name: getattr(self, name) for name in (*own, *matrices)}
        return super().get_config() | config | {"exclude_layers": list(self.exclude_layers)}


def _orthogonalized(x: Array, steps: int, a: float, b: float, c: float) -> Array:
    """Return x after `steps` times x = a x + (b A + c A A) x, A = x x'; or x = a x + x (b A + c A A), A = x' x.

    Whichever A is smaller: the result is the same.
    """
    linear, (rows, columns) = Activation.LINEAR, x.shape
    for _ in range(steps):
        if rows <= columns:
            product = dense_input_gradient(x, x, x, linear)
        else:
            product = empty((columns, columns), x.dtype, device_of(x))
            dense_kernel_gradient(x, x, x, linear, product, None)
        square, _ = dense(product, product, None, linear)
        combine(product, square, b, c)
        y = dense(square, x, None, linear)[0] if rows <= columns else dense(x, square, None, linear)[0]
        combine(x, y, a, 1.0)
        x = y
    return x


def _real(name: str, value: object, maximum: float = math.inf) -> float:
    return arguments.real("Muon", name, value, minimum=0, maximum=maximum)


def _patterns(value: object) -> tuple[str, ...]:
    """Return what `exclude_layers` is, regular expressions."""
    found = () if value is None else arguments.members("Muon", "exclude_layers", value, "a list of patterns")
    for pattern in found:
        try:
            re.compile(arguments.text("Muon", "exclude_layers", pattern, ""))
        except re.error as error:
            raise ValueError(
                f"Muon: exclude_layers must be regular expressions; got {arguments.shown(pattern)}: {error}"
            ) from None
    return found
