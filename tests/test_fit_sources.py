"""The same training from every source of data, bit for bit; and how often it waits for the device."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import checks
import numpy as np
import pytest
from data_sources import Dataset, Loader, SliceFile, batches, in_file
from small_models import bits, linear, small_cnn

import gpunet
from gpunet import Dense, Flatten, Input, Sequential
from gpunet.backend.arrays import CPU, Array, Device, HostArray, device_of
from gpunet.backend.emulated_array import EmulatedArray
from gpunet.datasets import load_digits
from gpunet.ops import accuracy
from gpunet.training import feeding, intake

BATCH = 16
(DIGITS, LABELS), _ = load_digits()
DIGITS, LABELS = DIGITS[:40].astype(np.uint8), LABELS[:40].astype(np.int64)
X = DIGITS.astype(np.float32)


def _run(x: Any, y: Any = None, **arguments: Any) -> tuple[list[bytes], dict[str, list[float]]]:
    """Return the weights and the history after two epochs from seed 0."""
    gpunet.set_random_seed(0)
    model = small_cnn()
    history = model.fit(x, y, epochs=2, verbose=0, **arguments)
    return bits(model), history.history


@pytest.fixture
def kinds(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """How the sets of this test were fed."""
    seen: list[str] = []
    new_feed = intake.new_feed

    def spy(*args: Any) -> Any:
        feed = new_feed(*args)
        seen.append(type(feed).__name__)
        return feed

    monkeypatch.setattr(intake, "new_feed", spy)
    return seen


@pytest.mark.parametrize("shuffle", [True, False])
def test_the_same_bits_from_every_set(device: Device, shuffle: bool, tmp_path: Path, kinds: list[str]) -> None:
    expected = _run(X, LABELS, batch_size=BATCH, shuffle=shuffle)
    x_file, y_file = in_file(tmp_path / "x.npy", X), in_file(tmp_path / "y.npy", LABELS)
    sources: list[tuple[Any, Any]] = [
        (DIGITS, LABELS.astype(np.uint8)),
        (X.astype(np.float64), LABELS.tolist()),
        (np.asfortranarray(X), LABELS[:, None]),
        (X.astype(">f4"), LABELS.astype(np.float32)),
        (x_file, y_file),
        (x_file, LABELS),
        (SliceFile(DIGITS), SliceFile(LABELS)),
        checks.on(device, X, LABELS),
        checks.on(device, DIGITS, LABELS[:, None]),
        (checks.on(device, X), LABELS),
    ]
    for x, y in sources:
        assert _run(x, y, batch_size=BATCH, shuffle=shuffle) == expected
    files = ["Streamed" if device == CPU else "Resident"] * 3
    assert kinds == ["Resident"] * 5 + files + ["Resident"] * 3


def test_the_same_bits_streamed(device: Device, monkeypatch: pytest.MonkeyPatch, kinds: list[str]) -> None:
    if device == CPU:
        pytest.skip("the CPU has all that is in memory")
    expected = _run(X, LABELS, batch_size=BATCH, validation_split=0.2)
    monkeypatch.setattr(feeding, "free_memory", lambda device: 0)
    assert _run(X, LABELS, batch_size=BATCH, validation_split=0.2) == expected
    assert _run(DIGITS, SliceFile(LABELS), batch_size=BATCH, validation_split=0.2) == expected
    assert kinds == ["Resident"] * 2 + ["Streamed"] * 4


@pytest.mark.parametrize(
    "make",
    [
        lambda: (batches(X, LABELS, BATCH, 2), {"steps_per_epoch": 3}),
        lambda: (batches(DIGITS, LABELS, BATCH, None), {"steps_per_epoch": 3}),
        lambda: (Dataset(X, LABELS, BATCH), {"shuffle": False}),
        lambda: (Loader(X, LABELS, BATCH), {}),
    ],
    ids=["generator", "endless generator", "data set", "iterable"],
)
def test_the_same_bits_from_made_batches(device: Device, make: Callable[[], tuple[Any, Any]]) -> None:
    expected = _run(X, LABELS, batch_size=BATCH, shuffle=False, validation_data=(X[:9], LABELS[:9]))
    data, arguments = make()
    validation = Dataset(X[:9], LABELS[:9], BATCH)
    assert _run(data, validation_data=validation, **arguments) == expected


def test_the_batches_of_the_caller_stay_as_they_are(tmp_path: Path) -> None:
    x, y = X.copy(), LABELS.copy()
    x.flags.writeable = y.flags.writeable = False
    _run(batches(x, y, BATCH, 2), steps_per_epoch=3)
    there = checks.on("emulated", X, LABELS)
    with gpunet.device("emulated"):
        _run(*there, batch_size=BATCH)
    for array, before in zip(there, (X, LABELS), strict=True):
        checks.assert_same_bits(array, before)


# What is read when


def _count_reads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Count the copies from `emulated` to the host in a list that grows."""
    reads: list[int] = []
    get = EmulatedArray.get

    def counted(self: EmulatedArray) -> HostArray:
        reads.append(self.size)
        return get(self)

    monkeypatch.setattr(EmulatedArray, "get", counted)
    return reads


@pytest.mark.parametrize("steps", [1, 5])
@pytest.mark.parametrize("make", ["array", "generator"])
def test_an_epoch_reads_the_device_once_for_each_number(make: str, steps: int, monkeypatch: pytest.MonkeyPatch) -> None:
    with gpunet.device("emulated"):
        model = small_cnn()
    reads = _count_reads(monkeypatch)
    if make == "array":
        model.fit(X[: 2 * steps], LABELS[: 2 * steps], batch_size=2, epochs=3, verbose=0)
    else:
        model.fit(batches(X[: 2 * steps], LABELS, 2, None), epochs=3, steps_per_epoch=steps, verbose=0)
    assert len(reads) == 3 * 2 and max(reads) == 2 * accuracy.BLOCKS  # the loss, and the parts of the accuracy


def test_a_device_s_arrays_are_read_once_to_be_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = checks.on("emulated", X, LABELS)
    with gpunet.device("emulated"):
        model = small_cnn()
    reads = _count_reads(monkeypatch)
    model.fit(x, y, batch_size=BATCH, epochs=2, verbose=0)
    assert reads[:2] == [X.size, LABELS.size]
    reads.clear()
    outputs = model.predict(x, batch_size=BATCH, verbose=0)
    assert reads == [X.size] and isinstance(outputs, EmulatedArray) and outputs.shape == (40, 10)
    reads.clear()
    assert isinstance(model.predict_on_batch(x), EmulatedArray) and reads == [X.size]


def test_a_device_s_arrays_are_used_where_they_are(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    if device == CPU:
        pytest.skip("labels of the host are prepared once")
    sources: list[Array] = []
    new_feed = intake.new_feed
    monkeypatch.setattr(intake, "new_feed", lambda *args: sources.extend((feed := new_feed(*args)).sources) or feed)
    x, y = checks.on(device, X, LABELS)
    small_cnn().fit(x, y, batch_size=BATCH, verbose=0)
    assert sources[0] is x and sources[1].dtype == np.int64
    y[...] = 0
    assert not checks.host(sources[1]).any()  # the same memory


def test_files_are_not_read_before_their_time() -> None:
    x, y = SliceFile(X), SliceFile(LABELS)
    small_cnn().fit(x, y, batch_size=BATCH, steps_per_epoch=1, shuffle=False, verbose=0)
    assert (x.reads, y.reads) == ([(0, BATCH)], [(0, 1), (0, BATCH)])  # a label alone tells their shape


@pytest.mark.parametrize("where", ["memory", "file"])
def test_bad_numbers_are_found_wherever_they_are(where: str, device: Device, tmp_path: Path) -> None:
    x = X.copy()
    x[37, 2, 3, 0] = np.nan
    place = x if where == "memory" else in_file(tmp_path / "x.npy", x)
    with pytest.raises(ValueError, match=r"fit: x must be finite in float32; got nan at index \(37, 2, 3, 0\)"):
        small_cnn().fit(place, LABELS, batch_size=BATCH, verbose=0)
    labels = np.where(np.arange(40) == 37, 10, LABELS)
    place = labels if where == "memory" else SliceFile(labels)
    with pytest.raises(ValueError, match="labels from 0 to 9; got 1 other label, such as 10"):
        small_cnn().fit(X, place, batch_size=BATCH, verbose=0)
    with pytest.raises(ValueError, match="got 40 in x and 39 in y"):
        small_cnn().fit(SliceFile(X), SliceFile(LABELS[:39]), verbose=0)


def test_bad_numbers_on_a_device_are_found(device: Device) -> None:
    x = X.copy()
    x[37, 2, 3, 0] = np.inf
    with pytest.raises(ValueError, match=r"fit: x must be finite in float32; got inf at index \(37, 2, 3, 0\)"):
        small_cnn().fit(*checks.on(device, x, LABELS), verbose=0)
    with pytest.raises(ValueError, match="labels from 0 to 9; got 1 other label, such as 10"):
        small_cnn().fit(*checks.on(device, X, np.where(np.arange(40) == 3, 10, LABELS)), verbose=0)


# Where outputs are


def test_outputs_are_no_views_of_batches(device: Device) -> None:
    """A network that only reshapes returns its input, whose memory the next batch takes."""
    model = Sequential([Input((8, 8, 1)), Flatten()])
    for x in (X, checks.on(device, X)):
        y = model.predict(x, batch_size=BATCH, verbose=0)
        assert device_of(y) == device_of(x)
        checks.assert_same_bits(y, X.reshape(40, 64))
    kept: list[Array] = []
    note = gpunet.callbacks.LambdaCallback(on_predict_batch_end=lambda batch, logs: kept.append(logs["outputs"]))
    model.predict(X, batch_size=BATCH, callbacks=note, verbose=0)
    checks.assert_same_bits(np.concatenate(kept), X.reshape(40, 64))


def test_arrays_of_another_device_come_over(device: Device) -> None:
    if device == CPU:
        pytest.skip("needs a second device")
    with gpunet.device("cpu"):
        model = linear()
    x = checks.on(device, np.float32([[1], [2], [3]]))
    assert model.evaluate(x, x, verbose=0) == 0
    assert device_of(model.predict(x, verbose=0)) == device


def test_a_loss_of_one_s_own_may_change_targets(device: Device) -> None:
    class Shifted(gpunet.losses.MeanSquaredError):
        def prepare_targets(self, y_true: Any, output_shape: Any, dtype: Any = None) -> HostArray:
            return super().prepare_targets(y_true, output_shape, dtype) + 1

    model = Sequential([Input((1,)), Dense(1, kernel_initializer="ones")])
    model.compile("sgd", Shifted())
    x = np.float32([[1], [2], [3]])
    for y in (x, checks.on(device, x), SliceFile(x)):
        assert model.evaluate(x, y, verbose=0) == 1
