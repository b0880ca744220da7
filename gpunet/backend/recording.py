"""Recording: what a step does on a device, to be compared with another run of it, or to be done again.

Where CUDA captures a stream itself, without running anything, the `emulated` device keeps a list: each launch and copy
runs and is noted, so that it can be run again on the same memory. What no graph can do again, above all reading or
writing the device from the host, ends a capture: on `cuda` by CaptureError at once, on `emulated` when the step, which
is being run after all, has come to its end.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from types import FrameType
from typing import Any


class CaptureError(RuntimeError):
    """Something happened that a graph cannot do again; `has_run` tells whether the step was run all the same."""

    has_run = False


@dataclass
class Recording:
    """`log` describes every launch of a kernel: its name, geometry, numbers and shapes; `actions` run all again.

    `runs` tells whether what is captured runs at the same time; `obstacle` then says why it cannot be run again.
    """

    capturing: bool
    runs: bool = True
    log: list[tuple[Any, ...]] = field(default_factory=list)
    actions: list[Callable[[], object]] = field(default_factory=list)
    obstacle: str = ""


_current: ContextVar[Recording | None] = ContextVar("gpunet_recording", default=None)


def current() -> Recording | None:
    """Return the recording of this thread, None if there is none."""
    return _current.get()


def capturing() -> Recording | None:
    """Return the recording of this thread if it is to be run again, else None."""
    recording = _current.get()
    return recording if recording is not None and recording.capturing else None


@contextmanager
def started(*, capture: bool, runs: bool = True) -> Iterator[Recording]:
    """Record what this thread does inside the `with` block; with `capture` in order to do it again."""
    recording = Recording(capture, runs)
    token = _current.set(recording)
    try:
        yield recording
    finally:
        _current.reset(token)


def note(action: Callable[[], object]) -> None:
    """Keep `action`, which has just been done on the emulated device, for the next run of what is captured."""
    recording = capturing()
    if recording is not None:
        recording.actions.append(action)


def refuse(what: str) -> None:
    """End the capture of a step, if one is being captured, because `what` cannot be done again."""
    recording = capturing()
    if recording is None:
        return
    reason = where(sys._getframe(1)) + what
    if not recording.runs:
        raise CaptureError(reason)
    recording.obstacle, recording.capturing = reason, False
    recording.actions.clear()


def where(frame: FrameType | None) -> str:
    """Return 'Dense 'dense': ' for the layer in whose forward or backward pass `frame` lies, "" if in none."""
    while frame is not None:
        layer: Any = frame.f_locals.get("self")
        if hasattr(type(layer), "forward_logits"):
            return f"{layer.where}: "
        frame = frame.f_back
    return ""
