"""Work that Ctrl-C must not cut in two."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any, TypeAlias

Handler: TypeAlias = Callable[[int, FrameType | None], Any]


class Gate:
    """A handler of SIGINT that passes each one on to `handler`, at once or when the blocks that are run let it."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self._closed = self._ajar = 0  # blocks that let none through, and those that let the second through
        self._waiting = 0

    def handle(self, number: int, frame: FrameType | None) -> None:
        """What Python calls; see `signal.signal`."""
        self._waiting += 1
        if frame is None or frame.f_globals is not globals():  # else a block is just about to begin or to end
            self._pass_on(frame)

    def _pass_on(self, frame: FrameType | None) -> None:
        while not self._closed and self._waiting > (1 if self._ajar else 0):
            count, self._waiting = self._waiting, 0
            for _ in range(count):
                self._handler(signal.SIGINT, frame)

    def close(self, ajar: bool) -> None:
        """Begin a block."""
        if ajar:
            self._ajar += 1
        else:
            self._closed += 1

    def open(self, ajar: bool) -> None:
        """End a block, and pass on what has waited for it; so it may raise KeyboardInterrupt."""
        if ajar:
            self._ajar -= 1
        else:
            self._closed -= 1
        self._pass_on(sys._getframe(1))


_installed: Gate | None = None  # whose handler is that of SIGINT


def install(gate: Gate) -> None:
    """Let `gate` handle SIGINT, in the main thread."""
    global _installed
    signal.signal(signal.SIGINT, gate.handle)
    _installed = gate


def uninstall(before: Handler) -> None:
    """Let `before` handle SIGINT, as it did before `install`."""
    global _installed
    _installed = None
    signal.signal(signal.SIGINT, before)


class undisturbed:  # noqa: N801 - as contextlib's own
    """A `with` block inside which Ctrl-C, or whatever the program has SIGINT do, waits until the block has ended.

    For what must be done wholly or not at all, and is short. Only the main thread is ever interrupted; in others this
    does nothing.
    """

    __slots__ = ("_before", "_gate")
    _ajar = False

    def __init__(self) -> None:
        self._gate: Gate | None = None
        self._before: Handler | None = None  # the handler that the block has put its own in the place of

    def __enter__(self) -> None:
        if threading.get_ident() != threading.main_thread().ident:
            return
        if _installed is not None:
            _installed.close(self._ajar)
            self._gate = _installed
            return
        handler: Any = signal.getsignal(signal.SIGINT)
        if callable(handler):
            self._gate, self._before = Gate(handler), handler
            self._gate.close(self._ajar)
            install(self._gate)

    def __exit__(self, *_: object) -> None:
        if self._gate is None:
            return
        if self._before is not None:
            uninstall(self._before)
        self._gate.open(self._ajar)


class patient(undisturbed):  # noqa: N801
    """A `with` block as `undisturbed`, but a second Ctrl-C does not wait: for what may be long, such as a step."""

    __slots__ = ()
    _ajar = True
