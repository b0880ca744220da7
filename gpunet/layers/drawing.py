"""The random numbers of layers: one draw of a stream for each forward pass in training."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from gpunet.backend.arrays import CPU, Device
from gpunet.backend.random import Stream
from gpunet.ops.dropout import Key
from gpunet.ops.optimizer_step import advance


@contextmanager
def next_draw(stream: Stream, device: Device) -> Iterator[Key]:
    """Give the key of the next draw to whoever draws on `device` inside the `with` block.

    On a GPU the step lies in its memory, so that a captured graph draws other numbers at every run.
    """
    if device == CPU:
        yield stream.next_key()
        return
    step = stream.counter_on(device)
    yield stream.seed, stream.purpose, step
    advance(step)
