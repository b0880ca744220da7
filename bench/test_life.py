"""Life as a user: import, first step, memory, installed size; each in processes of its own, the libraries in turn."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pytest

from bench import life
from bench.rivals import GPUNET, Library
from bench.session import Session, measured_time


@pytest.mark.quick
@pytest.mark.benchmark(timer=measured_time, group="life")
def test_import(session: Session, benchmark: Any) -> None:
    session.run_life("import", "seconds", life.import_seconds, benchmark)


@pytest.mark.benchmark(timer=measured_time, group="life")
@pytest.mark.parametrize("cache", ["cold", "warm"])
def test_first_step(cache: str, session: Session, benchmark: Any) -> None:
    """From process start to the end of the first step, with an empty or a filled cache of compiled kernels."""
    team = session.team
    with tempfile.TemporaryDirectory() as folder:

        def measure(library: Library) -> float:
            place = Path(folder) / library.name
            if cache == "cold":
                place = Path(tempfile.mkdtemp(dir=folder))
            elif not place.exists():
                life.first_step(library, team.device, team.threads, place)
            return life.first_step(library, team.device, team.threads, place)[0]

        session.run_life(f"first step, {cache} cache", "seconds", measure, benchmark)


@pytest.mark.benchmark(timer=measured_time, group="life")
@pytest.mark.parametrize("where", ["process", "device"])
def test_peak_memory(where: str, session: Session, benchmark: Any) -> None:
    team = session.team
    if where == "device" and team.device == "cpu":
        session.leave_out(benchmark.name, "the CPU's is the process's")
    with tempfile.TemporaryDirectory() as folder:

        def measure(library: Library) -> float:
            return life.first_step(library, team.device, team.threads, Path(folder))[1][where]

        session.run_life(f"peak memory of the {where}", "bytes", measure, benchmark)


@pytest.mark.quick
@pytest.mark.benchmark(timer=measured_time, group="life")
def test_installed_size(session: Session, benchmark: Any) -> None:
    def measure(library: Library) -> float:
        return life.installed_bytes(library, session.team.device)

    try:
        measure(GPUNET)
    except KeyError as error:
        reason = f"installed size: gpunet runs from its checkout: {error.args[0]}"
        session.results.problem(reason)
        session.leave_out(benchmark.name, reason)
    session.run_life("installed size", "bytes", measure, benchmark, rounds=1)
