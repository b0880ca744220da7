"""A training that was cut off, and run again with BackupAndRestore, is one that was never cut off."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import checks
import numpy as np
import pytest

import gpunet
from gpunet import Conv2D, Dense, Dropout, Flatten, Input, Sequential
from gpunet.backend.arrays import Device
from gpunet.backend.random import random_state
from gpunet.callbacks import BackupAndRestore, Callback, CSVLogger, JsonLog
from gpunet.layers import Layer

EPOCHS, SIZE = 3, 5
X, Y = checks.normal(23, 5, 5, 1), np.arange(23) % 3


class KilledError(Exception):
    """Ends a training at once."""


class KillAt(Callback):
    """Ends the training when a hook is called for the n-th time."""

    def __init__(self, hook: str, number: int) -> None:
        self._left = number
        setattr(self, hook, self._count)

    def wants_logs(self, hook: str) -> bool:
        return False

    def _count(self, *args: Any, **kwargs: Any) -> None:
        self._left -= 1
        if self._left == 0:
            raise KilledError


class Decay(Callback):
    """Takes a tenth of the learning rate away at every epoch, and unfreezes the first layer at the second."""

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.model.optimizer.learning_rate *= 0.9
        if epoch == 1:
            self.model.layers[0].trainable = True


class Average(Callback):
    """Keeps a running average of the weights: an array, a number and a list."""

    def __init__(self) -> None:
        self.mean: Any = None
        self.count = 0
        self.losses: list[float] = []

    def get_state(self) -> dict[str, Any]:
        return {"mean": self.mean, "count": self.count, "losses": self.losses}

    def set_state(self, state: Any) -> None:
        self.mean, self.count, self.losses = state["mean"], state["count"], state["losses"]

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        kernel = self.model.layers[-1].kernel.numpy()
        self.mean = kernel if self.mean is None else 0.9 * self.mean + 0.1 * kernel
        self.count += 1
        self.losses.append(logs["loss"])


def _model(optimizer: Any = "adam") -> Sequential:
    model = Sequential(
        [
            Input((5, 5, 1), name="input"),
            Conv2D(4, 3, activation="relu", name="conv"),
            Dropout(0.25, name="drop"),
            Flatten(name="flatten"),
            Sequential([Dense(8, name="dense"), Dropout(0.5, name="inner_drop")], name="inner"),
            Dense(3, activation="softmax", name="last"),
        ],
        name="model",
    )
    model.layers[0].trainable = False
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def _train(folder: Path, *more: Callback, data: Any = (X, Y), **arguments: Any) -> tuple[Sequential, Average]:
    """Train in `folder`, as a program does that is begun anew."""
    gpunet.set_random_seed(4)
    model, average = _model(), Average()
    folder.mkdir(exist_ok=True)
    callbacks = [CSVLogger(folder / "log.csv"), Decay(), average, JsonLog(folder / "log.jsonl"), *more]
    size = {} if data[1] is None else {"batch_size": SIZE}
    asked: dict[str, Any] = {"epochs": EPOCHS, "verbose": 0, "callbacks": callbacks} | size | arguments
    model.fit(*data, **asked)
    return model, average


def _everything(folder: Path, trained: tuple[Sequential, Average]) -> dict[str, Any]:
    """Return all that a training leaves behind."""
    model, average = trained
    assert model.history is not None and model.optimizer is not None
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return {
        "weights": [array.tobytes() for array in model.get_weights()],
        "optimizer": {name: checks.host(array).tobytes() for name, array in model.optimizer.variables.items()},
        "streams": {name: stream.state for name, stream in model.named_streams()},
        "random": random_state(),
        "trainable": [layer.trainable for layer in model.layers],
        "history": (model.history.history, model.history.epoch),
        "average": (average.mean.tobytes(), average.count, average.losses),
        "csv": (folder / "log.csv").read_text(),
        "jsonl": [{key: value for key, value in line.items() if key != "seconds"} for line in lines],
    }


def _killed(folder: Path, kill: Callback, backup: BackupAndRestore, **arguments: Any) -> None:
    with pytest.raises(KilledError):
        _train(folder, kill, backup, **arguments)


KILLS = [("on_train_batch_end", n) for n in (2, 5, 6, 12)] + [
    ("on_train_batch_begin", 8),
    ("on_epoch_end", 2),
    ("on_epoch_begin", 3),
    ("on_test_batch_end", 3),
    ("on_train_end", 1),
]


@pytest.mark.parametrize("freq", [1, 3, "epoch"])
@pytest.mark.parametrize("kill", KILLS, ids=lambda kill: f"{kill[0]} {kill[1]}")
def test_a_training_goes_on_with_the_same_bits(device: Device, kill: Any, freq: Any, tmp_path: Path) -> None:
    data = {"validation_data": (X[:7], Y[:7])}
    expected = _everything(tmp_path / "a", _train(tmp_path / "a", **data))
    backup = tmp_path / "backup"
    _killed(tmp_path / "b", KillAt(*kill), BackupAndRestore(backup, freq), **data)
    trained = _train(tmp_path / "b", BackupAndRestore(backup, freq), **data)
    assert _everything(tmp_path / "b", trained) == expected
    assert list(backup.iterdir()) == []


class Batches:
    """A data set of batches with an order of its own."""

    def __init__(self) -> None:
        self._rng, self._order = np.random.default_rng(0), np.arange(23)

    def __len__(self) -> int:
        return 5

    def __getitem__(self, number: int) -> Any:
        rows = self._order[5 * number : 5 * number + 5]
        return X[rows], Y[rows]

    def on_epoch_end(self) -> None:
        self._rng.shuffle(self._order)


def _generator() -> Iterator[Any]:
    rng = np.random.default_rng(0)
    while True:
        rows = rng.integers(23, size=5)
        yield X[rows], Y[rows]


@pytest.mark.parametrize(
    ("make", "arguments"),
    [
        (Batches, {}),
        (_generator, {"steps_per_epoch": 4}),
        (_generator, {"steps_per_epoch": 3, "validation_data": (X[:4], Y[:4]), "validation_freq": 2}),
        (lambda: X, {"steps_per_epoch": 3}),
        (lambda: X, {"shuffle": False, "validation_split": 0.3}),
    ],
)
def test_data_from_anywhere(make: Callable[[], Any], arguments: dict[str, Any], tmp_path: Path) -> None:
    def data() -> Any:
        x = make()
        return x, (Y if isinstance(x, np.ndarray) else None)

    expected = _everything(tmp_path / "a", _train(tmp_path / "a", data=data(), **arguments))
    for number in range(1, 9, 2):
        folder, backup = tmp_path / f"b{number}", tmp_path / f"backup{number}"
        kill = KillAt("on_train_batch_begin", number)
        _killed(folder, kill, BackupAndRestore(backup, 2), data=data(), **arguments)
        trained = _train(folder, BackupAndRestore(backup, 2), data=data(), **arguments)
        assert _everything(folder, trained) == expected


def test_a_training_that_a_callback_stopped_stays_stopped(tmp_path: Path) -> None:
    class StopAt(Callback):
        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            self.model.stop_training = self.model.stop_training or self.model.optimizer.iterations == 7

    expected = _everything(tmp_path / "a", _train(tmp_path / "a", StopAt(), validation_data=(X, Y)))
    assert len(expected["history"][1]) == 2
    for kill in (KillAt("on_train_batch_end", 8), KillAt("on_test_begin", 2), KillAt("on_epoch_end", 2)):
        folder, backup = tmp_path / f"b{id(kill)}", tmp_path / f"backup{id(kill)}"
        with contextlib.suppress(KilledError):
            _train(folder, StopAt(), kill, BackupAndRestore(backup, 1, delete_checkpoint=False), validation_data=(X, Y))
        trained = _train(folder, StopAt(), BackupAndRestore(backup, 1), validation_data=(X, Y))
        assert _everything(folder, trained) == expected


def test_more_epochs_may_be_asked_for(tmp_path: Path) -> None:
    expected = _everything(tmp_path / "a", _train(tmp_path / "a"))
    _train(tmp_path / "b", BackupAndRestore(tmp_path / "backup", delete_checkpoint=False), epochs=2)
    trained = _train(tmp_path / "b", BackupAndRestore(tmp_path / "backup", delete_checkpoint=False))
    assert _everything(tmp_path / "b", trained) == expected
    model, average = _train(tmp_path / "b", BackupAndRestore(tmp_path / "backup"))  # nothing is left to train
    assert _everything(tmp_path / "b", (model, average)) == expected


# What is refused


def _begun(tmp_path: Path, **arguments: Any) -> Path:
    """Return the folder of checkpoints of a training that was killed."""
    backup = tmp_path / "backup"
    _killed(tmp_path / "run", KillAt("on_train_batch_end", 9), BackupAndRestore(backup, 2), **arguments)
    assert [path.name for path in sorted(backup.glob("c*"))] == [f"checkpoint-{n:09}.gpunet" for n in (6, 8)]
    return backup


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"batch_size": 4}, "batch_size must be 5, as where the training began; got 4"),
        ({"data": (X[:20], Y[:20])}, "samples must be 23, as where the training began; got 20"),
        ({"shuffle": False}, "shuffle must be True, as where the training began; got False"),
        ({"validation_data": (X, Y)}, "validation data must be given as where the training began; got some, not no"),
    ],
)
def test_other_arguments_are_refused(arguments: dict[str, Any], words: str, tmp_path: Path) -> None:
    backup = _begun(tmp_path)
    with pytest.raises(ValueError, match=rf"^BackupAndRestore: {backup}/checkpoint-000000008.gpunet: {words}"):
        _train(tmp_path / "run", BackupAndRestore(backup, 2), **arguments)
    with pytest.raises(ValueError, match=r"callbacks with a state must be \['CSVLogger', 'Average', 'JsonLog', 'Hist"):
        _train(tmp_path / "run", CSVLogger(tmp_path / "other.csv"), BackupAndRestore(backup, 2))


class Other(Layer):
    """A layer with the weights of a Dense."""

    def build(self, input_shape: Any) -> None:
        self.kernel = self.add_weight((input_shape[-1], 3), name="kernel")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda model: model.compile("sgd", "sparse_categorical_crossentropy"), "compile.optimizer.class_name was 'Ad"),
        (lambda model: model.add(Dense(3, name="more")), "architecture.config.layers was"),
        (lambda model: setattr(model.layers[1], "rate", 0.5), r"architecture.config.layers\[2\].config.rate was 0.25 "),
    ],
)
def test_another_model_is_refused_and_left_as_it_was(change: Any, words: str, tmp_path: Path) -> None:
    backup = _begun(tmp_path)
    model = _model()
    change(model)
    before, state = model.get_weights(), random_state()
    with pytest.raises(ValueError, match=f"the model must be the one that the training began with; {words}"):
        model.fit(X, Y, SIZE, callbacks=BackupAndRestore(backup), verbose=0)
    for old, new in zip(before, model.get_weights(), strict=True):
        checks.assert_same_bits(new, old)
    assert model.optimizer is not None and model.optimizer.iterations == 0
    assert random_state()["seed"] == state["seed"]
    model.fit(X, Y, SIZE, verbose=0)


def test_a_saved_model_is_no_checkpoint(tmp_path: Path) -> None:
    backup = tmp_path / "backup"
    backup.mkdir()
    _model().save(backup / "checkpoint-000000001.gpunet")
    with pytest.raises(ValueError, match="must be a checkpoint of a training; got a model"):
        _model().fit(X, Y, callbacks=BackupAndRestore(backup), verbose=0)


def test_damaged_checkpoints(tmp_path: Path) -> None:
    backup = _begun(tmp_path)
    kept = tmp_path / "kept"
    shutil.copytree(backup, kept)
    older, newest = sorted(backup.glob("c*"))
    data = newest.read_bytes()
    newest.write_bytes(data[:-1])
    offered = f"the last good one is {older}: remove {newest} to go on from it"
    with pytest.raises(ValueError, match=rf"^BackupAndRestore: {newest}: .*{offered}"):
        _train(tmp_path / "run", BackupAndRestore(backup, 2))
    with pytest.warns(UserWarning, match=rf"{newest}: .*; the training goes on from {older}"):
        trained = _train(tmp_path / "run", BackupAndRestore(backup, 2, double_checkpoint=True))
    assert _everything(tmp_path / "run", trained) == _everything(tmp_path / "a", _train(tmp_path / "a"))
    shutil.copytree(kept, backup, dirs_exist_ok=True)
    for path in (older, newest):
        path.write_bytes(data[:-1])
    for double in (False, True):
        with pytest.raises(ValueError, match=rf"^BackupAndRestore: {newest}: [^;]*; it is no safetensors file"):
            _train(tmp_path / "run", BackupAndRestore(backup, 2, double_checkpoint=double))


def test_arguments(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="BackupAndRestore: save_freq must be at least 1; got 0"):
        BackupAndRestore(tmp_path, 0)
    with pytest.raises(TypeError, match="BackupAndRestore: save_freq must be an integer; got 'batch'"):
        BackupAndRestore(tmp_path, "batch")
    with pytest.raises(ValueError, match="BackupAndRestore: backup_dir must name a folder; got ''"):
        BackupAndRestore("")
    two = [BackupAndRestore(tmp_path / "a"), BackupAndRestore(tmp_path / "b")]
    with pytest.raises(ValueError, match=r"fit: callbacks must have one BackupAndRestore at most; got more"):
        _model().fit(X, Y, callbacks=two)


def test_states_that_cannot_be_saved_are_named(tmp_path: Path) -> None:
    class Bad(Callback):
        def get_state(self) -> dict[str, Any]:
            return {"thing": [object()]}

    words = r"^training\['callbacks'\]\[3\]\[1\]\['thing'\]\[0\] must be of JSON's types or an array, .*; got object"
    with pytest.raises(TypeError, match=words):
        _train(tmp_path / "run", Bad(), BackupAndRestore(tmp_path / "backup"))
