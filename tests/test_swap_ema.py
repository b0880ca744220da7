"""SwapEMAWeights: averages of weights for evaluations, predictions and other callbacks, the weights for training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import checks
import numpy as np
import pytest

import gpunet
from gpunet import Dense, Input, Sequential
from gpunet.backend.arrays import Device
from gpunet.callbacks import BackupAndRestore, Callback, EarlyStopping, SwapEMAWeights
from gpunet.optimizers import SGD

X, Y = checks.normal(8, 3), checks.normal(8, 1, seed=1)


def _model(**averaging: Any) -> Sequential:
    gpunet.set_random_seed(1)
    model = Sequential([Input((3,)), Dense(1, name="dense")])
    model.compile(SGD(0.1, **averaging), "mse")
    model.layers[0].set_weights([checks.normal(3, 1, seed=2), np.zeros(1)])
    return model


class Kernels(Callback):
    """Notes the kernel where evaluations begin and epochs end; plants values of `monitor`."""

    def __init__(self) -> None:
        self.tested: list[Any] = []
        self.ended: list[Any] = []

    def on_test_begin(self, logs: Any = None) -> None:
        self.tested.append(self.model.layers[0].kernel.numpy())

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.ended.append(self.model.layers[0].kernel.numpy())
        logs["planted"] = epoch


def _expected(epochs: int) -> tuple[list[Any], list[Any]]:
    """Return the kernels after each of so many steps, and their averages, from a training without averages."""
    model, kernels, averages, average = _model(), [], [], None
    for _ in range(epochs):
        model.train_on_batch(X, Y)
        kernels.append(model.layers[0].kernel.numpy())  # type: ignore[attr-defined]
        average = kernels[-1] if average is None else 0.5 * average + 0.5 * kernels[-1]
        averages.append(average)
    return kernels, averages


@pytest.mark.parametrize("on_epoch", [False, True])
def test_evaluations_have_the_averages_and_training_the_weights(device: Device, on_epoch: bool) -> None:
    kernels, averages = _expected(3)
    model, noted = _model(use_ema=True, ema_momentum=0.5), Kernels()
    model.fit(X, Y, 8, 3, 0, [SwapEMAWeights(on_epoch), noted], validation_data=(X, Y), shuffle=False)
    np.testing.assert_allclose(noted.tested, averages, rtol=1e-6)
    np.testing.assert_allclose(noted.ended, averages if on_epoch else kernels, rtol=1e-6)
    np.testing.assert_allclose(model.layers[0].kernel.numpy(), averages[-1], rtol=1e-6)  # type: ignore[attr-defined]


@pytest.mark.parametrize("on_epoch", [False, True])
def test_a_training_that_is_stopped_leaves_the_averages(on_epoch: bool) -> None:
    _, averages = _expected(3)
    model = _model(use_ema=True, ema_momentum=0.5)
    stop = EarlyStopping("planted", mode="min", patience=2)
    model.fit(X, Y, 8, 9, 0, [SwapEMAWeights(on_epoch), Kernels(), stop], shuffle=False)
    np.testing.assert_allclose(model.layers[0].kernel.numpy(), averages[2], rtol=1e-6)  # type: ignore[attr-defined]
    assert model.optimizer is not None and not model.optimizer.averages_in_use


def test_a_training_that_was_killed_between_epochs_goes_on_with_the_weights(tmp_path: Path) -> None:
    class Kill(Callback):
        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            if epoch == 2:
                raise RuntimeError("killed")

    def train(*callbacks: Callback) -> Any:
        model = _model(use_ema=True, ema_momentum=0.5)
        model.fit(X, Y, 4, 4, 0, [*callbacks, SwapEMAWeights(swap_on_epoch=True)])
        return model.get_weights()[0]

    whole = train()
    with pytest.raises(RuntimeError, match="killed"):
        train(Kill(), BackupAndRestore(tmp_path))
    checks.assert_same_bits(train(BackupAndRestore(tmp_path)), whole)


def test_an_optimizer_without_averages_is_refused() -> None:
    with pytest.raises(ValueError, match="use_ema must be True"):
        _model().evaluate(X, Y, verbose=0, callbacks=[SwapEMAWeights()])
