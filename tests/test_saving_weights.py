"""Weights in files of their own, files of earlier versions, and disks that are full or cannot be written to."""

from __future__ import annotations

import json
import resource
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import checks
import numpy as np
import pytest
from safetensors.numpy import load_file
from safetensors.numpy import save as save_tensors

import gpunet
from gpunet import Dense, Dropout, Input, Sequential, load_model
from gpunet.backend.arrays import Device
from gpunet.callbacks import BackupAndRestore, Callback
from gpunet.saving import container

X, Y = checks.normal(24, 4), np.arange(24) % 3


def _model(units: int = 8) -> Sequential:
    gpunet.set_random_seed(1)
    layers = [Input((4,)), Dense(units, name="one"), Dropout(0.5, name="drop"), Dense(3, "softmax", name="two")]
    model = Sequential(layers, name="model")
    model.compile("adam", "sparse_categorical_crossentropy")
    return model


def _same_weights(a: Sequential, b: Sequential) -> None:
    for one, other in zip(a.get_weights(), b.get_weights(), strict=True):
        checks.assert_same_bits(one, other)


def test_weights_alone(device: Device, tmp_path: Path) -> None:
    model, other = _model(), _model()
    model.fit(X, Y, verbose=0)
    model.save_weights(tmp_path / "weights.safetensors")
    stored = load_file(tmp_path / "weights.safetensors")
    assert sorted(stored) == ["one/bias", "one/kernel", "two/bias", "two/kernel"]
    other.load_weights(tmp_path / "weights.safetensors")
    _same_weights(other, model)
    assert other.optimizer is not None and other.optimizer.iterations == 0
    assert other.device == device


def test_weights_of_a_saved_model(tmp_path: Path) -> None:
    model, other = _model(), _model()
    model.fit(X, Y, verbose=0)
    model.save(tmp_path / "model.gpunet")
    other.load_weights(tmp_path / "model.gpunet")
    _same_weights(other, model)


def test_weights_that_do_not_fit_change_nothing(tmp_path: Path) -> None:
    path = tmp_path / "weights"
    _model(units=9).save_weights(path)
    model = _model()
    before = model.get_weights()
    words = r"one/kernel must be float32 of shape \(4, 8\); got float32 of shape \(4, 9\)"
    with pytest.raises(ValueError, match=rf"^Sequential 'model'\.load_weights: {path}: {words}"):
        model.load_weights(path)
    path.write_bytes(b"something")
    with pytest.raises(ValueError, match=rf"load_weights: {path}: must be weights saved by gpunet; it is no safetens"):
        model.load_weights(path)
    with pytest.raises(FileNotFoundError, match=r"load_weights: .*missing: no such file"):
        model.load_weights(tmp_path / "missing")
    for weight, value in zip(model.get_weights(), before, strict=True):
        checks.assert_same_bits(weight, value)
    unbuilt = Sequential([Dense(2)])
    for method in (unbuilt.load_weights, unbuilt.save_weights):
        with pytest.raises(ValueError, match=r"must be built; call build"):
            method(path)
    with pytest.raises(FileExistsError, match=r"save_weights: filepath must be free with overwrite=False"):
        model.save_weights(path, overwrite=False)


def test_files_of_version_1_are_read(tmp_path: Path) -> None:
    """They had weights alone."""
    path = tmp_path / "model.gpunet"
    model = _model()
    model.fit(X, Y, verbose=0)
    model.save(path)
    data = path.read_bytes()
    description = json.loads(json.loads(data[8 : 8 + struct.unpack("<Q", data[:8])[0]])["__metadata__"]["gpunet_model"])
    old = {key: description[key] for key in ("gpunet_version", "architecture", "compile")} | {"format_version": 1}
    weights = {name: array for name, array in load_file(path).items() if not name.startswith("/")}
    old["sha256"] = container.checksum(old, weights)
    path.write_bytes(save_tensors(weights, {"gpunet_model": json.dumps(old)}))
    loaded = load_model(path)
    _same_weights(loaded, model)
    assert loaded.optimizer is not None and loaded.optimizer.iterations == 0


# Disks


@contextmanager
def _files_of_at_most(size: int) -> Iterator[None]:
    """Let no file grow beyond `size` bytes, as a full disk or a quota does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "model.gpunet"
    model = _model()
    model.save(path)
    before = path.read_bytes()
    model.fit(X, Y, verbose=0)
    with _files_of_at_most(1000), pytest.raises(OSError, match=f"File too large: .{path}"):
        model.save(path)
    assert path.read_bytes() == before and [path.name for path in tmp_path.iterdir()] == ["model.gpunet"]
    model.save(path)
    _same_weights(load_model(path), model)


class FullFrom(Callback):
    """Fills the disk at a step, and ends the training some steps later."""

    def __init__(self, first: int, last: int) -> None:
        self._first, self._last, self._step = first, last, 0
        self._full = _files_of_at_most(1000)

    def wants_logs(self, hook: str) -> bool:
        return False

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self._step += 1
        if self._step == self._first:
            self._full.__enter__()
        if self._step == self._last:
            self._full.__exit__(None, None, None)
            raise RuntimeError("killed")


def test_a_training_goes_on_while_the_disk_is_full(tmp_path: Path) -> None:
    model = _model()
    model.fit(X, Y, 4, 3, verbose=0)
    backup = tmp_path / "backup"
    words = r"checkpoint-00000000\d.gpunet could not be written \(\[Errno 27\] File too large"
    with pytest.warns(UserWarning, match=words) as record, pytest.raises(RuntimeError, match="killed"):
        _model().fit(X, Y, 4, 3, verbose=0, callbacks=[FullFrom(5, 9), BackupAndRestore(backup, 1)])
    kept = "there is checkpoint-000000004.gpunet, checkpoint-000000003.gpunet"
    assert len(record) == 4 and all(str(warning.message).endswith(kept) for warning in record)
    assert sorted(path.name for path in backup.iterdir()) == [f"checkpoint-{n:09}.gpunet" for n in (3, 4)]
    resumed = _model()
    resumed.fit(X, Y, 4, 3, verbose=0, callbacks=BackupAndRestore(backup, 1))
    _same_weights(resumed, model)


@pytest.mark.parametrize("folder", ["/proc/gpunet", "{}/file/backup"])
def test_a_folder_that_cannot_be_made_is_an_error_before_anything_is_trained(folder: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    model = _model()
    before = model.get_weights()
    with pytest.raises(OSError, match=r"gpunet|backup"):
        model.fit(X, Y, verbose=0, callbacks=BackupAndRestore(folder.format(tmp_path)))
    for weight, value in zip(model.get_weights(), before, strict=True):
        checks.assert_same_bits(weight, value)
    assert model.optimizer is not None and model.optimizer.iterations == 0
