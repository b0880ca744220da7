"""Ctrl-C during fit."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from small_models import column, linear

from gpunet.callbacks import Callback, LambdaCallback
from gpunet.training.step import Step


class _Interrupt(Callback):
    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        if batch == 1:
            raise KeyboardInterrupt


def test_an_interrupted_fit_leaves_a_usable_model() -> None:
    ended = []
    model = linear()
    x = np.zeros((8, 1), np.float32)
    callbacks = [_Interrupt(), LambdaCallback(on_train_end=lambda logs: ended.append(1))]
    with pytest.raises(KeyboardInterrupt):
        model.fit(x, x, batch_size=2, epochs=3, callbacks=callbacks, verbose=0)
    assert ended == [1] and model.optimizer.iterations == 2
    assert model.history.epoch == []
    assert model.fit(x, x, verbose=0).epoch == [0]


def test_ctrl_c_waits_for_the_running_step(monkeypatch: pytest.MonkeyPatch) -> None:
    finished = []
    train = Step.train

    def interrupted_train(self: Step, batch: Any) -> None:
        if not finished:
            signal.raise_signal(signal.SIGINT)
        train(self, batch)
        finished.append(1)

    monkeypatch.setattr(Step, "train", interrupted_train)
    model = linear()
    with pytest.raises(KeyboardInterrupt):
        model.fit(column(1, 1), column(1, 1), batch_size=1, verbose=0)
    assert finished == [1] and model.optimizer.iterations == 1
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_second_ctrl_c_does_not_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    def twice_interrupted_train(self: Step, batch: Any) -> None:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        pytest.fail("the second one waited")

    monkeypatch.setattr(Step, "train", twice_interrupted_train)
    with pytest.raises(KeyboardInterrupt):
        linear().fit(column(1), column(1), verbose=0)


@pytest.mark.parametrize("steps", [None, 1])
@pytest.mark.parametrize("validating", [False, True])
def test_ctrl_c_does_not_wait_for_data(validating: bool, steps: int | None) -> None:
    """With `steps` it comes while the first batch of the next epoch is fetched."""

    def endless() -> Iterator[Any]:
        yield column(1), column(1)
        signal.raise_signal(signal.SIGINT)
        pytest.fail("a generator that waits for ever would never be left")

    model = linear()
    if validating:
        data = {"x": column(1), "y": column(1), "validation_data": endless(), "validation_steps": steps}
    else:
        data = {"x": endless(), "steps_per_epoch": steps}
    with pytest.raises(KeyboardInterrupt):
        model.fit(**data, epochs=2, verbose=0)
    assert model.optimizer.iterations == (2 if validating and steps else 1)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    model.fit(column(1), column(1), verbose=0)


def test_a_handler_of_the_program_s_own_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    caught = []
    previous = signal.signal(signal.SIGINT, lambda number, frame: caught.append(number))
    try:
        note = LambdaCallback(on_train_batch_end=lambda batch, logs: signal.raise_signal(signal.SIGINT))
        linear().fit(column(1), column(1), callbacks=note, verbose=0)
    finally:
        signal.signal(signal.SIGINT, previous)
    assert caught == [signal.SIGINT]


def test_an_unfinished_step_leaves_no_gradients_to_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(parameters: Any) -> None:
        raise KeyboardInterrupt

    model = linear()
    with monkeypatch.context() as patch:
        patch.setattr(model.optimizer, "apply", interrupt)
        with pytest.raises(KeyboardInterrupt):
            model.fit(column(1, 2), column(3, 5), verbose=0)
    model.fit(column(1, 2), column(3, 5), verbose=0)
    np.testing.assert_allclose(model.get_weights()[0], [[1 + 0.5 * 8]])  # as in test_one_step_of_gradient_descent
