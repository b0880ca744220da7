"""Whole runs of the benchmark suite: as a user starts them, cut short in several ways, and the GPU's one command."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench import gpu, life, result, step
from bench.gpu import Part
from bench.report import markdown
from bench.rivals import Library
from gpunet.backend import devices
from gpunet.backend.arrays import parse_device

FOLDER = Path(__file__).parents[1]
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the suite's processes are stopped by POSIX signals")


def _start(path: Path, *options: str, paths: tuple[Path, ...] = ()) -> subprocess.Popen[str]:
    """Start `pytest bench` for the smallest cases, without any rival; modules may come from `paths` too."""
    command = [sys.executable, "-m", "pytest", "bench", "--rivals", "JAX", "--out", str(path), *options]
    found = os.pathsep.join([*map(str, paths), os.environ.get("PYTHONPATH", "")])
    return subprocess.Popen(
        [*command, "-p", "no:cacheprovider"],
        cwd=FOLDER,
        env=os.environ | {"PYTHONPATH": found},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def _wait_for(path: Path, process: subprocess.Popen[str], benchmarks: int) -> None:
    """Wait until so many results are in the file."""
    end = time.monotonic() + 120
    while not path.exists() or len(result.read(path)["benchmarks"]) < benchmarks:
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < end, "no result within 120 s"
        time.sleep(0.05)


def test_a_quick_run(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    process = _start(path, "--quick", "-k", "dense or dropout or import")
    text = process.communicate(timeout=300)[0]
    assert process.returncode == 0, text
    content = result.read(path)
    assert content["complete"] and not content["problems"]
    assert {entry["group"] for entry in content["benchmarks"]} == {"ops", "life"} and content["device_name"]
    dense = next(entry for entry in content["benchmarks"] if entry["name"].startswith("dense_forward"))
    median = dense["extra_info"]["times"]["gpunet"]["median"]
    assert dense["stats"]["min"] <= median * 1.5 and dense["stats"]["max"] >= median / 1.5  # the same clock
    assert "| dense_forward[128x1600x128] |" in text and "node" not in content["machine_info"]


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_a_run_that_is_cut_short_leaves_what_it_has(tmp_path: Path, how: signal.Signals) -> None:
    path = tmp_path / "r.json"
    process = _start(path, "-k", "softmax or dense_forward")
    _wait_for(path, process, 1)
    process.send_signal(how)
    text = process.communicate(timeout=60)[0]
    content = result.read(path)
    assert not content["complete"] and "| dense_forward[32x784x128] |" in markdown(content)
    if how == signal.SIGINT:  # whoever can still speak says what is missing
        assert content["problems"][-1].startswith("not measured, ") and "test_op[softmax" in content["problems"][-1]
        assert "not measured, " in text


def test_ctrl_c_while_a_case_is_reported(tmp_path: Path) -> None:
    """Pytest's plugins warn of an interruption in the middle of their work: the run still ends with its summary."""
    (tmp_path / "interrupting.py").write_text(
        "import pytest\n@pytest.hookimpl(tryfirst=True)\ndef pytest_runtest_makereport(item, call):\n"
        "    if call.when == 'call':\n        raise KeyboardInterrupt\n"
    )
    process = _start(tmp_path / "r.json", "--quick", "-k", "dense", "-p", "interrupting", paths=(tmp_path,))
    text = process.communicate(timeout=120)[0]
    assert process.returncode == pytest.ExitCode.INTERRUPTED and "not measured, " in text, text


def test_the_time_limit(tmp_path: Path) -> None:
    process = _start(tmp_path / "r.json", "--quick", "-k", "dense", "--time-limit", "0")
    text = process.communicate(timeout=120)[0]
    assert process.returncode == 0 and "2 skipped" in text
    content = result.read(tmp_path / "r.json")
    assert "dense_forward[128x1600x128]: not begun within the time limit" in content["problems"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--device", "tpu"), "invalid choice: 'tpu'"),
        (("--rivals", "Torch"), r"--rivals must be among PyTorch, .*; got \['Torch'\]"),
    ],
)
def test_wrong_options(tmp_path: Path, options: tuple[str, ...], message: str) -> None:
    text = _start(tmp_path / "r.json", "--quick", "-k", "dropout", *options).communicate(timeout=120)[0]
    assert re.search(message, text), text


@pytest.mark.parametrize("device", ["cpu", "emulated"])
def test_a_step_by_itself(device: str, tmp_path: Path) -> None:
    if not devices.examine(parse_device(device)).usable:
        pytest.skip(f"{device}: {devices.examine(parse_device(device)).reason}")
    command = [sys.executable, "-m", "bench.step", "--device", device, "--out", str(tmp_path)]
    command += ["--steps", "4", "--batches", "2"]
    done = subprocess.run(command, cwd=FOLDER, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    rows = json.loads((tmp_path / "step.json").read_text())["rows"]
    assert [(row["network"], row["batch"], row["differences"]) for row in rows] == [("cnn50", 2, []), ("mlp", 2, [])]
    assert all(row["graph_host_seconds"] > 0 and row["eager_seconds"] > 0 for row in rows)
    assert (tmp_path / "step.md").read_text().count("| yes |") == 2


def test_a_step_names_what_differs() -> None:
    one = {"a/kernel": np.float32([1, 2, 3]), "a/bias": np.float32([1])}
    other = {"a/kernel": np.float32([1, 2.5, 3]), "a/bias": np.float32([1])}
    assert step._differences(one, other) == ["a/kernel: 1 of 3 differ, by up to 0.5"]


def test_without_a_gpu_the_run_says_so(tmp_path: Path) -> None:
    if devices.examine(parse_device("cuda")).usable:
        pytest.skip("there is a GPU")
    process = _start(tmp_path / "r.json", "--quick", "-k", "dropout", "--device", "cuda")
    assert "gpunet can't run on cuda: " in process.communicate(timeout=120)[0]
    assert result.read(tmp_path / "r.json")["problems"][0].startswith("nothing was measured: ")


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux counts a child's peak from its start")
def test_peak_memory_is_the_processs_own(tmp_path: Path) -> None:
    here = np.ones(2**28, np.uint8)  # 256 MiB that the child must not be charged with
    seconds, peaks = life.first_step(life.LIBRARIES[0], "cpu", 1, tmp_path)
    before = peaks["process"]
    more = np.ones(2**29, np.uint8)
    assert abs(life.first_step(life.LIBRARIES[0], "cpu", 1, tmp_path)[1]["process"] - before) < 2**27
    assert 2**25 < before < 2**30  # NumPy alone takes 30 MB
    assert seconds > 0 and len(here) + len(more) == 3 * 2**28


class _Package:
    requires = (
        "numpy>=1.26",
        'cupy-cuda13x<15,>=14.2 ; extra == "cuda13"',
        'ruff ; extra == "dev"',
        'a[b]; python_version>"3"',
    )


@pytest.mark.parametrize(("device", "expected"), [("cpu", ["numpy", "a"]), ("cuda", ["numpy", "cupy-cuda13x", "a"])])
def test_what_a_package_requires_on_a_device(device: str, expected: list[str]) -> None:
    assert list(life._requirements(_Package(), device)) == expected


def test_installed_size_counts_requirements_once() -> None:
    numpy, both = Library("one", "", "", ("numpy",)), Library("both", "", "", ("numpy", "safetensors"))
    size = life.installed_bytes(numpy, "cpu")
    assert 2**24 < size < life.installed_bytes(both, "cpu") < 1.5 * size
    with pytest.raises(KeyError, match="no_such_module is not an installed package"):
        life.installed_bytes(Library("none", "", "", ("no_such_module",)), "cpu")


def _part(name: str, code: str, limit: float = 60, **options: Any) -> Part:
    return Part(name, (sys.executable, "-c", code), limit, **options)


def test_parts_of_a_gpu_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "_SPARE", 0.5)
    chosen = [
        _part("good", "print('3 passed')"),
        _part("bad", "import sys; print('1 failed | of 2'); sys.exit(3)"),
        _part("slow", "import time; print('begun', flush=True); time.sleep(60)", limit=3),
        _part("absent", "", needs="no-such-program"),
        _part("told", "import os; print(os.environ['TOLD'])", environment=(("TOLD", "yes"),)),
    ]
    assert not gpu.run(chosen, tmp_path, seconds=60)
    rows = (tmp_path / "summary.md").read_text().splitlines()[4:]
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]
    assert [(name, outcome, last) for name, outcome, _, last in cells] == [
        ("good", "passed", "3 passed"),
        ("bad", "failed, exit 3", "1 failed / of 2"),
        ("slow", "cut short by its time limit", "begun"),
        ("absent", "left out: no no-such-program", ""),
        ("told", "passed", "yes"),
    ]
    assert gpu.run(chosen[:1], tmp_path / "again", seconds=60)
    assert not gpu.run(chosen[:1], tmp_path / "late", seconds=0.1)
    assert "left out: no time left" in (tmp_path / "late" / "summary.md").read_text()


def test_a_part_that_is_cut_short_leaves_no_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "_SPARE", 0.1)
    late = tmp_path / "late"
    child = f"import time, pathlib; time.sleep(4); pathlib.Path({str(late)!r}).touch()"
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    start = time.monotonic()
    assert not gpu.run([_part("parent", code, limit=1.5)], tmp_path, seconds=60)
    time.sleep(max(0.0, start + 6 - time.monotonic()))
    assert not late.exists()


def test_what_a_gpu_run_is_made_of(tmp_path: Path) -> None:
    chosen = {part.name: part for part in gpu.parts(tmp_path)}
    assert list(chosen) == ["tests", "step", "models", "ops", "memcheck", "racecheck", "life"]
    assert {"tests/test_dense_op.py", "tests/test_pooling.py", "tests/test_adam.py"} & set(gpu.op_tests())
    assert all((FOLDER / path).exists() for path in gpu.op_tests()) and len(gpu.op_tests()) >= 10
    assert json.dumps(chosen["models"].command).count("{seconds}") == 1
    assert sum(part.limit for part in chosen.values()) <= 540 * 1.2  # later parts take what the earlier ones leave
    assert os.fspath(tmp_path / "ops.json") in chosen["ops"].command
