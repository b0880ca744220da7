"""`gpunet train --resume`: a run that was killed or interrupted goes on; folders from which it cannot."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from gpunet.backend import devices
from gpunet.cli import app
from gpunet.layers import naming
from gpunet.saving.lock import FolderLock

ASKED = ("--model", "mlp", "--epochs", "3", "--seed", "5", "--checkpoint-every", "10", "--log-json", "log.json")


@pytest.fixture(autouse=True)
def _own_folder_and_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(devices, "_chosen", None)


def _run(*arguments: str) -> Any:
    naming.clear_session()  # as in a process of its own
    return CliRunner().invoke(app, ["train", *arguments])


def _killed(*arguments: str, kill: signal.Signals = signal.SIGKILL, checkpoints: int = 1) -> str:
    """Run the command in a process that is killed once there is a checkpoint; return what it printed."""
    command = [sys.executable, "-m", "gpunet", "train", *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    deadline = time.monotonic() + 60
    while len(list(Path("run/checkpoints").glob("*.gpunet"))) < checkpoints:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.send_signal(kill)
    return process.communicate(timeout=60)[0]


def _resume(*more: str) -> Any:
    """Go on with the run of ASKED."""
    return _run("--resume", "run", "--log-json", "log.json", *more)


@pytest.fixture
def whole() -> Path:
    """A run that nothing has cut off."""
    folder = Path("whole")
    assert _run(*ASKED, "--out", str(folder)).exit_code == 0
    Path("log.json").rename(folder / "log.json")
    return folder


def _same(whole: Path, run: Path) -> None:
    for name in ("model.gpunet", "history.csv", "result.json"):
        assert (run / name).read_bytes() == (whole / name).read_bytes(), name
    assert sorted(path.name for path in run.iterdir()) == sorted(
        path.name for path in whole.iterdir() if path.name != "log.json"
    )
    assert _steps(whole / "log.json") == _steps(Path("log.json"))


def _steps(path: Path) -> list[Any]:
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "seconds"} for line in lines]


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
def test_a_killed_run_goes_on_to_the_same_files(whole: Path) -> None:
    _killed(*ASKED, "--out", "run")
    result = _resume()
    assert result.exit_code == 0, result.output
    assert "going on from run/checkpoints/checkpoint-0000000" in result.output
    _same(whole, Path("run"))
    again = _resume()
    assert again.exit_code == 2
    assert again.output == "error: --resume: the run in run has ended; its model is run/model.gpunet\n"


@pytest.mark.skipif(sys.platform == "win32", reason="SIGINT cannot be sent to one process on Windows")
def test_an_interrupted_run_goes_on_to_the_same_files(whole: Path) -> None:
    command = f"gpunet train --resume run --log-json {Path('log.json').absolute()}"
    assert f"to go on: {command}\n" in _killed(*ASKED, "--out", "run", kill=signal.SIGINT)
    assert _resume().exit_code == 0
    _same(whole, Path("run"))


def test_a_run_without_checkpoints_is_begun_anew(whole: Path) -> None:
    assert _run(*ASKED, "--out", "run").exit_code == 0
    for name in ("model.gpunet", "result.json", "history.csv"):
        Path("run", name).unlink()
    Path("run/.history.csv.12.01234567.part").write_text("half")
    Path("run/.lock").write_text("1\n")  # of a process that was killed
    result = _resume()
    assert result.exit_code == 0 and "no checkpoint in run: beginning anew" in result.output, result.output
    _same(whole, Path("run"))


def test_a_run_that_was_killed_before_it_began_leaves_its_folder_free() -> None:
    Path("run").mkdir()
    Path("run/.config.json.12.01234567.part").write_text("{")
    result = _resume()
    assert result.exit_code == 2
    assert result.output == "error: --resume: must be the folder of a run, with a config.json; got run\n"
    assert _run("--model", "mlp", "--steps", "1", "--out", "run").exit_code == 0


def test_resume_stands_alone() -> None:
    result = _run("--resume", "run", "--epochs", "4", "--checkpoint-every", "3")
    assert result.exit_code == 2
    words = "--resume: must stand alone, the run has its options; got --epochs, --checkpoint-every too"
    assert words in result.output


def test_a_log_that_the_user_does_not_name_is_not_written() -> None:
    assert _run("--model", "mlp", "--steps", "1", "--log-json", "log.json", "--out", "run").exit_code == 0
    Path("run/result.json").unlink()
    Path("log.json").write_text("kept")
    for more in ((), ("--log-json", "other.json")):
        result = _run("--resume", "run", *more)
        words = f"error: --log-json: must be {Path('log.json').absolute()}, as where the run began; got"
        assert result.exit_code == 2 and words in result.output
    assert Path("log.json").read_text() == "kept" and not Path("other.json").exists()


def test_one_process_at_a_time() -> None:
    assert _run("--model", "mlp", "--steps", "1", "--out", "run").exit_code == 0
    Path("run/result.json").unlink()
    with FolderLock("test", Path("run")):
        result = _run("--resume", "run")
    words = f"gpunet train: run must be used by one process at a time; got this one beside process {os.getpid()}; wait"
    assert result.exit_code == 1 and words in result.output, result.output
    assert _run("--resume", "run").exit_code == 0 and not Path("run/.lock").exists()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "does not describe a run (Expecting value"),
        ("[]", "does not describe a run"),
        ("{}", "does not describe a run ('arguments')"),
        ('{"arguments": {"model": "mlp"}}', "missing 10 required positional arguments"),
        ({"model": "vgg"}, "model must be one of 'cnn', 'mlp', 'cnn50'; got 'vgg'"),
        ({"batch_size": 0}, "batch_size must be at least 1; got 0"),
        ({"steps": "1"}, "steps must be an integer; got '1'"),
        ({"seed": None}, "seed must be an integer; got None"),
        ({"log_json": 3}, "log_json must be a string; got 3"),
        ({"optimizer": None}, "optimizer must be a string; got None"),
        ({"further": 3}, "unexpected keyword argument 'further'"),
    ],
)
def test_damaged_configurations(text: Any, words: str) -> None:
    assert _run("--model", "mlp", "--steps", "1", "--out", "run").exit_code == 0
    path = Path("run/config.json")
    Path("run/result.json").unlink()
    if isinstance(text, dict):
        config = json.loads(path.read_text())
        text = json.dumps(config | {"arguments": config["arguments"] | text})
    path.write_text(text)
    result = _run("--resume", "run")
    assert result.exit_code == 2 and result.output.startswith("error: --resume: run/config.json "), result.output
    assert words in result.output


def test_a_damaged_checkpoint_is_named() -> None:
    assert _run(*ASKED, "--out", "run").exit_code == 0
    Path("run/result.json").unlink()
    Path("run/checkpoints").mkdir()
    Path("run/checkpoints/checkpoint-000000010.gpunet").write_bytes(b"half")
    result = _resume()
    assert result.exit_code == 2
    assert "error: BackupAndRestore: run/checkpoints/checkpoint-000000010.gpunet: must be a model" in result.output
