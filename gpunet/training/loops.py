"""The loops of evaluate and predict over batches, with their callbacks; that of fit is in training/fitting.py."""

from __future__ import annotations

from collections.abc import Iterator
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


def evaluate(step: Step, feed: Feed, callbacks: CallbackList, interruption: Interruption | None = None) -> Logs:
    """Return the means of loss and metrics over one epoch; nothing if `feed` has no more batches."""
    with batches_of(feed, interruption) as batches:
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


def predict(model: Trainer, feed: Feed, callbacks: CallbackList, on_device: bool) -> list[Array]:
    """Return all outputs of one epoch, on the host or, with `on_device`, where they were computed."""
    callbacks.call("on_predict_begin", {})
    batches_made: list[list[Array]] = []
    with batches_of(feed, None) as batches:
        assert batches is not None, "a new feed has a batch"
        for number, batch in enumerate(batches):
            callbacks.call("on_predict_batch_begin", number, {})
            kept = [_copied(y) if on_device else _on_host(y) for y in predict_batch(model, *batch.take())]
            batches_made.append(kept)
            callbacks.call("on_predict_batch_end", number, {"outputs": kept if len(kept) > 1 else kept[0]})
    callbacks.call("on_predict_end", {})
    join = _joined if on_device else np.concatenate
    return [join(list(parts)) for parts in zip(*batches_made, strict=True)]


@contextmanager
def batches_of(feed: Feed, interruption: Interruption | None) -> Iterator[Iterator[Batch] | None]:
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
