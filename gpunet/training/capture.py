"""Capture: a training step becomes one graph launch.

The same work, a step on batches of one shape, is run twice as it is: the first time compiles kernels and makes arrays
that live on, the second writes down what is launched. The third time it is captured (backend/graph.py); that launches
the same, or else the step depends on something that a graph would not notice. From then on the graph is launched, until
a layer, a parameter or the optimizer is changed. Work that cannot be captured runs as it is, with one warning.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any

from gpunet import changes
from gpunet.backend import recording
from gpunet.backend.arrays import Device, Kind
from gpunet.backend.graph import CaptureError, Graph, Workspace

_MOST_RESTARTS = 8  # for changes in a row, each before a graph could be captured


@dataclass
class _Seen:
    """What is known of one kind of work."""

    runs: int = 0
    log: list[tuple[Any, ...]] | None = None
    graph: Graph | None = None


class Captures:
    """The graphs of one model's work on `device`, by a key for each kind of work; `where` opens the warning.

    `wanted` tells whether there are to be any, as long as nothing stands against it.
    """

    def __init__(self, where: str, device: Device, *, wanted: bool = True) -> None:
        self._where = where
        self.wanted = wanted and device.kind is not Kind.CPU
        self._workspace = Workspace(device)
        self._seen: dict[Hashable, _Seen] = {}
        self._stamp: object = None
        self._restarts = 0

    @property
    def graphs(self) -> int:
        """How many graphs there are."""
        return sum(seen.graph is not None for seen in self._seen.values())

    def run(self, key: Hashable, work: Callable[[], None], hyperparameters: Hashable = None) -> None:
        """Do `work`, by launching its graph if there is one.

        Work of one `key` must do the same at every run but for what it reads on the device; a change of
        `hyperparameters`, or of a layer or parameter, makes all graphs void.
        """
        if not self.wanted:
            work()
            return
        with self._workspace.entered():
            self._check_stamp((changes.count(), hyperparameters))
            seen = self._seen.setdefault(key, _Seen())
            if seen.graph is not None:
                seen.graph.launch()
            elif seen.runs < 2 or seen.log is None:
                with recording.started(capture=False) as made:
                    work()
                seen.runs, seen.log = seen.runs + 1, made.log
            else:
                self._capture(seen, seen.log, work)

    def _check_stamp(self, stamp: object) -> None:
        """Forget all graphs if something has changed since the last run."""
        if stamp == self._stamp:
            return
        if changes.is_last_ours():  # what other threads do, to models of theirs mostly, ends some time
            self._restarts = 0 if self.graphs or not self._seen else self._restarts + 1
        self._seen.clear()
        self._stamp = stamp
        if self._restarts == _MOST_RESTARTS:
            self._give_up(f"{changes.last()} changes at every step")

    def _capture(self, seen: _Seen, log: list[tuple[Any, ...]], work: Callable[[], None]) -> None:
        try:
            seen.graph = self._workspace.capture(work, log)
        except CaptureError as error:
            self._give_up(str(error))
            if not error.has_run:
                work()

    def _give_up(self, reason: str) -> None:
        self.wanted = False
        self._seen.clear()
        warnings.warn(f"{self._where}: steps run uncaptured, one kernel after the other: {reason}", stacklevel=2)
