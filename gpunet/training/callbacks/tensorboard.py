"""TensorBoard: curves and histograms of a training, in the files that TensorBoard reads."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gpunet import arguments
from gpunet.saving.event_file import EventFile
from gpunet.training.callback import Callback, Logs

_TRAIN, _VALIDATION = "train", "validation"


class TensorBoard(Callback):
    """Write loss and metrics, and with `histogram_freq` the weights, to `log_dir`: `tensorboard --logdir LOG_DIR`.

    Curves are called `epoch_loss`, …, one of training and one of validation, against the epoch from 0; with
    `update_freq` 'batch', or every so many batches, `batch_loss`, …, too, and after every evaluation
    `evaluation_loss_vs_iterations`, against the number of steps. `write_steps_per_second` adds how fast it went.
    Weights are written every `histogram_freq` epochs, 0 for never. The files are written by gpunet itself; TensorBoard
    is only needed to look at them (the extra `tensorboard`).

    `write_graph` is taken for Keras's sake, and no graph is written: `model.summary()`, `gpunet.inspection` and
    `gpunet profile` tell of it. What Keras calls write_images, profile_batch and embeddings_freq must be off.

    >>> board = TensorBoard("logs", histogram_freq=1)
    """

    def __init__(
        self,
        log_dir: str | os.PathLike[str] = "logs",
        histogram_freq: int = 0,
        write_graph: bool = True,
        write_images: bool = False,
        write_steps_per_second: bool = False,
        update_freq: str | int = "epoch",
        profile_batch: int = 0,
        embeddings_freq: int = 0,
        embeddings_metadata: None = None,
    ) -> None:
        where = "TensorBoard"
        self.log_dir = Path(arguments.path(where, "log_dir", log_dir))
        self.histogram_freq = arguments.integer(where, "histogram_freq", histogram_freq, minimum=0)
        self.write_graph = arguments.boolean(where, "write_graph", write_graph)
        self.write_steps_per_second = arguments.boolean(where, "write_steps_per_second", write_steps_per_second)
        is_named = isinstance(update_freq, str) and update_freq in ("epoch", "batch")
        self.update_freq = update_freq if is_named else arguments.integer(where, "update_freq", update_freq)
        arguments.choice(where, "write_images", write_images, (False,))
        arguments.choice(where, "profile_batch", profile_batch, (0,))
        arguments.choice(where, "embeddings_freq", embeddings_freq, (0,))
        arguments.choice(where, "embeddings_metadata", embeddings_metadata, (None,))
        self._files: dict[str, EventFile] = {}  # by the name of their folder
        self._kept: dict[str, tuple[str, int]] = {}  # name and size, when the checkpoint was made that is gone on from
        self._batches = 0
        self._fitting = False
        self._start = 0.0  # of the epoch
        self._epoch_batches = 0

    def get_state(self) -> dict[str, Any]:
        sizes = {name: [file.path.name, file.flush()] for name, file in self._files.items()}
        return {"files": sizes, "batches": self._batches}

    def set_state(self, state: Mapping[str, Any]) -> None:
        where = "TensorBoard"
        self._kept = {
            str(name): (Path(file).name, arguments.integer(where, "size", size, 0))
            for name, (file, size) in state["files"].items()
        }
        self._batches = arguments.integer(where, "batches", state["batches"], 0)

    def wants_logs(self, hook: str) -> bool:
        return hook == "on_train_batch_end" and self._is_due(self._batches + 1)

    def _is_due(self, batches: int) -> bool:
        every = 1 if self.update_freq == "batch" else self.update_freq
        return isinstance(every, int) and batches % every == 0

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self._fitting = True
        if not self._kept:
            self._batches = 0

    def on_train_end(self, logs: Logs | None = None) -> None:
        self._fitting = False
        self._close()

    def _close(self) -> None:
        for file in self._files.values():
            file.close()
        self._files, self._kept = {}, {}

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        self._start, self._epoch_batches = time.perf_counter(), 0

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        self._batches += 1
        self._epoch_batches += 1
        if self._is_due(self._batches):
            for name, value in (logs or {}).items():
                self._file(_TRAIN).add_scalar(f"batch_{name}", value, self._batches)
            if self.write_steps_per_second:
                self._file(_TRAIN).add_scalar("batch_steps_per_second", self._speed(), self._batches)

    def on_test_end(self, logs: Logs | None = None) -> None:
        optimizer = self.model.optimizer
        for name, value in (logs or {}).items():
            self._file(_VALIDATION).add_scalar(f"evaluation_{name}_vs_iterations", value, optimizer.iterations)
        self._flush()
        if not self._fitting:
            self._close()

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        train = self._file(_TRAIN)
        for name, value in (logs or {}).items():
            own = name.removeprefix("val_")
            (train if own == name else self._file(_VALIDATION)).add_scalar(f"epoch_{own}", value, epoch)
        if "learning_rate" not in (logs or {}):
            train.add_scalar("epoch_learning_rate", self.model.optimizer.learning_rate, epoch)
        if self.write_steps_per_second:
            train.add_scalar("epoch_steps_per_second", self._speed(), epoch)
        if self.histogram_freq and epoch % self.histogram_freq == 0:
            for path, parameter in self.model.parameters_by_path.items():
                train.add_histogram(f"{path}/histogram", parameter.numpy(), epoch)
        self._flush()

    def _speed(self) -> float:
        """Return the batches a second of this epoch so far."""
        return self._epoch_batches / max(time.perf_counter() - self._start, 1e-9)

    def _file(self, name: str) -> EventFile:
        if name not in self._files:
            number = time.time_ns()
            file, kept = self._kept.get(name, (f"events.out.tfevents.{number // 10**9}.gpunet.{number}", None))
            self._files[name] = EventFile(self.log_dir / name / file, kept)
        return self._files[name]

    def _flush(self) -> None:
        """Let whoever looks on see what there is."""
        for file in self._files.values():
            file.flush()
