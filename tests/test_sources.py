"""Kernel sources: complete texts, their entry points, lines that lead back to the files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from gpunet.backend import sources


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty folder of kernels in place of the real one."""
    monkeypatch.setattr(sources, "kernel_folder", lambda: tmp_path)
    for cached in (sources.source, sources.entry_points):
        cached.cache_clear()
    yield tmp_path
    for cached in (sources.source, sources.entry_points):
        cached.cache_clear()


def test_kernels_are_found_and_complete() -> None:
    files = sources.kernel_files()
    assert "probe.cu" in files
    for file in files:
        assert '#include "' not in sources.source(file)
        assert sources.entry_points(file), f"{file} has no entry point"


def test_includes_are_inlined_once_with_line_numbers(folder: Path) -> None:
    (folder / "a.cuh").write_text('#include "b.cuh"\nint a;\n')
    (folder / "b.cuh").write_text("int b;\n")
    (folder / "k.cu").write_text('// k\n  #include "a.cuh"\n#include "b.cuh"\nint k;\n')
    assert sources.source("k.cu").splitlines() == [
        '#line 1 "k.cu"',
        "// k",
        '#line 1 "a.cuh"',
        '#line 1 "b.cuh"',
        "int b;",
        '#line 2 "a.cuh"',
        "int a;",
        '#line 3 "k.cu"',
        '#line 4 "k.cu"',
        "int k;",
    ]


def test_headers_that_include_each_other_end(folder: Path) -> None:
    (folder / "a.cuh").write_text('#include "b.cuh"\nint a;\n')
    (folder / "b.cuh").write_text('#include "a.cuh"\nint b;\n')
    (folder / "k.cu").write_text('#include "a.cuh"\n')
    assert [line for line in sources.source("k.cu").splitlines() if line.startswith("int")] == ["int b;", "int a;"]


def test_entry_points_of_every_form(folder: Path) -> None:
    (folder / "k.cu").write_text(
        'extern "C" __global__ void plain(float* y) {}\n'
        'extern "C" __global__ void __launch_bounds__(THREADS) bounded(float* y) {}\n'
        'extern "C" __global__ void __launch_bounds__(ceil_div(A, B) * 32, 2)\nwrapped(\n    float* y) {}\n'
        "__device__ void helper(float* y) {}\n"
        "// __global__ void commented(float* y)\n"
    )
    assert sources.entry_points("k.cu") == ("plain", "bounded", "wrapped")


def test_kernels_elsewhere_may_include_our_headers(tmp_path: Path) -> None:
    (tmp_path / "own.cuh").write_text("int own;\n")
    path = tmp_path / "k.cu"
    path.write_text('#include "common.cuh"\n#include "own.cuh"\nextern "C" __global__ void k(REAL* y) {}\n')
    text = sources.source(str(path))
    assert "using Index = long long;" in text and "int own;" in text
    assert sources.entry_points(str(path)) == ("k",)


def test_a_missing_include_names_the_file(folder: Path) -> None:
    (folder / "k.cu").write_text('#include "absent.cuh"\n')
    with pytest.raises(FileNotFoundError, match=r"absent\.cuh"):
        sources.source("k.cu")


def test_a_package_without_kernels_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "__file__", str(tmp_path / "site" / "gpunet" / "backend" / "sources.py"))
    sources.kernel_folder.cache_clear()
    try:
        with pytest.raises(RuntimeError, match=r"kernels: no folder with kernel sources in .*; reinstall gpunet"):
            sources.kernel_folder()
    finally:
        sources.kernel_folder.cache_clear()
