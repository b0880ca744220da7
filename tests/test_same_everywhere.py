"""The same training run on every device: weights, batches and masks bit for bit, losses nearly."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import checks
import numpy as np
import pytest

import gpunet
from gpunet import Conv2D, Dense, Dropout, Flatten, MaxPooling2D, Sequential
from gpunet.backend import devices, emulator
from gpunet.backend.arrays import EMULATED, Device, HostArray, to_host
from gpunet.callbacks import LambdaCallback
from gpunet.datasets import load_digits, resize
from gpunet.layers import dropout
from gpunet.training.schedule import Cut, Schedule

STEPS, BATCH = 5, 8


@dataclass
class Run:
    """What a training run did."""

    initial_weights: list[HostArray] = field(default_factory=list)
    batches: list[list[int]] = field(default_factory=list)
    masks: list[HostArray] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    final_weights: list[HostArray] = field(default_factory=list)


def _cnn50() -> Sequential:
    """Return the network of the README, with a Dropout in it."""
    model = Sequential()
    model.add(Conv2D(16, (3, 3), input_shape=(50, 50, 1), activation="relu"))
    model.add(MaxPooling2D((2, 2), padding="same"))
    model.add(Conv2D(32, (3, 3), activation="relu"))
    model.add(MaxPooling2D((2, 2), padding="same"))
    model.add(Conv2D(64, (3, 3), activation="relu"))
    model.add(MaxPooling2D((2, 2), padding="same"))
    model.add(Flatten())
    model.add(Dense(128, activation="relu"))
    model.add(Dropout(0.25))
    model.add(Dense(10, activation="softmax"))
    # Neither a graph nor a kernel of Dense that drops would come by the spies.
    model.compile("adam", "sparse_categorical_crossentropy", ["accuracy"], run_eagerly=True)
    model.fuse = False
    return model


def _train(device: str, monkeypatch: pytest.MonkeyPatch) -> Run:
    run = Run()
    (x, y), _ = load_digits()
    x = resize(x[: STEPS * BATCH] / np.float32(16), 50)
    draw, epoch = dropout.dropout, Schedule.epoch

    def spying_dropout(*args: Any) -> Any:
        result, mask = draw(*args)
        run.masks.append(to_host(mask).copy())
        return result, mask

    def spying_epoch(self: Schedule) -> Iterator[Cut]:
        for cut in epoch(self):
            run.batches.append(cut.indices.tolist())
            yield cut

    with monkeypatch.context() as patch, devices.device(device):
        patch.setattr(dropout, "dropout", spying_dropout)
        patch.setattr(Schedule, "epoch", spying_epoch)
        gpunet.set_random_seed(11)
        model = _cnn50()
        run.initial_weights = model.get_weights()
        means: list[float] = []
        note = LambdaCallback(on_train_batch_end=lambda batch, logs: means.append(logs["loss"]))
        model.fit(x, y[: STEPS * BATCH], batch_size=BATCH, callbacks=note, verbose=0)
        run.losses = np.diff(np.arange(1, STEPS + 1) * means, prepend=0).tolist()  # of the steps, from their means
        run.final_weights = model.get_weights()
    return run


@pytest.fixture(scope="module")
def on_cpu() -> Run:
    with pytest.MonkeyPatch.context() as patch:
        return _train("cpu", patch)


def test_a_training_run_is_the_same_on_every_device(
    device: Device, on_cpu: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = _train(str(device), monkeypatch)
    assert len(run.losses) == len(run.masks) == STEPS
    assert run.batches == on_cpu.batches and sorted(itertools.chain(*run.batches)) == list(range(STEPS * BATCH))
    for here, there in ((run.initial_weights, on_cpu.initial_weights), (run.masks, on_cpu.masks)):
        assert len(here) == len(there) > 0
        for a, b in zip(here, there, strict=True):
            checks.assert_same_bits(a, b)
    np.testing.assert_allclose(run.losses, on_cpu.losses, rtol=1e-5)  # float32, rounded in different orders
    assert any(not np.array_equal(a, b) for a, b in zip(run.initial_weights, run.final_weights, strict=True))


def test_a_second_run_on_the_cpu_has_the_same_bits(on_cpu: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    _assert_same_run(_train("cpu", monkeypatch), on_cpu)


@pytest.fixture(scope="module")
def on_emulated() -> Run:
    report = devices.examine(EMULATED)
    if not report.usable:
        pytest.skip(f"emulated: {report.reason}")
    with pytest.MonkeyPatch.context() as patch:
        return _train("emulated", patch)


@pytest.mark.parametrize("order", ["forward", "reverse", 7])
def test_a_second_run_on_emulated_has_the_same_bits(
    order: str | int, on_emulated: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    with emulator.configured(order=order):
        _assert_same_run(_train("emulated", monkeypatch), on_emulated)


def _assert_same_run(run: Run, other: Run) -> None:
    assert run.losses == other.losses
    for a, b in zip(run.final_weights, other.final_weights, strict=True):
        checks.assert_same_bits(a, b)
