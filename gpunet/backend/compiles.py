"""Which kernels had to be compiled, how long that took, and which came from the cache of compiled kernels."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Compile:
    """A kernel file that was made ready with some options, from the cache or by the compiler, in so many seconds."""

    file: str
    options: tuple[str, ...]
    seconds: float
    from_cache: bool


class Compiles:
    """The kernel files that were made ready, each once with the same options, in order."""

    def __init__(self) -> None:
        self._noted: dict[tuple[str, tuple[str, ...]], Compile] = {}

    def note(self, file: str, options: tuple[str, ...], seconds: float, from_cache: bool) -> None:
        """Add what one entry point of a file took; the first compiles the others with it."""
        known = self._noted.get((file, options))
        if known is not None:
            seconds, from_cache = known.seconds + seconds, known.from_cache and from_cache
        self._noted[file, options] = Compile(file, options, seconds, from_cache)

    @property
    def found(self) -> list[Compile]:
        """What was noted so far."""
        return list(self._noted.values())


_listening: ContextVar[Compiles | None] = ContextVar("gpunet_compiles", default=None)


@contextmanager
def noted() -> Iterator[Compiles]:
    """Note the kernels that are made ready inside a `with` block, in this thread."""
    compiles = Compiles()
    token = _listening.set(compiles)
    try:
        yield compiles
    finally:
        _listening.reset(token)


@contextmanager
def watched(file: str, options: tuple[str, ...], cache: Callable[[], Path | None]) -> Iterator[None]:
    """Note what the `with` block makes ready of `file`, if somebody listens.

    What is compiled is written to the folder `cache()`, whose time of change tells so; None is a cache in memory, from
    which nothing comes in a new process. (A process that fills the same folder in that moment makes it look compiled.)
    """
    compiles = _listening.get()
    if compiles is None:
        yield
        return
    folder = cache()
    before, start = _changed(folder), time.perf_counter()
    yield
    seconds = time.perf_counter() - start
    compiles.note(file, options, seconds, from_cache=before is not None and _changed(folder) == before)


def _changed(folder: Path | None) -> int | None:
    """Return when an entry of `folder` was made or replaced, in nanoseconds; None if there is no such folder."""
    try:
        return None if folder is None else folder.stat().st_mtime_ns
    except OSError:
        return None


def cupy_cache() -> Path | None:
    """Return the folder in which CuPy keeps compiled kernels; None if it keeps them in memory only."""
    if os.environ.get("CUPY_CACHE_IN_MEMORY", "0") == "1":
        return None
    return Path(os.environ.get("CUPY_CACHE_DIR") or "~/.cupy/kernel_cache").expanduser()
