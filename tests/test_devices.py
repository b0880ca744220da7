"""Choosing a device, and saying why one cannot be used, on every sort of half-installed machine."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from fake_cupy import FakeCupy

from gpunet.backend import arrays, devices, emulator, launch
from gpunet.backend.arrays import CPU, EMULATED, Device, Kind

GPU = Device(Kind.CUDA)


def _forget() -> None:
    for cached in (devices.examine, devices.capability, arrays.import_cupy, launch._cuda_kernel, launch._cuda_module):
        cached.cache_clear()


@pytest.fixture(autouse=True)
def undecided(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As in a fresh process: nothing chosen, nothing examined, no CuPy imported."""
    monkeypatch.delenv("GPUNET_DEVICE", raising=False)
    monkeypatch.setattr(devices, "_chosen", None)
    for name in [name for name in sys.modules if name.partition(".")[0] == "cupy"]:
        monkeypatch.delitem(sys.modules, name)
    _forget()
    yield
    _forget()


@pytest.fixture
def cupy(monkeypatch: pytest.MonkeyPatch) -> FakeCupy:
    """A pretended CuPy with two GPUs on which the probe kernel works."""
    fake = FakeCupy(devices=2)
    monkeypatch.setitem(sys.modules, "cupy", fake)  # type: ignore[arg-type]
    return fake


@pytest.fixture
def no_cupy(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without CuPy, whatever this one has."""
    monkeypatch.setitem(sys.modules, "cupy", None)  # type: ignore[arg-type]


def _reason() -> str:
    report = devices.examine(GPU)
    assert not report.usable
    assert devices.choose("auto") == (CPU, report.reason)
    assert devices.current_device() == CPU
    with pytest.raises(RuntimeError, match=re.escape(f"device: cuda:0 is not usable here: {report.reason}")):
        devices.set_device("cuda")
    return report.reason


def test_auto_takes_a_gpu_on_which_the_probe_kernel_ran(cupy: FakeCupy) -> None:
    assert devices.current_device() == GPU
    assert devices.choose() == (GPU, "a probe kernel ran")
    report = devices.examine(GPU)
    assert (report.name, report.memory_total, report.memory_free) == ("Fake 0, compute capability 9.0", 2**30, 2**29)
    (kernel,) = cupy.kernels
    assert (kernel.name, len(kernel.launches)) == ("probe", 1)


def test_a_gpu_that_computes_wrongly_is_not_used(cupy: FakeCupy) -> None:
    cupy.probe_offset = 2
    assert _reason() == "RuntimeError: the probe kernel gave wrong results on cuda:0"


def test_gpus_are_counted(cupy: FakeCupy) -> None:
    assert devices.set_device("cuda:1") == Device(Kind.CUDA, 1)
    assert [str(report.device) for report in devices.survey()] == ["cpu", "cuda:0", "cuda:1", "emulated"]
    message = "device: cuda:2 is not usable here: there are 2 CUDA devices, numbered from 0"
    with pytest.raises(RuntimeError, match=message):
        devices.set_device("cuda:2")


def test_without_cupy(no_cupy: None) -> None:
    assert _reason() == "CuPy is not installed; install gpunet[cuda13] or gpunet[cuda12]"
    assert [str(report.device) for report in devices.survey()] == ["cpu", "cuda:0", "emulated"]


@pytest.mark.parametrize(
    "failure, driver, expected",
    [
        (
            "cudaErrorInsufficientDriver: CUDA driver version is insufficient for CUDA runtime version",
            0,
            "CuPy 14.2.0 is installed, but this machine has no NVIDIA driver",
        ),
        (
            "cudaErrorInsufficientDriver: CUDA driver version is insufficient for CUDA runtime version",
            12040,
            "the NVIDIA driver is made for CUDA 12.4, CuPy for CUDA 13.2; "
            "install a newer driver, or gpunet[cuda12] instead of gpunet[cuda13]",
        ),
        (
            "cudaErrorNoDevice: no CUDA-capable device is detected",
            13000,
            "there is an NVIDIA driver, but it shows no GPU; CUDA_VISIBLE_DEVICES is ''",
        ),
        (
            'Failure finding "libnvrtc.so.13 or libnvrtc.so.12": No such file',
            13000,
            "CuPy is installed, but NVRTC is not; install gpunet[cuda13] or gpunet[cuda12]",
        ),
        (
            "Failed to auto-detect CUDA root directory. Please specify `CUDA_PATH` environment variable",
            13000,
            "CuPy is installed, but NVIDIA's CUDA runtime package is not; install gpunet[cuda13] or gpunet[cuda12]",
        ),
        ("cudaErrorECCUncorrectable:\n  see the log", 13000, "RuntimeError: cudaErrorECCUncorrectable: see the log"),
        ("x" * 1000, 13000, ("RuntimeError: " + "x" * 1000)[:300]),
    ],
)
def test_reasons_of_a_gpu_that_cannot_be_used(
    cupy: FakeCupy, monkeypatch: pytest.MonkeyPatch, failure: str, driver: int, expected: str
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    cupy.failure, cupy.driver_version = RuntimeError(failure), driver
    assert _reason() == expected


@pytest.mark.parametrize(
    "body, expected",
    [
        ("raise ImportError('\\n=====\\nFailed to import CuPy.\\n')", "CuPy does not import: Failed to import CuPy."),
        ("import a_module_it_lacks", "CuPy does not import: No module named 'a_module_it_lacks'"),
        ("raise OSError('libcuda.so.1: file too short')", "CuPy does not import: libcuda.so.1: file too short"),
        ("raise ValueError", "CuPy does not import: ValueError"),
        ("def broken(", "CuPy does not import: '(' was never closed"),
        ("raise BaseException('no Exception')", "CuPy does not import: no Exception"),
        ("raise SystemExit(1)", "CuPy does not import: 1"),
        ("", "AttributeError: module 'cupy' has no attribute 'cuda'"),
    ],
)
def test_broken_installations_of_cupy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str, expected: str
) -> None:
    (tmp_path / "cupy.py").write_text(body)
    monkeypatch.syspath_prepend(tmp_path)
    assert _reason().startswith(expected)


def _cupy_that_makes_a_cache(folder: Path) -> None:
    """Write a `cupy` that makes its cache folder at import, as CuPy does, and then has no GPU."""
    (folder / "cupy.py").write_text(
        "import os\n"
        "cache = os.environ.get('CUPY_CACHE_DIR', os.path.expanduser('~/.cupy/kernel_cache'))\n"
        "os.makedirs(cache, exist_ok=True)\n"
        "raise RuntimeError(cache)\n"
    )


def test_an_unwritable_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "home"
    home.write_text("a file: nobody, root included, can make a folder in it")
    _cupy_that_makes_a_cache(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("USERPROFILE", str(home))
    monkeypatch.setenv("CUPY_CACHE_DIR", "")
    monkeypatch.delenv("CUPY_CACHE_DIR")
    assert "gpunet_cupy_" in _reason()
    assert Path(os.environ["CUPY_CACHE_DIR"]).is_dir()


def test_a_writable_home_folder_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _cupy_that_makes_a_cache(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    monkeypatch.delenv("CUPY_CACHE_DIR", raising=False)
    assert str(tmp_path / ".cupy" / "kernel_cache") in _reason()
    assert "CUPY_CACHE_DIR" not in os.environ
    assert list((tmp_path / ".cupy" / "kernel_cache").iterdir()) == []


def test_without_a_compiler_only_emulated_is_missing(no_cupy: None, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> Any:
        raise RuntimeError("emulated: no C++ compiler")

    monkeypatch.setattr(emulator, "find_compiler", fail)
    report = devices.examine(EMULATED)
    assert not report.usable and "no C++ compiler" in report.reason
    assert devices.current_device() == CPU
    with pytest.raises(RuntimeError, match=r"device: emulated is not usable here: .*no C\+\+ compiler"):
        devices.set_device("emulated")


def test_order_of_choices(no_cupy: None, monkeypatch: pytest.MonkeyPatch, emulated: None) -> None:
    assert devices.current_device() == CPU
    monkeypatch.setenv("GPUNET_DEVICE", "emulated")
    assert devices.choose() == (EMULATED, "GPUNET_DEVICE is 'emulated'")
    assert devices.current_device() == EMULATED
    assert devices.set_device("cpu") == CPU
    assert devices.current_device() == CPU
    with devices.device("emulated") as device:
        assert device == devices.current_device() == EMULATED
        with devices.device("auto"):
            assert devices.current_device() == CPU
        assert devices.current_device() == EMULATED
    assert devices.current_device() == CPU


def test_a_with_block_ends_with_its_block_and_stays_in_its_thread(no_cupy: None, emulated: None) -> None:
    with pytest.raises(KeyError), devices.device("emulated"):
        raise KeyError
    assert devices.current_device() == CPU
    with ThreadPoolExecutor(1) as pool:
        with devices.device("emulated"):
            assert pool.submit(devices.current_device).result() == CPU
        devices.set_device("emulated")
        assert pool.submit(devices.current_device).result() == EMULATED


@pytest.fixture
def emulated() -> None:
    """Skip the test where `emulated` cannot be used."""
    report = devices.examine(EMULATED)
    if not report.usable:
        pytest.skip(report.reason)


def test_a_refused_choice_changes_nothing(no_cupy: None) -> None:
    devices.set_device("cpu")
    with pytest.raises(RuntimeError):
        devices.set_device("cuda")
    with pytest.raises(ValueError, match=r"device: name must be 'auto', 'cpu', .* 'emulated'; got 'gpu'"):
        devices.set_device("gpu")
    with pytest.raises(RuntimeError), devices.device("cuda"):
        pass
    assert devices.current_device() == CPU


def test_the_variable_is_named_where_it_is_wrong(no_cupy: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPUNET_DEVICE", "gpu")
    with pytest.raises(ValueError, match=r"GPUNET_DEVICE: name must be 'auto', .* got 'gpu'"):
        devices.current_device()
    monkeypatch.setenv("GPUNET_DEVICE", "cuda")
    with pytest.raises(RuntimeError, match="GPUNET_DEVICE: cuda:0 is not usable here: CuPy is not installed"):
        devices.current_device()
    monkeypatch.setenv("GPUNET_DEVICE", "auto")
    assert devices.current_device() == CPU


def test_cpu_is_always_there() -> None:
    report = devices.examine(CPU)
    assert report.usable and report.name
    assert report.memory_total is None or report.memory_total > 0
