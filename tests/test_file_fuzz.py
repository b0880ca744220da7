"""Damaged and forged files: whatever their bytes, reading ends well or with a ValueError that names the file.

Bytes are changed, cut out, put in; and, as a checksum finds all that, what the files describe is changed too and the
checksum made to fit. GPUNET_TEST_LONG=1 tries 25,000 files instead of a few hundred.
"""

from __future__ import annotations

import copy
import json
import random
import struct
import tracemalloc
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import checks
import numpy as np
import pytest
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

import gpunet
from gpunet import Conv2D, Dense, Dropout, Flatten, Input, Sequential, load_model
from gpunet.callbacks import BackupAndRestore, Callback, CSVLogger
from gpunet.cli.runs import Run, read_run
from gpunet.ops import tiles
from gpunet.ops.choices import Key, render
from gpunet.saving import container

FILES = 2500 if checks.LONG else 80
MOST_MEMORY = 2**25  # bytes that reading a file of some kilobytes may take at once
X, Y = np.random.default_rng(0).random((12, 5, 5, 1), np.float32), np.arange(12) % 3

# What a forger writes in the place of something.
VALUES = [
    *(None, True, False, 0, 1, -1, 2, 3.5, 2**31, 2**63, 10**30, -(10**18), 1e308, float("nan"), float("inf")),
    *(
        "",
        "a",
        "relu",
        "Dense",
        "\ud800",
        "../../etc/passwd",
        "text:a",
        "array:/training/0",
        "array:none",
        "a" * 10_000,
    ),
    *([], {}, [[]], {"a": {}}, [1, 2, 3], [None], {"class_name": "Dense", "config": {}}, {"class_name": "Lambda"}),
    *([10**9] * 4, [[0] * 50] * 50, json.loads("[" * 200 + "]" * 200)),
]


def _model() -> Sequential:
    gpunet.set_random_seed(1)
    layers = [
        Input((5, 5, 1), name="input"),
        Conv2D(2, 3, activation="relu", kernel_regularizer="l2", name="conv"),
        Dropout(0.5, name="drop"),
        Flatten(name="flatten"),
        Sequential(
            [Input((18,), name="inner_input"), Dense(4, kernel_constraint="max_norm", name="one")], name="inner"
        ),
        Dense(3, activation="softmax", name="last"),
    ]
    model = Sequential(layers, name="model")
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


class Stop(Callback):
    """Ends a training by an error, so that its checkpoints stay."""

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        if batch == 1:
            raise KeyboardInterrupt


def _fit(folder: Path, *more: Callback) -> None:
    callbacks = [CSVLogger(folder / "log.csv"), BackupAndRestore(folder, 1), *more]
    _model().fit(X, Y, 4, 2, callbacks=callbacks, verbose=0, validation_split=0.3)


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Return a good file of each kind."""
    folder = tmp_path_factory.mktemp("originals")
    model = _model()
    model.fit(X, Y, 4, verbose=0)
    model.save(folder / "model")
    model.save_weights(folder / "weights")
    with pytest.raises(KeyboardInterrupt):
        _fit(folder, Stop())
    found = {name: (folder / name).read_bytes() for name in ("model", "weights")}
    found["checkpoint"] = max(folder.glob("checkpoint-*")).read_bytes()
    run = Run(None, "cnn", 2, None, 32, "adam", None, 0, "ignore", 5, None)
    found["run"] = json.dumps({"arguments": asdict(run), "device": "cpu"}).encode()
    key = Key("dense", "9.0", "float32 m1024 n64 k256")
    found["choices"] = render({key: "small", key._replace(capability="8.0"): "medium"}, "a test")
    return found


def _load_weights(path: Path) -> None:
    _model().load_weights(path)


def _resume(path: Path) -> None:
    (path.parent / "log.csv").write_text("epoch,accuracy,loss,val_accuracy,val_loss\n" * 3)
    _fit(path.parent)


def _read_run(path: Path) -> None:
    read_run(path.parent)


# How a file of each kind is called, and who reads it.
READERS: dict[str, tuple[str, Callable[[Path], Any]]] = {
    "model": ("model.gpunet", load_model),
    "weights": ("model.weights", _load_weights),
    "checkpoint": ("checkpoint-000000002.gpunet", _resume),
    "run": ("config.json", _read_run),
    "choices": ("choices.json", lambda path: tiles.choices.read("set_tuning", path)),
}


def _with_other_bytes(data: bytes, rng: random.Random) -> bytes:
    """Return `data` with a few changes of single bytes, or of whole stretches."""
    result = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 8))):
        place = rng.randrange(len(result) + 1) if rng.random() < 0.7 else rng.randrange(min(len(result), 64) + 1)
        stretch = bytes(rng.choices(range(256), k=rng.choice((1, 1, 4, 64))))
        match rng.randrange(5):
            case 0:
                result[place : place + len(stretch)] = stretch
            case 1:
                result[place:place] = stretch
            case 2:
                del result[place : place + rng.choice((1, 8, 1000))]
            case 3:
                del result[place:]
            case _:
                result[:8] = struct.pack(
                    "<Q", rng.choice((0, 1, len(data), 2**31, 2**63 + 5, rng.randrange(len(data))))
                )
    return bytes(result)


def _places(tree: Any) -> list[tuple[Any, Any]]:
    """Return every (container, key) in a tree of JSON."""
    keys = list(tree) if isinstance(tree, dict) else range(len(tree)) if isinstance(tree, list) else []
    return [place for key in keys for place in ((tree, key), *_places(tree[key]))]


def _forged(tree: Any, rng: random.Random) -> Any:
    """Return a tree of JSON with a few other values, keys or lengths."""
    tree = copy.deepcopy(tree)
    for _ in range(rng.choice((1, 1, 2, 5))):
        places = _places(tree)
        if not places:
            break
        holder, key = rng.choice(places)
        match rng.randrange(4):
            case 0:
                del holder[key]
            case 1:
                other, name = rng.choice(places)
                holder[key] = copy.deepcopy(other[name]) if name in (other if isinstance(other, dict) else ()) else None
            case 2 if isinstance(holder, dict):
                holder[rng.choice(("a", "units", "config", "name", "trainable"))] = holder.pop(key)
            case _:
                holder[key] = copy.deepcopy(rng.choice(VALUES))
    return tree


def _forge(data: bytes, rng: random.Random) -> bytes:
    """Return a file that describes something else, with a checksum that fits."""
    if data[:1] == b"{":
        return json.dumps(_forged(json.loads(data), rng)).encode()
    header = json.loads(data[8 : 8 + struct.unpack("<Q", data[:8])[0]])
    (key,) = header["__metadata__"]
    description = json.loads(header["__metadata__"][key])
    del description["sha256"]
    arrays = load_tensors(data)
    if rng.random() < 0.2:
        name = rng.choice(list(arrays))
        array = arrays.pop(name)
        shapes = (
            array.reshape(-1),
            array[:0],
            np.zeros((), array.dtype),
            array.astype(np.float64),
            np.stack([array] * 2),
        )
        arrays[rng.choice((name, "/optimizer/a", "a/b", ""))] = np.ascontiguousarray(rng.choice(shapes))
    else:
        description = _forged(description, rng)
    description["sha256"] = container.checksum(description, arrays)
    return save_tensors(arrays, {key: json.dumps(description)})


@pytest.mark.parametrize("mutate", [_with_other_bytes, _forge], ids=["bytes", "forged"])
@pytest.mark.parametrize("kind", READERS)
def test_reading_ends_well_or_with_a_clean_error(
    originals: dict[str, bytes], kind: str, mutate: Callable[[bytes, random.Random], bytes], tmp_path: Path
) -> None:
    name, read = READERS[kind]
    refused, faults = 0, []
    for seed in range(FILES):
        data = mutate(originals[kind], random.Random(seed))
        folder = tmp_path / str(seed)
        folder.mkdir()
        (folder / name).write_bytes(data)
        before = {path.name for path in tmp_path.iterdir()}
        tracemalloc.start()
        try:
            read(folder / name)
        except ValueError as error:
            refused += 1
            if name not in str(error):
                faults.append((seed, error))
        except Exception as error:
            faults.append((seed, error))
        finally:
            _, peak = tracemalloc.get_traced_memory()
            tracemalloc.stop()
        assert peak < MOST_MEMORY, (seed, peak)
        assert {path.name for path in tmp_path.iterdir()} == before
    assert not faults
    assert refused >= FILES // 4, refused


@pytest.mark.parametrize("kind", READERS)
def test_the_originals_are_read(originals: dict[str, bytes], kind: str, tmp_path: Path) -> None:
    name, read = READERS[kind]
    (tmp_path / name).write_bytes(originals[kind])
    read(tmp_path / name)
