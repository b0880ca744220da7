"""A training that is killed again and again, at any moment, and run anew, ends with the bits of one that was not.

GPUNET_TEST_LONG=1 kills a hundred times on each device, instead of a few times.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import checks
import pytest

from gpunet.backend.arrays import Device, Kind

KILLS = 100 if checks.LONG else 8


class Server:
    """A process that starts trainings, which can be killed."""

    def __init__(self) -> None:
        program = Path(__file__).with_name("killed_training.py")
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        self._process = subprocess.Popen(
            [sys.executable, str(program)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )

    def run(self, folder: Path, device: Device, **options: Any) -> bool:
        """Train in `folder`; tell whether that was killed, and not ended. AssertionError if it failed."""
        assert self._process.stdin is not None and self._process.stdout is not None
        folder.mkdir(exist_ok=True)
        self._process.stdin.write(json.dumps({"folder": str(folder), "device": str(device)} | options) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        assert answer["killed"] or answer["code"] == 0, answer
        return bool(answer["killed"])

    def close(self) -> None:
        self._process.communicate()


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.close()


@pytest.fixture
def expected(server: Server, device: Device, tmp_path: Path) -> Any:
    """What a training leaves that is never killed."""
    if device.kind is Kind.CUDA:
        pytest.skip("a process that has used a GPU cannot be forked, and one that has not takes seconds to start")
    assert not server.run(tmp_path / "whole", device)
    return _result(tmp_path / "whole")


def _result(folder: Path) -> Any:
    return json.loads((folder / "result.json").read_text())


def test_kills_at_random_moments(server: Server, device: Device, expected: Any, tmp_path: Path) -> None:
    moments = random.Random(1)
    kills = finished = in_writes = 0
    while kills < KILLS:
        folder = tmp_path / str(finished)
        while server.run(folder, device, after=moments.uniform(0.02, 0.3)):
            kills += 1
            in_writes += any(folder.glob("backup/.*.part"))
        assert _result(folder) == expected
        finished += 1
    sys.stdout.write(
        f"{device}: {kills} kills, {in_writes} in the middle of a write; {finished} trainings, same bits\n"
    )


@pytest.mark.parametrize("call", ["fsync", "replace", "unlink"])
def test_kills_in_the_middle_of_a_checkpoint(
    server: Server, device: Device, expected: Any, call: str, tmp_path: Path
) -> None:
    for number in range(1, 12) if checks.LONG else (2, 3, 7):
        folder = tmp_path / str(number)
        assert server.run(folder, device, at=[call, number])
        left = sorted(path.name for path in (folder / "backup").glob("checkpoint-*"))
        assert len(left) <= 3  # the last two, and one more before the oldest is removed
        assert server.run(folder, device, at=[call, 1 + number % 7])
        assert not server.run(folder, device)
        assert _result(folder) == expected
        assert not list(folder.glob("backup/.*.part"))
