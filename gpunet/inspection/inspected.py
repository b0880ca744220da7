"""Inspected: a model that tells where its time goes."""

from __future__ import annotations

from typing import Any

from gpunet import arguments
from gpunet.inspection.measurement import measure
from gpunet.inspection.profile import Profile
from gpunet.inspection.unchanged import unchanged
from gpunet.inspection.warmup import WarmUp, warm_up
from gpunet.training import batches
from gpunet.training.trainer import Trainer


class Inspected(Trainer):
    """A model with `profile` and `warmup`; the public model classes derive from it."""

    def profile(self, x: Any, y: Any = None, batch_size: int | None = None, *, steps: int = 5) -> Profile:
        """Time each op of a training step on the first `batch_size` samples, over `steps` steps; return the Profile.

        The steps train the model, which is put back as it was, bit for bit: weights, optimizer, metrics and random
        streams. `batch_size` is 32 if None, or as many as there are. The limits that times are compared with are
        measured when they are first needed on a device, which takes a second.

        >>> model = Sequential([Input((8, 8, 1)), Flatten(), Dense(10, activation="softmax")])
        >>> model.compile("adam", loss="sparse_categorical_crossentropy")
        >>> profile = model.profile(x, y, batch_size=32)
        >>> profile.to_chrome_trace("step.json")
        """
        where = f"{self.where}.profile"
        size = batches.check_batch_size(where, "batch_size", batch_size)
        steps = arguments.integer(where, "steps", steps)
        samples = self._samples(where, x, y)
        step = self._new_step()
        with unchanged(self):
            return measure(self, step, samples, min(size, len(samples)), steps)

    def warmup(self, batch_size: int | None = None, last_batch_size: int | None = None) -> WarmUp:
        """Compile the kernels that training, evaluation and prediction in batches of `batch_size` (32) launch.

        Which kernels those are goes by the sizes: `last_batch_size` is that of a last, smaller batch, if there will be
        one. Training and evaluation take part if the model is compiled with a loss. The model must be built, and is
        left as it was. Returns what was made ready, and how long it took.

        >>> model = Sequential([Input((4,)), Dense(3)])
        >>> model.warmup(128).compiled
        []
        """
        where = f"{self.where}.warmup"
        sizes = [batches.check_batch_size(where, "batch_size", batch_size)]
        if last_batch_size is not None:
            sizes.append(batches.check_batch_size(where, "last_batch_size", last_batch_size))
        if not self.built:
            raise ValueError(f"{where}: the model must be built; call build(input_shape), or fit it")
        return warm_up(self, tuple(sizes))
