"""Arrays of every device: making, copying, naming what was mixed."""

from __future__ import annotations

import sys

import checks
import numpy as np
import pytest
from fake_cupy import FakeCupy

from gpunet.backend import arrays
from gpunet.backend.arrays import CPU, EMULATED, Device, Kind, device_of, parse_device, to_device, to_host

GPU = Device(Kind.CUDA)


@pytest.fixture
def cupy(monkeypatch: pytest.MonkeyPatch) -> FakeCupy:
    """A pretended CuPy with two GPUs of 1 GiB."""
    fake = FakeCupy(devices=2)
    monkeypatch.setitem(sys.modules, "cupy", fake)  # type: ignore[arg-type]
    monkeypatch.setattr(arrays, "import_cupy", lambda: fake)
    return fake


@pytest.mark.parametrize(
    "name, device",
    [
        ("cpu", CPU),
        ("emulated", EMULATED),
        ("cuda", GPU),
        ("cuda:0", GPU),
        ("cuda:3", Device(Kind.CUDA, 3)),
        (GPU, GPU),
    ],
)
def test_parse_device(name: str | Device, device: Device) -> None:
    assert parse_device(name) == device


@pytest.mark.parametrize("name", ["gpu", "", "CPU", "cuda:", "cuda:-1", "cuda:x", "cpu:0", "cudas"])
def test_parse_device_names_the_valid_ones(name: str) -> None:
    message = f"device: name must be 'auto', 'cpu', 'cuda', 'cuda:N' or 'emulated'; got {name!r}"
    with pytest.raises(ValueError, match=message):
        parse_device(name)


def test_parse_device_takes_no_number() -> None:
    with pytest.raises(TypeError, match="name must be a string or a Device; got 0"):
        parse_device(0)  # type: ignore[arg-type]


@pytest.mark.parametrize("device, name", [(CPU, "cpu"), (EMULATED, "emulated"), (GPU, "cuda:0")])
def test_devices_are_written_as_they_are_parsed(device: Device, name: str) -> None:
    assert str(device) == name
    assert parse_device(str(device)) == device


@pytest.mark.parametrize("shape", [(), (1,), (2, 3), (1, 2, 3, 4)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32, np.int64, np.uint8])
def test_there_and_back(device: Device, shape: tuple[int, ...], dtype: type) -> None:
    x = np.asarray(10 * checks.normal(*shape)).astype(dtype)
    placed = to_device(x, device)
    assert device_of(placed) == device
    assert arrays.is_array(placed)
    checks.assert_same_bits(placed, x)
    assert to_device(placed, device) is placed
    assert to_device(placed, str(device)) is placed


def test_to_device_copies_what_is_not_contiguous(device: Device) -> None:
    x = checks.normal(4, 6)
    placed = to_device(x.T, device)
    checks.assert_same_bits(placed, x.T)
    assert device == CPU or placed.flags.c_contiguous
    assert arrays.contiguous(placed).flags.c_contiguous
    checks.assert_same_bits(arrays.contiguous(placed), x.T)


def test_contiguous_returns_what_is(device: Device) -> None:
    x = to_device(checks.normal(4, 6), device)
    assert arrays.contiguous(x) is x


def test_zeros_and_full(device: Device) -> None:
    checks.assert_same_bits(arrays.zeros((2, 3), np.float32, device), np.zeros((2, 3), np.float32))
    checks.assert_same_bits(arrays.full((4,), 2.5, np.float64, device), np.full(4, 2.5))


def test_assign_from_host_and_from_the_same_device(device: Device) -> None:
    x = checks.normal(2, 3)
    target = arrays.zeros((2, 3), np.float32, device)
    arrays.assign(target, x)
    checks.assert_same_bits(target, x)
    arrays.assign(target, to_device(2 * x, device))
    checks.assert_same_bits(target, 2 * x)


def test_assign_names_both_shapes(device: Device) -> None:
    with pytest.raises(ValueError, match=r"assign: source must have shape \(2, 3\); got \(3, 2\)"):
        arrays.assign(arrays.zeros((2, 3), np.float32, device), checks.normal(3, 2))


def test_synchronize(device: Device) -> None:
    arrays.synchronize(device)


def test_emulated_memory_starts_as_nan() -> None:
    assert np.isnan(to_host(arrays.empty((3,), np.float32, EMULATED))).all()
    assert np.isnan(to_host(arrays.empty((3,), np.float64, EMULATED))).all()


def test_emulated_arrays_refuse_host_arrays() -> None:
    x, y = to_device(np.ones(3), EMULATED), np.ones(3)
    for mix in (lambda: x + y, lambda: y * x, lambda: np.add(y, x), lambda: np.concatenate([x, y])):
        with pytest.raises(TypeError, match="all arrays must be on device 'emulated'"):
            mix()
    with pytest.raises(TypeError, match="all arrays must be on device 'emulated'"):
        x[:] = y


def test_emulated_arrays_compute_among_themselves_and_with_scalars() -> None:
    x = to_device(np.array([1.0, -2.0, 4.0]), EMULATED)
    for result, expected in [
        (x + x, [2, -4, 8]),
        (2 * x - 1, [1, -5, 7]),
        (np.abs(x), [1, 2, 4]),
        (x[1:].reshape(2, 1), [[-2], [4]]),
        (x.sum(), 3),
        (x.max(), 4),
        (x > 0, [True, False, True]),
        (np.divmod(x, 2)[1], [1, 0, 0]),
        (np.concatenate([x, x[:1]]), [1, -2, 4, 1]),
    ]:
        assert device_of(result) == EMULATED
        np.testing.assert_array_equal(to_host(result), expected)
    x += x
    np.add.at(x, 0, 1.0)
    np.testing.assert_array_equal(to_host(np.multiply(x, 2, out=x)), [6, -8, 16])
    assert type(x.get()) is np.ndarray


def test_common_device_names_the_arrays_that_differ() -> None:
    x, y = np.ones(3), to_device(np.ones(3), EMULATED)
    assert arrays.common_device("dense", x=x, b=None) == CPU
    message = r"dense: all arrays must be on one device; got x on cpu, w on emulated; copy with gpunet\.to_device"
    with pytest.raises(TypeError, match=message):
        arrays.common_device("dense", x=x, w=y, b=None)


@pytest.mark.parametrize("value", [[1, 2], 3.0, None, "x"])
def test_what_is_no_array(value: object) -> None:
    assert not arrays.is_array(value)
    with pytest.raises(TypeError, match="must be a NumPy, CuPy or emulated array; got"):
        device_of(value)  # type: ignore[arg-type]


def test_cuda_arrays_are_made_filled_and_copied_on_their_own_gpu(cupy: FakeCupy) -> None:
    second = Device(Kind.CUDA, 1)
    x = checks.normal(3, 4)
    placed = to_device(x.T, second)
    assert device_of(placed) == second
    checks.assert_same_bits(to_host(placed), x.T)
    assert device_of(to_device(placed, GPU)) == GPU
    checks.assert_same_bits(arrays.zeros((2,), np.float32, second), np.zeros(2, np.float32))
    assert cupy.current_device == 0


def test_cuda_assign_converts_the_dtype(cupy: FakeCupy) -> None:
    target = arrays.empty((3,), np.float32, GPU)
    arrays.assign(target, np.arange(3.0))
    checks.assert_same_bits(target, np.arange(3, dtype=np.float32))


def test_synchronize_waits_for_the_gpu_that_was_named(cupy: FakeCupy) -> None:
    arrays.synchronize(Device(Kind.CUDA, 1))
    assert cupy.synchronized == [1]


def test_out_of_memory_says_what_was_asked_and_what_is_free(cupy: FakeCupy) -> None:
    message = (
        r"cuda:0: an array of shape \(1024, 1024, 512\) and dtype float32 needs 2048\.0 MiB; "
        r"512\.0 of 1024\.0 MiB are free; use a smaller batch_size or a smaller model"
    )
    with pytest.raises(MemoryError, match=message):
        arrays.empty((1024, 1024, 512), np.float32, GPU)
