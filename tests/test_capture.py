"""Captured training steps: the same bits as steps that run as they are, and a warning where they cannot be captured.

On `emulated` a graph is a list of what was done (test_graph.py); on a GPU the same tests capture CUDA graphs.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import Any

import checks
import numpy as np
import pytest

from gpunet import Conv2D, Dense, Dropout, Flatten, Input, MaxPooling2D, Sequential, optimizers
from gpunet.backend.arrays import CPU, Array, Device, HostArray
from gpunet.backend.random import set_random_seed
from gpunet.callbacks import LambdaCallback
from gpunet.layers import Layer
from gpunet.training.capture import Captures
from gpunet.training.step import Step

RNG = np.random.default_rng(0)
X = RNG.random((22, 8, 8, 1), np.float32)
Y = RNG.integers(0, 3, 22)


@pytest.fixture(autouse=True)
def _on_a_device(device: Device) -> None:
    if device == CPU:
        pytest.skip("the CPU captures nothing")


def _model(*extra: Callable[[], Layer], optimizer: Any = "adam", eager: bool = False) -> Sequential:
    set_random_seed(3)
    model = Sequential(
        [
            Input((8, 8, 1)),
            Conv2D(3, 3, activation="relu", kernel_regularizer="l2"),
            MaxPooling2D(2, padding="same"),
            Dropout(0.3, noise_shape=(None, 1, None, 3)),
            *(make() for make in extra),
            Flatten(),
            Dense(5, activation="gelu", kernel_constraint="max_norm", activity_regularizer="l1"),
            Dropout(0.2),
            Dense(3, activation="softmax"),
        ]
    )
    optimizer = optimizers.get(optimizer)
    model.compile(optimizer, "sparse_categorical_crossentropy", ["accuracy"], run_eagerly=eager)
    return model


def _history(model: Sequential, data: Any = None, **kwargs: Any) -> tuple[list[HostArray], dict[str, list[float]]]:
    """Return the weights and what was recorded after three epochs of three batches, the last a smaller one."""
    x = (X, Y) if data is None else (data,)
    sizes = {} if data is not None else {"batch_size": 8, "validation_split": 0.2}
    history = model.fit(*x, epochs=3, verbose=0, **sizes, **kwargs)
    return model.get_weights(), history.history


def _assert_same(one: Any, other: Any) -> None:
    for a, b in zip(one[0], other[0], strict=True):
        checks.assert_same_bits(a, b)
    assert one[1] == other[1]


OPTIMIZERS: list[Any] = [
    optimizers.Adam,
    lambda: optimizers.SGD(0.1, momentum=0.9, nesterov=True, clipnorm=0.5),
    lambda: optimizers.Adam(weight_decay=0.1, global_clipnorm=0.5),
]


@pytest.mark.parametrize("make", OPTIMIZERS, ids=["adam", "sgd", "adam with everything"])
def test_a_captured_run_has_the_bits_of_a_plain_one(make: Any, captures: list[Captures]) -> None:
    eager = _history(_model(optimizer=make(), eager=True))
    assert captures[-1].graphs == 0
    _assert_same(_history(_model(optimizer=make())), eager)
    # Steps of 8 and of 1 to train with, of 5 to evaluate with: 17 to train, 5 held out.
    assert captures[-1].graphs == 3


def _batches(size: int) -> Iterator[tuple[HostArray, HostArray]]:
    for start in range(0, 22, size):
        yield X[start : start + size], Y[start : start + size]


class _DataSet:
    def __len__(self) -> int:
        return 4

    def __getitem__(self, number: int) -> tuple[HostArray, HostArray]:
        return list(_batches(6))[number]


def test_batches_from_any_address_are_captured_too(captures: list[Captures]) -> None:
    eager = _history(_model(eager=True), _DataSet(), shuffle=False)
    _assert_same(_history(_model(), _DataSet(), shuffle=False), eager)
    assert captures[-1].graphs == 2


def test_train_on_batch_captures_from_the_third_call_on(captures: list[Captures]) -> None:
    results = []
    for eager in (True, False):
        model = _model(eager=eager)
        values = [model.train_on_batch(X[:6], Y[:6]) for _ in range(6)] + [model.test_on_batch(X, Y) for _ in range(4)]
        results.append((model.get_weights(), values))
    _assert_same(*results)
    assert captures[-1].graphs == 2


def test_the_learning_rate_may_change_between_graphs_of_one_kind(captures: list[Captures]) -> None:
    def slower(batch: int, logs: Any) -> None:
        model.optimizer.learning_rate *= 0.5

    runs = []
    for eager in (True, False):
        model = _model(eager=eager)
        runs.append(_history(model, callbacks=LambdaCallback(on_train_batch_end=slower)))
    _assert_same(*runs)
    assert captures[-1].graphs == 3


CHANGES: dict[str, Any] = {
    "a frozen layer": lambda model: setattr(model.layers[0], "trainable", False),
    "a rate": lambda model: setattr(model.layers[2], "rate", 0.6),
    "a hyperparameter": lambda model: setattr(model.optimizer, "beta_1", 0.5),
    "no fusion": lambda model: setattr(model, "fuse", False),
    "other weights": lambda model: model.set_weights([0.5 * w for w in model.get_weights()]),
    "another value": lambda model: setattr(model.layers[0].kernel, "value", 0 * model.layers[0].kernel.value),
    "a draw": lambda model: setattr(model.layers[2].stream, "step", 100),
}


@pytest.mark.parametrize("name", CHANGES)
def test_what_is_changed_in_the_middle_counts(name: str) -> None:
    """After the second epoch: graphs are made by then, and must not be used if they do not hold any more."""
    runs = []
    for eager in (True, False):
        model = _model(eager=eager)
        change = LambdaCallback(on_epoch_end=lambda epoch, logs, model=model: epoch == 1 and CHANGES[name](model))
        runs.append(_history(model, callbacks=change))
    _assert_same(*runs)
    assert any((a != b).any() for a, b in zip(runs[0][0], _history(_model(eager=True))[0], strict=True))


class _Reading(Layer):
    """y = x / (1 + max |x|), for which it reads the device."""

    def forward(self, x: Array, training: bool) -> Any:
        factor = 1 / (1 + np.abs(checks.host(x)).max())
        return x * factor, lambda dy: dy * factor


class _Counting(Layer):
    """y = (number of this run) x."""

    def forward(self, x: Array, training: bool) -> Any:
        self.count = getattr(self, "count", 0) + 1
        factor = np.float32(self.count)
        return x * factor, lambda dy: dy * factor


class _Keeping(Layer):
    """y = x; keeps arrays of the run in attributes, alone and in a tuple."""

    def forward(self, x: Array, training: bool) -> Any:
        self.last, self.pair = x, (x, x)
        return x, lambda dy: dy


class _Plain(Layer):
    """y = 2 x + 1, in arithmetic of the array's library."""

    def forward(self, x: Array, training: bool) -> Any:
        return 2 * x + 1, lambda dy: 2 * dy


@pytest.mark.parametrize(
    "layer, reason",
    [
        (_Reading, "_Reading 'own': the host reads the device"),
        (_Counting, "_Counting.count changes at every step"),
        (_Keeping, "_Keeping.pair changes at every step"),
    ],
    ids=["reading", "counting", "keeping"],
)
def test_a_layer_that_cannot_be_captured_is_named_once(layer: Any, reason: str) -> None:
    eager = _history(_model(lambda: layer(name="own"), eager=True))
    with pytest.warns(UserWarning) as caught:
        captured = _history(_model(lambda: layer(name="own")))
    _assert_same(captured, eager)
    assert len(caught) == 1 and reason in str(caught[0].message)
    assert "steps run uncaptured, one kernel after the other" in str(caught[0].message)


def test_batches_of_ever_new_shapes_run_as_they_are(captures: list[Captures]) -> None:

    def run(eager: bool) -> tuple[list[HostArray], list[float]]:
        model = _model(eager=eager)
        losses = [model.train_on_batch(X[:size], Y[:size]) for _ in range(4) for size in range(1, 19)]
        return model.get_weights(), losses

    with pytest.warns(UserWarning) as caught:
        captured = run(eager=False)
    assert len(caught) == 1 and "batches have more than 16 different shapes" in str(caught[0].message)
    _assert_same(captured, run(eager=True))
    assert captures[0].graphs == 16


def test_an_own_layer_in_plain_arithmetic_is_captured(captures: list[Captures]) -> None:
    eager = _history(_model(_Plain, eager=True))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        _assert_same(_history(_model(_Plain)), eager)
    assert captures[-1].graphs == 3


def test_an_error_in_a_step_passes_and_leaves_a_usable_model(monkeypatch: pytest.MonkeyPatch) -> None:
    model, train, calls = _model(), Step._train, []

    def failing(self: Step, x: Array, y: Array) -> None:
        calls.append(1)
        if len(calls) == 3:
            raise ZeroDivisionError
        train(self, x, y)

    monkeypatch.setattr(Step, "_train", failing)
    with pytest.raises(ZeroDivisionError):
        model.fit(X, Y, batch_size=2, verbose=0)
    model.fit(X, Y, batch_size=2, verbose=0)
    assert all(np.isfinite(w).all() for w in model.get_weights())
