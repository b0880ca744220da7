"""Models in files: a round trip, and files that are none."""

from __future__ import annotations

import json
import os
import pickle
import struct
from pathlib import Path
from typing import Any

import checks
import numpy as np
import pytest
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

import gpunet
from gpunet import Conv2D, Dense, Dropout, Flatten, Input, Layer, MaxPooling2D, Sequential, load_model
from gpunet.backend import random
from gpunet.backend.arrays import Device
from gpunet.saving import container, model_file


def _model() -> Sequential:
    model = Sequential(
        [
            Input((6, 6, 1)),
            Conv2D(3, 3, activation="relu", kernel_regularizer="l2"),
            MaxPooling2D(2),
            Flatten(),
            Sequential([Dense(4, kernel_constraint="max_norm"), Dropout(0.5)], name="inner"),
            Dense(2, activation="softmax"),
        ]
    )
    loss = gpunet.losses.CategoricalCrossentropy(label_smoothing=0.1)
    metrics = ["accuracy", gpunet.metrics.BinaryAccuracy(threshold=0.3)]
    model.compile(gpunet.optimizers.SGD(0.1, momentum=0.9), loss, metrics)
    return model


def _names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def _data() -> tuple[Any, Any]:
    return checks.normal(8, 6, 6, 1), np.eye(2, dtype=np.float32)[np.arange(8) % 2]


def test_a_saved_model_comes_back(device: Device, tmp_path: Path) -> None:
    x, y = _data()
    model = _model()
    model.fit(x, y, verbose=0)
    path = tmp_path / "model.gpunet"
    model.save(path)
    assert _names(tmp_path) == ["model.gpunet"]
    loaded = load_model(path)
    assert loaded.device == device and loaded.name == model.name
    for before, after in zip(model.get_weights(), loaded.get_weights(), strict=True):
        checks.assert_same_bits(after, before)
    checks.assert_same_bits(loaded.predict(x, verbose=0), model.predict(x, verbose=0))
    assert loaded.get_config() == model.get_config()
    assert loaded.get_compile_config() == model.get_compile_config()
    assert loaded.evaluate(x, y, verbose=0, return_dict=True) == model.evaluate(x, y, verbose=0, return_dict=True)
    for one in (model, loaded):  # slots, steps and dropout go on
        gpunet.set_random_seed(3)
        one.fit(x, y, batch_size=3, epochs=2, verbose=0)
    for before, after in zip(model.get_weights(), loaded.get_weights(), strict=True):
        checks.assert_same_bits(after, before)
    for name, variable in model.optimizer.variables.items():
        checks.assert_same_bits(loaded.optimizer.variables[name], variable)
    assert loaded.optimizer.iterations == 7


def test_the_same_model_gives_the_same_bytes(tmp_path: Path) -> None:
    model = _model()
    contents = set()
    for _ in range(5):
        model.save(tmp_path / "model.gpunet")
        contents.add((tmp_path / "model.gpunet").read_bytes())
    assert len(contents) == 1


def test_a_frozen_layer_stays_frozen(tmp_path: Path) -> None:
    model = _model()
    model.layers[0].trainable = False
    model.save(tmp_path / "model.gpunet")
    loaded = load_model(tmp_path / "model.gpunet")
    assert [layer.trainable for layer in loaded.layers] == [layer.trainable for layer in model.layers]
    assert len(loaded.trainable_weights) == len(model.trainable_weights)


def test_a_model_that_is_not_compiled(tmp_path: Path) -> None:
    model = Sequential([Dense(2)])
    model.build((None, 3))
    model.save(tmp_path / "model.gpunet")
    loaded = load_model(tmp_path / "model.gpunet")
    assert not loaded.compiled and loaded.input_shape == (None, 3)


def test_a_model_in_double_precision(tmp_path: Path) -> None:
    model = Sequential([Input((3,)), Dense(2, dtype="float64")])
    model.save(tmp_path / "model.gpunet")
    checks.assert_same_bits(load_model(tmp_path / "model.gpunet").get_weights()[0], model.get_weights()[0])


class Scale(Layer):
    """y = a x."""

    def build(self, input_shape: Any) -> None:
        self.a = self.add_weight((input_shape[-1],), "ones", name="a")

    def forward(self, x: Any, training: bool) -> Any:
        return x * self.a.value, lambda dy: dy * self.a.value


def test_own_layers_are_given_by_class(tmp_path: Path) -> None:
    path = tmp_path / "model.gpunet"
    model = Sequential([Input((3,)), Scale()])
    model.layers[0].set_weights([np.float32([1, 2, 3])])
    model.save(path)
    with pytest.raises(ValueError, match=rf"load_model: {path}: .*custom_objects.*got 'Scale'"):
        load_model(path)
    loaded = load_model(path, custom_objects={"Scale": Scale})
    np.testing.assert_array_equal(loaded.get_weights()[0], [1, 2, 3])


def test_loading_draws_no_initial_values(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _model().save(tmp_path / "model.gpunet")
    monkeypatch.setattr(gpunet.initializers, "generator", None)
    load_model(tmp_path / "model.gpunet")


def test_overwriting(tmp_path: Path) -> None:
    path = tmp_path / "model.gpunet"
    path.write_text("something else")
    model = _model()
    with pytest.raises(FileExistsError, match=rf"save: filepath must be free with overwrite=False; got {path}"):
        model.save(path, overwrite=False)
    assert path.read_text() == "something else"
    model.save(path)
    assert load_model(path).name == model.name


def test_a_file_that_cannot_be_written_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "model.gpunet"
    model = _model()
    model.save(path)
    before = path.read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        model.save(path)
    assert path.read_bytes() == before and _names(tmp_path) == ["model.gpunet"]
    with pytest.raises(FileNotFoundError):
        model.save(tmp_path / "missing" / "model.gpunet")


def test_a_model_must_be_built_to_be_saved(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"Sequential 'sequential.*'\.save: the model must be built"):
        Sequential([Dense(2)]).save(tmp_path / "model.gpunet")
    assert _names(tmp_path) == []


# Files that are no models


def _saved(path: Path) -> bytes:
    model = Sequential([Input((3,)), Dense(2, name="dense")], name="model")
    model.compile("sgd", "mse")
    model.save(path)
    return path.read_bytes()


def _refused(path: Path, message: str) -> None:
    with pytest.raises(ValueError, match=rf"load_model: {path}: {message}"):
        load_model(path)


def test_foreign_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.gpunet"
    for data in (b"", b"{}", b"hello, world", os.urandom(1000), pickle.dumps({"a": 1}), b"\xff" * 8, b"PK\x03\x04" * 9):
        path.write_bytes(data)
        _refused(path, "must be a model saved by gpunet; it is no safetensors file")
    path.write_bytes(save_tensors({"a": np.zeros(3)}))
    _refused(path, "must be a model saved by gpunet; it is a safetensors file of something else")
    for text in ("{", "[" * 100_000, "3", "{}"):
        path.write_bytes(save_tensors({"a": np.zeros(3)}, {model_file.MODEL.key: text}))
        _refused(path, "the file is damaged: its description")
    with pytest.raises(FileNotFoundError, match=r"load_model: .*nothing: no such file"):
        load_model(tmp_path / "nothing")
    with pytest.raises(FileNotFoundError, match=f"load_model: {tmp_path}: no such file"):
        load_model(tmp_path)


def test_every_damaged_byte_is_found(tmp_path: Path) -> None:
    path = tmp_path / "model.gpunet"
    data = _saved(path)
    for place in [*range(0, len(data), 7), len(data) - 1]:
        path.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
        with pytest.raises(ValueError, match=str(path)):
            load_model(path)
    for size in range(0, len(data), 97):
        path.write_bytes(data[:size])
        with pytest.raises(ValueError, match=str(path)):
            load_model(path)
    path.write_bytes(data + b"\0")
    with pytest.raises(ValueError, match=str(path)):
        load_model(path)


def _forge(path: Path, tensors: dict[str, Any] | None = None, **changes: Any) -> None:
    """Rewrite the file with other tensors or another description, and the checksum that fits them."""
    data = path.read_bytes()
    header = json.loads(data[8 : 8 + struct.unpack("<Q", data[:8])[0]])
    description = json.loads(header["__metadata__"][model_file.MODEL.key]) | changes
    del description["sha256"]
    arrays = load_tensors(data) if tensors is None else tensors
    description["sha256"] = container.checksum(description, arrays)
    path.write_bytes(save_tensors(arrays, {model_file.MODEL.key: json.dumps(description)}))


NO_MODEL = "the file does not describe a model"


def _architecture(class_name: str, **config: Any) -> dict[str, Any]:
    """Return a Sequential with one layer."""
    start = {"class_name": "InputLayer", "config": {"batch_shape": [None, 3]}}
    layer = {"class_name": class_name, "config": config}
    return {"class_name": "Sequential", "config": {"name": "model", "layers": [start, layer]}}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format_version": 3}, "format_version must be one of 2, 1; got 3, written by gpunet .*; update gpunet"),
        ({"compile": 3}, "the file is damaged: compile must be an object; got 3"),
        ({"architecture": []}, r"the file is damaged: architecture must be an object; got \[\]"),
        (
            {"architecture": {}},
            "the architecture must be a Sequential, a Functional, or a model among the custom objects; got None",
        ),
        ({"architecture": {"class_name": "os.system", "config": {}}}, "the architecture must be a Sequential"),
        ({"architecture": {"class_name": "Sequential"}}, NO_MODEL),
        ({"architecture": {"class_name": "Sequential", "config": 3}}, NO_MODEL),
        ({"architecture": _architecture("eval")}, "layer: class_name must be one of"),
        ({"architecture": _architecture("Dense", units="x")}, NO_MODEL),
        ({"architecture": _architecture("Dense", size=2)}, NO_MODEL),
        ({"compile": {"optimizer": "eval", "loss": "mse"}}, ".*optimizer"),
        ({"compile": {"optimiser": "sgd"}}, NO_MODEL),
    ],
)
def test_files_that_do_not_describe_a_model(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    path = tmp_path / "model.gpunet"
    _saved(path)
    _forge(path, **changes)
    _refused(path, message)


def test_an_architecture_cannot_ask_for_more_than_the_file_holds(tmp_path: Path) -> None:
    path = tmp_path / "model.gpunet"
    _saved(path)
    _forge(path, architecture=_architecture("Dense", units=10**15))
    _refused(path, r".*weights must be in the file; a weight of shape \(3, 1000000000000000\) needs more than it holds")


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"kernel": np.zeros((3, 2), np.float32)}, ".*needs more than it holds"),
        (
            {"dense/kernel": np.zeros((3, 2), np.float32), "bias": np.zeros(2, np.float32)},
            "the weights must be those of the architecture; bias, dense/bias differ",
        ),
        (
            {"dense/kernel": np.zeros((2, 3), np.float32), "dense/bias": np.zeros(2, np.float32)},
            r"dense/kernel must be float32 of shape \(3, 2\); got float32 of shape \(2, 3\)",
        ),
        (
            {"dense/kernel": np.zeros((3, 2), np.float64), "dense/bias": np.zeros(2, np.float32)},
            r"dense/kernel must be float32 of shape \(3, 2\); got float64 of shape \(3, 2\)",
        ),
    ],
)
def test_weights_must_fit_the_architecture(tensors: dict[str, Any], message: str, tmp_path: Path) -> None:
    path = tmp_path / "model.gpunet"
    _saved(path)
    _forge(path, tensors)
    _refused(path, message)


def test_dtypes_that_numpy_lacks_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.gpunet"
    header = json.dumps({"a": {"dtype": "BF16", "shape": [1], "data_offsets": [0, 2]}}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + b"\0\0")
    _refused(path, "must be a model saved by gpunet")


def test_loading_changes_no_random_numbers_of_layers_made_before(tmp_path: Path) -> None:
    _model().save(tmp_path / "model.gpunet")
    gpunet.set_random_seed(0)
    layer = Dropout(0.5)
    load_model(tmp_path / "model.gpunet")
    gpunet.set_random_seed(0)
    assert Dropout(0.5).stream == layer.stream and isinstance(layer.stream, random.Stream)
