"""The smallest and the largest: one sample, one class, one pixel, one batch of everything, ten thousand classes.

Each trains, evaluates and predicts as in double precision, with the same bits as captured step or run kernel by kernel,
and from arrays or from batches of the user's.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import checks
import numpy as np
import pytest

from gpunet import Conv2D, Dense, Flatten, Input, MaxPooling2D, Sequential, optimizers
from gpunet.backend import emulator
from gpunet.backend.arrays import Device, HostArray, Kind
from gpunet.backend.random import set_random_seed
from gpunet.layers import AveragePooling2D, GlobalAveragePooling2D, Layer

LABELS = "sparse_categorical_crossentropy"


class Limit(NamedTuple):
    """A set of `n` samples of `shape`, in `classes`; `held` of them to validate with, if any."""

    n: int = 6
    shape: tuple[int, ...] = (5,)
    classes: int = 3
    batch_size: int | None = 4
    held: int = 0
    layers: Callable[[str], list[Layer]] = lambda dtype: []
    loss: str = LABELS


def _convolutions(dtype: str) -> list[Layer]:
    return [
        Conv2D(3, 1, activation="relu", dtype=dtype),
        MaxPooling2D(1, dtype=dtype),
        Conv2D(2, 3, padding="same", dtype=dtype),
        AveragePooling2D(1, dtype=dtype),
        MaxPooling2D(2, padding="same", dtype=dtype),
        GlobalAveragePooling2D(dtype=dtype),
    ]


LIMITS = {
    "batches of one": Limit(batch_size=1),
    "one sample": Limit(n=1),
    "one sample, in a batch of one": Limit(n=1, batch_size=1),
    "one batch shorter than asked for": Limit(batch_size=7),
    "a batch size far beyond": Limit(batch_size=2**40),
    "the batch size that is everyone's": Limit(batch_size=None),
    "one sample to validate with": Limit(held=1),
    "one sample each": Limit(n=1, held=1, batch_size=2),
    "one class": Limit(classes=1),
    "one class of one sample": Limit(n=1, classes=1),
    "one feature": Limit(shape=(1,)),
    "ten thousand classes": Limit(n=3, classes=10_000, batch_size=2),
    "images of one pixel": Limit(shape=(1, 1, 1), layers=_convolutions),
    "one image of one pixel in one class": Limit(n=1, shape=(1, 1, 1), classes=1, layers=_convolutions),
    "one row of pixels": Limit(
        shape=(1, 7, 1), layers=lambda dtype: [Conv2D(2, (1, 3), dtype=dtype), Flatten(dtype=dtype)]
    ),
    "distributions over one class": Limit(classes=1, loss="categorical_crossentropy"),
    "squares of one number": Limit(n=1, shape=(1,), classes=1, loss="mse"),
}


def _model(limit: Limit, dtype: str, **kwargs: Any) -> Sequential:
    set_random_seed(2)
    model = Sequential([Input(limit.shape, dtype=dtype), *limit.layers(dtype)])
    model.add(Dense(limit.classes, activation=None if limit.loss == "mse" else "softmax", dtype=dtype))
    model.compile(optimizers.SGD(0.2, momentum=0.5), limit.loss, ["accuracy"], **kwargs)
    return model


def _data(limit: Limit, n: int, seed: int) -> tuple[HostArray, HostArray]:
    rng = np.random.default_rng(seed)
    x = rng.random((n, *limit.shape), np.float32)
    if limit.loss == LABELS:
        return x, rng.integers(0, limit.classes, n)
    return x, rng.random((n, limit.classes), np.float32) if limit.loss == "mse" else np.ones((n, limit.classes))


def _everything(limit: Limit, dtype: str, by_hand: bool = False, **kwargs: Any) -> tuple[list[HostArray], HostArray]:
    """Train, evaluate and predict; return the weights, and all the numbers that came of it."""
    (x, y), held = _data(limit, limit.n, 0), _data(limit, limit.held, 1) if limit.held else None
    model, size = _model(limit, dtype, **kwargs), limit.batch_size
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "categorical_crossentropy: outputs of one class", SyntaxWarning)
        if by_hand:
            step = min(size or 32, limit.n)
            batches = [(x[i : i + step], y[i : i + step]) for i in range(0, limit.n, step)]
            history = model.fit(_Batches(batches), epochs=3, validation_data=held, shuffle=False, verbose=0)
        else:
            history = model.fit(x, y, size, 3, 0, validation_data=held, shuffle=False, validation_batch_size=size)
        scores = model.evaluate(x, y, size, verbose=0)
        outputs = model.predict(x, size, verbose=0)
    assert outputs.shape == (limit.n, limit.classes)
    values = [value for values in history.history.values() for value in values] + scores
    return model.get_weights(), np.concatenate([values, outputs.reshape(-1)])


class _Batches:
    def __init__(self, batches: list[Any]) -> None:
        self.batches = batches

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, number: int) -> Any:
        return self.batches[number]


@pytest.fixture(autouse=True)
def _fast(device: Device) -> Iterator[None]:
    """The ops' own tests look at every access."""
    with emulator.configured(checked=False):
        yield


@pytest.mark.parametrize("name", LIMITS)
def test_limits(device: Device, name: str) -> None:
    limit = LIMITS[name]
    weights, numbers = _everything(limit, "float32")
    exact_weights, exact = _everything(limit, "float64")
    assert np.isfinite(numbers).all()
    np.testing.assert_allclose(numbers, exact, rtol=1e-4, atol=1e-5)
    for one, other in zip(weights, exact_weights, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)
    others = [_everything(limit, "float32", by_hand=True)]
    if device.kind is not Kind.CPU:
        others.append(_everything(limit, "float32", run_eagerly=True))
    for other_weights, other_numbers in others:
        checks.assert_same_bits(numbers, other_numbers)
        for one, other in zip(weights, other_weights, strict=True):
            checks.assert_same_bits(one, other)


def test_one_class_is_always_right(device: Device) -> None:
    """A softmax over one class is 1, its loss 0, and there is nothing to learn.

    As in Keras 'accuracy' of one output is the binary one, to which label 0 is no match.
    """
    limit = LIMITS["one class"]
    model = _model(limit, "float32")
    before = model.get_weights()
    x, y = _data(limit, limit.n, 0)
    history = model.fit(x, y, 4, 2, 0).history
    assert history == {"loss": [0.0, 0.0], "accuracy": [0.0, 0.0]}
    assert (model.predict(x, verbose=0) == 1).all()
    model.compile("sgd", LABELS, ["sparse_categorical_accuracy"])
    assert model.evaluate(x, y, verbose=0) == [0.0, 1.0]
    for one, other in zip(before, model.get_weights(), strict=True):
        checks.assert_same_bits(one, other)


def test_ten_thousand_classes_begin_as_a_guess(device: Device) -> None:
    limit = LIMITS["ten thousand classes"]
    model = _model(limit, "float32")
    loss, accuracy = model.evaluate(*_data(limit, limit.n, 0), verbose=0)
    assert loss == pytest.approx(math.log(10_000), rel=0.02) and accuracy == 0
