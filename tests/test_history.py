"""History: what fit returns."""

from __future__ import annotations

import numpy as np

from gpunet import Dense, Input, Sequential
from gpunet.callbacks import History


def _model() -> Sequential:
    model = Sequential([Input((2,)), Dense(1)])
    model.compile("sgd", "mse", ["accuracy"])
    return model


def test_history_has_a_value_an_epoch_of_loss_metrics_and_validation() -> None:
    x = np.ones((8, 2), np.float32)
    model = _model()
    history = model.fit(x, x[:, :1], epochs=3, validation_split=0.25, verbose=0)
    assert isinstance(history, History) and model.history is history
    assert history.epoch == [0, 1, 2]
    assert list(history.history) == ["accuracy", "loss", "val_accuracy", "val_loss"]  # as in Keras, by name
    assert all(len(values) == 3 for values in history.history.values())
    assert all(type(value) is float for values in history.history.values() for value in values)


def test_history_knows_how_it_came_about() -> None:
    x = np.ones((8, 2), np.float32)
    history = _model().fit(x, x[:, :1], batch_size=3, epochs=2, verbose=0)
    assert history.params["epochs"] == 2 and history.params["steps"] == 3 and history.params["verbose"] == 0


def test_every_fit_has_a_history_of_its_own() -> None:
    x = np.ones((8, 2), np.float32)
    model = _model()
    first = model.fit(x, x[:, :1], verbose=0)
    second = model.fit(x, x[:, :1], verbose=0)
    assert len(first.history["loss"]) == len(second.history["loss"]) == 1
    assert second.history["loss"][0] < first.history["loss"][0]
