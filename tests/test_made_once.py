"""What several threads, or processes, want at once is made once: values, kernels, files of the cache."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from at_once import THREADS, assert_all_same, at_once, switch_often  # noqa: F401 — a fixture

import gpunet
from gpunet import changes
from gpunet.backend import devices, emulator, launch
from gpunet.backend.arrays import EMULATED, to_host
from gpunet.backend.locks import Once, once


def test_no_change_is_lost() -> None:
    before = changes.count()
    at_once(*[lambda: [changes.note("test") for _ in range(500)]] * THREADS)
    assert changes.count() != before and changes.last() == "test"
    assert not changes.is_last_ours()
    changes.note("here")
    assert changes.is_last_ours()


def test_what_several_threads_want_is_made_once() -> None:
    made: list[tuple[int, ...]] = []

    @once
    def square(n: int) -> int:
        made.append((n,))
        threading.Event().wait(0.01)
        return n * n

    assert at_once(*(lambda n=n: square(n % 2 + 5) for n in range(THREADS))) == [25, 36] * (THREADS // 2)
    assert sorted(made) == [(5,), (6,)] and square.__name__ == "square"
    square.cache_clear()
    assert square(5) == 25 and len(made) == 3


def test_an_error_is_raised_in_every_thread_and_not_kept() -> None:
    tries: list[int] = []

    @once
    def fails() -> None:
        tries.append(1)
        raise ZeroDivisionError

    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            fails()
    assert len(tries) == 2


def test_a_kernel_is_compiled_once_for_all_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    report = devices.examine(EMULATED)
    if not report.usable:
        pytest.skip(report.reason)
    built: list[str] = []
    build = emulator.build

    def counted(compiler: Any, name: str, *arguments: Any) -> Path:
        built.append(name)
        return build(compiler, name, *arguments)

    monkeypatch.setattr(emulator, "build", counted)
    monkeypatch.setattr(emulator, "_module", Once(emulator._module.__wrapped__))
    ys = [gpunet.to_device(np.zeros(1000, np.float32), EMULATED) for _ in range(THREADS)]

    def run(y: Any) -> Any:
        launch.launch("probe.cu", "probe", grid=4, block=256, args=(y, 1000), real=np.float32)
        return to_host(y)

    assert_all_same(at_once(*(lambda y=y: run(y) for y in ys)), 2 * np.arange(1000, dtype=np.float32) + 1)
    assert built == ["probe.cu"]


_PROGRAM = """
import sys
import numpy as np
import gpunet
from gpunet.backend import launch
sys.stdin.readline()
y = gpunet.to_device(np.zeros(1000, np.float32), "emulated")
launch.launch("probe.cu", "probe", grid=4, block=256, args=(y, 1000), real=np.float32)
print(int(y.get().sum()))
"""


def test_processes_may_fill_the_cache_at_once(tmp_path: Path) -> None:
    report = devices.examine(EMULATED)
    if not report.usable:
        pytest.skip(report.reason)
    environment = os.environ | {"GPUNET_CACHE": str(tmp_path)}
    command = [sys.executable, "-c", _PROGRAM]
    children = [
        subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    for child in children:  # all are ready, or nearly
        assert child.stdin is not None
        child.stdin.write("go\n")
        child.stdin.flush()
    assert [child.communicate(timeout=120)[0] for child in children] == ["1000000\n"] * 4
    assert not list((tmp_path / "emulator").glob("making-*"))
