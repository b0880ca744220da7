"""One run of the suite: the libraries' processes, the machine's limits, and the file of results."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from bench import life, result
from bench.cases import Case
from bench.measure import Contest, Team
from bench.processes import LibraryError
from bench.result import Result
from bench.rivals import GPUNET, Library
from gpunet.inspection.roofline import Roofline

_elapsed = 0.0


def measured_time() -> float:
    """The clock that pytest-benchmark reads: it goes on by what gpunet's process has measured, and by nothing else."""
    return _elapsed


def _advance(seconds: float) -> None:
    global _elapsed
    _elapsed += seconds


class Session:
    """What the benchmarks of one pytest run share. Every result is in the file as soon as it is there."""

    def __init__(self, team: Team, results: Result, time_limit: float) -> None:
        self.team = team
        self.results = results
        self._end = time.monotonic() + time_limit
        self._roofline: Roofline | None = None
        results.describe(datetime=time.strftime("%Y-%m-%dT%H:%M:%S"))

    def begin(self, planned: Sequence[str]) -> None:
        """Note what is planned, and measure the machine; LibraryError if gpunet's process does not start."""
        self.results.describe(planned=list(planned))
        self.results.describe(device_name=self.team.ask(GPUNET, "device_name"))
        self._roofline = self.team.ask(GPUNET, "roofline")
        assert self._roofline is not None
        self.results.describe(roofline={"flops": self._roofline.flops, "bandwidth": self._roofline.bandwidth})
        self.results.write()

    def run(self, case: Case, benchmark: Any) -> None:
        """Measure a case; the test is skipped after the time limit, and fails if gpunet fails."""
        self.check_time(case.name)
        try:
            contest = Contest(self.team, case)
            benchmark.pedantic(
                lambda: _advance(contest.gpunet()),
                setup=contest.before,
                teardown=contest.after,
                rounds=contest.rounds,
            )
        except LibraryError as error:
            self.results.problem(f"{case.name}: gpunet: {error}")
            pytest.fail(f"gpunet: {error}")
        benchmark.extra_info.update(result.information(contest.measured, self._roofline))
        self.keep(case.name, benchmark)

    def run_life(
        self, name: str, unit: str, measure: Callable[[Library], float], benchmark: Any, rounds: int | None = None
    ) -> None:
        """Measure what a library costs its user, in `rounds` in which each library has its turn."""
        self.check_time(name)
        values: dict[str, list[float]] = {}
        missing: dict[str, str] = {}

        def visit(library: Library) -> float:
            value = measure(library)
            values.setdefault(library.name, []).append(value)
            return value

        def visit_rivals() -> None:
            for library in life.LIBRARIES[1:]:
                if library.name in missing or self.team.device not in library.devices:
                    continue
                try:
                    reason = library.missing()
                    if reason is not None:
                        raise RuntimeError(reason)
                    visit(library)
                except (RuntimeError, KeyError, subprocess.SubprocessError) as error:
                    missing[library.name] = str(error.args[0] if error.args else error)

        rounds = self.team.effort.least_rounds if rounds is None else rounds
        benchmark.pedantic(lambda: _advance(visit(GPUNET)), setup=visit_rivals, rounds=rounds)
        benchmark.extra_info.update(result.life_information(unit, values, missing))
        self.keep(name, benchmark)

    def leave_out(self, test: str, reason: str) -> None:
        """Skip the test that runs, which has no meaning here."""
        planned = [other for other in self.results.content["planned"] if other != test]
        self.results.describe(planned=planned)
        pytest.skip(reason)

    def check_time(self, name: str) -> None:
        """Skip the test that runs if the time is over."""
        if time.monotonic() > self._end:
            self.results.problem(f"{name}: not begun within the time limit")
            pytest.skip("not begun within the time limit")

    def keep(self, name: str, benchmark: Any) -> None:
        """Put what a benchmark has measured into the file."""
        stats = benchmark.stats.as_dict(include_data=False, flat=False)["stats"]
        self.results.describe(libraries=self.team.versions)
        self.results.add(name, benchmark.name, benchmark.group or "", stats, benchmark.extra_info)

    def end(self) -> None:
        """Say whether all that was planned is there, and end the processes."""
        self.team.close()
        done = {entry["fullname"] for entry in self.results.content["benchmarks"]}
        missing = [name for name in self.results.content["planned"] if name not in done]
        if missing:
            self.results.problem(f"not measured, {len(missing)} of {len(self.results.content['planned'])}: {missing}")
        self.results.describe(complete=not missing)
        self.results.write()
