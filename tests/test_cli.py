"""The command line: train, devices, --version; its errors, and Ctrl-C."""

from __future__ import annotations

import csv
import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import gpunet
from gpunet.backend import devices
from gpunet.backend.arrays import parse_device
from gpunet.cli import app
from gpunet.layers import naming
from gpunet.recipes import RECIPES


@pytest.fixture(autouse=True)
def _own_folder_and_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run in a folder of the test's own, and forget the device that `train` chooses."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(devices, "_chosen", None)


def _run(*arguments: str) -> Any:
    return CliRunner().invoke(app, arguments)


def test_version() -> None:
    result = _run("--version")
    assert (result.exit_code, result.output) == (0, f"gpunet {gpunet.__version__}\n")


def test_help_names_every_option() -> None:
    text = re.sub(r"\x1b\[[0-9;]*m", "", _run("train", "--help").output)
    for option in (
        "device",
        "model",
        "epochs",
        "steps",
        "batch-size",
        "optimizer",
        "learning-rate",
        "seed",
        "nonfinite",
        "out",
    ):
        assert f"--{option}" in text
    assert "--log-json" in text and "train" in _run("--help").output


def test_training_leaves_model_history_and_configuration() -> None:
    result = _run("train", "--device", "cpu", "--model", "mlp", "--epochs", "2", "--seed", "7")
    assert result.exit_code == 0, result.output
    assert result.output.startswith("device: cpu, ") and "(asked for)" in result.output
    (folder,) = Path("runs").iterdir()
    assert re.fullmatch(r"\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d", folder.name)
    assert sorted(path.name for path in folder.iterdir()) == [
        *("config.json", "history.csv", "model.gpunet", "result.json")
    ]
    accuracy = float(re.search(r"^test accuracy (0\.\d{4})\n\Z", result.output, re.MULTILINE)[1])  # type: ignore[index]

    model = gpunet.load_model(folder / "model.gpunet")
    (_, (x, y)) = gpunet.datasets.load_digits()
    assert model.evaluate(RECIPES["mlp"].images(x), y, verbose=0)[1] == pytest.approx(accuracy, abs=5e-5)
    with (folder / "history.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["0", "1"] and float(rows[1]["loss"]) < float(rows[0]["loss"])
    config = json.loads((folder / "config.json").read_text())
    assert config["arguments"] == {
        "device": "cpu",
        "model": "mlp",
        "epochs": 2,
        "steps": None,
        "batch_size": 32,
        "optimizer": "adam",
        "learning_rate": None,
        "seed": 7,
        "nonfinite": "ignore",
        "checkpoint_every": None,
        "log_json": None,
    }
    found = json.loads((folder / "result.json").read_text())
    assert list(found) == ["test_loss", "test_accuracy"] and found["test_accuracy"] == pytest.approx(accuracy, abs=5e-5)
    assert config["device"] == "cpu (asked for)"
    assert config["versions"]["gpunet"] == gpunet.__version__ and config["versions"]["numpy"] == np.__version__
    assert config["compile"]["optimizer"]["class_name"] == "Adam"
    assert config["architecture"]["config"]["name"] == "mlp"


def test_the_reason_for_an_automatic_choice_is_given() -> None:
    result = _run("train", "--device", "auto", "--model", "mlp", "--steps", "1")
    chosen, reason = devices.choose("auto")
    expected = reason if str(chosen) == "cuda:0" else f"cuda is not usable: {reason}"
    assert f"device: {chosen}, " in result.output and f"({expected})" in result.output
    result = _run("train", "--model", "mlp", "--steps", "1")
    assert "(GPUNET_DEVICE is 'cpu')" in result.output  # as conftest.py sets it


@pytest.mark.parametrize(("device", "model"), [("cpu", "cnn50"), ("cpu", "cnn"), ("emulated", "cnn")])
def test_steps_end_the_training(device: str, model: str) -> None:
    report = devices.examine(parse_device(device))
    if not report.usable:
        pytest.skip(report.reason)
    result = _run("train", "--device", device, "--model", model, "--steps", "2", "--batch-size", "4", "--out", "run")
    assert result.exit_code == 0, result.output
    assert re.search(r"^test accuracy \d\.\d{4}$", result.output, re.MULTILINE)
    lines = Path("run/history.csv").read_text().splitlines()
    assert len(lines) == 2 and lines[0] == "epoch,accuracy,loss"


def test_a_nonfinite_loss_ends_the_training_where_that_is_wanted() -> None:
    sizes = ("--steps", "4", "--batch-size", "500", "--optimizer", "sgd", "--learning-rate", "1e38", "--out", "run")
    result = _run("train", "--model", "mlp", *sizes, "--nonfinite", "raise")
    assert result.exit_code == 1
    assert "stopped after 1 steps; the model trained so far is run/model.gpunet" in result.output
    error = "error: Sequential 'mlp': outputs must be finite; got -?(inf|nan) in the output of .* in step 2, batch 1 of"
    assert re.search(error, result.output)
    assert json.loads(Path("run/config.json").read_text())["compile"]["nonfinite"] == "raise"
    assert all(np.isfinite(weight).all() for weight in gpunet.load_model("run/model.gpunet").get_weights())


def test_log_of_steps_and_epochs() -> None:
    size, optimizer = ("--steps", "4", "--batch-size", "500"), ("--optimizer", "sgd", "--learning-rate", "0.05")
    result = _run("train", "--model", "mlp", *size, *optimizer, "--log-json", "log.json")
    assert result.exit_code == 0, result.output
    lines = [json.loads(line) for line in Path("log.json").read_text().splitlines()]
    assert [(line["event"], line["epoch"], line["step"]) for line in lines] == [
        ("step", 0, 1),
        ("step", 0, 2),
        ("step", 0, 3),
        ("epoch", 0, 3),
        ("step", 1, 4),
        ("epoch", 1, 4),
    ]
    (config,) = Path("runs").glob("*/config.json")
    compiled = json.loads(config.read_text())["compile"]["optimizer"]
    assert compiled["class_name"] == "SGD" and compiled["config"]["learning_rate"] == pytest.approx(0.05)


@pytest.mark.parametrize("name", ["lion", "adafactor"])
def test_every_optimizer_goes_by_its_name(name: str) -> None:
    size = ("--steps", "2", "--batch-size", "16", "--out", "run")
    result = _run("train", "--model", "mlp", *size, "--optimizer", name)
    assert result.exit_code == 0, result.output
    compiled = json.loads(Path("run/config.json").read_text())["compile"]["optimizer"]
    assert compiled["class_name"].lower() == name


def test_the_same_seed_gives_the_same_model() -> None:
    for seed, out in (("1", "a"), ("1", "b"), ("2", "c")):
        naming.clear_session()  # as in a process of its own
        assert _run("train", "--model", "mlp", "--steps", "3", "--seed", seed, "--out", out).exit_code == 0
    a, b, c = (Path(out, "model.gpunet").read_bytes() for out in "abc")
    assert a == b != c


def test_two_runs_of_one_second_have_folders_of_their_own() -> None:
    for _ in range(3):
        assert _run("train", "--model", "mlp", "--steps", "1").exit_code == 0
    assert len(list(Path("runs").glob("*/model.gpunet"))) == 3


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--device", "gpu"], 2, "device: name must be 'auto', 'cpu', 'cuda', 'cuda:N' or 'emulated'; got 'gpu'"),
        (["--device", "cuda:77"], 1, "device: cuda:77 is not usable here: "),
        (["--model", "vgg"], 2, "'vgg' is not one of 'cnn', 'mlp', 'cnn50'"),
        (["--epochs", "0"], 2, "--epochs"),
        (["--steps", "no"], 2, "--steps"),
        (["--batch-size", "-1"], 2, "--batch-size"),
        (["--optimizer", "lyon"], 2, "'lyon' is not one of 'adadelta', 'adafactor'"),
        (["--learning-rate", "-1"], 2, "adam: learning_rate must be finite and at least 0; got -1.0"),
        (["--learning-rate", "nan"], 2, "learning_rate must be finite"),
        (["--seed", "-1"], 2, "--seed"),
        (["--seed", "99999999999999999999"], 2, "seed must be from 0 to 2**63 - 1"),
        (["--out", "full"], 2, "--out: must be a new or empty folder; got full"),
        (["--out", "file"], 2, "--out: must be a new or empty folder; got file"),
        (["--out", "file/inside"], 1, "file"),
        (["--log-json", "missing/log.json"], 2, "--log-json: the folder of missing/log.json must exist"),
        (["--log-json", "full"], 2, "'full' is a directory"),
        (["--unknown"], 2, "--unknown"),
    ],
)
def test_errors_are_a_line_and_an_exit_code(arguments: list[str], code: int, message: str) -> None:
    Path("full").mkdir()
    Path("full/kept.txt").write_text("kept")
    Path("file").write_text("kept")
    result = _run("train", "--steps", "1", *arguments)
    output = " ".join(re.sub(r"[│╭╮╰╯─]", " ", re.sub(r"\x1b\[[0-9;]*m", "", result.output)).split())
    assert result.exit_code == code and message in output, result.output
    assert "Traceback" not in output and isinstance(result.exception, SystemExit)
    assert sorted(path.name for path in Path().iterdir()) == ["file", "full"]
    assert Path("full/kept.txt").read_text() == Path("file").read_text() == "kept"


def test_an_empty_folder_is_taken() -> None:
    Path("out").mkdir()
    assert _run("train", "--model", "mlp", "--steps", "1", "--out", "out").exit_code == 0


def test_devices_are_listed_with_the_reason_why_not() -> None:
    result = _run("devices")
    assert result.exit_code == 0
    lines = {line.split()[0]: line for line in result.output.splitlines()}
    assert list(lines)[:2] == ["cpu", "cuda:0"] and list(lines)[-2:] == ["emulated", "tiles"]
    assert lines["tiles"].startswith("tiles of matrix kernels: gpunet's own table (")
    for report in devices.survey():
        line = lines[str(report.device)]
        assert line.split()[1] == ("yes" if report.usable else "no") and report.reason in line
        assert report.name in line and ("GiB free" in line) == (report.memory_free is not None)


def test_devices_are_a_table_on_a_terminal(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    from gpunet.cli import devices as command

    monkeypatch.setenv("COLUMNS", "200")
    command._print_table([command._row(report) for report in devices.survey()])
    text = capsys.readouterr().out
    for part in ("device", "usable", "memory", "why", "cuda:0", "emulated"):
        assert part in text


# The command as a process


def _command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "gpunet", *arguments]


def test_the_command_in_a_process_of_its_own() -> None:
    command = _command("train", "--model", "mlp", "--steps", "2", "--out", "run")
    result = subprocess.run(command, capture_output=True, text=True)
    assert (result.returncode, result.stderr) == (0, "")
    assert re.search(r"\ntest accuracy \d\.\d{4}\n\Z", result.stdout)
    again = subprocess.run(command, capture_output=True, text=True)
    assert (again.returncode, again.stdout.count("\n")) == (2, 1)
    assert again.stderr == "error: --out: must be a new or empty folder; got run\n"


@pytest.mark.skipif(sys.platform == "win32", reason="SIGINT cannot be sent to one process on Windows")
def test_ctrl_c_saves_what_was_trained() -> None:
    command = _command("train", "--model", "mlp", "--epochs", "100000", "--out", "run", "--log-json", "log.json")
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        _wait_for(lambda: Path("log.json").exists() and Path("log.json").read_text().count("\n") > 60, process)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert (process.returncode, err) == (130, "")
    steps = re.search(r"\ninterrupted after (\d+) steps; the model trained so far is run/model.gpunet\n\Z", out)
    assert steps is not None, out
    logged = [json.loads(line) for line in Path("log.json").read_text().splitlines()]
    assert int(steps[1]) == logged[-1]["step"]
    (_, (x, y)) = gpunet.datasets.load_digits()
    model = gpunet.load_model("run/model.gpunet")
    assert model.evaluate(RECIPES["mlp"].images(x), y, verbose=0)[1] > 0.3
    assert len(Path("run/history.csv").read_text().splitlines()) == 1 + max(line["epoch"] for line in logged)


def _wait_for(condition: Any, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)
