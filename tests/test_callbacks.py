"""Callbacks: their order, the files they write, and the progress that is shown."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gpunet
from gpunet import Dense, Input, Sequential
from gpunet.callbacks import Callback, CSVLogger, JsonLog, LambdaCallback
from gpunet.training import progress
from gpunet.training.callback import CallbackList

X = np.arange(8, dtype=np.float32).reshape(4, 2)
Y = X[:, :1]


def _model() -> Sequential:
    model = Sequential([Input((2,)), Dense(1)])
    model.compile(gpunet.optimizers.SGD(0.001), "mse", ["accuracy"])
    return model


class Recorder(Callback):
    """Notes every hook that is called."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.logs: dict[str, Any] = {}


def _record(hook: str) -> Any:
    def method(self: Recorder, *args: Any) -> None:
        logs = args[-1]
        assert isinstance(logs, dict)
        self.calls.append(" ".join([hook.removeprefix("on_"), *map(str, args[:-1])]))
        self.logs[hook] = logs

    return method


for name in vars(Callback):
    if name.startswith("on_") and name not in ("on_batch_begin", "on_batch_end"):
        setattr(Recorder, name, _record(name))


def test_hooks_of_fit_are_called_in_keras_s_order() -> None:
    recorder = Recorder()
    _model().fit(X, Y, batch_size=2, epochs=2, validation_data=(X, Y), callbacks=[recorder], verbose=0)
    test = [
        "test_begin",
        "test_batch_begin 0",
        "test_batch_end 0",
        "test_batch_begin 1",
        "test_batch_end 1",
        "test_end",
    ]
    train = ["train_batch_begin 0", "train_batch_end 0", "train_batch_begin 1", "train_batch_end 1"]
    epochs = [[f"epoch_begin {epoch}", *train, *test, f"epoch_end {epoch}"] for epoch in (0, 1)]
    assert recorder.calls == ["train_begin", *epochs[0], *epochs[1], "train_end"]
    assert set(recorder.logs["on_train_batch_end"]) == {"loss", "accuracy"}
    assert set(recorder.logs["on_test_end"]) == {"loss", "accuracy"}
    assert set(recorder.logs["on_epoch_end"]) == {"loss", "accuracy", "val_loss", "val_accuracy"}
    assert recorder.logs["on_train_end"] == recorder.logs["on_epoch_end"]


def test_hooks_of_evaluate_and_predict() -> None:
    recorder = Recorder()
    model = _model()
    model.evaluate(X, Y, batch_size=4, callbacks=recorder, verbose=0)
    assert recorder.calls == ["test_begin", "test_batch_begin 0", "test_batch_end 0", "test_end"]
    recorder.calls.clear()
    model.predict(X, batch_size=4, callbacks=recorder, verbose=0)
    assert recorder.calls == ["predict_begin", "predict_batch_begin 0", "predict_batch_end 0", "predict_end"]
    assert recorder.logs["on_predict_batch_end"]["outputs"].shape == (4, 1)


def test_callbacks_know_the_model_and_the_parameters() -> None:
    seen = []

    class Look(Callback):  # without super().__init__(), as users write them
        def __init__(self) -> None:
            pass

        def on_train_begin(self, logs: Any = None) -> None:
            seen.append((self.model, dict(self.params)))

    model = _model()
    model.fit(X, Y, batch_size=3, epochs=5, callbacks=[Look()], verbose=0)
    assert seen[0][0] is model
    assert seen[0][1] == {"verbose": 0, "epochs": 5, "steps": 2, "initial_epoch": 0, "do_validation": False}


def test_older_names_of_the_batch_hooks_work_and_get_logs() -> None:
    seen = []

    class Old(Callback):
        def on_batch_end(self, batch: int, logs: Any = None) -> None:
            seen.append((batch, sorted(logs)))

    _model().fit(X, Y, batch_size=2, callbacks=[Old()], verbose=0)
    assert seen == [(0, ["accuracy", "loss"]), (1, ["accuracy", "loss"])]


def test_only_callbacks_that_look_at_a_batch_want_its_logs() -> None:
    class Tester(Callback):
        def on_test_batch_end(self, batch: int, logs: Any = None) -> None: ...

    listed = CallbackList([Callback(), Tester(), LambdaCallback(on_epoch_end=print)], None)
    assert listed.wants_logs("on_test_batch_end") and not listed.wants_logs("on_train_batch_end")
    assert LambdaCallback(on_train_batch_end=print).wants_logs("on_train_batch_end")
    assert LambdaCallback(on_batch_end=print).wants_logs("on_train_batch_end")
    assert not LambdaCallback(on_batch_end=print).wants_logs("on_test_batch_end")


def test_lambda_callback() -> None:
    seen: list[Any] = []
    callback = LambdaCallback(
        on_epoch_begin=lambda epoch, logs: seen.append(("begin", epoch)),
        on_train_end=lambda logs: seen.append("end"),
        on_train_begin=None,
    )
    _model().fit(X, Y, callbacks=[callback], verbose=0)
    assert seen == [("begin", 0), "end"]
    with pytest.raises(TypeError, match=r"LambdaCallback: a hook must be one of on_train_begin, .*; got 'on_epoch'"):
        LambdaCallback(on_epoch=print)


def test_what_is_no_callback_is_refused() -> None:
    with pytest.raises(
        TypeError, match=r"fit: callbacks must be instances of gpunet.callbacks.Callback; got <built-in"
    ):
        _model().fit(X, Y, callbacks=[print], verbose=0)


def test_training_ends_for_callbacks_even_if_one_fails(tmp_path: Path) -> None:
    class FailingError(Exception):
        pass

    def fail(epoch: int, logs: Any) -> None:
        raise FailingError

    recorder = Recorder()
    log = CSVLogger(tmp_path / "history.csv")
    with pytest.raises(FailingError):
        _model().fit(X, Y, callbacks=[recorder, log, LambdaCallback(on_epoch_end=fail)], verbose=0)
    assert recorder.calls[-1] == "train_end"
    assert len((tmp_path / "history.csv").read_text().splitlines()) == 2  # closed: else a ResourceWarning fails us


# Files


def _rows(path: Path, separator: str = ",") -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file, delimiter=separator))


def test_csv_logger(tmp_path: Path) -> None:
    path = tmp_path / "history.csv"
    history = _model().fit(X, Y, epochs=2, callbacks=[CSVLogger(path)], verbose=0).history
    rows = _rows(path)
    assert list(rows[0]) == ["epoch", "accuracy", "loss"]
    assert [row["epoch"] for row in rows] == ["0", "1"]
    assert [float(row["loss"]) for row in rows] == history["loss"]


def test_csv_logger_leaves_room_for_validations_that_come_later(tmp_path: Path) -> None:
    path = tmp_path / "history.csv"
    log = CSVLogger(path, separator=";")
    _model().fit(X, Y, epochs=2, validation_split=0.5, validation_freq=2, callbacks=[log], verbose=0)
    first, second = _rows(path, ";")
    assert list(first) == ["epoch", "accuracy", "loss", "val_accuracy", "val_loss"]
    assert first["val_loss"] == "NA" and float(second["val_loss"]) > 0


def test_csv_logger_replaces_or_appends(tmp_path: Path) -> None:
    path = tmp_path / "history.csv"
    model = _model()
    log = CSVLogger(path)
    model.fit(X, Y, callbacks=[log], verbose=0)
    model.fit(X, Y, callbacks=[log], verbose=0)
    assert len(_rows(path)) == 1
    for _ in range(2):
        model.fit(X, Y, epochs=2, initial_epoch=1, callbacks=[CSVLogger(path, append=True)], verbose=0)
    assert [row["epoch"] for row in _rows(path)] == ["0", "1", "1"]
    assert path.read_text().count("loss") == 1


def test_json_log(tmp_path: Path) -> None:
    path = tmp_path / "log.json"
    history = _model().fit(X, Y, batch_size=2, epochs=2, callbacks=[JsonLog(path)], verbose=0).history
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(line["event"], line["epoch"], line["step"]) for line in lines] == [
        ("step", 0, 1),
        ("step", 0, 2),
        ("epoch", 0, 2),
        ("step", 1, 3),
        ("step", 1, 4),
        ("epoch", 1, 4),
    ]
    assert [line["loss"] for line in lines if line["event"] == "epoch"] == history["loss"]
    assert all(set(line) == {"event", "epoch", "step", "loss", "accuracy", "seconds"} for line in lines)
    seconds = [line["seconds"] for line in lines]
    assert seconds == sorted(seconds)


def test_json_log_has_null_for_what_is_not_finite(tmp_path: Path) -> None:
    model = _model()
    model.compile(gpunet.optimizers.SGD(1e30), "mse")
    with np.errstate(over="ignore", invalid="ignore"):
        model.fit(X, Y, batch_size=1, callbacks=[JsonLog(tmp_path / "log.json")], verbose=0)
    last = (tmp_path / "log.json").read_text().splitlines()[-1]
    assert json.loads(last, parse_constant=pytest.fail)["loss"] is None


# Progress


def test_silence(capsys: pytest.CaptureFixture[str]) -> None:
    model = _model()
    model.fit(X, Y, verbose=0)
    model.evaluate(X, Y, verbose=0)
    model.predict(X, verbose=0)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("verbose", ["auto", 1, 2])
def test_plain_lines_where_there_is_no_terminal(verbose: Any, capsys: pytest.CaptureFixture[str]) -> None:
    model = _model()
    history = model.fit(X, Y, epochs=2, validation_split=0.5, verbose=verbose).history
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("epoch 1/2  ") and second.startswith("epoch 2/2  ")
    assert f"loss {history['loss'][0]:.4f}" in first and f"val_loss {history['val_loss'][1]:.4f}" in second
    assert "samples/s" in first
    loss, accuracy = model.evaluate(X, Y, verbose=verbose)
    out = capsys.readouterr().out
    assert out.startswith("evaluate  ") and f"accuracy {accuracy:.4f}  loss {loss:.4f}" in out
    model.predict(X, verbose=verbose)
    assert capsys.readouterr().out.startswith("predict  ")


def test_small_numbers_are_shown_with_an_exponent() -> None:
    assert progress._text({"loss": 0.00012345, "accuracy": 0.0}) == "loss 1.234e-04  accuracy 0.0000"


def test_a_bar_on_a_terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    import rich.console

    monkeypatch.setattr(rich.console.Console, "is_interactive", True, raising=False)
    monkeypatch.setattr(rich.console.Console, "is_terminal", True)
    monkeypatch.setenv("COLUMNS", "150")
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_READS", 0)
    _model().fit(X, Y, batch_size=2, epochs=2, validation_data=(X, Y), verbose=1)
    out = capsys.readouterr().out
    for part in ("epoch 2/2 2/2", "loss ", "accuracy ", "samples/s", "left", "epoch 1/2  "):
        assert part in out
    assert out.count("\x1b[?25l") == out.count("\x1b[?25h") == 1  # the cursor was hidden and comes back


def test_the_terminal_is_given_back_after_an_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import rich.console

    monkeypatch.setattr(rich.console.Console, "is_interactive", True, raising=False)
    monkeypatch.setattr(rich.console.Console, "is_terminal", True)

    def fail(batch: int, logs: Any) -> None:
        raise MemoryError

    model = _model()
    for hook, run in (("on_test_batch_end", model.evaluate), ("on_train_batch_end", model.fit)):
        with pytest.raises(MemoryError):
            run(X, Y, callbacks=LambdaCallback(**{hook: fail}), verbose=1)
        out = capsys.readouterr().out
        assert out.count("\x1b[?25l") == out.count("\x1b[?25h") == 1


def test_the_unit_of_the_speed(capsys: pytest.CaptureFixture[str]) -> None:
    model = Sequential([Input((2, 2, 1)), gpunet.Flatten(), Dense(1)])
    model.predict(np.zeros((3, 2, 2, 1)))
    assert "images/s" in capsys.readouterr().out


def test_summary_is_printed_or_handed_over(capsys: pytest.CaptureFixture[str]) -> None:
    model = _model()
    model.summary()
    printed = capsys.readouterr().out
    assert 'Model: "sequential' in printed and "Total params: 3" in printed
    lines: list[str] = []
    model.summary(print_fn=lines.append)
    assert "\n".join(lines) + "\n" == printed and not capsys.readouterr().out
    model.fit(X, Y, verbose=0)
    model.summary()
    assert "Optimizer params: 2" in capsys.readouterr().out  # the learning rate and the step count
