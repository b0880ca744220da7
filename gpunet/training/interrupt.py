"""Ctrl-C between steps: the model is never left in the middle of an update."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Self, TypeVar

from gpunet.backend.interrupts import Gate, install, uninstall

T = TypeVar("T")


class Interruption:
    """A `with` block in which Ctrl-C waits for `check`, which then raises KeyboardInterrupt.

    It does not wait while data is fetched (`at_once`, `between`): that may be code of the user's, which takes any time.
    Nor does a second Ctrl-C wait, but for the end of an update or the like (backend/interrupts.py). Only the main
    thread can be interrupted, and a program that handles SIGINT in its own way keeps doing so.
    """

    def __init__(self) -> None:
        self._wanted = False
        self._fetching = False
        self._installed = False
        self._gate = Gate(self._note)

    def __enter__(self) -> Self:
        in_main_thread = threading.current_thread() is threading.main_thread()
        if in_main_thread and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            self._installed = True
            install(self._gate)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._installed:
            self._gate.close(ajar=False)  # a second one waits for this to be done
            uninstall(signal.default_int_handler)
            self._gate.open(ajar=False)
        if kind is None:
            self.check()  # pressed after the last step

    def check(self) -> None:
        """Raise KeyboardInterrupt if Ctrl-C was pressed since the block began."""
        if self._wanted:
            raise KeyboardInterrupt

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """In this `with` block, in which no step runs, Ctrl-C does not wait."""
        self._fetching = True
        try:
            yield
        finally:
            self._fetching = False

    def between(self, items: Iterable[T]) -> Iterator[T]:
        """Yield `items`; while one is fetched Ctrl-C does not wait."""
        iterator = iter(items)
        while True:
            with self.at_once():
                try:
                    item = next(iterator)
                except StopIteration:
                    return
            yield item

    def _note(self, number: int, frame: FrameType | None) -> None:
        leaving = frame is not None and frame.f_code is Interruption.__exit__.__code__  # and must give SIGINT back
        if (self._wanted or self._fetching) and not leaving:
            raise KeyboardInterrupt
        self._wanted = True
