"""The files of TensorBoard; tests/parity/test_parity_tensorboard.py lets its own reader read them."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import checks
import numpy as np
import pytest

from gpunet import Dense, Input, Sequential
from gpunet.callbacks import TensorBoard
from gpunet.saving.event_file import EventFile, crc32c, masked_crc

X, Y = checks.normal(12, 2), np.arange(12) % 2


def _fields(message: bytes) -> Iterator[tuple[int, Any]]:
    """Yield the fields of a message of protocol buffers: (number, value), bytes for what has a length."""

    def varint(place: int) -> tuple[int, int]:
        value = shift = 0
        while True:
            value |= (message[place] & 0x7F) << shift
            place, shift = place + 1, shift + 7
            if message[place - 1] < 0x80:
                return value, place

    place = 0
    while place < len(message):
        tag, place = varint(place)
        number, wire = tag >> 3, tag & 7
        if wire == 0:
            value, place = varint(place)
            yield number, value
        elif wire == 2:
            length, place = varint(place)
            yield number, message[place : place + length]
            place += length
        else:
            code, size = {1: ("<d", 8), 5: ("<f", 4)}[wire]
            yield number, struct.unpack(code, message[place : place + size])[0]
            place += size


def _events(path: Path) -> Iterator[dict[int, Any]]:
    """Yield the events of a file, whose checksums must be right."""
    data, place = path.read_bytes(), 0
    while place < len(data):
        length, check = struct.unpack("<QI", data[place : place + 12])
        event = data[place + 12 : place + 12 + length]
        assert masked_crc(data[place : place + 8]) == check
        assert struct.pack("<I", masked_crc(event)) == data[place + 12 + length : place + 16 + length]
        yield dict(_fields(event))
        place += 16 + length


def _curves(folder: Path) -> dict[str, list[tuple[int, Any]]]:
    """Return all curves and histograms of the one file in `folder`: (step, value) by tag."""
    (path,) = folder.iterdir()
    first, *events = _events(path)
    assert first[3] == b"brain.Event:2"
    found: dict[str, list[tuple[int, Any]]] = {}
    for event in events:
        value = dict(_fields(dict(_fields(event[5]))[1]))
        found.setdefault(value[1].decode(), []).append((event[2], value.get(2, value.get(5))))
    return found


def test_the_checksum_is_that_of_the_standard() -> None:
    assert crc32c(bytes(32)) == 0x8A9136AA and crc32c(bytes(range(32))) == 0x46DD794E  # RFC 3720, B.4


def test_a_histogram(tmp_path: Path) -> None:
    values = np.array([1.0, 2.0, 2.5, np.nan, 4.0, np.inf], np.float32)
    with EventFile(tmp_path / "f" / "events") as file:
        file.add_histogram("h", values, 300)
        file.add_histogram("nothing", values[3:4], 1)
    curves = _curves(tmp_path / "f")
    assert list(curves) == ["h"] and curves["h"][0][0] == 300
    parts = dict(_fields(curves["h"][0][1]))
    assert [parts[number] for number in range(1, 6)] == [1, 4, 4, 9.5, 27.25]
    limits, counts = np.frombuffer(parts[6]), np.frombuffer(parts[7])
    assert len(limits) == len(counts) == 30 and limits[-1] == 4 and counts.sum() == 4


def _fit(board: TensorBoard, epochs: int = 2) -> dict[str, list[float]]:
    model = Sequential([Input((2,)), Dense(2, activation="softmax", name="dense")])
    model.compile("adam", "sparse_categorical_crossentropy", ["accuracy"])
    data = {"validation_data": (X, Y), "callbacks": [board], "verbose": 0}
    return model.fit(X, Y, 4, epochs=epochs, **data).history  # type: ignore[arg-type]


def test_curves_of_a_training(tmp_path: Path) -> None:
    history = _fit(TensorBoard(tmp_path, histogram_freq=2, update_freq=2, write_steps_per_second=True))
    train, validation = _curves(tmp_path / "train"), _curves(tmp_path / "validation")
    float32 = {name: [float(np.float32(value)) for value in values] for name, values in history.items()}
    for name in ("loss", "accuracy"):
        assert train[f"epoch_{name}"] == list(enumerate(float32[name]))
        assert validation[f"epoch_{name}"] == list(enumerate(float32[f"val_{name}"]))
        assert validation[f"evaluation_{name}_vs_iterations"] == list(zip([3, 6], float32[f"val_{name}"], strict=True))
        assert [step for step, _ in train[f"batch_{name}"]] == [2, 4, 6]
    assert (
        [step for step, _ in train["dense/kernel/histogram"]]
        == [0]
        == [step for step, _ in train["dense/bias/histogram"]]
    )
    assert train["epoch_learning_rate"] == [(0, float(np.float32(0.001))), (1, float(np.float32(0.001)))]
    assert all(value > 0 for name in ("batch", "epoch") for _, value in train[f"{name}_steps_per_second"])


def test_nothing_is_written_a_batch_where_nobody_asked(tmp_path: Path) -> None:
    _fit(TensorBoard(tmp_path))
    assert sorted(_curves(tmp_path / "train")) == ["epoch_accuracy", "epoch_learning_rate", "epoch_loss"]


def test_an_evaluation_by_itself_closes_its_file(tmp_path: Path) -> None:
    board = TensorBoard(tmp_path)
    model = Sequential([Input((2,)), Dense(2, activation="softmax")])
    model.compile("adam", "sparse_categorical_crossentropy")
    loss = model.evaluate(X, Y, verbose=0, callbacks=[board])
    assert _curves(tmp_path / "validation") == {"evaluation_loss_vs_iterations": [(0, float(np.float32(loss)))]}
    assert not board._files


@pytest.mark.parametrize(
    ("argument", "value"), [("write_images", True), ("profile_batch", 2), ("embeddings_freq", 1), ("update_freq", 0)]
)
def test_what_is_not_written_is_refused_by_name(argument: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"TensorBoard: {argument} must"):
        TensorBoard(**{argument: value})
