"""The progress of fit, evaluate and predict: a bar on a terminal, one line an epoch elsewhere.

With the command line, the only part of gpunet that prints.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self

from gpunet import arguments
from gpunet.training.callback import Callback, Logs

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID

    from gpunet.training.feeding import Feed

SECONDS_BETWEEN_READS = 0.25  # how often the bar shows new numbers; each time the host waits for the device


class ProgressBar(Callback):
    """Show epoch, step, loss and metrics, samples a second and the time left.

    `feed` has the batches, and counts the samples. `verbose` is 0 (show nothing), 1 (a bar where the output is a
    terminal, else as 2) or 2 (one line an epoch). Leaving the `with` block gives the terminal back, whatever happened.
    """

    def __init__(self, feed: Feed, verbose: int) -> None:
        self._feed = feed
        self._unit = "images" if len(feed.row) == 3 else "samples"
        self._verbose = verbose
        self._fitting = False
        self._console: Console | None = None
        self._progress: Progress | None = None
        self._task: TaskID | None = None
        self._epoch = 0
        self._batches = 0  # trained, in all epochs
        self._start = 0.0
        self._trained: float | None = None  # seconds this epoch took, once its validation begins
        self._next_read = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._close()

    def wants_logs(self, hook: str) -> bool:
        shown = self._progress is not None and (self._fitting == (hook == "on_train_batch_end"))
        return shown and time.perf_counter() >= self._next_read

    # Training

    def get_state(self) -> dict[str, Any]:
        return {"epoch": self._epoch, "batches": self._batches}

    def set_state(self, state: Mapping[str, Any]) -> None:
        self._epoch, self._batches = (arguments.integer("fit", name, state[name], 0) for name in ("epoch", "batches"))

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self._fitting = True
        steps = self.params["steps"]
        self._restart()
        self._open(None if steps is None else steps * (self.params["epochs"] - self.params["initial_epoch"]))

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        self._epoch = epoch
        self._restart()

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        self._batches += 1
        self._advance(batch, f"epoch {self._epoch + 1}/{self.params['epochs']}", logs)

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        width = len(str(self.params["epochs"]))
        self._print_line(f"epoch {epoch + 1:{width}}/{self.params['epochs']}", logs)

    def on_train_end(self, logs: Logs | None = None) -> None:
        self._close()

    # Evaluation and prediction; inside fit they are silent

    def on_test_begin(self, logs: Logs | None = None) -> None:
        if self._fitting:
            self._trained = self._seconds()
        else:
            self._begin()

    def on_test_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        if not self._fitting:
            self._advance(batch, "evaluate", logs)

    def on_test_end(self, logs: Logs | None = None) -> None:
        if not self._fitting:
            self._end("evaluate", logs)

    def on_predict_begin(self, logs: Logs | None = None) -> None:
        self._begin()

    def on_predict_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        self._advance(batch, "predict", None)

    def on_predict_end(self, logs: Logs | None = None) -> None:
        self._end("predict", None)

    def _begin(self) -> None:
        self._restart()
        self._open(self.params["steps"])

    def _end(self, what: str, logs: Logs | None) -> None:
        self._close()
        self._print_line(what, logs)

    def _restart(self) -> None:
        self._start, self._trained = time.perf_counter(), None

    def _open(self, steps: int | None) -> None:
        if self._verbose == 0:
            return
        from rich.console import Console

        self._console = Console(highlight=False)
        if self._verbose == 1 and self._console.is_interactive:
            self._progress = _new_progress(self._console)
            self._task = self._progress.add_task("", total=steps, completed=self._batches, values="", rate="")
            self._progress.start()

    def _advance(self, batch: int, what: str, logs: Logs | None) -> None:
        """Count a batch; show what the logs say where they were read."""
        if self._progress is None or self._task is None:
            return
        steps = self.params["steps"]  # None where the data does not tell
        text = f"{what} {batch + 1}" if steps is None else f"{what} {batch + 1}/{steps}"
        self._progress.update(self._task, advance=1, description=text, rate=self._rate())
        if logs:
            self._progress.update(self._task, values=_text(logs))
            self._next_read = time.perf_counter() + SECONDS_BETWEEN_READS

    def _close(self) -> None:
        if self._progress is not None:
            self._progress.stop()
            self._progress = self._task = None

    def _print_line(self, what: str, logs: Logs | None) -> None:
        if self._console is None:
            return
        parts = [what, f"{self._seconds():.1f} s", self._rate(), _text(logs or {})]
        self._console.print("  ".join(filter(None, parts)), markup=False, soft_wrap=True)

    def _rate(self) -> str:
        seconds = self._trained or self._seconds()
        return f"{self._feed.taken / seconds:,.0f} {self._unit}/s" if seconds > 0 else ""

    def _seconds(self) -> float:
        return time.perf_counter() - self._start


class ProgbarLogger(Callback):
    """Asks for the progress bar, which `fit`, `evaluate` and `predict` show anyway unless `verbose` is 0."""


def _new_progress(console: Console) -> Progress:
    """Return the bar of one run; rich redraws it four times a second in a thread of its own."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns: list[Any] = [
        TextColumn("{task.description}"),
        BarColumn(bar_width=None),
        TextColumn("{task.fields[values]}", markup=False),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(compact=True),
        TextColumn("left"),
    ]
    return Progress(*columns, console=console, transient=True, refresh_per_second=4)


def _text(logs: Logs) -> str:
    """Return 'loss 0.1234  accuracy 0.9876'."""
    return "  ".join(f"{name} {_number(value)}" for name, value in logs.items())


def _number(value: float) -> str:
    return f"{value:.4f}" if value == 0 or abs(value) >= 1e-3 else f"{value:.3e}"


def print_text(text: str) -> None:
    """Print `text`, such as a model's summary."""
    sys.stdout.write(f"{text}\n")
