"""What the host has left (backend/host_memory.py): the least of what the system and the limits on a process say."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from gpunet.backend import host_memory


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A system with 1000 kB, 600 of them free, in which this process uses none and has no limits."""
    (tmp_path / "meminfo").write_text("MemTotal:       1000 kB\nMemFree:  10 kB\nMemAvailable:    600 kB\n")
    (tmp_path / "statm").write_text("0 0 0 0 0 0 0\n")
    monkeypatch.setattr(host_memory, "_MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(host_memory, "_STATM", tmp_path / "statm")
    monkeypatch.setattr(host_memory, "_CGROUP", tmp_path)
    return tmp_path


def test_the_system_tells(system: Path) -> None:
    assert host_memory.free_and_total() == (600 * 1024, 1000 * 1024)


def test_a_container_has_less(system: Path) -> None:
    (system / "memory.current").write_text("300000\n")
    (system / "memory.max").write_text("max\n")
    assert host_memory.free_and_total() == (600 * 1024, 1000 * 1024)
    (system / "memory.max").write_text("400000\n")
    assert host_memory.free_and_total() == (100000, 400000)
    (system / "memory.current").write_text("400001\n")
    assert host_memory.free_and_total() == (0, 400000)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limit on address space")
def test_a_limit_on_the_address_space_counts(system: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import resource

    page = resource.getpagesize()
    (system / "statm").write_text("3 2 1 0 0 0 0\n")
    monkeypatch.setattr(resource, "getrlimit", lambda which: (10 * page, 10 * page))
    assert host_memory.free_and_total() == (7 * page, 10 * page)


def test_without_a_proc_folder_sysconf_tells(system: Path) -> None:
    (system / "meminfo").unlink()
    free, total = host_memory.free_and_total()
    assert free is not None and total is not None and 2**20 < free <= total


def test_nobody_may_tell(system: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (system / "meminfo").write_text("nothing of use\n")
    monkeypatch.delattr("os.sysconf", raising=False)
    assert host_memory.free_and_total() == (None, None)
