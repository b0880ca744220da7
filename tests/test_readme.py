"""README.md's code, run as it stands: files written, Python blocks in order, in one folder and one process."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

README = Path(__file__).parents[1] / "README.md"
_BLOCK = re.compile(r"^```(\w+)(?: +(\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def _blocks(language: str) -> list[tuple[str, str]]:
    """Return (file name, text) of each block of `language`."""
    text = README.read_text(encoding="utf-8")
    return [(name, body) for found, name, body in _BLOCK.findall(text) if found == language]


@pytest.mark.parametrize("device", ["cpu", "emulated"])
def test_the_code_runs_as_it_stands(device: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from gpunet.backend import devices
    from gpunet.backend.arrays import parse_device

    report = devices.examine(parse_device(device))
    if not report.usable:
        pytest.skip(report.reason)
    monkeypatch.setenv("GPUNET_DEVICE", device)
    for name, body in _blocks("cuda"):
        (tmp_path / name).write_text(body, encoding="utf-8")
    code = "\n".join(body for _, body in _blocks("python"))
    (tmp_path / "readme.py").write_text(code, encoding="utf-8")
    command = [sys.executable, "-W", "error", "readme.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_it_holds_the_code_that_was_promised() -> None:
    code = "\n".join(body for _, body in _blocks("python"))
    for line in (
        "model.add(Conv2D(16, (3, 3), input_shape=(50, 50, 1), activation='relu'))",
        "model.add(Dense(num_of_classes, activation='softmax'))",
        "model.compile(optimizer='adam', loss='sparse_categorical_crossentropy', metrics=['accuracy'])",
        "history = model.fit(x, y, batch_size=128, epochs=5, validation_split=0.1)",
    ):
        assert line in code


def test_its_figures_are_from_kept_results() -> None:
    kept = {line for report in README.parent.glob("bench/results/*/*.md") for line in report.read_text().splitlines()}
    section = README.read_text(encoding="utf-8").partition("## How fast")[2].partition("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("|")]
    assert len(rows) > 10 and set(rows) <= kept
