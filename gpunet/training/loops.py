"""The loops of fit, evaluate and predict over batches, with their callbacks."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from gpunet.backend.arrays import HostArray, to_host
from gpunet.training.batches import Samples, Schedule
from gpunet.training.callback import CallbackList, Logs
from gpunet.training.interrupt import Interruption
from gpunet.training.step import Step
from gpunet.training.step import predict as predict_batch

if TYPE_CHECKING:
    from gpunet.training.trainer import Trainer


@dataclass(frozen=True)
class Data:
    """Samples, and which of them make up which batch."""

    samples: Samples
    schedule: Schedule

    @property
    def epoch_size(self) -> int:
        """The number of samples in an epoch that begins a pass."""
        n, size = len(self.samples), self.schedule.batch_size
        passes, batches = divmod(self.schedule.steps, -(-n // size))
        return passes * n + min(batches * size, n)


def train(
    model: Trainer,
    step: Step,
    data: Data,
    validation: Data | None,
    epochs: Iterable[int],
    validated: Callable[[int], bool],
    callbacks: CallbackList,
) -> None:
    """Train for `epochs`, evaluating on `validation` after those for which `validated` is true.

    However it ends, `on_train_end` is called, so that callbacks can close what they opened.
    """
    logs: Logs = {}
    try:
        callbacks.call("on_train_begin", {})
        with Interruption() as interruption:
            for epoch in epochs:
                logs = _train_epoch(model, step, data, epoch, callbacks, interruption)
                if validation is not None and validated(epoch):
                    values = evaluate(model, step, validation, callbacks, interruption)
                    logs |= {f"val_{name}": value for name, value in values.items()}
                callbacks.call("on_epoch_end", epoch, logs)
                interruption.check()
                if model.stop_training:
                    break
    finally:
        callbacks.call("on_train_end", logs)


def _train_epoch(
    model: Trainer, step: Step, data: Data, epoch: int, callbacks: CallbackList, interruption: Interruption
) -> Logs:
    step.reset()
    callbacks.call("on_epoch_begin", epoch, {})
    for number, indices in enumerate(data.schedule.epoch()):
        callbacks.call("on_train_batch_begin", number, {})
        step.train(*data.samples.labelled_batch(indices, model.dtype, model.device))
        logs = step.results() if callbacks.wants_logs("on_train_batch_end") else {}
        callbacks.call("on_train_batch_end", number, logs)
        interruption.check()
        if model.stop_training:
            break
    return step.results()


def evaluate(
    model: Trainer, step: Step, data: Data, callbacks: CallbackList, interruption: Interruption | None = None
) -> Logs:
    """Return the means of loss and metrics over one pass."""
    step.reset()
    callbacks.call("on_test_begin", {})
    for number, indices in enumerate(data.schedule.epoch()):
        callbacks.call("on_test_batch_begin", number, {})
        step.test(*data.samples.labelled_batch(indices, model.dtype, model.device))
        logs = step.results() if callbacks.wants_logs("on_test_batch_end") else {}
        callbacks.call("on_test_batch_end", number, logs)
        if interruption is not None:
            interruption.check()
    logs = step.results()
    callbacks.call("on_test_end", logs)
    return logs


def predict(model: Trainer, data: Data, callbacks: CallbackList) -> HostArray:
    """Return the outputs of one pass, on the host."""
    callbacks.call("on_predict_begin", {})
    outputs = []
    for number, indices in enumerate(data.schedule.epoch()):
        callbacks.call("on_predict_batch_begin", number, {})
        outputs.append(to_host(predict_batch(model, data.samples.batch(indices, model.dtype, model.device))))
        callbacks.call("on_predict_batch_end", number, {"outputs": outputs[-1]})
    callbacks.call("on_predict_end", {})
    return np.concatenate(outputs)
