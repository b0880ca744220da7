"""Run training steps under a trace, and put together what it recorded."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from gpunet.backend import devices
from gpunet.backend.arrays import Device, synchronize
from gpunet.backend.clock import clock_of
from gpunet.inspection.profile import Profile, Row
from gpunet.inspection.roofline import Roofline, roofline_of
from gpunet.ops.trace import Call, part, recording
from gpunet.training.feeding import Batch, Feed, ready
from gpunet.training.step import Step
from gpunet.training.trainer import Trainer

# Steps: the first compiles kernels and makes the optimizer's slots; what `fit` runs is captured in the third.
_WARM_UP = 4


@dataclass(frozen=True)
class _Traced:
    """One step under a trace: its calls, the begin and the length of each, and the time outside of them, in seconds."""

    calls: list[Call]
    begins: list[float]
    seconds: list[float]
    outside: float

    @property
    def kinds(self) -> list[tuple[Any, ...]]:
        """What identifies the calls, without their times."""
        return [call[: Call._fields.index("begin")] for call in self.calls]


def measure(model: Trainer, eager: Step, fitting: Step, feed: Feed, steps: int) -> Profile:
    """Return the profile of training steps, which change the model, each on the first batch of an epoch of `feed`.

    `eager` runs the ops one by one, and is traced; `fitting` is the step that `fit` uses.
    """
    device, batch_size = model.device, 0

    def run() -> None:
        nonlocal batch_size
        with _first_batch(model, feed) as batch:
            with part("data"):
                arrays = batch.take()
            batch_size = len(arrays[0])
            eager.train(ready(arrays))

    def run_as_fit_does() -> None:
        with _first_batch(model, feed) as batch:
            fitting.train(batch)

    for _ in range(_WARM_UP):
        run()
        run_as_fit_does()
    untraced, traced = [], []
    for _ in range(steps):  # in turns, so that what else the machine does disturbs both alike
        untraced.append(_untraced_seconds(run_as_fit_does, device))
        traced.append(_trace(run, device))
    alike = [one for one in traced if one.kinds == traced[-1].kinds]  # an own layer may not do the same at every step
    outside = _median(one.outside for one in alike)
    limits = roofline_of(device, model.dtype)
    rows = _rows(alike, outside, limits)
    return Profile(
        model=model.name,
        device=str(device),
        device_name=devices.examine(device).name,
        batch_size=batch_size,
        dtype=model.dtype,
        steps=len(alike),
        step_seconds=_median(untraced),
        outside_seconds=outside,
        outside_share=1 - sum(row.share for row in rows),
        roofline=limits,
        rows=tuple(sorted(rows, key=lambda row: row.seconds, reverse=True)),
    )


@contextmanager
def _first_batch(model: Trainer, feed: Feed) -> Iterator[Batch]:
    """Give the first batch of an epoch; ValueError if there are no epochs any more."""
    batches = feed.epoch()
    if batches is None:
        raise ValueError(f"{model.where}.profile: x must make batches more than once; got one that is used up")
    with closing(batches):
        with part("data"):
            batch = next(batches)
        yield batch


def _untraced_seconds(run: Callable[[], None], device: Device) -> float:
    start = time.perf_counter()
    run()
    synchronize(device)
    return time.perf_counter() - start


def _trace(run: Callable[[], None], device: Device) -> _Traced:
    clock = clock_of(device)
    with recording(clock) as trace:
        start, begin = time.perf_counter(), clock.mark()
        run()
        synchronize(device)
        wall = time.perf_counter() - start
    seconds = [trace.seconds(call) for call in trace.calls]
    begins = [clock.seconds(begin, call.begin) for call in trace.calls]
    # A GPU may run behind the host: then the trace's own time is hidden, and there is nothing to take away.
    outside = max(wall - trace.own_seconds - sum(seconds), 0.0)
    return _Traced(trace.calls, begins, seconds, outside)


def _rows(traced: list[_Traced], outside: float, limits: Roofline) -> list[Row]:
    """Return the rows in the order of the calls; the median of each call is taken over the steps."""
    smallest = 1e-9  # seconds: a clock may see nothing pass
    seconds = [max(_median(times), smallest) for times in zip(*(one.seconds for one in traced), strict=True)]
    begins = [_median(times) for times in zip(*(one.begins for one in traced), strict=True)]
    total = sum(seconds) + outside
    return [
        Row(
            layer=call.layer,
            op=call.op,
            direction=call.direction,
            shapes=call.shapes,
            begin=begin,
            seconds=taken,
            flops=call.flops,
            bytes=call.bytes,
            share=taken / total,
            limit=limits.share(call.flops, call.bytes, taken),
        )
        for call, begin, taken in zip(traced[-1].calls, begins, seconds, strict=True)
    ]


def _median(values: Iterable[float]) -> float:
    return float(np.median(list(values)))
