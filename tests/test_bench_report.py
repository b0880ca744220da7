"""The benchmark suite's files of results and its reports: whole, cut short, on a full disk."""

from __future__ import annotations

import json
import resource
import sys
from pathlib import Path
from typing import Any

import pytest

from bench import report, result
from bench.cases import CASES
from bench.measure import Measured
from bench.result import Result
from bench.roofline import Roofline

DENSE, POOLING = CASES["dense_forward[128x1600x128]"], CASES["max_pooling_backward[128x22x22x32]"]


def _results(path: Path) -> Result:
    """Return a file with two cases and two costs of life."""
    results = Result(path, "cpu", 2)
    results.describe(
        device_name="A Processor",
        datetime="2026-01-02T03:04:05",
        libraries={"gpunet": {"gpunet": "1.0", "NumPy": "2.0"}, "Rival": {"Rival": "3.1"}},
        roofline={"flops": 2e11, "bandwidth": 2e10},
        planned=["one", "two"],
    )
    dense = Measured(DENSE, {"gpunet": [[1e-3, 1e-3], [2e-3]], "Rival": [[2e-3], [4e-3, 4e-3]]}, {"Other": "too old"})
    pooling = Measured(POOLING, {"gpunet": [[1.0]]}, {"Other": "too old", "Rival": "refused: differs"})
    limits = Roofline(2e11, 2e10)
    for measured, group in ((dense, "ops"), (pooling, "models")):
        results.add(measured.case.name, measured.case.name, group, {}, result.information(measured, limits))
    life = result.life_information("bytes", {"gpunet": [2.0**20, 2.0**21], "Rival": [2.0**23] * 2, "Half": [1.0]}, {})
    results.add("peak memory", "test_peak_memory", "life", {}, life)
    return results


def test_what_is_kept_of_a_case(tmp_path: Path) -> None:
    results = _results(tmp_path / "folder" / "r.json")
    content = result.read(tmp_path / "folder" / "r.json")
    assert content == json.loads(json.dumps(results.content))
    information = content["benchmarks"][0]["extra_info"]
    assert information["times"]["gpunet"]["median"] == 1e-3 and information["times"]["Rival"]["median"] == 4e-3
    assert information["ratios"] == {"Rival": {"median": 2.0, "low": 2.0, "high": 2.0}}
    assert information["share"] == pytest.approx(DENSE.flops / 2e11 / 1e-3)
    life = content["benchmarks"][2]["extra_info"]
    assert life["ratios"]["Rival"]["median"] == 6.0 and "Half" not in life["times"]


def test_the_report_says_everything(tmp_path: Path) -> None:
    results = _results(tmp_path / "r.json")
    results.problem("not measured, 1 of 2: ['two']")
    text = report.markdown(results.content)
    assert text.startswith("# cpu: A Processor, 2 threads, 2026-01-02\n")
    for line in (
        "Measured limits: 200 GFLOP/s (float32 products), 20 GB/s (copies).",
        "Libraries: gpunet (gpunet 1.0, NumPy 2.0); Rival (Rival 3.1).",
        "| case | gpunet | FLOP/s | B/s | of the limit | Rival |",
        "| dense_forward[128x1600x128] | 1 ms | 52.5 G | 1.7 G | 26% | 2.00 [2.00, 2.00] |",
        "| max_pooling_backward[128x22x22x32] | 1 s | 496 k | 11.9 M | 0% |",
        "|  | gpunet | Rival |",
        "| peak memory | 1.5 MiB | 8 MiB |",
        "- not measured, 1 of 2: ['two']",
        "- Other: too old (dense_forward[128x1600x128], max_pooling_backward[128x22x22x32])",
        "- Rival: refused: differs (max_pooling_backward[128x22x22x32])",
    ):
        assert line in text.splitlines(), line


def test_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    for text, message in ((None, "No such file"), ("{", "must be a file of results"), ("{}", "it has other keys")):
        if text is not None:
            path.write_text(text)
        with pytest.raises(ValueError, match=message):
            result.read(path)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limit for the size of files")
def test_a_full_disk_leaves_the_last_results_and_is_told(tmp_path: Path) -> None:
    """A limit for the size of files stands for the disk: writing fails in the middle, with an OSError."""
    path = tmp_path / "r.json"
    results = _results(path)
    before = path.read_bytes()
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) // 2, limit[1]))
    try:
        results.add("another", "another", "ops", {}, {"times": {}, "ratios": {}, "missing": {}})
        results.write()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]
    assert results.content["problems"] == ["r.json could not be written: File too large"]
    results.write()
    assert len(result.read(path)["benchmarks"]) == 4


def test_pictures(tmp_path: Path) -> None:
    plots = pytest.importorskip(
        "bench.plots", reason="matplotlib is not installed (extra 'bench')", exc_type=ImportError
    )
    content = _results(tmp_path / "r.json").content
    nothing = {**content, "benchmarks": [], "roofline": None}
    for draw in (lambda content, path: plots.ratio_bars(content, "ops", path), plots.roofline):
        path = tmp_path / "picture.png"
        assert draw(content, path) and path.stat().st_size > 5000
        path.unlink()
        assert not draw(nothing, path) and not path.exists()


def _main(monkeypatch: pytest.MonkeyPatch, *arguments: Any) -> None:
    monkeypatch.setattr(sys, "argv", ["bench.report", *map(str, arguments)])
    report.main()


def test_the_command_writes_beside_the_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    _results(tmp_path / "r.json")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "bench.plots", None)  # as where matplotlib is missing
        with pytest.raises(SystemExit, match="no pictures without matplotlib"):
            _main(monkeypatch, tmp_path / "r.json")
    assert (tmp_path / "r.md").read_text().startswith("# cpu: A Processor")
    with pytest.raises(SystemExit, match=r"bench.report: .*none.json: must be a file of results"):
        _main(monkeypatch, tmp_path / "none.json")
