"""What training a model takes of the memory of its device."""

from __future__ import annotations

import math
from functools import partial
from typing import NamedTuple

from gpunet.inspection.samples import random_inputs, random_targets
from gpunet.training.memory import bytes_of_step, layout_of, line_of
from gpunet.training.step import Step
from gpunet.training.trainer import Trainer


class MemoryUse(NamedTuple):
    """Bytes: of the weights, of gradients and optimizer slots, and of all arrays of a step at most at once."""

    weights: int
    optimizer: int
    step: int

    @property
    def total(self) -> int:
        return sum(self)


def memory_use(model: Trainer, step: Step, batch_size: int) -> MemoryUse:
    """Return what `step` takes on batches of `batch_size`, of which each part is run by itself."""
    layouts = [layout_of(array) for array in (*random_inputs(model, 1), *random_targets(model, 1))]
    bytes_of = partial(bytes_of_step, model, model.device, partial(step.rehearse, training=True), layouts)
    part = -(-batch_size // step.parts)
    taken = line_of(bytes_of, part).bytes(part)
    waiting = (batch_size - part) * sum(math.prod(shape) * dtype.itemsize for shape, dtype in layouts)
    assert model.optimizer is not None
    return MemoryUse(sum(weight.nbytes for weight in model.weights), model.optimizer.nbytes, taken + waiting)
