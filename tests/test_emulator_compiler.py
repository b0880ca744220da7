"""Finding a compiler, and the cache of compiled kernels."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from emulated_kernel import on_emulator, output, require_emulator, run

from gpunet.backend import compiler, devices, emulator
from gpunet.backend.arrays import CPU, EMULATED, to_host
from gpunet.backend.compiler import find_compiler

KERNEL = 'extern "C" __global__ void twice(const REAL* x, REAL* y) { y[threadIdx.x] = 2 * x[threadIdx.x]; }\n'


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Each test has an empty cache of its own, and no compiler that was found before."""
    require_emulator()
    monkeypatch.setenv("GPUNET_CACHE", str(tmp_path / "cache"))
    caches = (compiler.cache_folder, find_compiler, devices.examine, emulator._module)
    for cached in caches:
        cached.cache_clear()
    yield tmp_path
    monkeypatch.undo()
    for cached in caches:
        cached.cache_clear()


@pytest.fixture
def kernel(folder: Path) -> Path:
    path = folder / "twice.cu"
    path.write_text(KERNEL)
    return path


def run_twice(kernel: Path) -> None:
    x = np.arange(32, dtype=np.float32)
    y = output(32)
    run(kernel, "twice", on_emulator(x), y, block=32)
    np.testing.assert_array_equal(to_host(y), 2 * x)


def without_ziglang(monkeypatch: pytest.MonkeyPatch) -> None:
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "ziglang" else find_spec(name, *rest)
    )


@pytest.mark.parametrize("name", ["g++", "clang++"])
def test_a_compiler_on_the_path(name: str, kernel: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if shutil.which(name) is None:
        pytest.skip(f"{name} is not installed")
    monkeypatch.setenv("GPUNET_CXX", name)
    assert find_compiler().description.startswith({"g++": "g++ ", "clang++": "clang "}[name])
    run_twice(kernel)


@pytest.mark.skipif(importlib.util.find_spec("ziglang") is None, reason="ziglang is not installed")
def test_the_compiler_of_the_ziglang_wheel(kernel: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GPUNET_CXX", raising=False)
    monkeypatch.setenv("PATH", "")
    found = find_compiler()
    assert found.description.startswith("clang ") and found.description.endswith(" (ziglang)")
    run_twice(kernel)


def test_no_compiler_is_an_error_that_names_both_ways(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GPUNET_CXX", raising=False)
    monkeypatch.setenv("PATH", "")
    without_ziglang(monkeypatch)
    with pytest.raises(RuntimeError, match=r'install g\+\+ or clang .*pip install "gpunet\[emulator\]"'):
        find_compiler()
    report = devices.examine(EMULATED)
    assert not report.usable
    assert "no C++17 compiler" in report.reason
    assert devices.examine(CPU).usable
    with pytest.raises(RuntimeError, match=r"emulated is not usable here: .*no C\+\+17 compiler"):
        devices.set_device("emulated")


def test_a_broken_compiler_is_passed_over(folder: Path, kernel: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    works = find_compiler()
    find_compiler.cache_clear()
    broken = folder / "bin" / "c++"
    broken.parent.mkdir()
    broken.write_text("#!/bin/sh\necho 'c++ (Broken) 1.2.3'\ncase $1 in --version) exit 0; esac\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.delenv("GPUNET_CXX", raising=False)
    monkeypatch.setattr(compiler, "_candidates", lambda: iter([(str(broken),), works.command]))
    assert find_compiler() == works
    monkeypatch.setattr(compiler, "_candidates", lambda: iter([(str(broken),)]))
    find_compiler.cache_clear()
    with pytest.raises(RuntimeError, match=re.escape(f"tried {broken}: exit status 1")):
        find_compiler()


def test_a_compiler_that_is_asked_for_is_the_only_candidate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPUNET_CXX", "/nowhere/g++ -pipe")
    with pytest.raises(RuntimeError, match=r"no C\+\+17 compiler.*; tried /nowhere/g\+\+ -pipe: .*No such file"):
        find_compiler()


def test_another_machine_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "riscv64")
    with pytest.raises(RuntimeError, match="runs on x86-64 and aarch64 with Linux or macOS; this is riscv64"):
        find_compiler()


def test_a_compile_error_names_the_kernel_and_the_line(folder: Path) -> None:
    path = folder / "wrong.cu"
    path.write_text('#include "common.cuh"\nextern "C" __global__ void wrong(REAL* y) {\n    y[0] = nonsense;\n}\n')
    with pytest.raises(RuntimeError, match=r"(?s)^wrong.cu: the kernel does not compile with .*wrong.cu:3.*nonsense"):
        run(path, "wrong", output(1), block=1)


def forbid_compiling(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise AssertionError("a compiler was called")

    monkeypatch.setattr(compiler, "_run", fail)
    find_compiler.cache_clear()
    emulator._module.cache_clear()


def test_compiled_kernels_are_reused(kernel: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_twice(kernel)
    forbid_compiling(monkeypatch)
    run_twice(kernel)


def test_a_changed_text_option_or_processor_is_compiled_anew(kernel: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = find_compiler()

    def build(text: str = KERNEL, options: tuple[str, ...] = ("-DREAL=float",), checked: bool = False) -> Path:
        return compiler.build(found, "twice.cu", text, {"twice": ""}, options, checked)

    paths = {build(), build(), build(KERNEL + "\n"), build(options=("-DREAL=double",)), build(checked=True)}
    assert len(paths) == 4
    monkeypatch.setattr(compiler, "cpu", lambda: "another processor")
    assert build() not in paths


def test_processes_may_compile_the_same_kernel_at_once(kernel: Path) -> None:
    find_compiler()
    script = (
        "import sys, numpy as np; from pathlib import Path; sys.path.insert(0, sys.argv[1]);"
        "import test_emulator_compiler as t; t.run_twice(Path(sys.argv[2]))"
    )
    command = [sys.executable, "-c", script, str(Path(__file__).parent), str(kernel)]
    processes = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(3)]
    for process in processes:
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
    left = [path.name for path in compiler.cache_folder().iterdir() if path.name.startswith("making-")]
    assert not left


def test_the_cache_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def cache_folder() -> Path:
        compiler.cache_folder.cache_clear()
        return compiler.cache_folder()

    assert cache_folder() == folder / "cache" / "emulator"
    monkeypatch.delenv("GPUNET_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "xdg"))
    assert cache_folder() == folder / "xdg" / "gpunet" / "emulator"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(folder / "home"))
    assert cache_folder() == folder / "home" / ".cache" / "gpunet" / "emulator"
    file = folder / "file"
    file.touch()
    monkeypatch.setenv("GPUNET_CACHE", str(file / "below"))  # what cannot be made, not even by root
    substitute = cache_folder()
    assert substitute.is_dir() and file not in substitute.parents
    assert os.access(substitute, os.W_OK)
