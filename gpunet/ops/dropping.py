"""Dropout where a matrix product ends, after ReLU (kernels/dropping.cuh): as ops/dropout.py, but without its mask."""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

from gpunet.backend.arrays import Array, Device, HostArray
from gpunet.ops.activation import Activation
from gpunet.ops.dropout import Key, check_key, check_rate, dropout, scale_of_kept, threshold_of

# threshold, factor, seed, purpose, counter, step
KernelArguments: TypeAlias = tuple[int, float, int, int, Array | None, int]


class Dropping(NamedTuple):
    """A share of about `rate` of the elements becomes 0, the others grow by 1 / (1 - rate); see `dropout`."""

    rate: float
    key: Key

    @property
    def scale(self) -> float:
        """1 / (1 - rate), which the gradient takes too."""
        return scale_of_kept(self.rate)


def kernel_arguments(where: str, dropping: Dropping | None, activation: Activation, device: Device) -> KernelArguments:
    """Return what kernels take for `dropping`, or for none; ValueError unless it comes after ReLU."""
    if dropping is None:
        return 0, 1.0, 0, 0, None, 0
    if activation is not Activation.RELU:
        raise ValueError(f"{where}: activation must be relu to drop elements after it; got {activation.value}")
    rate = check_rate(where, dropping.rate)
    return threshold_of(rate), dropping.scale, *check_key(where, dropping.key, device)


def drop_host(y: HostArray, dropping: Dropping | None) -> None:
    """Drop elements of y, in place."""
    if dropping is not None:
        y[...], _ = dropout(y, *dropping)
