"""Samples in memory, in files and on devices: what is taken, what is read, what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import checks
import numpy as np
import pytest
from data_sources import SliceFile

from gpunet.backend.arrays import HostArray, to_device
from gpunet.training import samples
from gpunet.training.samples import Column, Rows, Samples
from gpunet.training.schedule import Cut

FLOAT32, FLOAT64 = np.dtype(np.float32), np.dtype(np.float64)


def _column(array: Any, dtype: Any = np.float32) -> Column:
    return Column(array, array.shape[1:], np.dtype(dtype))


def test_rows_are_read_by_ascending_slices_and_come_in_the_order_asked_for() -> None:
    file = SliceFile(np.arange(40).reshape(20, 2))
    rows = Rows(file, 0, 20)
    checks.assert_same_bits(rows[np.array([7, 2, 19, 3, 8, 4])], file.array[[7, 2, 19, 3, 8, 4]])
    assert file.reads == [(2, 5), (7, 9), (19, 20)]
    file.reads.clear()
    checks.assert_same_bits(rows[np.arange(5, 15)], file.array[5:15])
    assert file.reads == [(5, 15)]
    checks.assert_same_bits(rows[np.array([3])], file.array[[3]])
    checks.assert_same_bits(rows[np.array([1, 1, 0])], file.array[[1, 1, 0]])


def test_a_part_of_rows_counts_from_its_start() -> None:
    file = SliceFile(np.arange(10))
    part = Rows(file, 0, 10).part(3, 9).part(1, 5)
    assert (part.shape, part.ndim, part.dtype) == ((4,), 1, np.int64)
    checks.assert_same_bits(part[np.array([3, 0])], np.array([7, 4]))


@pytest.mark.parametrize("kind", ["array", "memmap", "rows"])
def test_split(kind: str, tmp_path: Path) -> None:
    x, y = _in(kind, np.arange(10.0)[:, None], tmp_path / "x"), _in(kind, np.arange(10) * 2, tmp_path / "y")
    weights = _in(kind, np.arange(10.0) / 2, tmp_path / "weights")
    both = Samples((_column(x), _column(y)), (_column(y, np.int32),), (_column(weights),))
    head, tail = both.split("fit", 0.25)
    for part, expected in ((head, range(7)), (tail, range(7, 10))):
        indices = np.arange(len(part))
        assert len(part) == len(expected)
        wanted = np.array(expected)
        arrays = [column.read(indices) for column in part.columns]
        checks.assert_same_bits(arrays[0], wanted[:, None].astype(np.float64))
        for array in arrays[1:3]:
            checks.assert_same_bits(array, 2 * wanted)
        checks.assert_same_bits(arrays[3], wanted / 2)
    assert len(both.split("fit", 0.001)[1]) == 1
    for fraction in (0.999, 1.0):
        with pytest.raises(ValueError, match=r"fit: validation_split must leave at least one of 10 samples"):
            both.split("fit", fraction)


def _in(kind: str, array: HostArray, path: Path) -> Any:
    if kind == "memmap":
        memory = np.memmap(path, array.dtype, "w+", shape=array.shape)
        memory[...] = array
        return memory
    return samples.as_samples("fit", "x", SliceFile(array)) if kind == "rows" else array


def test_a_column_is_written_into_what_it_is_given() -> None:
    source = np.arange(12, dtype=np.uint8).reshape(6, 2)
    cut = Cut(np.array([5, 1, 0, 4]), 1, 3)
    for column in (
        _column(source),
        Column(Rows(SliceFile(source), 0, 6), (2,), FLOAT32, prepare=lambda values, numbers: values),
    ):
        out = np.full((2, 2), np.nan, np.float32)
        column.fill(cut, out)
        checks.assert_same_bits(out, source[[1, 0]].astype(np.float32))


def test_a_column_of_a_file_is_prepared_as_it_is_read() -> None:
    seen = []

    def prepare(values: HostArray, numbers: HostArray) -> HostArray:
        seen.append(numbers.tolist())
        return values[:, 0].astype(np.int32)

    column = Column(Rows(SliceFile(np.arange(6)[:, None]), 0, 6), (), np.dtype(np.int32), prepare)
    checks.assert_same_bits(column.read(np.array([4, 1])), np.int32([4, 1]))
    assert seen == [[4, 1]]


@pytest.mark.parametrize(
    ("own", "batches", "kept"),
    [
        (np.uint8, FLOAT32, np.uint8),
        (np.float16, FLOAT32, np.float16),
        (np.float64, FLOAT32, np.float32),
        (">i2", FLOAT32, np.int16),
        (np.int64, np.dtype(np.int32), np.int32),
        (np.longdouble, FLOAT64, np.float64),
        (np.bool_, FLOAT64, np.bool_),
    ],
)
def test_the_dtype_that_a_device_keeps(own: Any, batches: np.dtype[Any], kept: Any) -> None:
    column = Column(np.zeros((3, 4), own), (4,), batches)
    assert column.kept_dtype == kept
    assert column.kept_bytes == 12 * np.dtype(kept).itemsize


@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        (None, TypeError, "fit: x must be an array; got None"),
        (["a", "b"], TypeError, "fit: x must be an array of real numbers; got a list"),
        (np.array(["a"]), TypeError, "fit: x must be an array of real numbers; got an array of <U1"),
        (np.array([1j]), TypeError, "an array of complex128"),
        (SliceFile(np.array([1j])), TypeError, "an array of complex128"),
        ((i for i in range(3)), TypeError, "got a generator"),
        ([[1], [1, 2]], ValueError, "fit: x must be an array; got a list"),
        (3, ValueError, "fit: x must have one entry a sample along its first axis; got a single number"),
        (np.zeros((0, 3)), ValueError, r"fit: x must have no size 0; got shape \(0, 3\)"),
        (np.zeros((3, 0)), ValueError, r"fit: x must have no size 0; got shape \(3, 0\)"),
        (SliceFile(np.zeros((0, 3))), ValueError, r"fit: x must have no size 0; got shape \(0, 3\)"),
    ],
)
def test_what_is_no_array_of_samples(value: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        samples.as_samples("fit", "x", value)


def test_what_lies_in_a_file(tmp_path: Path) -> None:
    array = np.zeros((2, 3))
    for value, in_file in (
        (array, False),
        (array.tolist(), False),
        (SliceFile(array), True),
        (np.memmap(tmp_path / "x", np.float32, "w+", shape=(2, 3)), True),
        (to_device(array, "emulated"), False),
    ):
        taken = samples.as_samples("fit", "x", value)
        assert samples.is_in_file(taken) == in_file
        checks.assert_same_bits(
            samples.as_host("fit", "x", value), np.asarray(value if not in_file else taken[np.arange(2)])
        )


class _InMemory(SliceFile):
    """What shows its rows by slices, but hands over its memory too, as an array of JAX or a Series of pandas does."""

    def __array__(self, dtype: Any = None, copy: Any = None) -> HostArray:
        return self.array


@pytest.mark.parametrize("sign", ["__dlpack__", "__array_interface__", "iloc"])
def test_what_is_an_array_in_all_but_name_is_read_as_one(sign: str, monkeypatch: pytest.MonkeyPatch) -> None:
    x = _InMemory(np.arange(3.0))
    assert samples.reads_by_slices(x)
    monkeypatch.setattr(_InMemory, sign, x.array.__array_interface__, raising=False)
    assert not samples.reads_by_slices(x)
    assert type(samples.as_samples("fit", "x", x)) is np.ndarray


def test_numbers_that_are_not_finite_are_found() -> None:
    x = np.zeros((5, 4, 3))
    samples.check_finite("fit", "x", x, FLOAT32)
    x[3, 1, 2] = np.nan
    with pytest.raises(ValueError, match=r"fit: x must be finite in float32; got nan at index \(3, 1, 2\)"):
        samples.check_finite("fit", "x", x, FLOAT32)
    with pytest.raises(ValueError, match=r"fit: x must be finite in float32; got nan at index \(40, 1, 2\)"):
        samples.check_finite("fit", "x", x, FLOAT32, np.arange(5) + 37)
    x[3, 1, 2] = 1e300
    samples.check_finite("fit", "x", x, FLOAT64)
    with pytest.raises(ValueError, match=r"got 1e\+300 at index \(3, 1, 2\)"):
        samples.check_finite("fit", "x", x, FLOAT32)


def test_the_last_of_many_numbers_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(samples, "_CHECKED_AT_ONCE", 8)
    x = np.zeros((7, 3), np.float32)
    x[6, 2] = -np.inf
    with pytest.raises(ValueError, match=r"got -inf at index \(6, 2\)"):
        samples.check_finite("fit", "x", x, FLOAT32)
