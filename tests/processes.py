"""What the processes of one run of the suite, as `pytest -n` starts them, tell each other: the kernels they launched.

`fuzzed` is what each case of test_kernel_fuzz.py has launched.

The proofs about all launches (conftest.LAST) come last in every process. Before its first, or when it has no more
tests, a process leaves what it launched in a folder that all of them see; a proof waits until all have.
"""

from __future__ import annotations

import pickle
import time
from pathlib import Path

import pytest

from gpunet.backend import launch

fuzzed: dict[str, set[tuple[str, str]]] = {}  # by the name of the case: files and entry points

_LONGEST_WAIT = 900  # s, for a test of another process, or a whole file of them


class Processes:
    """The processes of this run, one of which is this; `folder` is seen by all."""

    def __init__(self, config: pytest.Config, folder: Path) -> None:
        worker = getattr(config, "workerinput", {"workerid": "all", "workercount": 1})
        self._count = int(worker["workercount"])
        self._own = folder / f"{worker['workerid']}.launched"

    def leave(self) -> None:
        """Let the others know what was launched here; the ordinary tests of this process are over."""
        if not self._own.exists():
            unfinished = self._own.with_suffix(".unfinished")
            unfinished.write_bytes(pickle.dumps((launch.launched, fuzzed)))
            unfinished.replace(self._own)

    def launched(self) -> set[launch.Launch]:
        """Wait for the others, and return all that was launched."""
        return set().union(*(launched for launched, _ in self._left()))

    def fuzzed(self) -> dict[str, set[tuple[str, str]]]:
        """Wait for the others, and return what the cases of test_kernel_fuzz.py launched."""
        return {name: met for _, cases in self._left() for name, met in cases.items()}

    def _left(self) -> list[tuple[set[launch.Launch], dict[str, set[tuple[str, str]]]]]:
        self.leave()
        end = time.monotonic() + _LONGEST_WAIT
        while len(left := sorted(self._own.parent.glob("*.launched"))) < self._count:
            assert time.monotonic() < end, f"{len(left)} of {self._count} processes have ended their tests"
            time.sleep(0.1)
        return [pickle.loads(file.read_bytes()) for file in left]
