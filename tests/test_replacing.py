"""Files that are replaced by complete ones only, and folders of one process at a time."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from gpunet.saving.lock import FolderLock
from gpunet.saving.replacing import remove_unfinished, replace_file


def test_unfinished_files_are_removed_and_no_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = [".hidden", "a.part", ".a.part", ".a.1.0123.part", ".a.x.01234567.part", "b.1.01234567.part", "a"]
    for name in kept:
        (tmp_path / name).touch()

    def killed(source: object, target: object) -> None:
        raise SystemExit

    monkeypatch.setattr(os, "replace", killed)
    monkeypatch.setattr(os, "unlink", lambda *args: None)
    with pytest.raises(SystemExit):
        replace_file(tmp_path / "a", b"half")
    monkeypatch.undo()
    assert len(list(tmp_path.iterdir())) == len(kept) + 1
    remove_unfinished(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(kept)


def test_a_lock_is_held_by_one_and_given_back(tmp_path: Path) -> None:
    words = rf"^fit: {tmp_path} must be used by one process at a time; got this one beside process {os.getpid()}; wait"
    for _ in range(2):
        with FolderLock("fit", tmp_path), pytest.raises(RuntimeError, match=words), FolderLock("fit", tmp_path):
            pass
        assert list(tmp_path.iterdir()) == []
    with pytest.raises(FileNotFoundError), FolderLock("fit", tmp_path / "missing"):
        pass


HOLDER = """
import sys, time
from pathlib import Path
from gpunet.saving.lock import FolderLock
with FolderLock("test", Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


def test_a_lock_ends_with_its_process(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    try:
        with pytest.raises(RuntimeError, match=f"beside process {process.pid};"), FolderLock("fit", tmp_path):
            pass
    finally:
        process.kill()
        process.communicate()
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]
    with FolderLock("fit", tmp_path):
        assert (tmp_path / ".lock").read_text() == f"{os.getpid()}\n"


RACER = """
import sys, time
from pathlib import Path
from gpunet.saving.lock import FolderLock
folder, rounds, inside = Path(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[1], "inside")
while rounds:
    try:
        with FolderLock("test", folder):
            inside.mkdir()  # fails if somebody else is in
            inside.rmdir()
            rounds -= 1
    except RuntimeError:
        pass
"""


def test_processes_that_take_turns_are_never_in_at_once(tmp_path: Path) -> None:
    command = [sys.executable, "-c", RACER, str(tmp_path), "300"]
    processes = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(3)]
    for process in processes:
        assert process.communicate(timeout=100)[1] == "" and process.returncode == 0
