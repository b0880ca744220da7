"""Random inputs and targets that a model takes, for where only the time counts."""

from __future__ import annotations

import math

import numpy as np

from gpunet.backend.arrays import HostArray, Shape
from gpunet.training.trainer import Trainer

_ADDRESSABLE = 2**63 - 1  # bytes
_DRAWN_BYTES = 8  # of a random number


def random_inputs(model: Trainer, n: int) -> HostArray:
    """Return `n` inputs of normal numbers, the same at every call; ValueError if a size of the input is not known."""
    return _random().standard_normal(_known(model, "input", n)).astype(model.dtype)


def random_targets(model: Trainer, n: int) -> HostArray:
    """Return `n` targets as the loss of the compiled model takes them: labels, or distributions over the last axis."""
    loss = model.check_compiled(model.where)
    shape = _known(model, "output", n)
    if loss.sparse_targets:
        return loss.prepare_targets(_random().integers(shape[-1], size=shape[:-1]), shape, model.dtype)
    parts = _random().random(shape)
    return loss.prepare_targets(parts / parts.sum(axis=-1, keepdims=True), shape, model.dtype)


def _random() -> np.random.Generator:
    return np.random.default_rng(0)


def _known(model: Trainer, which: str, n: int) -> Shape:
    shape = model.input_shape if which == "input" else model.output_shape
    sizes = [size for size in shape[1:] if size is not None]
    if len(sizes) < len(shape) - 1:
        raise ValueError(f"{model.where}: sizes of the {which} must be known but for the batch; got {shape}")
    most = _ADDRESSABLE // (_DRAWN_BYTES * math.prod(sizes))
    if n > most:
        raise ValueError(f"{model.where}: batch_size must be at most {most} for an {which} of {shape}; got {n}")
    return (n, *sizes)
