"""Layers that hand on what they are given: Identity, ActivityRegularization."""

from __future__ import annotations

from typing import Any, Unpack

from gpunet.backend.arrays import Array
from gpunet.layers.base import CommonArguments, Forward
from gpunet.layers.element_wise import ElementWise
from gpunet.regularizers import L1L2


class Identity(ElementWise):
    """y = x."""

    def forward(self, x: Array, training: bool) -> Forward:
        return x, lambda dy: dy


class ActivityRegularization(ElementWise):
    """y = x, and (l1 sum |x| + l2 sum x^2) / batch joins the loss; ValueError unless l1 and l2 are at least 0."""

    def __init__(self, l1: float = 0.0, l2: float = 0.0, **kwargs: Unpack[CommonArguments]) -> None:
        penalty = L1L2(l1=l1, l2=l2)
        super().__init__(activity_regularizer=penalty, **kwargs)
        self.l1, self.l2 = penalty.l1, penalty.l2

    def forward(self, x: Array, training: bool) -> Forward:
        return x, lambda dy: dy

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        del config["activity_regularizer"]
        return {**config, "l1": self.l1, "l2": self.l2}
