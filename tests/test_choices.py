"""Tables of tiles (gpunet/ops/choices.py): which is asked, for what, and files that are refused."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import gpunet
from gpunet.backend.arrays import CPU, EMULATED
from gpunet.ops import choices, tiles
from gpunet.ops.choices import Choices, Key, Product


@pytest.fixture(autouse=True)
def _own_table_again() -> Iterator[None]:
    yield
    gpunet.set_tuning(None)


def _write(path: Path, table: dict[Key, str]) -> Path:
    path.write_bytes(choices.render(table, "for a test"))
    return path


def test_the_table_of_gpunet_itself_can_be_read() -> None:
    """What is in it was measured on GPUs."""
    own = tiles.choices.read("own", Path(choices.__file__).with_suffix(".json"))
    assert "emulated" not in {key.capability for key in own}


# Which table is asked, and for what


def test_classes_of_products() -> None:
    assert Product(1, 2, 3).class_of("float32") == "float32 m1 n2 k4"
    assert Product(1024, 1025, 10**9).class_of("float64") == "float64 m1024 n2048 k1048576"
    assert Product(5, 5, 5, groups=2).class_of("float32") == "float32 m8 n8 k8 groups"


def test_a_choice_is_for_one_operation_capability_dtype_and_class(tmp_path: Path) -> None:
    path = _write(tmp_path / "table.json", {Key("dense", "emulated", "float32 m8 n8 k8 groups"): "large"})
    tables = Choices(tiles.candidates)
    tables.use("test", path)
    assert tables.find("dense", EMULATED, Product(7, 8, 5, 3), "float32") == "large"
    for operation, product, dtype in [
        ("dense_kernel_gradient", Product(7, 8, 5, 3), "float32"),
        ("dense", Product(7, 8, 5), "float32"),
        ("dense", Product(7, 8, 4, 3), "float32"),
        ("dense", Product(7, 8, 5, 3), "float64"),
    ]:
        assert tables.find(operation, EMULATED, product, dtype) is None
    assert tables.find("dense", CPU, Product(7, 8, 5, 3), "float32") is None
    tables.use("test", None)
    assert tables.find("dense", EMULATED, Product(7, 8, 5, 3), "float32") is None


def test_the_variable_is_read_once_when_it_is_needed_and_set_tuning_is_stronger(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, product = Key("dense", "emulated", "float32 m8 n8 k8"), Product(8, 8, 8)
    named, given = (_write(tmp_path / f"{name}.json", {key: name}) for name in ("narrow", "medium"))
    monkeypatch.setenv("GPUNET_TUNING", str(named))
    tables = Choices(tiles.candidates)
    assert tables.find("dense", EMULATED, product, "float32") == "narrow"
    assert tables.describe() == f"{named} by GPUNET_TUNING (choices: 1 for emulated), then gpunet's own table (empty)"
    monkeypatch.setenv("GPUNET_TUNING", "nowhere.json")
    assert tables.find("dense", EMULATED, product, "float32") == "narrow"
    tables.use("set_tuning", given)
    assert tables.find("dense", EMULATED, product, "float32") == "medium"
    tables.use("set_tuning", None)
    assert tables.find("dense", EMULATED, product, "float32") is None
    with pytest.raises(FileNotFoundError, match=r"GPUNET_TUNING: nowhere.json: no such file"):
        Choices(tiles.candidates).find("dense", EMULATED, product, "float32")


def test_the_users_table_comes_before_the_own_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = [Key("dense", "emulated", f"float32 m8 n8 k{k}") for k in (8, 16)]
    monkeypatch.setattr(choices, "_OWN", _write(tmp_path / "own.json", dict.fromkeys(keys, "narrow")))
    tables = Choices(tiles.candidates)
    tables.use("test", _write(tmp_path / "table.json", {keys[0]: "medium"}))
    found = [tables.find("dense", EMULATED, Product(8, 8, k), "float32") for k in (8, 16, 32)]
    assert found == ["medium", "narrow", None]


# Files


def _content(**changes: Any) -> dict[str, Any]:
    return {"format": "gpunet tuning", "version": 1, "choices": {}} | changes


def _of_dense(product_class: Any, tile: Any, number: str = "9.0", operation: str = "dense") -> dict[str, Any]:
    return _content(choices={operation: {number: {product_class: tile}}})


CLASS = "float32 m8 n8 k8"
RULE = "such as 'float32 m1024 n64 k256', of powers of two up to 1048576"
NAMES = "'large', 'medium', 'tall', 'narrow', 'small'"
MISTAKES = {
    "must be a table of gpunet tune; it is not JSON": "no table",
    "the file must be a JSON object; got []": [],
    "format must be 'gpunet tuning'; got None": {"version": 1},
    "format must be 'gpunet tuning'; got 'roofline'": _content(format="roofline"),
    "version must be 1; got 2; run gpunet tune again": _content(version=2),
    "version must be 1; got True": _content(version=True),
    "choices must be a JSON object; got None": _content(choices=None),
    "choices: must be of matrix kernels of gpunet; got 'finish'": _of_dense(CLASS, "small", operation="finish"),
    "choices['dense'] must be a JSON object; got 3": _content(choices={"dense": 3}),
    "choices['dense']: must be of capabilities such as '9.0'; got 'sm_90'": _of_dense(CLASS, "small", "sm_90"),
    "choices['dense']['9.0'] must be a JSON object; got 3": _content(choices={"dense": {"9.0": 3}}),
    f"choices['dense']['9.0']: must be of classes {RULE}; got 'large ones'": _of_dense("large ones", "small"),
    f"must be of classes {RULE}; got 'float32 m9 n8 k8'": _of_dense("float32 m9 n8 k8", "small"),
    f"must be of classes {RULE}; got 'float32 m0 n8 k8'": _of_dense("float32 m0 n8 k8", "small"),
    f"must be of classes {RULE}; got 'float32 m8 n8 k2097152'": _of_dense("float32 m8 n8 k2097152", "small"),
    f"choices['dense']['9.0']['{CLASS}'] must be one of {NAMES}; got 'huge'": _of_dense(CLASS, "huge"),
    "must be one of 'double medium', 'double small'; got 'small'": _of_dense("float64 m8 n8 k8", "small"),
    f"must be one of {NAMES}; got ['small']": _of_dense(CLASS, ["small"]),
}


@pytest.mark.parametrize("message", MISTAKES)
def test_a_file_that_is_no_table_is_refused_and_changes_nothing(message: str, tmp_path: Path) -> None:
    path, content = tmp_path / "table.json", MISTAKES[message]
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    before = tiles.choices.sources
    with pytest.raises(ValueError, match=f"^set_tuning: {re.escape(str(path))}: .*{re.escape(message)}"):
        gpunet.set_tuning(path)
    assert tiles.choices.sources is before


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    (tmp_path / "table.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match="it is not JSON"):
        gpunet.set_tuning(tmp_path / "table.json")


def test_a_table_is_read_as_it_was_written(tmp_path: Path) -> None:
    table = {
        Key(operation, number, product_class): "large"
        for operation in ("convolution", "dense")
        for number in ("9.0", "10.0", "emulated")
        for product_class in (CLASS, "float32 m1 n1 k1 groups")
    }
    path = _write(tmp_path / "table.json", table)
    assert tiles.choices.read("test", path) == table
    assert choices.render(dict(reversed(table.items())), "for a test") == path.read_bytes()
