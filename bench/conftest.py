"""`pytest bench --device cpu|cuda [-k case] [--quick]`: what the runs of this folder share."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.measure import EFFORTS, QUICK, Team
from bench.processes import LibraryError
from bench.report import markdown
from bench.result import Result
from bench.rivals import RIVALS
from bench.session import Session

_RESULT = pytest.StashKey[Result]()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("bench", "benchmarks of gpunet beside its rivals")
    group.addoption("--device", choices=("cpu", "cuda"), default="cpu", help="where everything runs")
    group.addoption("--quick", action="store_true", help="few small cases, few visits: does the suite work?")
    group.addoption("--threads", type=int, default=os.cpu_count(), help="threads of each library on the CPU")
    group.addoption("--rivals", default="", help=f"some of: {', '.join(rival.name for rival in RIVALS)} (all)")
    group.addoption("--out", type=Path, default=None, help="file of results; bench-results/<device>-<time>.json")
    group.addoption("--time-limit", type=float, default=float("inf"), help="seconds after which no case is begun")


def pytest_configure(config: pytest.Config) -> None:
    """Let a run that is interrupted between cases, or while one is reported, end as an interrupted run ends."""
    config.addinivalue_line("filterwarnings", "ignore::pytest_benchmark.logger.PytestBenchmarkWarning")
    config.addinivalue_line("filterwarnings", "ignore::pluggy.PluggyTeardownRaisedWarning")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out, in the quick mode, what is not marked as quick."""
    if config.getoption("--quick"):
        kept = [item for item in items if item.get_closest_marker("quick")]
        config.hook.pytest_deselected(items=[item for item in items if item not in kept])
        items[:] = kept


@pytest.fixture(scope="session")
def session(request: pytest.FixtureRequest) -> Iterator[Session]:
    """The run: processes of all libraries, the machine's roofline, the file of results."""
    config = request.config
    device, threads, path = (config.getoption(name) for name in ("--device", "--threads", "--out"))
    path = path or Path("bench-results") / f"{device}-{time.strftime('%Y%m%d-%H%M%S')}.json"
    only = tuple(name.strip() for name in config.getoption("--rivals").split(",") if name.strip())
    unknown = sorted(set(only) - {rival.name for rival in RIVALS})
    if unknown:
        raise pytest.UsageError(f"--rivals must be among {', '.join(rival.name for rival in RIVALS)}; got {unknown}")
    machine = config.hook.pytest_benchmark_generate_machine_info(config=config)
    for private in ("node", "release"):  # the machine's name and its system's build are nobody's business
        machine.pop(private, None)
    commit = config.hook.pytest_benchmark_generate_commit_info(config=config)
    results = Result(path, device, threads)
    results.describe(machine_info=machine, commit_info={name: commit.get(name) for name in ("id", "time", "dirty")})
    config.stash[_RESULT] = results
    effort = QUICK if config.getoption("--quick") else EFFORTS[device]
    session = Session(Team(device, threads, effort, only), results, config.getoption("--time-limit"))
    try:
        session.begin([item.name for item in request.session.items])
        yield session
    except LibraryError as error:
        results.problem(f"nothing was measured: {error}")
        pytest.fail(f"gpunet can't run on {device}: {error}")
    finally:
        session.end()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print the table of results, what is missing, and where the file is."""
    results = config.stash.get(_RESULT, None)
    if results is not None:
        terminalreporter.write_line(markdown(results.content))
        terminalreporter.write_line(f"\nresults: {results.path}")
