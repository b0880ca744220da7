"""The parent's hold on a library's process: it asks, waits, and stops the process while others are timed."""

from __future__ import annotations

import contextlib
import ctypes
import os
import pickle
import select
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.rivals import Library

_FOLDER = Path(__file__).parents[1]
_PR_SET_PDEATHSIG = 1  # of linux/prctl.h
_CAN_STOP = hasattr(signal, "SIGSTOP")


class LibraryError(Exception):
    """A library could not do what it was asked; the message says why."""


class CrashError(LibraryError):
    """The process of a library is gone, or does not answer."""


class Worker:
    """The process of one library. While it is not asked anything it is stopped: no thread of its pools spins."""

    def __init__(self, library: Library, device: str, threads: int, timeout: float) -> None:
        self.library = library
        self._timeout = timeout
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the process
        command = [sys.executable, "-m", "bench.worker", library.name, device, str(threads)]
        environment = {**os.environ, **_thread_limits(threads), **library.environment}
        self._process = subprocess.Popen(
            command,
            cwd=_FOLDER,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            preexec_fn=_preparation(threads),
        )
        try:
            self.versions: dict[str, str] = self.ask("open", library.module, library.mode)
        except LibraryError:
            self.close()
            raise

    def ask(self, *command: Any) -> Any:
        """Return the answer to a command; LibraryError with the reason if there is none.

        After a CrashError nothing more can be asked: close the worker.
        """
        assert self._process.stdin is not None and self._process.stdout is not None
        self._signal("SIGCONT")
        try:
            pickle.dump(command, self._process.stdin)
            self._process.stdin.flush()
            if not select.select([self._process.stdout], [], [], self._timeout)[0]:
                raise CrashError(f"no answer to {command[0]} within {self._timeout:.0f} s")
            kind, value = pickle.load(self._process.stdout)
        except (EOFError, BrokenPipeError, pickle.UnpicklingError) as error:
            code = self._process.wait()
            raise CrashError(f"crashed in {command[0]} (exit {code}): {self._last_error()}") from error
        self._signal("SIGSTOP")
        if kind != "ok":
            raise LibraryError(value)
        return value

    def close(self) -> None:
        """End the process."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._errors):
            if stream is not None:
                with contextlib.suppress(BrokenPipeError):
                    stream.close()

    def _signal(self, name: str) -> None:
        if _CAN_STOP and self._process.poll() is None:
            self._process.send_signal(getattr(signal, name))

    def _last_error(self) -> str:
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else "nothing on stderr"


def _thread_limits(threads: int) -> dict[str, str]:
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
    return {name: str(threads) for name in names}


def _preparation(threads: int) -> Callable[[], None]:
    """Return what a process does before it becomes the library's.

    It keeps to `threads` cores, for libraries that count cores. On Linux it dies with its parent: one that is stopped
    would not notice that the parent was killed, and stay for ever.
    """
    cores = sorted(os.sched_getaffinity(0))[:threads] if hasattr(os, "sched_getaffinity") else None
    prctl = ctypes.CDLL(None).prctl if sys.platform == "linux" else None

    def prepare() -> None:
        if cores is not None:
            os.sched_setaffinity(0, cores)
        if prctl is not None:
            prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)

    return prepare
