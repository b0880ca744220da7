"""The command line: profile and warmup, of built-in networks and saved models."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from emulated_kernel import require_emulator
from small_models import digits, small_cnn
from typer.testing import CliRunner

from gpunet import Dense, Input, Sequential
from gpunet.backend import devices
from gpunet.backend.arrays import Kind
from gpunet.cli import app
from gpunet.inspection import roofline


@pytest.fixture(autouse=True)
def _own_folder_and_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run in a folder of the test's own, measure limits with little work, and forget the device that is chosen."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(devices, "_chosen", None)
    (tmp_path / "limits").mkdir()
    monkeypatch.setattr(roofline, "cache_folder", lambda part: tmp_path / "limits")
    small = roofline._Sizes(copied=2**16, matrix=128, threads=512, turns=20)
    monkeypatch.setattr(roofline, "_SIZES", dict.fromkeys(Kind, small))


def _run(*arguments: str) -> Any:
    return CliRunner().invoke(app, arguments)


def _output(result: Any) -> str:
    return " ".join(re.sub(r"[│╭╮╰╯─]", " ", re.sub(r"\x1b\[[0-9;]*m", "", result.output)).split())


def test_help_names_every_option() -> None:
    both = ("--model", "--batch-size", "--device")
    for command, options in (("profile", ("--json", "--trace", "--plot", "--steps", "--top")), ("warmup", ("--last",))):
        text = _output(_run(command, "--help"))
        assert all(option in text for option in (*both, *options))
    assert "profile" in _run("--help").output and "warmup" in _run("--help").output


def test_profile_writes_what_it_is_asked_for() -> None:
    size, files = ("--batch-size", "8", "--steps", "2", "--top", "4"), ("--json", "p.json", "--trace", "t.json")
    result = _run("profile", "--model", "mlp", "--device", "cpu", *size, *files)
    assert result.exit_code == 0, result.output
    lines = result.output.splitlines()
    assert lines[0] == "mlp: a training step of 8 samples, float32, on cpu"
    content = json.loads(Path("p.json").read_text())
    assert f"and {len(content['rows']) - 4} more calls" in result.output
    assert content["batch_size"] == 8 and content["steps"] == 2
    first = content["rows"][0]
    assert re.split(" {2,}", lines[4])[:3] == [first["layer"], first["op"], first["direction"]]
    events = json.loads(Path("t.json").read_text())["traceEvents"]
    assert sum(event["ph"] == "X" for event in events) == len(content["rows"])
    assert sorted(path.name for path in Path().iterdir()) == ["limits", "p.json", "t.json"]


def test_profile_draws() -> None:
    pytest.importorskip("matplotlib")
    result = _run("profile", "--model", "mlp", "--batch-size", "4", "--steps", "1", "--plot", "p.png")
    assert result.exit_code == 0, result.output
    assert Path("p.png").read_bytes().startswith(b"\x89PNG")


def test_a_saved_model_is_profiled() -> None:
    model = small_cnn()
    model.fit(*digits(8), verbose=0)
    model.save("model.gpunet")
    kept = Path("model.gpunet").read_bytes()
    result = _run("profile", "--model", "model.gpunet", "--batch-size", "4", "--steps", "1")
    assert result.exit_code == 0, result.output
    assert "a training step of 4 samples" in result.output and " dropout " in result.output
    assert Path("model.gpunet").read_bytes() == kept


@pytest.mark.parametrize("command", ["profile", "warmup", "tune"])
@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--device", "gpu"], 2, "device: name must be 'auto', 'cpu', 'cuda', 'cuda:N' or 'emulated'; got 'gpu'"),
        (["--model", "vgg"], 2, "--model: must be one of cnn, mlp, cnn50, or the file of a saved model; got 'vgg'"),
        (["--model", "text"], 2, "text: must be a model saved by gpunet"),
        (["--batch-size", "0"], 2, "--batch-size"),
        (["--unknown"], 2, "--unknown"),
    ],
)
def test_errors_are_a_line_and_an_exit_code(command: str, arguments: list[str], code: int, message: str) -> None:
    Path("text").write_text("no model")
    result = _run(command, *arguments)
    assert result.exit_code == code and message in _output(result), result.output
    assert "Traceback" not in result.output and isinstance(result.exception, SystemExit)


@pytest.mark.parametrize("option", ["json", "trace", "plot"])
def test_a_folder_that_is_not_there_is_told_before_anything_runs(option: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Sequential, "profile", lambda *_, **__: pytest.fail("it ran"))
    result = _run("profile", "--model", "mlp", f"--{option}", "missing/file")
    assert (result.exit_code, _output(result)) == (
        2,
        f"error: --{option}: the folder of missing/file must exist",
    )


def test_a_model_without_a_loss_cannot_be_profiled_but_warmed_up() -> None:
    Sequential([Input((4,)), Dense(2)]).save("plain.gpunet")
    result = _run("profile", "--model", "plain.gpunet")
    assert result.exit_code == 2 and "the model must be compiled first" in _output(result)
    assert _run("warmup", "--model", "plain.gpunet").exit_code == 0


def test_warmup_takes_the_sizes_of_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(Sequential, "warmup", lambda model, *sizes: asked.append((model.name, *sizes)))
    for sizes in ((), ("--batch-size", "7"), ("--batch-size", "7", "--last-batch-size", "3")):
        assert _run("warmup", "--model", "mlp", *sizes).exit_code == 0
    assert asked == [("mlp", 32, None), ("mlp", 7, None), ("mlp", 7, 3)]


def test_warmup_says_what_the_cache_held(tmp_path: Path) -> None:
    """In processes of their own, with an empty cache at first."""
    require_emulator()
    command = [sys.executable, "-m", "gpunet", "warmup", "--device", "emulated", "--model", "mlp", "--batch-size", "4"]
    environment = os.environ | {"GPUNET_CACHE": str(tmp_path / "cache"), "GPUNET_EMULATOR_CHECK": "0"}
    outputs = []
    for more in ([], ["--last-batch-size", "3"]):
        done = subprocess.run([*command, *more], capture_output=True, text=True, env=environment, check=True)
        outputs.append(done.stdout.splitlines())
    kernels = len(outputs[0]) - 2
    assert kernels > 8 and outputs[0][-1].startswith(f"emulated: {kernels} compiled in ")
    assert outputs[0][-1].endswith("0 from the cache in 0 us")
    assert outputs[1][-1].startswith(f"emulated: 0 compiled in 0 us, {kernels} from the cache in ")
    assert {line.split()[1] for line in outputs[0][1:-1]} == {"compiler"}
    assert {line.split()[1] for line in outputs[1][1:-1]} == {"cache"}
