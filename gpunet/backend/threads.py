"""Threads of the host: helpers make an op's long calls of NumPy, while the thread that runs the op makes all others.

NumPy gives up Python's lock for every call, short ones too. Threads that all make short calls lose more time than they
win: one that sleeps for the lock wakes up long after, to find that it has been taken again. So an op is cut into parts,
each of which prepares a long call, mostly a matrix product, and does something with its result:

    def part(block):
        matrix = ...
        yield lambda: np.matmul(matrix, w, out=z)  # in any thread, while other parts go on
        ...

    run(part(block) for block in blocks)

How an op is cut depends on shapes alone, and parts end in their order, so that results have the same bits whatever the
number of threads. The library behind `numpy.matmul` uses one thread meanwhile: products run at the same time, and their
rounding does not depend on how that library would have cut them.
"""

from __future__ import annotations

import itertools
import os
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from contextvars import Context, copy_context
from functools import cache
from queue import SimpleQueue
from typing import Any, TypeAlias

from threadpoolctl import OpenBLASController, ThreadpoolController

from gpunet import arguments
from gpunet.backend.interrupts import undisturbed
from gpunet.backend.locks import in_child, once

LongCall: TypeAlias = Callable[[], object]
Part: TypeAlias = Generator[LongCall, None, None]

_VARIABLE = "GPUNET_THREADS"
_WAITING = 2  # parts that wait for their call, a thread: whoever has made one finds the next, while this thread is busy


def set_threads(threads: int) -> None:
    """Let CPU versions of ops, and the emulator, use so many threads from now on; results do not depend on it.

    Without it they use as many as the environment variable GPUNET_THREADS says, else one per core that this process
    may run on. What other code has NumPy's BLAS use stays as it is. TypeError or ValueError unless `threads` is an
    integer of at least 1.
    """
    global _chosen
    _chosen = arguments.integer("set_threads", "threads", threads)


def get_threads() -> int:
    """Return the number of threads that CPU versions of ops use; ValueError for a GPUNET_THREADS that is no number."""
    return _default_threads() if _chosen is None else _chosen


_chosen: int | None = None


@cache
def _default_threads() -> int:
    text = os.environ.get(_VARIABLE, "")
    if not text:
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if not text.isdecimal() or int(text) == 0:
        raise ValueError(f"{_VARIABLE}: value must be a positive integer; got {text!r}")
    return int(text)


def run(parts: Iterable[Part]) -> None:
    """Run `parts`, generators that yield one long call each: up to there one after the other, and so after it.

    An exception, of a part or of its call, ends the run, once no thread is busy with it, and is raised here. Ctrl-C
    waits for the end.
    """
    with undisturbed():
        _blas.begin()
        try:
            _run(parts)
        finally:
            _blas.end()


def _run(parts: Iterable[Part]) -> None:
    helpers = get_threads() - 1
    remaining = iter(parts)
    first = list(itertools.islice(remaining, 2))
    if helpers == 0 or len(first) < 2:
        for part in itertools.chain(first, remaining):
            run_alone(part)
    else:
        _run_with(helpers, itertools.chain(first, remaining))


def run_alone(part: Part) -> None:
    """Run one part in this thread, its call included."""
    for call in part:
        call()


def _run_with(helpers: int, parts: Iterable[Part]) -> None:
    offered = _team(helpers)
    waiting: deque[tuple[Part, _Call]] = deque()
    try:
        for part in parts:
            if waiting:
                offered.put((waiting[-1][1], copy_context()))
            waiting.append((part, _Call(next(part))))
            if len(waiting) > _WAITING * (helpers + 1):
                _end_first(waiting)
        offered.put((waiting[-1][1], copy_context()))
        while waiting:
            _end_first(waiting)
    finally:  # after an exception: calls that are being made still write to arrays
        for _, call in waiting:
            call.drop()


def _end_first(waiting: deque[tuple[Part, _Call]]) -> None:
    """Run the rest of the first part that waits, after its call."""
    part, call = waiting[0]
    if not call.is_made():
        any(other.make() for _, other in waiting)  # the first one for which no thread has had the time
    call.wait()
    call.raise_error()
    waiting.popleft()
    for _ in part:
        raise AssertionError("a part yields once")


class _Call:
    """A long call that one thread makes."""

    def __init__(self, function: LongCall) -> None:
        self._function: LongCall | None = function
        self._error: BaseException | None = None
        self._free, self._unmade = threading.Lock(), threading.Lock()
        self._unmade.acquire()

    def is_made(self) -> bool:
        return not self._unmade.locked()

    def make(self) -> bool:
        """Make the call and return True, unless it was made or a thread is at it."""
        if not self._free.acquire(blocking=False):
            return False
        try:
            assert self._function is not None
            self._function()
        except BaseException as error:
            self._error = error
        self._function = None  # with its arrays, whose memory is now its owner's to use again
        self._unmade.release()
        return True

    def drop(self) -> None:
        """Have nobody make the call; return when no thread is at it."""
        if self._free.acquire(blocking=False):
            self._function = None
            self._unmade.release()
        self.wait()

    def wait(self) -> None:
        """Return when the call has been made."""
        with self._unmade:
            pass

    def raise_error(self) -> None:
        if self._error is not None:
            raise self._error


Offered: TypeAlias = "SimpleQueue[tuple[_Call, Context]]"


@once
def _team(helpers: int) -> Offered:
    """Start so many threads, and return the queue from which they take calls."""
    offered: Offered = SimpleQueue()
    for number in range(helpers):
        is_ready = threading.Event()
        threading.Thread(target=_help, args=(offered, is_ready), name=f"gpunet-{number}", daemon=True).start()
        is_ready.wait()
    return offered


def _help(offered: Offered, is_ready: threading.Event) -> None:
    _limit_blas()  # where the limit is each thread's own, as with OpenMP; else it is 1 already, and stays as it is
    is_ready.set()
    while True:
        call, context = offered.get()
        context.run(call.make)
        del call, context  # not to be kept until the next one comes


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Inside this `with` block, or a function it decorates, let the library behind `numpy.matmul` use one thread.

    That holds for the whole process, until the last such block ends, in any thread; then the library has as many
    threads as before the first.
    """
    begun = False
    try:
        with undisturbed():
            _blas.begin()
            begun = True
        yield
    finally:
        if begun:
            with undisturbed():
                _blas.end()


class _Blas:
    """How many `one_blas_thread` blocks are being run, and what to restore after the last."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._limit: Any = None

    def begin(self) -> None:
        with self._lock:
            if self._inside == 0:
                _end_control()
                self._limit = _limit_blas()
            self._inside += 1

    def end(self) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                _end_control()
                self._limit.restore_original_limits()
                _end_control()


def _limit_blas() -> Any:
    return _controller().limit(limits=1, user_api="blas")


def _end_control() -> None:
    """Let any thread set OpenBLAS's threads: from 3.8 on, threadpoolctl ignores all but the one that did it first."""
    if hasattr(OpenBLASController, "clear_controlling_thread"):
        OpenBLASController.clear_controlling_thread(force=True)


_blas = _Blas()


@cache
def _controller() -> ThreadpoolController:
    return ThreadpoolController()


@in_child
def _begin_child() -> None:
    """Forget the parent's threads, which a forked child has none of, and what they held."""
    global _blas
    _team.cache_clear()
    _blas = _Blas()
