"""The command line: tune, on a model that is small enough for the emulator."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from emulated_kernel import require_emulator
from typer.testing import CliRunner

import gpunet
from gpunet import Dense, Input, Sequential
from gpunet.backend import devices
from gpunet.cli import app, tune
from gpunet.inspection import tuning
from gpunet.inspection.tuning import Measured
from gpunet.ops import choices, tiles
from gpunet.ops.choices import Key, Product
from gpunet.recipes import RECIPES

KERNELS = {"dense": "m4 n4 k8", "dense_kernel_gradient": "m8 n4 k4"}  # and the classes of their products


@pytest.fixture(autouse=True)
def _own_folder_and_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Run in a folder of the test's own, and forget the device and the tables that are chosen."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(devices, "_chosen", None)
    yield
    gpunet.set_tuning(None)


@pytest.fixture
def model() -> str:
    """The file of a model of one layer, trained on the emulator."""
    require_emulator()
    network = Sequential([Input((5,)), Dense(3, activation="relu")])
    network.compile("sgd", "mse")
    network.save("model.gpunet")
    return "model.gpunet"


def _run(*arguments: str) -> Any:
    return CliRunner().invoke(app, ["tune", *arguments])


def _tune(model: str, *more: str) -> Any:
    result = _run("--device", "emulated", "--batch-size", "4", "--model", model, *more)
    assert result.exit_code == 0, result.output
    return result


def _seconds(monkeypatch: pytest.MonkeyPatch, **seconds: float) -> None:
    """Pretend that launches take so long with each tile, else a second."""

    def measure(launched: tiles.Launched, device: Any) -> Measured:
        able = tiles.candidates(launched.operation, launched.dtype)
        times = {name: [seconds.get(name, 1.0)] for name in able}
        return Measured(launched.operation, launched.dtype, launched.plan.product, "small", times)

    monkeypatch.setattr(tune, "measure", measure)


def test_help_names_every_option() -> None:
    text = re.sub(r"\x1b\[[0-9;]*m", "", _run("--help").output)
    assert all(option in text for option in ("--model", "--batch-size", "--device", "--out"))


def test_the_cpu_has_nothing_to_tune() -> None:
    result = _run("--device", "cpu")
    assert (result.exit_code, result.output.count("\n")) == (0, 1)
    assert result.output.startswith("cpu: ") and "nothing to tune" in result.output
    assert not list(Path().iterdir())


def test_what_was_measured_is_shown_and_written(model: str) -> None:
    """With real launches; which tile wins on the emulator is of no account."""
    lines = _tune(model).output.splitlines()
    assert re.split(" {2,}", lines[0]) == [
        "kernel",
        "dtype",
        "(m, k) (k, n)",
        "default",
        "time",
        "best",
        "time",
        "gain",
    ]
    rows = [re.split(" {2,}", line) for line in lines[1:3]]
    assert {(row[0], row[2]) for row in rows} == {
        ("dense", "(4, 5) (5, 3)"),
        ("dense_kernel_gradient", "(5, 4) (4, 3)"),
    }
    assert lines[3] == "The times are those of the emulator: they say nothing about a GPU."
    assert lines[5] == "Use it by GPUNET_TUNING=tuning.json, or gpunet.set_tuning('tuning.json')."
    table = tiles.choices.read("test", Path("tuning.json"))
    faster = {row[0]: row[5] for row in rows if row[7] != "-"}
    assert table == {Key(name, "emulated", f"float32 {KERNELS[name]}"): tile for name, tile in faster.items()}
    assert lines[4].startswith(f"{len(faster)} of 2 classes of products have a faster tile; tuning.json now holds ")
    assert sorted(path.name for path in Path().iterdir()) == ["model.gpunet", "tuning.json"]


def test_a_table_that_is_there_keeps_what_was_not_measured(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    other = Key("dense", "9.0", "float32 m4 n4 k8")
    own = {name: Key(name, "emulated", f"float32 {sizes}") for name, sizes in KERNELS.items()}
    Path("t.json").write_bytes(choices.render({other: "large", own["dense"]: "medium"}, "before"))
    _seconds(monkeypatch, narrow=0.5)
    result = _tune(model, "--out", "t.json")
    assert "2 of 2 classes of products have a faster tile; t.json now holds 3 choices." in result.output
    assert tiles.choices.read("test", Path("t.json")) == {other: "large", **dict.fromkeys(own.values(), "narrow")}
    _seconds(monkeypatch)  # nothing is faster any more
    _tune(model, "--out", "t.json")
    assert tiles.choices.read("test", Path("t.json")) == {other: "large"}
    assert json.loads(Path("t.json").read_text())["about"].startswith(f"Written by gpunet tune {gpunet.__version__}")


def test_each_product_of_several_models_is_measured_once(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Product] = []
    _seconds(monkeypatch)
    pretend = tune.measure
    monkeypatch.setattr(tune, "measure", lambda one, device: asked.append(one.plan.product) or pretend(one, device))
    _tune(model, "--model", model)
    assert asked == [Product(4, 3, 5), Product(5, 3, 4)]


def test_all_built_in_networks_are_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    require_emulator()
    named = []
    monkeypatch.setattr(tune, "_measure", lambda models, size, device: named.append([one.name for one in models]) or [])
    assert _run("--device", "emulated").exit_code == 0
    assert named == [list(RECIPES)]


def test_a_file_that_cannot_become_the_table_is_told_before_anything_runs(
    model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tune, "_measure", lambda *_: pytest.fail("it ran"))
    Path("text").write_text("kept")
    for out, message in {
        "missing/t.json": "error: --out: the folder of missing/t.json must exist",
        "text": "error: --out: text: must be a table of gpunet tune; it is not JSON",
    }.items():
        result = _run("--device", "emulated", "--model", model, "--out", out)
        assert result.exit_code == 2 and result.output.startswith(message)
    assert Path("text").read_text() == "kept"


@pytest.mark.parametrize("failing", ["a tile with other bits", "the file"])
def test_a_failure_leaves_the_table_as_it_was(model: str, failing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before = choices.render({Key("dense", "9.0", "float32 m4 n4 k8"): "large"}, "before")
    Path("tuning.json").write_bytes(before)

    def fail(*_: object) -> Any:
        raise RuntimeError("it failed")

    if failing == "the file":
        _seconds(monkeypatch, narrow=0.5)
        monkeypatch.setattr("os.fsync", fail)
    else:
        bits = iter([b"1", b"2"])
        monkeypatch.setattr(tuning, "_results", lambda launched, tile: [next(bits)])
    result = _run("--device", "emulated", "--batch-size", "4", "--model", model)
    assert result.exit_code == 1, result.output
    assert ("it failed" if failing == "the file" else "gives other bits") in result.output
    assert Path("tuning.json").read_bytes() == before
    assert sorted(path.name for path in Path().iterdir()) == ["model.gpunet", "tuning.json"]


def test_devices_shows_the_table_in_use(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("t.json").write_bytes(choices.render({Key("dense", "9.0", "float32 m4 n4 k8"): "large"}, "for a test"))
    monkeypatch.setenv("GPUNET_TUNING", "t.json")
    monkeypatch.setattr(tiles.choices, "_sources", None)
    line = CliRunner().invoke(app, ["devices"]).output.splitlines()[-1]
    path = Path("t.json").absolute()
    assert line.startswith(f"tiles of matrix kernels: {path} by GPUNET_TUNING (choices: 1 for 9.0), then gpunet's own")
    Path("t.json").write_text("broken")
    monkeypatch.setattr(tiles.choices, "_sources", None)
    result = CliRunner().invoke(app, ["devices"])
    assert result.exit_code == 2 and "error: GPUNET_TUNING: t.json: must be a table" in result.output
