"""One file with a model: its weights as safetensors, its architecture and compile configuration as JSON beside them.

The file is a safetensors file (https://huggingface.co/docs/safetensors): tensors named by the parameters' paths
('conv2d/kernel'), and in its metadata, under the key 'gpunet_model', a JSON object with

    format_version  1
    gpunet_version  of the gpunet that wrote it
    architecture    class name and configuration, with those of all layers
    compile         the arguments of compile; empty if the model was not compiled
    sha256          of all the rest: the object, and the tensors' names, dtypes, shapes and bytes

The same model gives the same bytes. Reading executes nothing that the file holds. The optimizer's state is not in it.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from gpunet.backend.arrays import HostArray
from gpunet.version import version

KEY = "gpunet_model"
FORMAT_VERSION = 1


@dataclass(frozen=True)
class ModelFile:
    """What a file holds."""

    architecture: dict[str, Any]
    compile_config: dict[str, Any]
    weights: dict[str, HostArray]


def write(path: str | os.PathLike[str], content: ModelFile) -> None:
    """Write a file at `path`: beside it first, then in its place, so that there is never half a file there."""
    weights = {name: np.ascontiguousarray(array) for name, array in content.weights.items()}
    description: dict[str, Any] = {
        "format_version": FORMAT_VERSION,
        "gpunet_version": version(),
        "architecture": content.architecture,
        "compile": content.compile_config,
    }
    description["sha256"] = _checksum(description, weights)
    replace_file(Path(path), save(weights, {KEY: json.dumps(description)}))


def read(path: str | os.PathLike[str]) -> ModelFile:
    """Return what the file at `path` holds.

    ValueError that names the file if it is damaged, not a model of gpunet, or of a later version than this one reads.
    """
    where = f"load_model: {os.fspath(path)}"
    if not Path(path).is_file():
        raise FileNotFoundError(f"{where}: no such file")
    try:
        with safe_open(os.fspath(path), framework="numpy") as file:
            metadata = file.metadata() or {}
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    except (SafetensorError, TypeError, KeyError, AttributeError) as error:  # the latter for dtypes NumPy lacks
        raise ValueError(f"{where}: must be a model saved by gpunet; it is no safetensors file ({error})") from error
    if KEY not in metadata:
        raise ValueError(f"{where}: must be a model saved by gpunet; it is a safetensors file of something else")
    description = _parse(where, metadata[KEY])
    version = description["format_version"]
    if version != FORMAT_VERSION:
        made = description["gpunet_version"]
        raise ValueError(
            f"{where}: format_version must be {FORMAT_VERSION}; got {version}, written by gpunet {made}; update gpunet"
        )
    if description.pop("sha256") != _checksum(description, weights):
        raise ValueError(f"{where}: the file is damaged: its checksum does not fit what it holds")
    return ModelFile(description["architecture"], description["compile"], weights)


def _parse(where: str, text: str) -> dict[str, Any]:
    """Return the JSON object that describes the model; ValueError unless it has all its parts."""
    try:
        description = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{where}: the file is damaged: its description is not JSON ({error})") from error
    parts = {"format_version", "gpunet_version", "architecture", "compile", "sha256"}
    if not isinstance(description, dict) or not parts <= set(description):
        raise ValueError(f"{where}: the file is damaged: its description must have {', '.join(sorted(parts))}")
    for part in ("architecture", "compile"):
        if not isinstance(description[part], dict):
            raise ValueError(f"{where}: the file is damaged: {part} must be an object; got {description[part]!r}")
    return description


def _checksum(description: Mapping[str, Any], weights: Mapping[str, HostArray]) -> str:
    digest = hashlib.sha256(json.dumps(description, sort_keys=True).encode())
    for name in sorted(weights):
        array = weights[name]
        digest.update(f"{name} {array.dtype.name} {array.shape}\n".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def replace_file(path: Path, data: bytes) -> None:
    """Put `data` at `path` in one act, and not before it is on the disk."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}.part")
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """Put the new name on the disk too, where folders can be synchronised (not on Windows)."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
