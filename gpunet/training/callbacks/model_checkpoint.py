"""ModelCheckpoint: the model, or its weights, in a file after every epoch, or the best ones only."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gpunet import arguments
from gpunet.training.callback import Logs
from gpunet.training.callbacks.monitor import Monitor
from gpunet.training.progress import print_text


class ModelCheckpoint(Monitor):
    """Save the model, by `model.save` or `model.save_weights`, at the end of each epoch or every `save_freq` batches.

    `filepath` may hold `{epoch}`, counted from 1, `{batch}` if batches are counted, and names of the logs, with
    formats: 'model-{epoch:02d}-{val_loss:.2f}.gpunet'. Its folder is made, a file of the same name replaced. With
    `save_best_only` the model is saved only where `monitor` is better than it ever was, or than
    `initial_value_threshold`. A file that cannot be written is a warning; the training goes on.

    What a training needs to go on after it was killed is more than a model: see `BackupAndRestore`.

    >>> keep = ModelCheckpoint("best.gpunet", monitor="val_accuracy", save_best_only=True)
    """

    def __init__(
        self,
        filepath: str | os.PathLike[str],
        monitor: str = "val_loss",
        verbose: int = 0,
        save_best_only: bool = False,
        save_weights_only: bool = False,
        mode: str = "auto",
        save_freq: str | int = "epoch",
        initial_value_threshold: float | None = None,
    ) -> None:
        where = "ModelCheckpoint"
        threshold = initial_value_threshold
        best = None if threshold is None else arguments.real(where, "initial_value_threshold", threshold)
        super().__init__(monitor, mode, best=best)
        self.filepath = os.fspath(arguments.path(where, "filepath", filepath))
        if not self.filepath:
            raise ValueError(f"{where}: filepath must name a file; got ''")
        self.verbose = arguments.choice(where, "verbose", verbose, (0, 1))
        self.save_best_only = arguments.boolean(where, "save_best_only", save_best_only)
        self.save_weights_only = arguments.boolean(where, "save_weights_only", save_weights_only)
        is_epoch = isinstance(save_freq, str) and save_freq == "epoch"
        self.save_freq = "epoch" if is_epoch else arguments.integer(where, "save_freq", save_freq)
        self._epoch = 0
        self._batches = 0  # since the last time

    def get_state(self) -> dict[str, Any]:
        return super().get_state() | {"epoch": self._epoch, "batches": self._batches}

    def set_state(self, state: Mapping[str, Any]) -> None:
        super().set_state(state)
        self._epoch, self._batches = (
            arguments.integer("ModelCheckpoint", key, state[key], 0) for key in ("epoch", "batches")
        )

    def wants_logs(self, hook: str) -> bool:
        return hook == "on_train_batch_end" and self._batches + 1 == self.save_freq

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        self._epoch = epoch

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        self._batches += 1
        if self._batches == self.save_freq:
            self._batches = 0
            self._save(logs, batch=batch + 1)

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        if self.save_freq == "epoch":
            self._save(logs)

    def _save(self, logs: Logs | None, **counts: int) -> None:
        if self.save_best_only:
            value = self.value(logs)
            if value is not None and not self.improves(value, self.best):
                self._tell(f"{self.monitor} {value:.5f} is no better than {self.best:.5f}")
                return
            self.best = self.best if value is None else value
        known = {"epoch": self._epoch + 1, **counts, **(logs or {})}
        try:
            path = self.filepath.format(**known)
        except (KeyError, IndexError, ValueError, TypeError, AttributeError) as error:
            raise ValueError(
                f"ModelCheckpoint: filepath must have names among {', '.join(known)}, with formats for numbers; got "
                f"{self.filepath!r} ({error!r})"
            ) from error
        try:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            (self.model.save_weights if self.save_weights_only else self.model.save)(path)
        except OSError as error:
            warnings.warn(f"ModelCheckpoint: {path} could not be written ({error}); training goes on", stacklevel=2)
        else:
            self._tell(f"saved {path}")

    def _tell(self, what: str) -> None:
        if self.verbose:
            print_text(f"Epoch {self._epoch + 1}: {what}")
