"""The one door to the kernels: what reaches the emulator, and what reaches CuPy."""

from __future__ import annotations

import sys
from typing import Any

import checks
import numpy as np
import pytest
from fake_cupy import FakeCupy

from gpunet.backend import arrays, launch
from gpunet.backend.arrays import EMULATED, Device, Kind, empty, to_device
from gpunet.backend.sources import source

GPU = Device(Kind.CUDA)


@pytest.fixture
def cupy(monkeypatch: pytest.MonkeyPatch) -> FakeCupy:
    """A pretended CuPy with two GPUs."""
    fake = FakeCupy(devices=2)
    monkeypatch.setitem(sys.modules, "cupy", fake)  # type: ignore[arg-type]
    for module in (arrays, launch):
        monkeypatch.setattr(module, "import_cupy", lambda: fake)
    monkeypatch.setattr(launch, "launched", set())
    for cached in (launch._cuda_kernel, launch._cuda_module):
        cached.cache_clear()
    return fake


def _launch(*args: Any, device: Device = GPU, **changes: Any) -> np.ndarray:
    y = empty((1000,), np.float32, device)
    options: dict[str, Any] = {"grid": 4, "block": 256, "real": np.float32} | changes
    launch.launch("probe.cu", "probe", args=(y, *(args or (1000,))), **options)
    return y


def test_probe_runs(device: Device) -> None:
    if device == arrays.CPU:
        pytest.skip("the CPU runs no kernels")
    checks.assert_same_bits(_launch(device=device), 2 * np.arange(1000, dtype=np.float32) + 1)


@pytest.mark.parametrize("real, c_name", [(np.float32, "float"), ("float64", "double")])
def test_the_compiler_gets_the_whole_text_and_all_options(cupy: FakeCupy, real: Any, c_name: str) -> None:
    _launch(real=real, defines={"TILE": 16, "ACTIVATION": 2})
    (module,) = cupy.modules
    assert module.code == source("probe.cu")
    assert '#include "' not in module.code
    assert module.options == ("--std=c++17", "--fmad=false", f"-DREAL={c_name}", "-DACTIVATION=2", "-DTILE=16")


def test_scalars_become_the_types_of_the_kernels(cupy: FakeCupy) -> None:
    cupy.kernels.clear()
    y, x = empty((8,), np.float32, GPU), empty((8,), np.float32, GPU)
    args = (y, x, 3, np.int32(4), True, 0.5, np.float64(0.25), None)
    launch.launch("probe.cu", "other", grid=1, block=8, args=args, real=np.float32)
    (kernel,) = cupy.kernels
    got = kernel.launches[0].args
    assert got[0] is y and got[1] is x
    kinds = [(type(value), value) for value in got[2:]]
    assert kinds[:3] == [(np.int64, 3), (np.int64, 4), (np.int64, 1)]
    assert kinds[3:5] == [(np.float32, 0.5), (np.float32, 0.25)]
    assert kinds[5] == (np.uint64, 0)  # the null pointer
    launch.launch("probe.cu", "other", grid=1, block=8, args=(y, 0.1), real=np.float64)
    assert cupy.kernels[-1].launches[0].args[1:] == (0.1,)
    assert type(cupy.kernels[-1].launches[0].args[1]) is np.float64


@pytest.mark.parametrize("size, expected", [(4, (4, 1, 1)), ((4,), (4, 1, 1)), ((4, 2), (4, 2, 1)), ((4, 2, 3),) * 2])
def test_grid_and_block_get_three_dimensions(cupy: FakeCupy, size: Any, expected: tuple[int, ...]) -> None:
    _launch(grid=size, block=size)
    (call,) = cupy.kernels[0].launches
    assert call.grid == call.block == expected


@pytest.mark.parametrize("block", [1025, (32, 33), (1, 1, 65), 0])
def test_blocks_beyond_cudas_limits_are_our_own_mistakes(block: Any) -> None:
    with pytest.raises(AssertionError):
        _launch(device=EMULATED, block=block)


@pytest.mark.parametrize("grid", [2**31, (1, 65536), (1, 1, 65536)])
def test_grids_beyond_cudas_limits_are_too_much_data(grid: Any) -> None:
    with pytest.raises(
        ValueError, match=r"probe.cu:probe: grid must have at most \(2147483647, 65535, 65535\) blocks; got"
    ):
        _launch(device=EMULATED, grid=grid)


def test_an_empty_grid_is_our_own_mistake() -> None:
    with pytest.raises(AssertionError):
        _launch(device=EMULATED, grid=0)


def test_shared_memory_limit_is_raised_where_it_must_be(cupy: FakeCupy) -> None:
    _launch(shared_bytes=1024)
    _launch(shared_bytes=60 * 1024)
    small, large = cupy.kernels
    assert small.max_dynamic_shared_size_bytes == 48 * 1024
    assert large.max_dynamic_shared_size_bytes == 60 * 1024
    assert large.launches[0].shared_mem == 60 * 1024


def test_a_kernel_is_compiled_once_for_each_gpu_and_runs_on_that_of_its_arrays(cupy: FakeCupy) -> None:
    for _ in range(3):
        _launch()
        _launch(device=Device(Kind.CUDA, 1))
    assert [module.device for module in cupy.modules] == [0, 1]
    assert [[call.device for call in kernel.launches] for kernel in cupy.kernels] == [[0] * 3, [1] * 3]
    assert cupy.current_device == 0


def test_launches_are_remembered(cupy: FakeCupy) -> None:
    _launch(shared_bytes=16, block=(8, 4))
    assert launch.launched == {launch.Launch("probe.cu", "probe", ("-DREAL=float",), 32, 16)}


@pytest.mark.parametrize("real", [np.float16, np.int32])
def test_other_dtypes_are_refused(real: Any) -> None:
    with pytest.raises(TypeError, match=f"kernel: dtype must be float32 or float64; got {np.dtype(real)}"):
        _launch(device=EMULATED, real=real)


def test_arrays_of_two_devices_are_refused_by_name() -> None:
    x = to_device(np.ones(3, np.float32), EMULATED)
    with pytest.raises(
        TypeError, match=r"probe\.cu:probe: all arrays must be on one device; got argument 0 on emulated"
    ):
        launch.launch("probe.cu", "probe", grid=1, block=32, args=(x, np.ones(3), 3), real=np.float32)


def test_a_launch_without_an_array_is_refused() -> None:
    with pytest.raises(TypeError, match=r"probe\.cu:probe: all arrays must be on one device; got none"):
        launch.launch("probe.cu", "probe", grid=1, block=32, args=(None, 3), real=np.float32)


def test_arrays_must_be_contiguous() -> None:
    x = to_device(np.ones((4, 4), np.float32), EMULATED)
    with pytest.raises(AssertionError, match="argument 0 is not contiguous"):
        launch.launch("probe.cu", "probe", grid=1, block=32, args=(x.T, 3), real=np.float32)
