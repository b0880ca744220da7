"""Generators, iterables and data sets of batches: epochs, their ends, what is refused."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import checks
import numpy as np
import pytest
from data_sources import Dataset, Loader, SliceFile, batches, in_file
from small_models import bits, linear

import gpunet
from gpunet import Dense, Input, Sequential
from gpunet.backend.arrays import Device
from gpunet.backend.streaming import Ring
from gpunet.callbacks import LambdaCallback
from gpunet.training.feeding import Batch
from gpunet.training.sequences import makes_batches
from gpunet.training.step import Step

X = np.arange(10, dtype=np.float32)[:, None]


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[list[int]]:
    """The x of every batch that a step was trained on, as whole numbers; the step itself does nothing."""
    seen: list[list[int]] = []
    monkeypatch.setattr(Step, "train", lambda self, batch: seen.append(_numbers(batch)))
    return seen


@pytest.fixture
def tested(monkeypatch: pytest.MonkeyPatch) -> list[list[int]]:
    """Likewise of every batch that was evaluated."""
    seen: list[list[int]] = []
    monkeypatch.setattr(Step, "test", lambda self, batch: seen.append(_numbers(batch)))
    return seen


def _numbers(batch: Batch) -> list[int]:
    numbers: list[int] = checks.host(batch.take()[0])[:, 0].astype(int).tolist()
    return numbers


PASS = [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]

# What is what


def test_what_makes_batches(tmp_path: Path) -> None:
    for x in (batches(X, X, 4), iter([]), Loader(X, X, 4), Dataset(X, X, 4), zip(X, X, strict=True), {1}):
        assert makes_batches(x), x
    for x in (
        X,
        X.tolist(),
        (1, 2),
        range(3),
        None,
        3,
        "ab",
        {},
        in_file(tmp_path / "x.npy", X),
        SliceFile(X),
        np.float32(1),
    ):
        assert not makes_batches(x), x


# Epochs


@pytest.mark.parametrize("make", [lambda: Dataset(X, X, 4), lambda: Loader(X, X, 4)], ids=["data set", "iterable"])
def test_a_new_pass_in_every_epoch(make: Any, trained: list[list[int]]) -> None:
    history = linear().fit(make(), epochs=2, shuffle=False, verbose=0)
    assert trained == PASS * 2 and history.epoch == [0, 1]


def test_a_generator_is_used_up_once(trained: list[list[int]]) -> None:
    with pytest.warns(UserWarning, match=r"linear_net.*\.fit: x must have batches for every epoch; got none"):
        history = _named().fit(batches(X, X, 4), epochs=3, verbose=0)
    assert trained == PASS and history.epoch == [0]


def _named() -> Sequential:
    model = Sequential([Input((1,)), Dense(1)], name="linear_net")
    model.compile("sgd", "mse")
    return model


def test_a_finite_generator_is_one_epoch_without_a_warning(trained: list[list[int]]) -> None:
    assert linear().fit(batches(X, X, 4), verbose=0).epoch == [0] and trained == PASS


def test_an_endless_generator_goes_on_where_the_epoch_before_stopped(trained: list[list[int]]) -> None:
    generator = batches(X, X, 4, passes=None)
    linear().fit(generator, epochs=2, steps_per_epoch=2, verbose=0)
    assert trained == [*PASS, PASS[0]]
    assert next(generator)[0][:, 0].tolist() == PASS[1]  # nothing was fetched in vain


def test_an_epoch_ends_early_with_a_warning(trained: list[list[int]]) -> None:
    ended = []
    note = LambdaCallback(on_epoch_end=lambda epoch, logs: ended.append(len(trained)))
    with pytest.warns(UserWarning) as caught:
        history = _named().fit(batches(X, X, 4), epochs=5, steps_per_epoch=2, callbacks=note, verbose=0)
    assert trained == PASS and history.epoch == [0, 1] and ended == [2, 3]
    assert [str(warning.message).partition(": ")[2].partition(";")[0] for warning in caught] == [
        "x must have 2 batches for this epoch",
        "x must have batches for every epoch",
    ]
    assert "got 1: the epoch ends here" in str(caught[0].message)


def test_no_epoch_begins_for_which_there_is_no_batch() -> None:
    begun = []
    note = LambdaCallback(on_epoch_begin=lambda epoch, logs: begun.append(epoch))
    with pytest.warns(UserWarning, match="got none"):
        linear().fit(batches(X, X, 5), epochs=2, steps_per_epoch=2, callbacks=note, verbose=0)
    assert begun == [0]


def test_a_data_set_in_epochs_of_their_own_length(trained: list[list[int]]) -> None:
    """As in Keras: an epoch does not go on into the next pass."""
    with pytest.warns(UserWarning, match="must have 2 batches for this epoch; got 1"):
        linear().fit(Dataset(X, X, 4), epochs=3, steps_per_epoch=2, shuffle=False, verbose=0)
    assert trained == [*PASS, *PASS[:2]]
    trained.clear()
    linear().fit(Dataset(X, X, 4), epochs=2, steps_per_epoch=3, shuffle=False, verbose=0)  # no warning
    assert trained == PASS * 2


def test_a_data_set_is_told_of_epochs(trained: list[list[int]], tested: list[list[int]]) -> None:
    data, validation = Dataset(X, X, 4), Dataset(X, X, 8)
    linear().fit(data, epochs=2, validation_data=validation, shuffle=False, verbose=0)
    assert data.calls == ["begin", 0, 1, 2, "end"] * 2
    assert validation.calls == ["begin", 0, 1, "end"] * 2


def test_a_data_set_is_shuffled_by_batches(trained: list[list[int]]) -> None:
    x = np.arange(40, dtype=np.float32)[:, None]
    data = Dataset(x, x, 2)
    linear().fit(data, epochs=2, verbose=0)
    for epoch in range(2):
        order = np.random.Generator(np.random.Philox(key=[0, 2], counter=[0, 0, 0, epoch])).permutation(20)
        assert trained[20 * epoch : 20 * epoch + 20] == [[2 * i, 2 * i + 1] for i in order]
    trained.clear()
    gpunet.set_random_seed(0)
    linear().fit(Dataset(x, x, 2), epochs=1, verbose=0)
    assert trained == [[2 * int(i), 2 * int(i) + 1] for i in np.array(data.calls[1:21])]


def test_a_data_set_may_grow_between_epochs(trained: list[list[int]]) -> None:
    class Growing(Dataset):
        def on_epoch_end(self) -> None:
            self.x = self.y = np.concatenate([self.x, self.x])

    linear().fit(Growing(X[:4], X[:4], 4), epochs=3, shuffle=False, verbose=0)
    assert len(trained) == 1 + 2 + 4


def test_stopping_leaves_the_rest_of_a_generator(trained: list[list[int]]) -> None:
    generator = batches(X, X, 2)
    model = linear()
    model.fit(generator, callbacks=LambdaCallback(on_train_batch_end=lambda batch, logs: _stop(model)), verbose=0)
    assert trained == [[0, 1]] and next(generator)[0][:, 0].tolist() == [2, 3]


def _stop(model: Sequential) -> None:
    model.stop_training = True


# Evaluation, validation, prediction


def test_evaluate_and_predict(device: Device) -> None:
    model = linear()
    model.set_weights([np.float32([[2]])])
    y = X + 1
    whole = model.evaluate(X, y, batch_size=4, verbose=0)
    for data in (Dataset(X, y, 4), batches(X, y, 4)):
        assert model.evaluate(data, verbose=0) == whole == pytest.approx(np.mean((X - 1) ** 2))
    assert model.evaluate(batches(X, y, 4, None), steps=2, verbose=0) == pytest.approx(np.mean((X[:8] - 1) ** 2))
    assert model.evaluate(X, y, 4, steps=2, verbose=0) == pytest.approx(np.mean((X[:8] - 1) ** 2))
    for data in (
        Dataset(X, y, 4),
        batches(X, y, 4),
        (x for x, _ in batches(X, y, 4)),
        ((x,) for x, _ in batches(X, y, 4)),
    ):
        checks.assert_same_bits(model.predict(data, verbose=0), 2 * X)
    checks.assert_same_bits(model.predict(batches(X, y, 4, None), steps=2, verbose=0), 2 * X[:8])
    checks.assert_same_bits(model.predict(X, 4, steps=1, verbose=0), 2 * X[:4])


def test_validation_data_of_every_kind(trained: list[list[int]], tested: list[list[int]], tmp_path: Path) -> None:
    file = in_file(tmp_path / "x.npy", X)
    for data in ((X, X), Dataset(X, X, 4), Loader(X, X, 4), (file, file), (SliceFile(X), X)):
        size = 4 if isinstance(data, tuple) else None
        linear().fit(X, X, epochs=2, validation_data=data, validation_batch_size=size, validation_steps=2, verbose=0)
        assert tested == PASS[:2] * 2, data  # each from the start, as in Keras
        tested.clear()
    linear().fit(X, X, epochs=2, validation_data=batches(X, X, 4, None), validation_steps=2, verbose=0)
    assert tested == [*PASS, PASS[0]]


def test_validation_takes_the_batch_size_of_training(trained: list[list[int]], tested: list[list[int]]) -> None:
    linear().fit(X, X, batch_size=6, validation_data=(X, X), verbose=0)
    assert list(map(len, tested)) == [6, 4]


def test_a_validation_generator_that_has_ended(trained: list[list[int]]) -> None:
    with pytest.warns(UserWarning, match=r"fit: validation_data: x must have batches for every epoch; got none"):
        history = linear().fit(X, X, epochs=2, validation_data=batches(X, X, 4), verbose=0)
    assert history.epoch == [0, 1] and len(history.history["val_loss"]) == 1


def test_steps_beyond_the_samples(tested: list[list[int]]) -> None:
    with pytest.warns(UserWarning, match=r"evaluate: steps must be at most 3, all there are; got 4"):
        linear().evaluate(X, X, 4, steps=4, verbose=0)
    assert tested == PASS


def test_progress_without_a_known_end(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    import rich.console
    import rich.progress

    totals: list[int | None] = []
    add_task = rich.progress.Progress.add_task

    def noting(self: Any, text: str, total: int | None, **fields: Any) -> Any:
        totals.append(total)
        return add_task(self, text, total=total, **fields)

    monkeypatch.setattr(rich.progress.Progress, "add_task", noting)
    monkeypatch.setenv("COLUMNS", "150")
    monkeypatch.setattr(rich.console.Console, "is_interactive", True, raising=False)
    monkeypatch.setattr(rich.console.Console, "is_terminal", True)
    model = linear()
    model.fit(batches(X, X, 4), verbose=1)
    out = capsys.readouterr().out
    assert "epoch 1/1 3" in out and "epoch 1/1 3/" not in out and "samples/s" in out
    model.fit(batches(X, X, 4, None), steps_per_epoch=3, epochs=2, verbose=1)
    model.evaluate(Dataset(X, X, 4), verbose=1)
    out = capsys.readouterr().out
    assert "epoch 2/2 3/3" in out and "evaluate 3/3" in out
    assert totals == [None, 6, 3]


# What is refused


def test_a_model_is_built_by_its_first_batch() -> None:
    for use in ("fit", "evaluate", "predict"):
        model = Sequential([Dense(2)])
        model.compile("sgd", "mse")
        getattr(model, use)(batches(np.zeros((5, 3)), np.zeros((5, 2)), 4), verbose=0)
        assert model.output_shape == (None, 2) and model.input_shape == (None, 3)


@pytest.mark.parametrize(
    ("data", "arguments", "error", "message"),
    [
        (iter([]), {}, ValueError, r"fit: x must yield at least one batch; got none"),
        (
            batches(X, X, 4),
            {"y": X},
            ValueError,
            r"fit: y must be None where x makes the batches.*; got an array of sh",
        ),
        (
            batches(X, X, 4),
            {"batch_size": 4},
            ValueError,
            r"fit: batch_size must be None where x makes the batches; got 4",
        ),
        (batches(X, X, 4), {"validation_split": 0.5}, ValueError, r"fit: validation_split must be 0 where .*; got 0.5"),
        (
            iter([(X, X, X, X)]),
            {},
            ValueError,
            r"fit: batch 0 must be a pair \(x, y\), or \(x, y, sample_weight\); got 4 of them",
        ),
        (iter([X]), {}, ValueError, r"fit: batch 0 must be a pair \(x, y\), or .*; got 1 of them"),
        (
            iter([(X, X[:3])]),
            {},
            ValueError,
            r"fit: batch 0: x and y must have as many samples; got 10 in x and 3 in y",
        ),
        (iter([(X, None)]), {}, TypeError, r"fit: batch 0: y must be an array; got None"),
        (iter([("a", X)]), {}, TypeError, r"fit: batch 0: x must be an array of real numbers; got a str"),
        (iter([(X[:0], X[:0])]), {}, ValueError, r"fit: batch 0: x must have no size 0; got shape \(0, 1\)"),
        (iter([(np.zeros((4, 2)), X[:4])]), {}, ValueError, r"input must have shape \(None, 1\)"),
        (iter([(X + np.nan, X)]), {}, ValueError, r"fit: batch 0: x must be finite in float32; got nan at index"),
        (iter([(X, X.repeat(2, 1))]), {}, ValueError, r"fit: batch 0: mean_squared_error: y_true must have shape"),
    ],
)
def test_bad_batches(data: Any, arguments: Any, error: type[Exception], message: str) -> None:
    model = linear()
    before = bits(model)
    with pytest.raises(error, match=message):
        model.fit(data, verbose=0, **arguments)
    assert bits(model) == before and model.history is None


def test_a_bad_batch_is_named_by_its_number_and_leaves_the_model_usable() -> None:
    good, bad = (X, X), (X, np.full_like(X, np.inf))
    ended = []
    model = linear()
    note = LambdaCallback(on_train_end=lambda logs: ended.append(1))
    with pytest.raises(ValueError, match=r"fit: batch 2: mean_squared_error: y_true must be finite"):
        model.fit(iter([good, good, bad]), callbacks=note, verbose=0)
    assert ended == [1] and model.optimizer.iterations == 2
    assert model.fit(X, X, verbose=0).epoch == [0]


def test_an_unbuilt_model_stays_so_after_bad_validation_data() -> None:
    model = Sequential([Dense(1)])
    model.compile("sgd", "mse")
    with pytest.raises(ValueError, match="fit: validation_data: batch 0 must be a pair"):
        model.fit(X, X, validation_data=iter([X]), verbose=0)
    assert not model.built


def test_what_an_epoch_held_is_let_go_before_an_error_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    closed = []
    monkeypatch.setattr(Ring, "close", lambda self: closed.append(1))
    monkeypatch.setattr(Step, "train", lambda self, batch: 1 / 0)
    try:
        linear().fit(batches(X, X, 4), verbose=0)
    except ZeroDivisionError as error:
        assert closed == [1] and error.__traceback__ is not None  # which keeps the generator alive
    else:
        pytest.fail("no error")


@pytest.mark.parametrize("error", [RuntimeError("disk"), KeyboardInterrupt()])
def test_an_error_in_a_generator_leaves_the_model_usable(error: BaseException) -> None:
    def failing() -> Iterator[Any]:
        yield from batches(X, X, 5)
        raise error

    ended = []
    model = linear()
    note = LambdaCallback(on_train_end=lambda logs: ended.append(1))
    with pytest.raises(type(error)):
        model.fit(failing(), epochs=2, callbacks=note, verbose=0)
    assert ended == [1] and model.optimizer.iterations == 2 and model.history.epoch == []
    assert model.fit(X, X, verbose=0).epoch == [0]
    with warnings.catch_warnings(), pytest.raises(type(error)):
        model.predict(failing(), verbose=0)


def test_the_arrays_of_a_device_may_be_batches(device: Device) -> None:
    there = checks.on(device, X)
    model = linear()
    assert model.evaluate(batches(there, there, 4), verbose=0) == 0
    checks.assert_same_bits(model.predict(batches(there, there, 4), verbose=0), X)
