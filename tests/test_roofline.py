"""The limits of a device: measured once, kept in a file, measured again where that is damaged."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fake_cupy import FakeCupy

from gpunet.backend import arrays, compiler, devices, emulator, launch
from gpunet.backend.arrays import CPU, Device, Kind
from gpunet.inspection import roofline
from gpunet.inspection.roofline import Roofline, roofline_of


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep the limits in a folder of the test's own, and measure with little work."""
    monkeypatch.setattr(roofline, "cache_folder", lambda part: tmp_path)
    small = roofline._Sizes(copied=2**16, matrix=128, threads=512, turns=20)
    monkeypatch.setattr(roofline, "_SIZES", dict.fromkeys(Kind, small))
    return tmp_path


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What was measured, instead of measuring: one flop/s more each time."""
    asked: list[Any] = []

    def measure(device: Device, dtype: str) -> Roofline:
        asked.append((device, dtype))
        return Roofline(len(asked), 10.0)

    monkeypatch.setattr(roofline, "_measure", measure)
    return asked


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_limits_are_between_a_very_old_and_no_machine(device: Device, dtype: str) -> None:
    limits = roofline_of(device, dtype)
    assert 1e6 < limits.flops < 1e15 and 1e6 < limits.bandwidth < 1e14


def test_they_are_measured_once(measured: list[Any], folder: Path) -> None:
    assert [roofline_of(CPU) for _ in range(3)] == [Roofline(1, 10.0)] * 3
    assert measured == [(CPU, "float32")]
    (path,) = folder.iterdir()
    assert path.name.startswith("cpu-") and json.loads(path.read_text()) == {"flops": 1, "bandwidth": 10.0}


def test_what_decides_them_is_told_apart(device: Device, measured: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    roofline_of(device)
    roofline_of(device, "float64")
    with emulator.configured(checked=not emulator.current_settings().checked):
        roofline_of(device)
    monkeypatch.setattr(roofline, "version", lambda: "another")
    roofline_of(device)
    monkeypatch.setattr(roofline, "get_threads", lambda: 64)
    roofline_of(device)
    examined = devices.examine(device)
    monkeypatch.setattr(devices, "examine", lambda _: type(examined)(device, True, "", "another machine"))
    roofline_of(device)
    assert len(measured) == 6
    roofline_of(device)
    assert len(measured) == 6


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        '{"flops": 1}',
        '{"flops": "x", "bandwidth": 1}',
        '{"flops": 0, "bandwidth": 1}',
        '{"flops": NaN, "bandwidth": 1}',
        '{"flops": null, "bandwidth": 1}',
        '{"flops": Infinity, "bandwidth": 1}',
    ],
)
def test_a_damaged_file_is_replaced(measured: list[Any], folder: Path, content: str) -> None:
    roofline_of(CPU)
    (path,) = folder.iterdir()
    path.write_text(content)
    assert roofline_of(CPU) == Roofline(2, 10.0) == roofline_of(CPU)
    assert len(measured) == 2


def test_a_folder_that_cannot_be_written_is_no_error(
    measured: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(roofline, "cache_folder", lambda part: tmp_path / "not" / "there")
    assert roofline_of(CPU) == Roofline(1, 10.0)
    assert roofline_of(CPU) == Roofline(2, 10.0)


def test_the_folder_lies_beside_that_of_the_kernels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPUNET_CACHE", str(tmp_path / "cache"))
    compiler.cache_folder.cache_clear()
    try:
        assert compiler.cache_folder("roofline") == tmp_path / "cache" / "roofline"
    finally:
        compiler.cache_folder.cache_clear()


@pytest.fixture
def cupy(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeCupy]:
    cached = (devices.examine, arrays.import_cupy, launch._cuda_kernel, launch._cuda_module)
    for one in cached:
        one.cache_clear()
    fake = FakeCupy()
    monkeypatch.setitem(sys.modules, "cupy", fake)  # type: ignore[arg-type]
    monkeypatch.setattr(launch, "launched", set())
    yield fake
    for one in cached:
        one.cache_clear()


def test_a_gpu_is_measured_by_its_own_events(cupy: FakeCupy) -> None:
    limits = roofline_of(Device(Kind.CUDA))
    runs = {kernel.name: len(kernel.launches) for kernel in cupy.kernels}
    assert runs == {"probe": 1, "copy": 20, "multiply_adds": 20}
    # The pretended GPU takes 2 ms for the first run and 2 ms more for each: the first does not count.
    assert limits == Roofline(512 * 8 * 2 * 20 / 0.044, 2 * 4 * 2**16 / 0.004)
