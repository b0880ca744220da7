"""Random inputs and targets that a model takes, for where only the time counts."""

from __future__ import annotations

import math

import numpy as np

from gpunet.backend.arrays import HostArray, Shape
from gpunet.layers.shapes import Dims
from gpunet.training.trainer import Trainer

_ADDRESSABLE = 2**63 - 1  # bytes
_DRAWN_BYTES = 8  # of a random number


def random_inputs(model: Trainer, n: int) -> list[HostArray]:
    """Return `n` samples of each input, normal numbers, the same at every call; ValueError if a size is not known."""
    rng = _random()
    shapes = [_known(model, "input", shape, n) for shape in model.input_shapes]
    return [rng.standard_normal(shape).astype(model.dtype) for shape in shapes]


def random_targets(model: Trainer, n: int) -> list[HostArray]:
    """Return `n` targets as the losses of the compiled model take them: labels, or distributions over the last axis."""
    model.check_compiled(model.where)
    rng = _random()
    targets = []
    for head in model.objective.targeted:
        shape = _known(model, "output", head.shape, n)
        if head.loss is not None and head.loss.sparse_targets:
            classes = shape[getattr(head.loss, "axis", -1)]
            size = tuple(size or n for size in head.loss.loss_shape(shape))
            targets.append(head.loss.prepare_targets(rng.integers(classes, size=size), shape, model.dtype))
            continue
        parts = rng.random(shape)
        parts = (parts / parts.sum(axis=-1, keepdims=True)).astype(model.dtype)
        targets.append(parts if head.loss is None else head.loss.prepare_targets(parts, shape, model.dtype))
    return targets


def _random() -> np.random.Generator:
    return np.random.default_rng(0)


def _known(model: Trainer, which: str, shape: Dims, n: int) -> Shape:
    sizes = [size for size in shape[1:] if size is not None]
    if len(sizes) < len(shape) - 1:
        raise ValueError(f"{model.where}: sizes of the {which} must be known but for the batch; got {shape}")
    most = _ADDRESSABLE // (_DRAWN_BYTES * math.prod(sizes))
    if n > most:
        raise ValueError(f"{model.where}: batch_size must be at most {most} for an {which} of {shape}; got {n}")
    return (n, *sizes)
