"""The loops of fit, evaluate and predict over batches, with their callbacks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING

import numpy as np

from gpunet.backend.arrays import Array, assign, device_of, empty, to_host
from gpunet.training.callback import CallbackList, Logs
from gpunet.training.feeding import Batch, Feed
from gpunet.training.interrupt import Interruption
from gpunet.training.step import Step
from gpunet.training.step import predict as predict_batch

if TYPE_CHECKING:
    from gpunet.training.trainer import Trainer


def train(
    model: Trainer,
    step: Step,
    feed: Feed,
    validation: Feed | None,
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
                with _batches(feed, interruption) as batches:
                    if batches is None:
                        break
                    logs = _train_epoch(model, step, batches, epoch, callbacks, interruption)
                if validation is not None and validated(epoch):
                    values = evaluate(step, validation, callbacks, interruption)
                    logs |= {f"val_{name}": value for name, value in values.items()}
                callbacks.call("on_epoch_end", epoch, logs)
                interruption.check()
                if model.stop_training:
                    break
    finally:
        callbacks.call("on_train_end", logs)


def _train_epoch(
    model: Trainer,
    step: Step,
    batches: Iterator[Batch],
    epoch: int,
    callbacks: CallbackList,
    interruption: Interruption,
) -> Logs:
    step.reset(0)
    callbacks.call("on_epoch_begin", epoch, {})
    for number, batch in enumerate(batches):
        callbacks.call("on_train_batch_begin", number, {})
        step.train(batch)
        logs = step.results() if callbacks.wants_logs("on_train_batch_end") else {}
        callbacks.call("on_train_batch_end", number, logs)
        interruption.check()
        if model.stop_training:
            break
    return step.results()


def evaluate(step: Step, feed: Feed, callbacks: CallbackList, interruption: Interruption | None = None) -> Logs:
    """Return the means of loss and metrics over one epoch; nothing if `feed` has no more batches."""
    with _batches(feed, interruption) as batches:
        if batches is None:
            return {}
        step.reset()
        callbacks.call("on_test_begin", {})
        for number, batch in enumerate(batches):
            callbacks.call("on_test_batch_begin", number, {})
            step.test(batch)
            logs = step.results() if callbacks.wants_logs("on_test_batch_end") else {}
            callbacks.call("on_test_batch_end", number, logs)
            if interruption is not None:
                interruption.check()
    logs = step.results()
    callbacks.call("on_test_end", logs)
    return logs


def predict(model: Trainer, feed: Feed, callbacks: CallbackList, on_device: bool) -> Array:
    """Return the outputs of one epoch, on the host or, with `on_device`, where they were computed."""
    callbacks.call("on_predict_begin", {})
    outputs: list[Array] = []
    with _batches(feed, None) as batches:
        assert batches is not None, "a new feed has a batch"
        for number, batch in enumerate(batches):
            callbacks.call("on_predict_batch_begin", number, {})
            y = predict_batch(model, *batch.take())
            outputs.append(_copied(y) if on_device else _on_host(y))
            callbacks.call("on_predict_batch_end", number, {"outputs": outputs[-1]})
    callbacks.call("on_predict_end", {})
    return _joined(outputs) if on_device else np.concatenate(outputs)


@contextmanager
def _batches(feed: Feed, interruption: Interruption | None) -> Iterator[Iterator[Batch] | None]:
    """Give the batches of an epoch, or None; what they hold open is closed when the block is left."""
    with nullcontext() if interruption is None else interruption.at_once():
        batches = feed.epoch()
    try:
        yield batches if batches is None or interruption is None else interruption.between(batches)
    finally:
        if batches is not None:
            batches.close()


def _on_host(y: Array) -> Array:
    """Return a copy: a network that only reshapes returns a view of its input, which the next batch overwrites."""
    host = to_host(y)
    return host.copy() if host is y else host


def _copied(y: Array) -> Array:
    copy = empty(y.shape, y.dtype, device_of(y))
    assign(copy, y)
    return copy


def _joined(outputs: list[Array]) -> Array:
    """Return `outputs` of a device one after another."""
    n = sum(len(y) for y in outputs)
    joined = empty((n, *outputs[0].shape[1:]), outputs[0].dtype, device_of(outputs[0]))
    start = 0
    for y in outputs:
        assign(joined[start : start + len(y)], y)
        start += len(y)
    return joined
