"""The benchmark suite's processes: same results first, visits in turn, and libraries that fail."""

from __future__ import annotations

import re
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from bench import measure
from bench.cases import CASES
from bench.measure import Contest, Effort, Team
from bench.rivals import RIVALS, Library

DENSE = CASES["dense_forward[32x784x128]"]
EFFORT = Effort(warm_up=0.001, visit=0.01, total=0.04, most_rounds=4, least_rounds=4, timeout=60)


def _fake(mode: str, requires: tuple[str, ...] = (), **options: Any) -> Library:
    return Library(f"fake {mode}", "tests.fake_rivals", mode, requires, does_ops=True, **options)


def _contest(monkeypatch: pytest.MonkeyPatch, *rivals: Library, effort: Effort = EFFORT) -> Contest:
    """Return a contest on Dense that has been fought."""
    monkeypatch.setattr(measure, "RIVALS", rivals)
    team = Team("cpu", 1, effort)
    try:
        contest = Contest(team, DENSE)
        for _ in range(contest.rounds):
            contest.before()
            contest.gpunet()
            contest.after()
    finally:
        team.close()
    return contest


def test_every_library_is_visited_as_often_and_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    visited: list[str] = []
    ask = Team.ask

    def noting(team: Team, library: Library, *command: Any) -> Any:
        if command[0] == "run":
            visited.append(library.name)
        return ask(team, library, *command)

    monkeypatch.setattr(Team, "ask", noting)
    measured = _contest(monkeypatch, _fake("right"), _fake("also right")).measured
    names = ["gpunet", "fake right", "fake also right"]
    assert visited == names + names[1:] + names[:1] + names[2:] + names[:2] + names
    assert {name: len(visits) for name, visits in measured.visits.items()} == dict.fromkeys(names, 4)
    assert all(seconds > 0 for visits in measured.visits.values() for visit in visits for seconds in visit)
    slept = [seconds for visit in measured.visits["fake right"] for seconds in visit]
    assert statistics.median(slept) >= 0.002 and not measured.missing


@pytest.mark.parametrize(
    ("rival", "reason"),
    [
        (_fake("wrong"), r"refused: differs by .*; 0.0001 allowed"),
        (_fake("nan"), r"refused: differs by nan"),
        (_fake("shape"), r"refused: output of shape \(1, 128\), gpunet's is \(32, 128\)"),
        (_fake("dies"), r"crashed in (run|warm_up) \(exit 11\): a last word"),
        (_fake("does not start"), "RuntimeError: no such driver"),
        (_fake("absent", requires=("no_such_module",)), "no_such_module not installed"),
    ],
    ids=lambda value: value.mode if isinstance(value, Library) else "",
)
def test_a_rival_that_fails_is_named_with_its_reason(
    monkeypatch: pytest.MonkeyPatch, rival: Library, reason: str
) -> None:
    measured = _contest(monkeypatch, rival, _fake("right")).measured
    assert set(measured.visits) == {"gpunet", "fake right"}
    assert list(measured.missing) == [rival.name]
    assert re.search(reason, measured.missing[rival.name])


def test_a_rival_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    effort = Effort(warm_up=0.001, visit=0.01, total=0.02, most_rounds=2, least_rounds=2, timeout=8)
    measured = _contest(monkeypatch, _fake("hangs"), effort=effort).measured
    assert measured.missing == {"fake hangs": "no answer to warm_up within 8 s"}


def test_a_crashed_rival_takes_part_in_the_next_case(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "RIVALS", (_fake("dies"),))
    team = Team("cpu", 1, EFFORT)
    try:
        for _ in range(2):
            contest = Contest(team, DENSE)
            for _ in range(contest.rounds):
                contest.before()
                contest.gpunet()
                contest.after()
            assert "crashed" in contest.measured.missing["fake dies"]
    finally:
        team.close()


def test_a_looser_tolerance_is_the_librarys(monkeypatch: pytest.MonkeyPatch) -> None:
    measured = _contest(monkeypatch, _fake("wrong", tolerance=1000)).measured
    assert set(measured.visits) == {"gpunet", "fake wrong"}


_KILLED = """
import os, signal
from bench.processes import Worker
from bench.rivals import GPUNET
print(Worker(GPUNET, "cpu", 1, timeout=60)._process.pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a child does not learn that its parent was killed")
def test_a_stopped_process_dies_with_its_parent() -> None:
    folder = Path(__file__).parents[1]
    killed = subprocess.run([sys.executable, "-c", _KILLED], cwd=folder, capture_output=True, text=True, check=False)
    stat = Path(f"/proc/{int(killed.stdout)}/stat")
    end = time.monotonic() + 10
    while stat.exists() and stat.read_text().split()[2] not in "ZX":  # gone, or waiting to be collected
        assert time.monotonic() < end, "the stopped process is still there"
        time.sleep(0.05)


def test_who_takes_which_case() -> None:
    by_name = {rival.name: rival for rival in RIVALS}
    adam, images = CASES["adam[1e5]"], CASES["max_pooling_forward[128x22x22x32]"]
    mlp, cnn = CASES["training_step[mlp-32]"], CASES["training_step[cnn50-32]"]
    channels_last = by_name["PyTorch channels_last"]
    assert [channels_last.takes(case, "cpu") for case in (adam, images, mlp, cnn)] == [False, True, False, True]
    assert [by_name["JAX"].takes(case, "cuda") for case in (adam, cnn)] == [False, True]
    assert not by_name["Keras on JAX"].takes(cnn, "cuda") and by_name["Keras on JAX"].takes(cnn, "cpu")
    assert [by_name["CuPy (cuBLAS)"].takes(case, "cuda") for case in (adam, cnn)] == [True, False]
    assert not by_name["CuPy (cuBLAS)"].takes(adam, "cpu") and not by_name["PyTorch TF32"].takes(adam, "cpu")


def test_effort() -> None:
    effort = Effort(warm_up=0.3, visit=0.1, total=2.0, most_rounds=12, least_rounds=3)
    assert [effort.rounds(seconds) for seconds in (1e-5, 0.1, 0.4, 5.0)] == [12, 12, 5, 3]
    assert [effort.repetitions(seconds) for seconds in (1e-5, 0.01, 0.03, 5.0)] == [100, 10, 3, 1]
    assert [effort.untimed(seconds) for seconds in (0.001, 0.01, 0.2)] == [50, 5, 0]
