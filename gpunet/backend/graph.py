"""Graphs: what a function does on a device, captured once and done again by one call.

On `cuda` a graph is a CUDA graph; on `emulated` it is the list of what was done (backend/recording.py), so that the
same steps can be tested without a GPU. All that a graph touches must keep its address: arrays that live on are made
before, and what is made inside comes from a pool of memory that belongs to the graph and is never asked again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from gpunet.backend import recording
from gpunet.backend.arrays import Device, Kind, current, import_cupy
from gpunet.backend.interrupts import undisturbed
from gpunet.backend.recording import CaptureError, Recording

__all__ = ["CaptureError", "Graph", "Workspace"]


class Graph(Protocol):
    """Something captured; `launch` does it again, without waiting for it."""

    def launch(self) -> None: ...


class Workspace:
    """A stream of its own, on one device, for all graphs of one model, which run on it one after the other.

    It waits for what the stream outside was given before, and the other way round. That is said with events: a stream
    with which CUDA's default stream keeps step by itself must not be captured while another thread uses that one.
    """

    def __init__(self, device: Device) -> None:
        self._device = device
        if device.kind is Kind.CUDA:
            with current(device):
                cuda = import_cupy().cuda
                self._stream = cuda.Stream(non_blocking=True)
                self._event = cuda.Event(disable_timing=True)

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Inside a `with` block, work on the stream."""
        if self._device.kind is not Kind.CUDA:
            yield
            return
        with current(self._device):
            outside = import_cupy().cuda.get_current_stream()
            if outside == self._stream:
                yield
                return
            self._let_wait(self._stream, outside)
            try:
                with self._stream:
                    yield
            finally:
                self._let_wait(outside, self._stream)

    def _let_wait(self, stream: Any, other: Any) -> None:
        """Let `stream` wait for what `other` was given so far."""
        self._event.record(other)
        stream.wait_event(self._event)

    def capture(self, function: Callable[[], None], expected: list[tuple[Any, ...]]) -> Graph:
        """Run `function` once, and return the graph that runs it again.

        It must have run in this workspace before, so that its kernels are compiled; `expected` is the log of such a
        run. CaptureError if it does what no graph can do again, or launches other kernels than expected; its `has_run`
        tells whether the function has come to its end all the same. Other errors of `function` are raised as they are.
        Ctrl-C waits for the end.
        """
        with undisturbed():
            return self._capture(function, expected)

    def _capture(self, function: Callable[[], None], expected: list[tuple[Any, ...]]) -> Graph:
        if self._device.kind is Kind.CUDA:
            with self.entered():
                graph = self._capture_stream(function, expected)
                graph.launch()
            return graph
        with recording.started(capture=True) as made:
            function()
        try:
            _check(expected, made)
        except CaptureError as error:
            error.has_run = True
            raise
        return _Replay(made.actions)

    def _capture_stream(self, function: Callable[[], None], expected: list[tuple[Any, ...]]) -> Graph:
        cuda = import_cupy().cuda
        # What lies free in the pool of all other work is of no use to the graph's own, and may be all there is.
        import_cupy().get_default_memory_pool().free_all_blocks()
        runtime_error, pool = cuda.runtime.CUDARuntimeError, cuda.MemoryPool()
        with cuda.using_allocator(pool.malloc):
            self._stream.begin_capture()
            try:
                with recording.started(capture=True, runs=False) as made:
                    function()
                _check(expected, made)
                return _Captured(self._stream.end_capture(), self._stream, pool)
            except runtime_error as error:
                self._abandon_capture()
                raise CaptureError(f"{_where(error)}{error}") from error
            except MemoryError as error:
                self._abandon_capture()
                raise CaptureError(f"{_where(error)}a graph needs arrays of its own, and {error}") from None
            except BaseException:
                self._abandon_capture()
                raise

    def _abandon_capture(self) -> None:
        """End a capture that failed; CUDA may say once more that it did."""
        try:
            self._stream.end_capture()
        except import_cupy().cuda.runtime.CUDARuntimeError:
            return


class _Captured:
    """A CUDA graph, the stream that it runs on and the memory that it uses."""

    def __init__(self, graph: Any, stream: Any, pool: Any) -> None:
        self._graph, self._stream, self._pool = graph, stream, pool

    def launch(self) -> None:
        self._graph.launch(self._stream)


class _Replay:
    """What was done on the emulated device; it holds the arrays that were used."""

    def __init__(self, actions: list[Callable[[], object]]) -> None:
        self._actions = actions

    def launch(self) -> None:
        with undisturbed():  # as the one call that launches a CUDA graph
            for action in self._actions:
                action()


def _where(error: BaseException) -> str:
    """Return the layer in which `error` was raised, as `recording.where` does."""
    traceback = error.__traceback__
    while traceback is not None and traceback.tb_next is not None:
        traceback = traceback.tb_next
    return recording.where(None if traceback is None else traceback.tb_frame)


def _check(expected: list[tuple[Any, ...]], made: Recording) -> None:
    """CaptureError that says why, unless what was `made` can run again, and launches what was `expected`."""
    if made.obstacle:
        raise CaptureError(made.obstacle)
    for one, other in zip(expected, made.log, strict=False):
        if one[:2] != other[:2]:
            raise CaptureError(f"two runs launch different kernels: {one[1]} and {other[1]}")
        if one != other:
            a, b = next((a, b) for a, b in zip(one, other, strict=True) if a != b)
            raise CaptureError(f"two runs launch {one[1]} with different numbers or shapes: {a} and {b}")
    if len(expected) != len(made.log):
        raise CaptureError(f"two runs launch different numbers of kernels: {len(expected)} and {len(made.log)}")
