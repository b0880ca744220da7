"""Generators, data sets of batches and numbers of steps against Keras 3: what is trained on, evaluated, predicted."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from keras_side import assert_close

import gpunet
from gpunet.backend.arrays import Device, HostArray

X = np.random.default_rng(0).random((20, 3))
Y = X @ np.array([[1.0], [2.0], [3.0]]) + 1


def _model(library: Any, weights: list[HostArray] | None = None) -> Any:
    model = library.Sequential([library.Input((3,)), library.layers.Dense(1, dtype="float64")])
    model.set_weights([np.full((3, 1), 0.1), np.zeros(1)] if weights is None else weights)
    model.compile(library.optimizers.SGD(0.1), "mse")
    return model


def _batches(passes: int | None) -> Iterator[tuple[HostArray, HostArray]]:
    done = 0
    while done != passes:
        for start in range(0, 20, 6):
            yield X[start : start + 6], Y[start : start + 6]
        done += 1


def _dataset(library: Any) -> Any:
    """Return the batches as item i of a data set."""
    base = library.utils.PyDataset if library is not gpunet else object

    class Dataset(base):  # type: ignore[misc, valid-type]
        def __len__(self) -> int:
            return 4

        def __getitem__(self, number: int) -> tuple[HostArray, HostArray]:
            return X[6 * number : 6 * number + 6], Y[6 * number : 6 * number + 6]

    return Dataset()


DATA: dict[str, Callable[[Any], Any]] = {
    "data set": _dataset,
    "endless generator": lambda library: _batches(None),
    "generator of two passes": lambda library: _batches(2),
}


def _fit(library: Any, data: Any, **arguments: Any) -> tuple[dict[str, list[float]], list[HostArray], list[str]]:
    """Return history, weights, and warnings about data that ran out."""
    model = _model(library)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        history = model.fit(data, verbose=0, **arguments).history
    return history, model.get_weights(), _about_data(caught)


def _about_data(caught: list[warnings.WarningMessage]) -> list[str]:
    """Return the warnings that either library gives where there is less data than was asked for."""
    texts = [str(warning.message) for warning in caught]
    signs = ("ran out of data", "for this epoch", "all there are")
    return [text for text in texts if any(sign in text for sign in signs)]


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("data set", {"epochs": 3}),
        ("data set", {"epochs": 3, "steps_per_epoch": 2}),
        ("data set", {"epochs": 4, "steps_per_epoch": 3}),
        ("data set", {"epochs": 2, "steps_per_epoch": 6}),
        ("endless generator", {"epochs": 3, "steps_per_epoch": 5}),
        ("generator of two passes", {"epochs": 2, "steps_per_epoch": 4}),
        ("generator of two passes", {"epochs": 2, "steps_per_epoch": 5}),
        ("generator of two passes", {"epochs": 1, "steps_per_epoch": 10}),
    ],
)
def test_fit(name: str, arguments: Any, in_double: None, device: Device) -> None:
    import keras

    ours, theirs = (_fit(library, DATA[name](library), shuffle=False, **arguments) for library in (gpunet, keras))
    assert_close(np.array(ours[0]["loss"]), np.array(theirs[0]["loss"]), "losses")
    for our, their in zip(ours[1], theirs[1], strict=True):
        assert_close(our, their, "weights")
    assert len(ours[2]) == len(theirs[2]), (ours[2], theirs[2])


@pytest.mark.parametrize("steps", [None, 2])
def test_validation_by_a_data_set(steps: int | None, in_double: None) -> None:
    import keras

    ours, theirs = (
        _fit(
            library,
            X,
            y=Y,
            batch_size=5,
            epochs=2,
            shuffle=False,
            validation_data=_dataset(library),
            validation_steps=steps,
        )
        for library in (gpunet, keras)
    )
    assert_close(np.array(ours[0]["val_loss"]), np.array(theirs[0]["val_loss"]), "validation losses")


@pytest.mark.parametrize("steps", [None, 1, 4, 5])
@pytest.mark.parametrize("name", DATA)
def test_evaluate_and_predict(name: str, steps: int | None, in_double: None) -> None:
    import keras

    if name == "endless generator" and steps is None:
        pytest.skip("would not end")
    results = []
    for library in (gpunet, keras):
        model = _model(library)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            loss = model.evaluate(DATA[name](library), steps=steps, verbose=0)
            results.append((loss, model.predict(DATA[name](library), steps=steps, verbose=0)))
    (our_loss, our_y), (their_loss, their_y) = results
    assert_close(np.array(our_loss), np.array(their_loss), "loss")
    assert_close(our_y, their_y, "predictions")


@pytest.mark.parametrize(("steps", "expected"), [(2, 2), (9, 4)])
def test_steps_of_arrays(steps: int, expected: int, in_double: None) -> None:
    import keras

    results = []
    for library in (gpunet, keras):
        model = _model(library)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            y = model.predict(X, batch_size=5, steps=steps, verbose=0)
            loss = model.evaluate(X, Y, batch_size=5, steps=steps, verbose=0)
        assert len(y) == 5 * expected
        assert bool(_about_data(caught)) == (steps > expected)
        results.append((loss, y))
    assert_close(np.array(results[0][0]), np.array(results[1][0]), "loss")
    assert_close(results[0][1], results[1][1], "predictions")


def test_both_refuse_the_same(in_double: None) -> None:
    import keras

    for library in (gpunet, keras):
        model = _model(library)
        with pytest.raises(ValueError, match="y"):
            model.fit(_batches(1), Y, verbose=0)
        with pytest.raises(ValueError, match="validation_split"):
            model.fit(_dataset(library), validation_split=0.5, verbose=0)
        with pytest.raises(ValueError, match=r"at least one batch"):
            model.fit((batch for batch in ()), verbose=0)
