"""Inspected: a model that tells where its time goes."""

from __future__ import annotations

from typing import Any

from gpunet import arguments
from gpunet.inspection.measurement import measure
from gpunet.inspection.memory import MemoryUse, memory_use
from gpunet.inspection.profile import Profile
from gpunet.inspection.warmup import WarmUp, warm_up
from gpunet.networks.turns import trains
from gpunet.training.intake import BATCH_SIZE, Batching
from gpunet.training.trainer import Trainer
from gpunet.training.unchanged import unchanged


class Inspected(Trainer):
    """A model with `profile`, `memory` and `warmup`; the public model classes derive from it."""

    @trains
    def profile(self, x: Any, y: Any = None, batch_size: int | None = None, *, steps: int = 5) -> Profile:
        """Time each op of a training step on the first batch, over `steps` steps; return the Profile.

        The steps train the model, which is put back as it was, bit for bit: weights, optimizer, metrics and random
        streams. x, y and `batch_size` are what `fit` takes. The limits that times are compared with are
        measured when they are first needed on a device, which takes a second.

        >>> model = Sequential([Input((8, 8, 1)), Flatten(), Dense(10, activation="softmax")])
        >>> model.compile("adam", loss="sparse_categorical_crossentropy")
        >>> profile = model.profile(x, y, batch_size=32)
        >>> profile.to_chrome_trace("step.json")
        """
        where = f"{self.where}.profile"
        size = None if batch_size is None else arguments.integer(where, "batch_size", batch_size)
        steps = arguments.integer(where, "steps", steps)
        feed = self._feed(where, x, y, Batching(size, steps=None))
        fitting, eager = self._new_step(), self._new_step(eager=True)
        with unchanged(self, self.optimizer, self.counted):
            return measure(self, eager, fitting, feed, steps)

    @trains
    def memory(self, batch_size: int | None = None) -> MemoryUse:
        """Return the bytes that training takes on the model's device: weights, optimizer, and a step's arrays at most.

        A step on `batch_size` (32) samples is run but for its update; where that is much, two smaller ones are, and the
        line through what they took is followed to `batch_size`, which holds within a tenth. Data sets that lie on the
        device, and arrays that NumPy or CuPy make by themselves in layers of your own, are not counted. The model must
        be built, and compiled with a loss, and is left as it was.

        >>> model = Sequential([Input((8, 8, 1)), Flatten(), Dense(10, activation="softmax")])
        >>> model.compile("adam", loss="sparse_categorical_crossentropy")
        >>> model.memory(1024).total < 2**20
        True
        """
        where = f"{self.where}.memory"
        size = BATCH_SIZE if batch_size is None else arguments.integer(where, "batch_size", batch_size)
        self.check_compiled(where)
        if not self.built:
            raise ValueError(f"{where}: the model must be built; call build(input_shape), or fit it")
        with unchanged(self, self.optimizer, self.counted):
            return memory_use(self, self._new_step(), size)

    @trains
    def warmup(self, batch_size: int | None = None, last_batch_size: int | None = None) -> WarmUp:
        """Compile the kernels that training, evaluation and prediction in batches of `batch_size` (32) launch.

        Which kernels those are goes by the sizes: `last_batch_size` is that of a last, smaller batch, if there will be
        one. Samples are taken to have the model's dtype. Training and evaluation take part if the model is compiled
        with a loss. The model must be built, and is left as it was. Returns what was made ready, and how long it took.

        >>> model = Sequential([Input((4,)), Dense(3)])
        >>> model.warmup(128).compiled
        []
        """
        where = f"{self.where}.warmup"
        given = {"batch_size": BATCH_SIZE if batch_size is None else batch_size, "last_batch_size": last_batch_size}
        sizes = [arguments.integer(where, name, size) for name, size in given.items() if size is not None]
        if not self.built:
            raise ValueError(f"{where}: the model must be built; call build(input_shape), or fit it")
        return warm_up(self, tuple(sizes))
