"""Time one case in all libraries: same results first, then visits in turn."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from bench.cases import Case
from bench.cases.case import HostArray
from bench.processes import CrashError, LibraryError, Worker
from bench.rivals import GPUNET, RIVALS, Library


@dataclass(frozen=True)
class Effort:
    """How long a case is measured: seconds of warm-up, of one visit, and of all visits to one library."""

    warm_up: float = 0.3
    visit: float = 0.1
    total: float = 2.0
    most_rounds: int = 12
    least_rounds: int = 3
    timeout: float = 300.0

    def rounds(self, slowest: float) -> int:
        """Return the number of visits to each library, if the longest takes so many seconds."""
        return max(self.least_rounds, min(self.most_rounds, int(self.total / max(slowest, self.visit))))

    def untimed(self, seconds: float) -> int:
        """Return how many runs of so many seconds come first at each visit, and are not timed.

        They bring the data back into the caches, and give the system time to spread the threads, which were stopped,
        over the cores again: where two that wait for each other share a core, a run takes many times as long.
        """
        return int(self.visit / 2 / seconds)

    def repetitions(self, seconds: float) -> int:
        """Return how many runs of so many seconds make up a visit."""
        return max(1, min(100, int(self.visit / seconds)))


# Times on a GPU are short and steady, and a GPU is often lent for minutes.
EFFORTS = {"cpu": Effort(), "cuda": Effort(warm_up=0.1, visit=0.03, total=0.3, most_rounds=8)}
QUICK = Effort(warm_up=0.02, visit=0.02, total=0.06, most_rounds=3, least_rounds=2, timeout=120.0)


@dataclass
class Measured:
    """What a case gave: each library's visits (lists of seconds), and the reasons of those without."""

    case: Case
    visits: dict[str, list[list[float]]] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)


class Team:
    """The processes of all libraries that take part; one that crashed is started again for the next case."""

    def __init__(self, device: str, threads: int, effort: Effort, only: tuple[str, ...] = ()) -> None:
        self.device = device
        self.threads = threads
        self.effort = effort
        self.versions: dict[str, dict[str, str]] = {}
        self._workers: dict[str, Worker] = {}
        self._libraries = [GPUNET, *(rival for rival in RIVALS if not only or rival.name in only)]
        self._broken: dict[str, str] = {}  # libraries that could not be started, and why

    def libraries(self, case: Case) -> list[Library]:
        """Return those that are meant for the case, gpunet first."""
        return [library for library in self._libraries if library.takes(case, self.device)]

    def worker(self, library: Library) -> Worker:
        """Return the library's process, started if need be; LibraryError if it can't be."""
        name = library.name
        if name in self._broken:
            raise LibraryError(self._broken[name])
        if name not in self._workers:
            reason = library.missing()
            try:
                if reason is not None:
                    raise LibraryError(reason)
                self._workers[name] = Worker(library, self.device, self.threads, self.effort.timeout)
            except LibraryError as error:
                self._broken[name] = str(error)
                raise
            self.versions[name] = self._workers[name].versions
        return self._workers[name]

    def ask(self, library: Library, *command: object) -> Any:
        """Return the library's answer; a process that crashes is forgotten, so that the next case starts another."""
        try:
            return self.worker(library).ask(*command)
        except CrashError:
            gone = self._workers.pop(library.name, None)
            if gone is not None:
                gone.close()
            raise

    def close(self) -> None:
        """End all processes."""
        for worker in self._workers.values():
            worker.close()
        self._workers.clear()


class Contest:
    """One case in all libraries that give the same results. A round is a visit to each, whose order rotates."""

    def __init__(self, team: Team, case: Case) -> None:
        self._team = team
        self._lengths: dict[str, float] = {}  # seconds of one run
        self._libraries = {library.name: library for library in team.libraries(case)}
        self._round = 0
        self.measured = Measured(case)
        self._prepare(case)
        effort = team.effort
        self.rounds = effort.rounds(max(length * effort.repetitions(length) for length in self._lengths.values()))

    def _prepare(self, case: Case) -> None:
        """Let each library show its results and warm up; LibraryError if gpunet itself fails."""
        expected: list[HostArray] | None = None
        for library in self._libraries.values():
            try:
                outputs = self._team.ask(library, "prepare", case.name)
                if expected is None:
                    expected = outputs
                check_agreement(expected, outputs, case.tolerance * library.tolerance)
                self._lengths[library.name] = self._team.ask(library, "warm_up", self._team.effort.warm_up)
                self.measured.visits[library.name] = []
            except LibraryError as error:
                if library is GPUNET:
                    raise
                self.measured.missing[library.name] = str(error)

    def before(self) -> None:
        """Visit the rivals whose turn comes before gpunet's in this round."""
        self._visit_rivals(self._turn[: self._turn.index(GPUNET.name)])

    def gpunet(self) -> float:
        """Visit gpunet and return the median of its runs, in seconds."""
        return self._visit(GPUNET)

    def after(self) -> None:
        """Visit the other rivals, and begin the next round."""
        self._visit_rivals(self._turn[self._turn.index(GPUNET.name) + 1 :])
        self._round += 1

    @property
    def _turn(self) -> list[str]:
        names = list(self._lengths)
        first = self._round % len(names)
        return names[first:] + names[:first]

    def _visit_rivals(self, names: list[str]) -> None:
        for name in names:
            if name in self.measured.missing:
                continue
            try:
                self._visit(self._libraries[name])
            except LibraryError as error:
                self.measured.missing[name] = str(error)
                del self.measured.visits[name]

    def _visit(self, library: Library) -> float:
        """Run the case in a library, some untimed, and return the median."""
        effort, length = self._team.effort, self._lengths[library.name]
        seconds: list[float] = self._team.ask(library, "run", effort.repetitions(length), effort.untimed(length))
        self.measured.visits[library.name].append(seconds)
        return statistics.median(seconds)


def check_agreement(expected: list[HostArray], outputs: list[HostArray], tolerance: float) -> None:
    """LibraryError unless both have the same shapes, and differ by at most `tolerance` of the largest value."""
    if len(expected) != len(outputs):
        raise LibraryError(f"refused: {len(outputs)} outputs, gpunet has {len(expected)}")
    for mine, other in zip(expected, outputs, strict=True):
        if mine.shape != other.shape:
            raise LibraryError(f"refused: output of shape {other.shape}, gpunet's is {mine.shape}")
        largest = float(np.abs(mine).max())
        difference = float(np.abs(mine.astype(np.float64) - other).max())
        if not math.isfinite(difference) or difference > tolerance * largest:
            raise LibraryError(f"refused: differs by {difference:.3g}, of {largest:.3g} at most; {tolerance:g} allowed")
