"""Callbacks that write the logs of a training to a file: CSVLogger and JsonLog."""

from __future__ import annotations

import csv
import json
import math
import os
import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from gpunet import arguments
from gpunet.training.callback import Callback, Logs


class _FileLog(Callback):
    """A callback that writes text to a file while `fit` runs."""

    def __init__(self, filename: str | os.PathLike[str], mode: str) -> None:
        self.filename = Path(arguments.path(type(self).__name__, "filename", filename))
        self._mode = mode
        self._file: IO[str] | None = None
        self._kept: int | None = (
            None  # bytes that were written when the checkpoint was made, from which training goes on
        )

    def get_state(self) -> dict[str, Any]:
        assert self._file is not None, "a training has begun"
        self._file.flush()
        os.fsync(self._file.fileno())
        return {"bytes": os.fstat(self._file.fileno()).st_size}

    def set_state(self, state: Mapping[str, Any]) -> None:
        self._kept = arguments.integer(type(self).__name__, "bytes", state["bytes"], 0)

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self._close()
        mode = self._mode if self._kept is None else "a"
        # Line-buffered: whoever watches the file, or finds it after a crash, has every line that was written.
        self._file = self.filename.open(mode, encoding="utf-8", newline="", buffering=1)
        if self._kept is not None:
            self._cut(self._file, self._kept)
            self._kept = None

    def _cut(self, file: IO[str], kept: int) -> None:
        """Leave away what was written after the checkpoint: it is about to be written again."""
        size = os.fstat(file.fileno()).st_size
        if size < kept:
            had = f"must have the {kept} bytes that it had at the checkpoint; got {size}"
            warnings.warn(f"{type(self).__name__}: {self.filename} {had}: earlier lines are missing", stacklevel=2)
        file.truncate(min(size, kept))

    def on_train_end(self, logs: Logs | None = None) -> None:
        self._close()

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


class CSVLogger(_FileLog):
    """Write one line an epoch to the CSV file `filename`: its number, from 0, then the logs sorted by name.

    `append` adds to the file, in the columns it has, instead of replacing it. What an epoch does not have, such as a
    validation that runs every second epoch only, is written as NA.
    """

    def __init__(self, filename: str | os.PathLike[str], separator: str = ",", append: bool = False) -> None:
        self.append = arguments.boolean("CSVLogger", "append", append)
        super().__init__(filename, "a" if self.append else "w")
        if not isinstance(separator, str) or len(separator) != 1 or separator in '\r\n"':
            raise ValueError(
                f"CSVLogger: separator must be one character, no quote or line end; got {arguments.shown(separator)}"
            )
        self.separator = separator
        self._writer: csv.DictWriter[str] | None = None

    def on_train_begin(self, logs: Logs | None = None) -> None:
        goes_on = self.append or self._kept is not None
        super().on_train_begin(logs)
        columns = self._existing_columns() if goes_on else []
        self._writer = self._new_writer(columns) if columns else None

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        logs = logs or {}
        if self._writer is None:
            names = sorted(logs)
            if self.params.get("do_validation") and not any(name.startswith("val_") for name in names):
                names += [f"val_{name}" for name in names]  # of a validation that has not run yet
            self._writer = self._new_writer(["epoch", *names])
            self._writer.writeheader()
        self._writer.writerow({"epoch": epoch, **logs})

    def _new_writer(self, columns: list[str]) -> csv.DictWriter[str]:
        assert self._file is not None
        return csv.DictWriter(self._file, columns, restval="NA", extrasaction="ignore", delimiter=self.separator)

    def _existing_columns(self) -> list[str]:
        if not self.filename.exists():
            return []
        with self.filename.open(encoding="utf-8", newline="") as file:
            return next(csv.reader(file, delimiter=self.separator), [])


class JsonLog(_FileLog):
    """Write one JSON object a line to `filename`: one for every training step and one for every epoch.

    Each has `event` ('step' or 'epoch'), `epoch` (from 0), `step` (the steps trained so far), the logs, and `seconds`
    since the training began. Loss and metrics are means over the epoch so far; what is not finite becomes null.
    """

    def __init__(self, filename: str | os.PathLike[str]) -> None:
        super().__init__(filename, "w")
        self._step = 0
        self._epoch = 0
        self._seconds = 0.0  # of the training before a checkpoint from which it goes on
        self._start = 0.0

    def get_state(self) -> dict[str, Any]:
        seconds = time.perf_counter() - self._start
        return super().get_state() | {"step": self._step, "epoch": self._epoch, "seconds": seconds}

    def set_state(self, state: Mapping[str, Any]) -> None:
        super().set_state(state)
        self._step, self._epoch = (arguments.integer("JsonLog", name, state[name], 0) for name in ("step", "epoch"))
        self._seconds = arguments.real("JsonLog", "seconds", state["seconds"], 0)

    def on_train_begin(self, logs: Logs | None = None) -> None:
        if self._kept is None:
            self._step, self._seconds = 0, 0.0
        super().on_train_begin(logs)
        self._start = time.perf_counter() - self._seconds

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        self._epoch = epoch

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        self._step += 1
        self._write("step", logs)

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        self._write("epoch", logs)

    def _write(self, event: str, logs: Logs | None) -> None:
        assert self._file is not None
        values = {name: value if math.isfinite(value) else None for name, value in (logs or {}).items()}
        seconds = round(time.perf_counter() - self._start, 6)
        line = {"event": event, "epoch": self._epoch, "step": self._step, **values, "seconds": seconds}
        self._file.write(json.dumps(line) + "\n")
