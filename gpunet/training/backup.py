"""BackupAndRestore: a training that was cut off goes on where it stood, with the same bits."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from gpunet import arguments
from gpunet.saving import model_file
from gpunet.saving.lock import FolderLock
from gpunet.saving.model_file import ModelFile
from gpunet.saving.replacing import remove_unfinished
from gpunet.training.callback import Callback, Logs

if TYPE_CHECKING:
    from gpunet.training.fitting import Fitting

_NAME = re.compile(r"checkpoint-(\d{9,})\.gpunet")
_KEPT = 2  # the newest, and the one before, should a disk fail


class BackupAndRestore(Callback):
    """Save, at the end of each epoch or every `save_freq` batches, all that `fit` needs to go on; and go on from it.

    The same program, run again after it was killed, trains the rest: weights, optimizer, random numbers, the place in
    the epoch, History and the callbacks with `get_state` are as they were, and all that follows has the bits of a
    training that was never cut off. That needs the same model, data and arguments of `fit` (but for `epochs`).
    Generators and other iterables are read again from their beginning, up to that place; of what your own layers and
    callbacks keep elsewhere nothing is known.

    The folder `backup_dir`, made if need be, belongs to one training at a time. A checkpoint is written beside the last
    one, which stays until the next is complete. One that is damaged is refused, by ValueError that names the one before
    it, or with `double_checkpoint` passed over for that one with a warning. One that cannot be written is a warning:
    the training goes on. With `delete_checkpoint` the checkpoints are removed when `fit` has reached its end.

        model.fit(x, y, epochs=100, callbacks=[BackupAndRestore("backup", save_freq=500)])
    """

    def __init__(
        self,
        backup_dir: str | os.PathLike[str],
        save_freq: str | int = "epoch",
        double_checkpoint: bool = False,
        delete_checkpoint: bool = True,
    ) -> None:
        where = "BackupAndRestore"
        if not arguments.path(where, "backup_dir", backup_dir):
            raise ValueError(f"{where}: backup_dir must name a folder; got ''")
        self.backup_dir = Path(backup_dir)
        is_epoch = isinstance(save_freq, str) and save_freq == "epoch"
        self.save_freq = "epoch" if is_epoch else arguments.integer(where, "save_freq", save_freq)
        self.double_checkpoint = arguments.boolean(where, "double_checkpoint", double_checkpoint)
        self.delete_checkpoint = arguments.boolean(where, "delete_checkpoint", delete_checkpoint)
        self._where = where
        self._fitting: Fitting | None = None
        self._batches = 0  # since the last checkpoint

    @contextmanager
    def running(self, fitting: Fitting) -> Iterator[None]:
        """Hold the folder while `fitting` runs in this `with` block; it goes on from the last checkpoint there is."""
        self.backup_dir.mkdir(parents=True, exist_ok=True)
        with FolderLock(self._where, self.backup_dir):
            remove_unfinished(self.backup_dir)
            found = self._last_good()
            if found is not None:
                path, content = found
                fitting.restore(f"{self._where}: {path}", content)
            self._fitting, self._batches = fitting, 0
            try:
                yield
            finally:
                self._fitting = None
            if self.delete_checkpoint:
                self._remove(self.checkpoints())

    def _last_good(self) -> tuple[Path, ModelFile] | None:
        """Return the newest checkpoint; None if there is none. ValueError if it is damaged."""
        paths = self.checkpoints()
        for number, path in enumerate(paths):
            try:
                return path, model_file.read(self._where, path)
            except ValueError as error:
                older = next((other for other in paths[number + 1 :] if _is_good(other)), None)
                if older is None:
                    raise
                if not self.double_checkpoint:
                    raise ValueError(f"{error}; the last good one is {older}: remove {path} to go on from it") from None
                warnings.warn(f"{error}; the training goes on from {older}", stacklevel=2)
        return None

    def checkpoints(self) -> list[Path]:
        """Return the checkpoints in the folder, the newest first."""
        numbers = {path: _NAME.fullmatch(path.name) for path in self.backup_dir.iterdir()}
        found = {path: int(match[1]) for path, match in numbers.items() if match is not None}
        return sorted(found, key=found.__getitem__, reverse=True)

    def wants_logs(self, hook: str) -> bool:
        return False

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        self._batches += 1
        if self._batches == self.save_freq:
            self._save()

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        if self.save_freq == "epoch":
            self._save()

    def _save(self) -> None:
        assert self._fitting is not None, "fit has begun"
        self._batches = 0
        content = self._fitting.content()
        step = int(content.optimizer["iterations"][0])
        path = self.backup_dir / f"checkpoint-{step:09}.gpunet"
        try:
            model_file.write(path, content)
            self._remove(self.checkpoints()[_KEPT:])
        except OSError as error:
            before = ", ".join(other.name for other in self.checkpoints()) or "none"
            warnings.warn(
                f"{self._where}: {path} could not be written ({error}); the training goes on; there is {before}",
                stacklevel=2,
            )

    def _remove(self, paths: list[Path]) -> None:
        """Remove checkpoints, the oldest first, so that the newest is there as long as any."""
        for path in reversed(paths):
            path.unlink()


def _is_good(path: Path) -> bool:
    try:
        model_file.read("", path)
    except ValueError:
        return False
    return True
