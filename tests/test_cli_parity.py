"""The command line: parity of two devices, of built-in networks and saved models."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from emulated_kernel import require_emulator
from typer.testing import CliRunner

from gpunet import Dense, Input, Sequential
from gpunet.backend import devices
from gpunet.backend.arrays import CPU, EMULATED, Array, device_of
from gpunet.cli import app
from gpunet.inspection import comparison
from gpunet.layers import dense


@pytest.fixture(autouse=True)
def _own_folder_and_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run in a folder of the test's own, and forget the device that is chosen."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(devices, "_chosen", None)


def _run(*arguments: str) -> Any:
    return CliRunner().invoke(app, ["parity", *arguments])


def _output(result: Any) -> str:
    return " ".join(re.sub(r"[│╭╮╰╯─]", " ", re.sub(r"\x1b\[[0-9;]*m", "", result.output)).split())


def test_help_names_every_option_and_the_exit_status() -> None:
    text = _output(_run("--help"))
    options = ("--device", "--against", "--batch-size", "--steps", "--tolerance", "--json", "--plot", "NAME|FILE")
    assert all(option in text for option in options)
    assert "The exit status is 0 if all is within tolerance, 1 if something is beyond it" in text
    assert "units of the last place of an array's largest number" in text


def test_a_network_within_tolerance() -> None:
    require_emulator()
    result = _run("mlp", "--batch-size", "4", "--steps", "2", "--json", "p.json")
    assert result.exit_code == 0, result.output
    lines = result.output.splitlines()
    assert lines[0] == "mlp: a training step of 4 samples, float32, emulated and cpu"
    assert lines[-1] == "All within a tolerance of 64."
    assert lines[-4].split() == ["step", "loss", "on", "cpu", "loss", "on", "emulated", "difference"]
    content = json.loads(Path("p.json").read_text())
    assert (content["device"], content["against"], content["batch_size"]) == ("emulated", "cpu", 4)
    assert len(content["drift"]["device"]) == 2 and content["tolerance"] == 64


def test_a_network_beyond_tolerance(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told on the last line and by the exit status; files are written all the same."""
    require_emulator()
    right = dense.dense

    def wrong(x: Array, *args: Any, **kwargs: Any) -> Any:
        y, saved = right(x, *args, **kwargs)
        return (y, saved) if device_of(x) == CPU else (y * 1.01, saved)

    monkeypatch.setattr(dense, "dense", wrong)
    model = Sequential([Input((4,)), Dense(3, name="d")], name="saved")
    model.compile("sgd", "mse")
    model.save("saved.gpunet")
    result = _run("saved.gpunet", "--device", "emulated", "--json", "p.json", "--batch-size", "8")
    assert result.exit_code == 1
    last = result.output.splitlines()[-1]
    assert re.fullmatch(r"First beyond a tolerance of 64: the forward pass of d, y: \S+ units\.", last)
    assert json.loads(Path("p.json").read_text())["within_tolerance"] is False
    assert _run("saved.gpunet", "--device", "emulated", "--tolerance", "1e8").exit_code == 0


def test_the_picture() -> None:
    pytest.importorskip("matplotlib")
    result = _run("mlp", "--device", "cpu", "--batch-size", "2", "--plot", "p.png")
    assert result.exit_code == 0 and Path("p.png").read_bytes().startswith(b"\x89PNG")


def test_which_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without --device it is the default; where that is the one it is compared with, 'emulated'."""
    require_emulator()
    asked: list[Any] = []

    def note(model: Sequential, x: Any, y: Any, batch_size: int, **options: Any) -> Any:
        asked.append((options["device"], options["against"], model.device, x[0].shape))
        raise RuntimeError("enough")

    monkeypatch.setattr("gpunet.cli.parity.parity", note)
    for arguments in (
        (),
        ("--against", "emulated"),
        ("--device", "cpu"),
        ("--device", "emulated", "--batch-size", "5"),
    ):
        assert _run("mlp", *arguments).exit_code == 1
    monkeypatch.setenv("GPUNET_DEVICE", "emulated")
    assert _run("mlp").exit_code == 1
    assert _run("mlp", "--against", "emulated").exit_code == 1
    places = [(EMULATED, CPU, CPU), (CPU, EMULATED, EMULATED), (CPU, CPU, CPU), (EMULATED, CPU, CPU)]
    assert [one[:3] for one in asked] == [*places, (EMULATED, CPU, CPU), (CPU, EMULATED, EMULATED)]
    assert asked[0][3] == (32, 8, 8, 1) and asked[3][3] == (5, 8, 8, 1)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["nothing"], 2, "error: MODEL: must be one of cnn, mlp, cnn50, or the file of a saved model; got 'nothing'"),
        (["mlp", "--device", "gpu"], 2, "'cuda', 'cuda:N' or 'emulated'; got 'gpu'"),
        (["mlp", "--against", "cuda:99"], 1, "error: device: cuda:99 is not usable here"),
        (["mlp", "--json", "missing/p.json"], 2, "error: --json: the folder of missing/p.json must exist"),
        (["mlp", "--plot", "missing/p.png"], 2, "error: --plot: the folder of missing/p.png must exist"),
        (["mlp", "--steps", "0"], 2, "Invalid value for '--steps'"),
        (["mlp", "--tolerance", "-1"], 2, "Invalid value for '--tolerance'"),
        ([], 2, "Missing argument"),
    ],
)
def test_errors(arguments: list[str], code: int, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comparison, "_Comparison", lambda *_: pytest.fail("it ran"))
    result = _run(*arguments)
    assert result.exit_code == code and message in _output(result)


def test_a_model_without_a_loss() -> None:
    Sequential([Input((4,)), Dense(2)]).save("plain.gpunet")
    result = _run("plain.gpunet", "--device", "cpu")
    assert result.exit_code == 2 and "the model must be compiled first" in _output(result)
    np.save("other.npy", np.zeros(3))
    assert _run("other.npy").exit_code == 2
