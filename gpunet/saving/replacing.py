"""Files that are replaced by complete new ones only: written beside, synchronised with the disk, renamed."""

from __future__ import annotations

import os
import re
import secrets
from pathlib import Path

_UNFINISHED = re.compile(r"\..+\.\d+\.[0-9a-f]{8}\.part")


def replace_file(path: Path, data: bytes) -> None:
    """Put `data` at `path` in one act, and not before it is on the disk; OSError that names the path if it cannot."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}.part")
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            error.filename = os.fspath(path)  # of a full disk it says nothing, else it is the temporary one
        raise
    synchronize_folder(path.parent)


def remove_unfinished(folder: Path) -> None:
    """Remove what `replace_file` left in `folder` where it was killed; nobody else may be writing there."""
    for path in folder.iterdir():
        if _UNFINISHED.fullmatch(path.name):
            path.unlink()


def synchronize_folder(folder: Path) -> None:
    """Put the names of the files in `folder` on the disk too, where folders can be synchronised (not on Windows)."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
