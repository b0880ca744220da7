"""A file of arrays and a description: safetensors, a JSON object in its metadata, and a checksum over both.

The file is a safetensors file (https://huggingface.co/docs/safetensors), which names its arrays and says where each of
them lies; what does not fill the file exactly is refused before memory is taken. Nothing in it is compressed, and
reading executes nothing that it holds. The description lies in its metadata, under a key that names the format, with

    format_version  of what the arrays and the description mean
    gpunet_version  of the gpunet that wrote it
    sha256          of all the rest: the description, and the arrays' names, dtypes, shapes and bytes

The same content gives the same bytes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from gpunet.backend.arrays import HostArray
from gpunet.saving.replacing import replace_file
from gpunet.version import version

_OURS = {"format_version", "gpunet_version", "sha256"}
_MOST_TEXT = 2**25  # characters of a description, which Python's parser makes some thirty times as large


@dataclass(frozen=True)
class Format:
    """A kind of file: the key of its description, what it calls the file, the versions it can read, the last first."""

    key: str
    noun: str
    versions: tuple[int, ...]
    parts: frozenset[str]  # that a description must have


def write(path: Path, form: Format, description: Mapping[str, Any], arrays: Mapping[str, HostArray]) -> None:
    """Write a file at `path`, in the place of one that is there.

    ValueError if the description is longer than what could be read again; TypeError if it is not of JSON's types.
    """
    contiguous = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    whole = {"format_version": form.versions[0], "gpunet_version": version()} | dict(description)
    whole["sha256"] = checksum(whole, contiguous)
    text = json.dumps(whole)
    if len(text) > _MOST_TEXT:
        raise ValueError(f"{path}: description must have at most {_MOST_TEXT} characters; got {len(text)}")
    replace_file(path, save(contiguous, {form.key: text}))


def read(where: str, path: Path, *formats: Format) -> tuple[dict[str, Any], dict[str, HostArray]]:
    """Return the description and the arrays of the file at `path`; `where` opens the errors and names the file.

    It may have any of `formats`.

    FileNotFoundError if there is none. ValueError if it is damaged, of something else, or of a later version.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{where}: no such file")
    noun = formats[0].noun
    try:
        with safe_open(str(path), framework="numpy") as file:
            metadata = file.metadata() or {}
            form = next((form for form in formats if form.key in metadata), None)
            if form is None:
                raise ValueError(f"{where}: must be {noun}; it is a safetensors file of something else")
            description = _parse(where, form, metadata[form.key])
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    except (SafetensorError, TypeError, KeyError, AttributeError) as error:  # the latter for dtypes NumPy lacks
        raise ValueError(f"{where}: must be {noun}; it is no safetensors file ({error})") from error
    if description.pop("sha256") != checksum(description, arrays):
        raise ValueError(f"{where}: the file is damaged: its checksum does not fit what it holds")
    return description, arrays


def _parse(where: str, form: Format, text: str) -> dict[str, Any]:
    """Return the description; ValueError unless it has all its parts, and a version that is known."""
    if len(text) > _MOST_TEXT:
        raise ValueError(f"{where}: description must have at most {_MOST_TEXT} characters; got {len(text)}")
    try:
        description = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{where}: the file is damaged: its description is not JSON ({error})") from error
    if not isinstance(description, dict) or not _OURS.issubset(description):
        raise ValueError(f"{where}: the file is damaged: its description must have {', '.join(sorted(_OURS))}")
    found, known = description["format_version"], ", ".join(map(str, form.versions))
    if found not in form.versions:
        made = description["gpunet_version"]
        raise ValueError(
            f"{where}: format_version must be one of {known}; got {found!r}, written by gpunet {made}; update gpunet"
        )
    if not form.parts.issubset(description):
        raise ValueError(f"{where}: the file is damaged: its description must have {', '.join(sorted(form.parts))}")
    return description


def checksum(description: Mapping[str, Any], arrays: Mapping[str, HostArray]) -> str:
    """Return the sha256 of a description without one, and of arrays."""
    digest = hashlib.sha256(json.dumps(description, sort_keys=True).encode())
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(f"{name} {array.dtype.name} {array.shape}\n".encode())
        digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return digest.hexdigest()
