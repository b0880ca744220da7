"""Batches by index, from sets of every dtype: gather."""

from __future__ import annotations

from typing import Any

import checks
import numpy as np
import oracle
import pytest

from gpunet.backend import emulator
from gpunet.backend.arrays import CPU, EMULATED, Device, HostArray, empty, to_device
from gpunet.backend.emulator_kernel import EmulatorError
from gpunet.ops.gather import PER_THREAD, STORED, TARGETS, THREADS, gather

# Rows of one element, of about a warp, of about a block, of about what the threads of a block copy, and of more.
ROWS = [1, 3, 31, 32, 33, THREADS - 1, THREADS, THREADS + 1, THREADS * PER_THREAD + 1, 3 * THREADS * PER_THREAD]
FLOAT16 = np.arange(2**16, dtype=np.uint16).view(np.float16)  # all there are


def _gathered(device: Device, source: HostArray, order: Any, position: int, rows: int, dtype: Any) -> HostArray:
    placed = to_device(source, device)
    out = empty((rows, *source.shape[1:]), dtype, device)
    gather(placed, *checks.on(device, np.array(order, np.int64), np.array([position])), out)
    result: HostArray = checks.host(out)
    return result


@pytest.mark.parametrize("row_size", ROWS)
@pytest.mark.parametrize("rows", [1, 2, 9])
def test_batches_of_any_size(device: Device, row_size: int, rows: int) -> None:
    source = checks.normal(13, row_size)
    order = np.random.default_rng(1).permutation(13)
    expected = oracle.gather(source, order, 3, rows, np.float32)
    checks.assert_same_bits(_gathered(device, source, order, 3, rows, np.float32), expected)


def test_many_rows_of_one_element(device: Device) -> None:
    source = np.arange(2000, dtype=np.int32)
    order = np.random.default_rng(1).permutation(2000)
    expected = oracle.gather(source, order, 1, 1999, np.int32)
    checks.assert_same_bits(_gathered(device, source, order, 1, 1999, np.int32), expected)


@pytest.mark.parametrize("rows, row_size", [(1, 1), (THREADS, 1), (THREADS + 1, 1), (3, 5), (2, 5000)])
def test_the_position_moves_on(device: Device, rows: int, row_size: int) -> None:
    """In one kernel where a block has all rows, else in one more; a small source is taken from the front again."""
    source, order = checks.normal(4, row_size), np.arange(3 * rows) % 4
    source, order, position = checks.on(device, source, order, np.array([0]))
    for step in (1, 2):
        out = empty((rows, row_size), np.float32, device)
        with checks.recorded_launches() as launches:
            gather(source, order, position, out, move=True)
        checks.assert_same_bits(out, checks.host(source)[checks.host(order)[(step - 1) * rows : step * rows]])
        assert checks.host(position)[0] == step * rows
    one_block = rows <= THREADS and row_size < 5000  # which takes several blocks
    assert device == CPU or len(launches) == (1 if one_block else 2)


def test_samples_with_axes(device: Device) -> None:
    source = checks.normal(4, 5, 3, 2)
    out = _gathered(device, source, [3, 3, 0], 0, 3, np.float32)
    checks.assert_same_bits(out, source[[3, 3, 0]])


def _extremes(dtype: np.dtype[Any]) -> HostArray:
    """Return the ends of the range of `dtype`, and numbers that float32 and float64 have to round."""
    if dtype == np.bool_:
        return np.array([False, True])
    if dtype == np.float16:
        return FLOAT16[np.isfinite(FLOAT16)]
    if dtype.kind == "f":
        # 1 + 2^-24 lies between two numbers of float32; the others reach the ends of what GPUs do not flush to zero
        return np.array([0, -0.0, 1 + 2**-24, 1 + 3 * 2**-24, -1 / 3, 3.4e38, -1.2e-38], dtype)
    info = np.iinfo(dtype)
    odd = [value for value in (2**24 + 1, 2**53 + 1, 2**53 + 3, 77) if value <= info.max]
    return np.array([info.min, info.min + 1, 0, 1, info.max - 1, info.max, *odd], dtype)


@pytest.mark.parametrize("target", TARGETS[:2], ids=str)
@pytest.mark.parametrize("dtype", STORED, ids=str)
def test_every_dtype_becomes_a_float_as_in_numpy(device: Device, dtype: np.dtype[Any], target: np.dtype[Any]) -> None:
    source = _extremes(dtype)[:, None]
    order = np.arange(len(source))[::-1]
    expected = oracle.gather(source, order, 0, len(source), target)
    checks.assert_same_bits(_gathered(device, source, order, 0, len(source), target), expected)


@pytest.mark.parametrize("dtype", STORED, ids=str)
def test_every_dtype_becomes_a_label(device: Device, dtype: np.dtype[Any]) -> None:
    source = np.array([0, 1, 1, 0] if dtype == np.bool_ else [0, 1, 9, 127], dtype)
    checks.assert_same_bits(_gathered(device, source, [3, 2, 1, 0], 1, 3, np.int32), source[[2, 1, 0]].astype(np.int32))


def test_infinities_and_nans_of_float16_stay(device: Device) -> None:
    source = FLOAT16[~np.isfinite(FLOAT16)][:, None]
    out = _gathered(device, source, np.arange(len(source)), 0, len(source), np.float32)
    np.testing.assert_array_equal(out, source.astype(np.float32))


@pytest.mark.parametrize("view", ["transposed", "every second", "big-endian", "read-only"])
def test_sources_of_the_host_may_be_any_arrays(view: str) -> None:
    x = checks.normal(6, 8)
    source = {"transposed": x.T, "every second": x[:, ::2], "big-endian": x.astype(">f4"), "read-only": x.copy()}[view]
    source.flags.writeable = False
    order = np.random.default_rng(0).permutation(len(source))
    out = _gathered(CPU, source, order, 2, 4, np.float32)
    checks.assert_same_bits(out, oracle.gather(source, order, 2, 4, np.float32))


def test_an_index_out_of_range_is_seen_by_the_emulator(device: Device) -> None:
    if device != EMULATED:
        pytest.skip("only the emulator looks")
    with emulator.configured(checked=True), pytest.raises(EmulatorError, match=r"gather\.cu:gather: .*argument 0"):
        _gathered(device, checks.normal(4, 3), [1, 4], 0, 2, np.float32)


def test_bad_input_is_refused(device: Device) -> None:
    source, order, position = checks.on(device, checks.normal(4, 3), np.arange(4), np.array([0]))
    out = empty((2, 3), np.float32, device)

    def refused(error: type[Exception], message: str, **changes: Any) -> None:
        arguments = {"source": source, "order": order, "position": position, "out": out} | changes
        with pytest.raises(error, match=message):
            gather(**arguments)

    refused(
        TypeError, "gather: source must be one of bool.*; got complex64", source=empty((4, 3), np.complex64, device)
    )
    refused(
        TypeError, "gather: out must be one of float32, float64, int32; got int64", out=empty((2, 3), np.int64, device)
    )
    refused(TypeError, "gather: order must be int64; got int32", order=order.astype(np.int32))
    refused(TypeError, "gather: position must be int64; got float32", position=out[:1, 0])
    refused(ValueError, r"gather: source must have shape \(4, 3\); got \(4, 2\)", source=source[:, :2])
    refused(ValueError, r"gather: out must have at least one element; got shape \(0, 3\)", out=out[:0])
    refused(ValueError, r"gather: order must have 1 axes, \(m,\); got shape \(2, 2\)", order=order.reshape(2, 2))
    refused(ValueError, r"gather: position must have shape \(1,\); got \(4,\)", position=order)
    if device != CPU:
        refused(
            ValueError, "gather: source must be C-contiguous", source=checks.on(device, checks.normal(4, 6))[:, ::2]
        )
        refused(ValueError, "gather: out must be C-contiguous", out=empty((2, 6), np.float32, device)[:, ::2])
        refused(
            TypeError,
            f"gather: all arrays must be on one device; got source on {device}, order on cpu",
            order=np.arange(4),
        )
