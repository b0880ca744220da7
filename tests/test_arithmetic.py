"""Arithmetic: a += b, y = factor x, and the sum of all elements."""

from __future__ import annotations

import checks
import numpy as np
import pytest

from gpunet.backend import emulator
from gpunet.backend.arrays import CPU, Device
from gpunet.ops import arithmetic

BLOCK = arithmetic.THREADS
CHUNK = arithmetic.CHUNK
SIZES = [1, BLOCK - 1, BLOCK, BLOCK + 1, 5 * BLOCK + 3]


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_add_in_place(device: Device, n: int, dtype: type) -> None:
    a, b = checks.normal(n, seed=1, dtype=dtype), checks.normal(n, seed=2, dtype=dtype)
    on_device, other = checks.on(device, a, b)
    arithmetic.add_in_place(on_device, other)
    checks.assert_same_bits(on_device, a + b)
    checks.assert_same_bits(other, b)


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_scale(device: Device, n: int, dtype: type) -> None:
    x = checks.normal(n, dtype=dtype)
    checks.assert_same_bits(arithmetic.scale(checks.on(device, x), 0.1), x * dtype(0.1))


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_scale_in_place(device: Device, n: int, dtype: type) -> None:
    x = checks.normal(n + 1, dtype=dtype)
    a = checks.on(device, x)
    arithmetic.scale_in_place(a[:n], 0.1)
    checks.assert_same_bits(a, np.append(x[:n] * dtype(0.1), x[n]))


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_scale_by(device: Device, n: int, dtype: type) -> None:
    x = checks.normal(n, dtype=dtype)
    y = arithmetic.scale_by(*checks.on(device, x, np.array([0.1], dtype)))
    checks.assert_same_bits(y, x * dtype(0.1))
    rows, factors = checks.normal(n, 3, dtype=dtype), checks.normal(n, seed=1, dtype=dtype)
    checks.assert_same_bits(arithmetic.scale_by(*checks.on(device, rows, factors)), rows * factors[:, None])
    with pytest.raises(ValueError, match=rf"scale_by: factor must have shape \(1,\) or \({n},\); got \(2,\)"):
        arithmetic.scale_by(*checks.on(device, x, np.ones(2, dtype)))


def test_shapes_are_kept_and_other_layouts_taken(device: Device) -> None:
    x = checks.normal(3, 4, 5)
    y = arithmetic.scale(checks.on(device, x).transpose(2, 0, 1), 2)
    checks.assert_same_bits(y, 2 * x.transpose(2, 0, 1))
    sums = checks.on(device, np.zeros((5, 3, 4), np.float32))
    arithmetic.add_in_place(sums, checks.on(device, x).transpose(2, 0, 1))
    checks.assert_same_bits(sums, x.transpose(2, 0, 1))


@pytest.mark.parametrize("n", [1, 2, BLOCK - 1, BLOCK + 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK + 77])
def test_total(device: Device, n: int) -> None:
    """Several vectors, because the error of one sum is a matter of luck."""
    vectors = [checks.normal(n, seed=seed) for seed in range(8)]
    y = np.concatenate([checks.host(arithmetic.total(checks.on(device, x))) for x in vectors])
    exact = np.array([x.astype(np.float64).sum() for x in vectors])
    checks.assert_as_exact_as_plain(y, exact, np.array([x.sum() for x in vectors]))
    double = arithmetic.total(checks.on(device, vectors[0].astype(np.float64)))
    checks.assert_close_in_double(double, exact[:1], tolerance=1e-11)


def test_total_counts_every_element_once(device: Device) -> None:
    """Sums of integers are exact in any order; each block, thread and step of the kernel has a weight of its own."""
    n = 2 * CHUNK + BLOCK + 1
    x = np.arange(n, dtype=np.float64)
    assert checks.host(arithmetic.total(checks.on(device, x))).tolist() == [n * (n - 1) / 2]


def test_total_in_three_launches(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sums of chunks are summed in chunks until one is left: in chunks of 32, 1100 numbers take three launches."""
    small = {"THREADS": 32, "PER_THREAD": 1}
    monkeypatch.setattr(arithmetic, "THREADS", 32)
    monkeypatch.setattr(arithmetic, "CHUNK", 32)
    monkeypatch.setattr(arithmetic, "_DEFINES", small)
    x = np.arange(1100, dtype=np.float32)
    assert checks.host(arithmetic.total(checks.on(device, x))).tolist() == [x.sum()]


def test_total_is_accurate_for_many_elements(device: Device) -> None:
    """A running float32 sum of these is off by about 1e-4; the chunks keep it within a few roundings."""
    x = np.full(300_000, 0.1, np.float32)
    y = checks.host(arithmetic.total(checks.on(device, x)))
    assert abs(float(y[0]) - x.astype(np.float64).sum()) < 4 * np.spacing(y[0])


@pytest.mark.parametrize("order", ["forward", "reverse", 5])
def test_total_has_the_same_bits_at_every_run_and_in_any_order(device: Device, order: str | int) -> None:
    x = checks.on(device, checks.normal(3 * CHUNK + 77))
    first = arithmetic.total(x)
    with emulator.configured(order=order):
        checks.assert_same_bits(arithmetic.total(x), first)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_keep_where(dtype: type) -> None:
    values = np.array([[1.5, -np.inf, np.nan], [-0.0, np.nan, -2]], dtype)[:, ::-1]
    mask = np.array([[True, False, True], [True, False, False]])
    checks.assert_same_bits(arithmetic.keep_where(mask, values), np.where(mask, values, dtype(0)))


def test_bad_input_is_refused(device: Device) -> None:
    a = checks.on(device, checks.normal(2, 3))
    with pytest.raises(ValueError, match=r"add_in_place: b must have shape \(2, 3\); got \(3,\)"):
        arithmetic.add_in_place(a, checks.on(device, checks.normal(3)))
    with pytest.raises(TypeError, match="add_in_place: all arrays must have one dtype; got a of float32, b of float64"):
        arithmetic.add_in_place(a, checks.on(device, checks.normal(2, 3, dtype=np.float64)))
    with pytest.raises(TypeError, match="scale: x must be float32 or float64; got int64"):
        arithmetic.scale(checks.on(device, np.arange(3)), 2)
    with pytest.raises(ValueError, match=r"total: x must have at least one element; got shape \(0, 3\)"):
        arithmetic.total(checks.on(device, np.zeros((0, 3), np.float32)))


def test_strided_targets_are_refused_on_a_device(device: Device) -> None:
    if device == CPU:
        pytest.skip("NumPy adds to any array")
    a = checks.on(device, checks.normal(3, 4)).T
    with pytest.raises(ValueError, match="add_in_place: a must be C-contiguous"):
        arithmetic.add_in_place(a, checks.on(device, checks.normal(4, 3)))


def test_mixed_devices_are_refused(device: Device) -> None:
    if device == CPU:
        pytest.skip("needs a second device")
    with pytest.raises(TypeError, match=f"add_in_place: all arrays must be on one device; got a on {device}, b on cpu"):
        arithmetic.add_in_place(checks.on(device, checks.normal(3)), checks.normal(3))
