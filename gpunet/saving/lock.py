"""A folder that one process at a time may write to."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Self

_NAME = ".lock"


class FolderLock:
    """A `with` block in which `folder` is this process's own; RuntimeError if another process has it.

    The lock is one of the operating system's on the file '.lock', and ends with the process, however that ends.
    """

    def __init__(self, where: str, folder: Path) -> None:
        self._where = where
        self._path = folder / _NAME
        self._file: IO[str] | None = None

    def __enter__(self) -> Self:
        file = self._locked()
        while not self._is_in_place(file):  # whoever had it has removed it meanwhile
            file.close()
            file = self._locked()
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        self._file = file
        return self

    def _locked(self) -> IO[str]:
        """Return the file, locked."""
        file = self._path.open("a+", encoding="ascii")
        try:
            _lock(file)
        except OSError:
            file.seek(0)
            holder = file.read().strip() or "unknown"
            file.close()
            raise RuntimeError(
                f"{self._where}: {self._path.parent} must be used by one process at a time; got this one beside "
                f"process {holder}; wait for it, or name another folder"
            ) from None
        return file

    def _is_in_place(self, file: IO[str]) -> bool:
        try:
            return os.path.samestat(os.fstat(file.fileno()), self._path.stat())
        except FileNotFoundError:
            return False

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._file is not None, "the block was entered"
        with suppress(OSError):  # Windows removes no file that is open
            self._path.unlink()
        self._file.close()  # which gives the lock back
        self._file = None


if sys.platform == "win32":
    import msvcrt

    def _lock(file: IO[str]) -> None:
        """Lock the first byte behind what anybody writes; OSError if another process has it."""
        file.seek(2**16)
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)

else:
    import fcntl

    def _lock(file: IO[str]) -> None:
        """Lock the file; OSError if another process has it."""
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
