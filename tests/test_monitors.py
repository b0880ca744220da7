"""Callbacks that watch one of the logs: EarlyStopping, ReduceLROnPlateau, ModelCheckpoint and their like."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import checks
import numpy as np
import pytest

import gpunet
from gpunet import Dense, Input, Sequential
from gpunet.callbacks import (
    BackupAndRestore,
    Callback,
    EarlyStopping,
    LearningRateScheduler,
    ModelCheckpoint,
    ReduceLROnPlateau,
    TensorBoard,
    TerminateOnNaN,
)

X, Y = checks.normal(8, 2), np.arange(8) % 2


class Plant(Callback):
    """Puts planted values into the logs, and notes the weights and the rate at the end of each epoch."""

    def __init__(self, **values: list[float]) -> None:
        self._values = values
        self.weights: list[Any] = []
        self.rates: list[float] = []

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        logs |= {name: values[epoch] for name, values in self._values.items()}
        self.weights.append(self.model.layers[-1].kernel.numpy())
        self.rates.append(self.model.optimizer.learning_rate)


def _model() -> Sequential:
    model = Sequential([Input((2,)), Dense(2, activation="softmax", name="dense")])
    model.compile(gpunet.optimizers.SGD(1.0), "sparse_categorical_crossentropy", ["accuracy"])
    return model


def _fit(*callbacks: Callback, epochs: int = 6, **values: list[float]) -> tuple[Sequential, Plant]:
    model, plant = _model(), Plant(**values)
    model.fit(X, Y, epochs=epochs, verbose=0, callbacks=[plant, *callbacks])
    return model, plant


def test_early_stopping_ends_the_training_after_its_patience() -> None:
    stop = EarlyStopping(patience=2, verbose=0)
    _, plant = _fit(stop, val_loss=[3, 2, 2.5, 1.9, 2, 1.9])
    assert len(plant.weights) == 6 and stop.stopped_epoch == 5 and stop.best == 1.9 and stop.best_epoch == 3
    _, plant = _fit(EarlyStopping(patience=1), val_loss=[3, 2, 2.5, 1, 1, 1])
    assert len(plant.weights) == 3


@pytest.mark.parametrize("epochs", [4, 6], ids=["at the last epoch", "stopped"])
def test_the_best_weights_are_restored_however_the_training_ends(epochs: int) -> None:
    stop = EarlyStopping("val_accuracy", patience=3, restore_best_weights=True)
    model, plant = _fit(stop, epochs=epochs, val_accuracy=[0.1, 0.5, 0.4, 0.5, 0.3, 0.2])
    assert len(plant.weights) == min(epochs, 5) and bool(stop.stopped_epoch) == (epochs == 6)
    np.testing.assert_array_equal(model.layers[-1].kernel.numpy(), plant.weights[1])  # type: ignore[attr-defined]
    assert not np.array_equal(plant.weights[1], plant.weights[-1])


def test_a_baseline_and_a_change_that_is_none() -> None:
    stop = EarlyStopping(patience=2, baseline=1.0, min_delta=0.5)
    _, plant = _fit(stop, val_loss=[3, 2, 1.6, 1.5, 1.4, 0.1])
    assert len(plant.weights) == 3  # better each time, but by enough only at first, and the baseline was never beaten
    _, plant = _fit(EarlyStopping(start_from_epoch=3), val_loss=[1, 2, 3, 4, 5, 6])
    assert len(plant.weights) == 5


def test_a_second_training_begins_anew() -> None:
    stop = EarlyStopping(patience=1)
    _fit(stop, val_loss=[1, 2, 3, 4, 5, 6])
    _, plant = _fit(stop, val_loss=[9, 8, 7, 7, 6, 5])
    assert len(plant.weights) == 4


def test_values_that_are_no_numbers_are_no_improvement() -> None:
    stop = EarlyStopping(patience=9)
    _fit(stop, val_loss=[float("nan"), 3, float("-inf"), 2.5, float("nan"), 2.75])
    assert stop.best == 2.5 and stop.best_epoch == 3


def test_the_rate_is_reduced_where_the_loss_stands_still() -> None:
    plateau = ReduceLROnPlateau("loss", factor=0.5, patience=1, min_delta=0, min_lr=0.2)
    model, plant = _fit(plateau, loss=[3, 3, 2, 2, 2, 2])
    assert plant.rates == [1, 1, 0.5, 0.5, 0.25, 0.2]
    assert model.history is not None and model.history.history["learning_rate"] == [1, 1, 0.5, 0.5, 0.25, 0.2]


def test_nothing_is_counted_while_it_cools_down() -> None:
    plateau = ReduceLROnPlateau("loss", factor=0.5, patience=1, cooldown=2)
    _, plant = _fit(plateau, loss=[3] * 6)
    assert plant.rates == [1, 1, 0.5, 0.5, 0.25, 0.25]


def test_a_monitor_that_is_not_there_is_a_warning() -> None:
    for callback in (EarlyStopping(), ReduceLROnPlateau(), ModelCheckpoint("x", save_best_only=True)):
        with pytest.warns(UserWarning, match=r"monitor must be among .*loss.*; got 'val_loss'"):
            _fit(callback, epochs=1)
    with pytest.raises(ValueError, match="mode must be 'min' or 'max' for val_mood"):
        _fit(EarlyStopping("val_mood"), val_mood=[1.0] * 6)
    _fit(EarlyStopping("val_mood", mode="max"), val_mood=[1.0] * 6)


def test_a_schedule_of_the_rate() -> None:
    _, plant = _fit(LearningRateScheduler(lambda epoch: 0.5**epoch), epochs=3)
    assert plant.rates == [1, 0.5, 0.25]
    _, plant = _fit(LearningRateScheduler(lambda epoch, rate: rate + epoch), epochs=3)
    assert plant.rates == [1, 2, 4]
    with pytest.raises(TypeError, match="schedule must return a number; got 'fast'"):
        _fit(LearningRateScheduler(lambda epoch: "fast"))  # type: ignore[arg-type, return-value]


def test_messages(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    keep = ModelCheckpoint(tmp_path / "m", save_best_only=True, verbose=1)
    stop = EarlyStopping(patience=2, restore_best_weights=True, verbose=1)
    plateau = ReduceLROnPlateau(factor=0.5, patience=1, verbose=1)
    _fit(keep, stop, plateau, LearningRateScheduler(lambda epoch, rate: rate, verbose=1), val_loss=[1, 2, 3, 4, 5, 6])
    assert capsys.readouterr().out.splitlines() == [
        "Epoch 1: learning rate 1",
        f"Epoch 1: saved {tmp_path / 'm'}",
        "Epoch 2: learning rate 1",
        "Epoch 2: val_loss 2.00000 is no better than 1.00000",
        "Epoch 2: learning rate 0.5, as val_loss stands still",
        "Epoch 3: learning rate 0.5",
        "Epoch 3: val_loss 3.00000 is no better than 1.00000",
        "Epoch 3: learning rate 0.25, as val_loss stands still",
        "Epoch 3: val_loss has stopped to improve",
        "The weights are those of the best epoch, 1",
    ]


@pytest.mark.parametrize("weights_only", [False, True])
def test_a_model_is_kept_after_every_epoch(weights_only: bool, tmp_path: Path) -> None:
    name = "m-{epoch:02d}-{val_loss:.1f}.gpunet"
    _, plant = _fit(ModelCheckpoint(tmp_path / name, save_weights_only=weights_only), epochs=2, val_loss=[1.04, 2])
    for number, file in enumerate(("m-01-1.0.gpunet", "m-02-2.0.gpunet")):
        if weights_only:
            model = _model()
            model.load_weights(tmp_path / file)
        else:
            model = gpunet.load_model(tmp_path / file)
        kernel = model.layers[-1].kernel.numpy()  # type: ignore[attr-defined]
        np.testing.assert_array_equal(kernel, plant.weights[number])
    assert len(list(tmp_path.iterdir())) == 2


def test_the_best_model_alone_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "best.gpunet"
    keep = ModelCheckpoint(path, "val_accuracy", save_best_only=True, initial_value_threshold=0.4)
    _, plant = _fit(keep, val_accuracy=[0.3, 0.5, 0.4, 0.6, 0.6, 0.1])
    kernel = gpunet.load_model(path).layers[-1].kernel.numpy()  # type: ignore[attr-defined]
    np.testing.assert_array_equal(kernel, plant.weights[3])
    assert keep.best == 0.6


def test_a_model_is_kept_every_few_batches(tmp_path: Path) -> None:
    model = _model()
    keep = ModelCheckpoint(tmp_path / "{epoch}-{batch}-{loss:.0f}", save_freq=3)
    model.fit(X, Y, batch_size=2, epochs=2, verbose=0, callbacks=[keep])
    assert sorted(path.name[:4] for path in tmp_path.iterdir()) == ["1-3-", "2-2-"]


def test_a_name_that_nobody_knows_and_a_file_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"filepath must have names among epoch, .*loss.*; got '.*val_loss"):
        _fit(ModelCheckpoint(tmp_path / "{val_loss}"))
    with pytest.warns(UserWarning, match=r"ModelCheckpoint: .*could not be written \(.*; training goes on"):
        (tmp_path / "file").touch()
        _, plant = _fit(ModelCheckpoint(tmp_path / "file" / "m"), epochs=2)
    assert len(plant.weights) == 2
    _fit(ModelCheckpoint(tmp_path / "new" / "folder" / "m"), epochs=1)
    assert (tmp_path / "new" / "folder" / "m").exists()


def test_a_loss_that_is_no_number_ends_the_training(capsys: pytest.CaptureFixture[str]) -> None:
    class Spoil(Callback):
        def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
            if batch == 2:
                self.model.layers[-1].kernel.assign(np.full((2, 2), np.nan))

    model = _model()
    history = model.fit(X, Y, batch_size=1, epochs=3, verbose=0, callbacks=[Spoil(), TerminateOnNaN()])
    assert history.epoch == [0] and re.search("Batch 2: the loss is nan", capsys.readouterr().out)
    with pytest.raises(RuntimeError, match="loss must be finite; got nan at batch 2"):
        _model().fit(X, Y, batch_size=1, verbose=0, callbacks=[Spoil(), TerminateOnNaN(raise_error=True)])


class KilledError(Exception):
    """Ends a training at once."""


class KillBefore(Callback):
    """Ends the training where an epoch begins."""

    def __init__(self, epoch: int) -> None:
        self._epoch = epoch

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        if epoch == self._epoch:
            raise KilledError


def _train_in(folder: Path, *callbacks: Callback) -> tuple[Sequential, list[Callback]]:
    """Train with all that watches, in `folder`."""
    plant = Plant(val_loss=[5, 4, 4, 4.5, 3.9, 4, 4, 3.8, 4, 3.9])
    watching: list[Callback] = [
        EarlyStopping(patience=3, restore_best_weights=True),
        ReduceLROnPlateau(factor=0.5, patience=2, cooldown=1),
        ModelCheckpoint(folder / "best", save_best_only=True),
        ModelCheckpoint(folder / "{epoch}-{batch}", save_freq=3),
        TensorBoard(folder / "board", update_freq=3),
    ]
    model = _model()
    model.fit(X, Y, 4, epochs=10, verbose=0, callbacks=[plant, *callbacks, *watching])
    return model, watching


@pytest.mark.parametrize("epoch", [2, 5, 8])
def test_a_training_that_was_killed_goes_on_as_if_it_had_not_been(epoch: int, tmp_path: Path) -> None:
    gpunet.set_random_seed(3)
    whole, expected = _train_in(tmp_path / "a")
    backup = BackupAndRestore(tmp_path / "backup")
    gpunet.set_random_seed(3)
    with pytest.raises(KilledError):
        _train_in(tmp_path / "b", KillBefore(epoch), backup)
    resumed, watching = _train_in(tmp_path / "b", backup)
    checks.assert_same_bits(resumed.layers[-1].kernel.numpy(), whole.layers[-1].kernel.numpy())  # type: ignore[attr-defined]
    for one, other in zip(watching[:2], expected[:2], strict=True):
        assert str(one.get_state()) == str(other.get_state())
    names = [sorted(path.name for path in (tmp_path / folder).iterdir()) for folder in ("a", "b")]
    assert names[0] == names[1] and len(names[0]) > 4
    sizes = [[path.stat().st_size for path in sorted((tmp_path / folder).glob("board/*/*"))] for folder in ("a", "b")]
    assert sizes[0] == sizes[1] and len(sizes[0]) == 2
    for name in names[0]:
        if name != "board":
            kernels = [gpunet.load_model(tmp_path / folder / name).get_weights()[0] for folder in ("a", "b")]
            checks.assert_same_bits(*kernels)
