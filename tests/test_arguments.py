"""Checks of arguments and objects named by strings: what passes, and the exact words where it does not."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gpunet import arguments, identifiers


def _refuses(error: type[Exception], message: str) -> Any:
    return pytest.raises(error, match=f"^{re.escape(message)}$")


@pytest.mark.parametrize("value", [1, 7, np.int64(3), np.uint8(3)])
def test_integer(value: Any) -> None:
    result = arguments.integer("Dense", "units", value)
    assert result == value and type(result) is int


@pytest.mark.parametrize("value, shown", [(1.0, "1.0"), ("3", "'3'"), (None, "None"), (True, "True"), ([1], "[1]")])
def test_integer_of_another_type(value: Any, shown: str) -> None:
    with _refuses(TypeError, f"Dense: units must be an integer; got {shown}"):
        arguments.integer("Dense", "units", value)


def test_integer_below_its_minimum() -> None:
    assert arguments.integer("fit", "epochs", 0, minimum=0) == 0
    with _refuses(ValueError, "Dense: units must be at least 1; got 0"):
        arguments.integer("Dense", "units", 0)
    with _refuses(ValueError, "Dense: units must be at least 1; got an object of int"):
        arguments.integer("Dense", "units", -(10**5000))


def test_integer_beyond_64_bits() -> None:
    assert arguments.integer("fit", "epochs", 2**63 - 1) == 2**63 - 1
    with _refuses(ValueError, "fit: epochs must be at most 2**63 - 1; got 9223372036854775808"):
        arguments.integer("fit", "epochs", 2**63)


@pytest.mark.parametrize("value", [0, 0.5, 1, np.float32(0.25), np.int32(1)])
def test_real(value: Any) -> None:
    result = arguments.real("Dropout", "rate", value, 0, 1)
    assert result == value and type(result) is float


@pytest.mark.parametrize("value", [-0.1, 1.5, math.nan, math.inf])
def test_real_out_of_bounds(value: float) -> None:
    with _refuses(ValueError, f"Dropout: rate must be from 0 to 1; got {value!r}"):
        arguments.real("Dropout", "rate", value, 0, 1)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_real_must_be_finite(value: float) -> None:
    with _refuses(ValueError, f"L2: l2 must be finite; got {value!r}"):
        arguments.real("L2", "l2", value)


def test_real_with_one_bound() -> None:
    with _refuses(ValueError, "SGD: learning_rate must be finite and at least 0; got -1"):
        arguments.real("SGD", "learning_rate", -1, minimum=0)
    with _refuses(ValueError, "SGD: learning_rate must be finite and at least 0; got inf"):
        arguments.real("SGD", "learning_rate", math.inf, minimum=0)
    with _refuses(ValueError, "f: x must be finite and at most 3; got 4"):
        arguments.real("f", "x", 4, maximum=3)


@pytest.mark.parametrize("value", ["0.5", None, True, [0.5], 1j])
def test_real_of_another_type(value: Any) -> None:
    with _refuses(TypeError, f"Dropout: rate must be a number; got {value!r}"):
        arguments.real("Dropout", "rate", value, 0, 1)


def test_boolean() -> None:
    assert arguments.boolean("Dense", "use_bias", np.True_) is True
    for value in (1, "yes", None):
        with _refuses(TypeError, f"Dense: use_bias must be True or False; got {value!r}"):
            arguments.boolean("Dense", "use_bias", value)


@pytest.mark.parametrize("value, expected", [(3, (3, 3)), ((2, 5), (2, 5)), ([1, 4], (1, 4)), (np.int8(2), (2, 2))])
def test_pair(value: Any, expected: tuple[int, int]) -> None:
    assert arguments.pair("Conv2D", "kernel_size", value) == expected


def test_pair_refuses() -> None:
    with _refuses(ValueError, "Conv2D: kernel_size must be one integer or two; got (1, 2, 3)"):
        arguments.pair("Conv2D", "kernel_size", (1, 2, 3))
    with _refuses(ValueError, "Conv2D: strides must be at least 1; got 0"):
        arguments.pair("Conv2D", "strides", (1, 0))
    with _refuses(TypeError, "Conv2D: strides must be an integer; got '33'"):
        arguments.pair("Conv2D", "strides", "33")


def test_integers() -> None:
    assert arguments.integers("Reshape", "target_shape", [2, np.int64(3)]) == (2, 3)
    with _refuses(TypeError, "Input: shape must be a tuple of integers; got 4"):
        arguments.integers("Input", "shape", 4)
    with _refuses(TypeError, "Input: shape must be a tuple of integers; got '12'"):
        arguments.integers("Input", "shape", "12")
    with _refuses(ValueError, "Input: shape must be at least 1; got 0"):
        arguments.integers("Input", "shape", (3, 0))


def test_choice() -> None:
    assert arguments.choice("Conv2D", "padding", "same", ("valid", "same")) == "same"
    with _refuses(ValueError, "Conv2D: padding must be one of 'valid', 'same'; got 'full'"):
        arguments.choice("Conv2D", "padding", "full", ("valid", "same"))


@pytest.mark.parametrize("dtype, expected", [(None, "float32"), ("float64", "float64"), (np.float32, "float32")])
def test_floating(dtype: Any, expected: str) -> None:
    assert arguments.floating("Dense", dtype) == expected


@pytest.mark.parametrize("dtype", ["float16", "int32", "flaot32", np.int64, 3])
def test_floating_refuses(dtype: Any) -> None:
    with _refuses(TypeError, f"Dense: dtype must be 'float32' or 'float64'; got {dtype!r}"):
        arguments.floating("Dense", dtype)


class _Base:
    def __init__(self, size: int = 1) -> None:
        self.size = size

    def get_config(self) -> dict[str, int]:
        return {"size": self.size}


class _OneThing(_Base):
    pass


CHOICES: dict[str, type[_Base]] = {"base": _Base, "one_thing": _OneThing, "one": _OneThing}


@pytest.mark.parametrize("identifier", ["one_thing", "one", "_OneThing", _OneThing])
def test_resolve_by_name_and_class(identifier: Any) -> None:
    assert type(identifiers.resolve("f", identifier, _Base, CHOICES)) is _OneThing


def test_resolve_returns_instances_and_reads_what_serialize_wrote() -> None:
    instance = _OneThing(5)
    assert identifiers.resolve("f", instance, _Base, CHOICES) is instance
    config = identifiers.serialize(instance)
    assert config == {"class_name": "_OneThing", "config": {"size": 5}}
    read = identifiers.resolve("f", config, _Base, CHOICES)
    assert type(read) is _OneThing and read.size == 5
    assert identifiers.serialize(None) is None


def test_resolve_lists_the_valid_names() -> None:
    with _refuses(ValueError, "compile: optimizer must be one of 'base', 'one', 'one_thing'; got 'adamw'"):
        identifiers.resolve("compile: optimizer", "adamw", _Base, CHOICES)
    with _refuses(TypeError, "compile: optimizer must be a name or a _Base; got 3"):
        identifiers.resolve("compile: optimizer", 3, _Base, CHOICES)


@pytest.mark.parametrize(
    "name, expected",
    [("MaxPooling2D", "max_pooling2d"), ("Dense", "dense"), ("Conv2D", "conv2d"), ("ReLU", "re_lu")],
)
def test_snake_case(name: str, expected: str) -> None:
    assert identifiers.snake_case(name) == expected


def test_text_and_paths() -> None:
    assert [arguments.text("Loss", "name", value, "loss") for value in ("a", "", None)] == ["a", "loss", "loss"]
    with _refuses(TypeError, "Loss: name must be a string; got 3"):
        arguments.text("Loss", "name", 3, "loss")
    assert arguments.path("CSVLogger", "filename", Path("a/b")) == str(Path("a/b"))
    for value in (b"x", None, 3):
        with _refuses(TypeError, f"CSVLogger: filename must be a path; got {value!r}"):
            arguments.path("CSVLogger", "filename", value)


def test_members() -> None:
    for value in ([1, 2], (1, 2), iter([1, 2]), np.array([1, 2])):
        assert arguments.members("fit", "callbacks", value, "a list") == (1, 2)
    for other in ("ab", b"ab", {1: 2}, {1, 2}, 3, None, np.array(1)):
        with _refuses(TypeError, f"fit: callbacks must be a list; got {other!r}"):
            arguments.members("fit", "callbacks", other, "a list")


def test_numbers_that_are_none() -> None:
    for value in ("1", [0.5], np.zeros(1), np.array("1"), np.array(True), int, 1j, np.complex64(1)):
        with _refuses(TypeError, f"SGD: momentum must be a number; got {value!r}"):
            arguments.real("SGD", "momentum", value)
    assert arguments.real("SGD", "momentum", np.array(0.5)) == 0.5
    with pytest.raises(ValueError, match="momentum must be finite"):
        arguments.real("SGD", "momentum", 10**400)


def test_values_that_are_long_or_cannot_be_shown() -> None:
    class Silent:
        def __repr__(self) -> str:
            raise RuntimeError("no")

    assert arguments.shown([1, "a"]) == "[1, 'a']"
    assert arguments.shown("a" * 1000) == "'" + "a" * 299 + "…"
    assert arguments.shown(Silent()) == "an object of Silent"
    with _refuses(TypeError, "Dense: units must be an integer; got an object of Silent"):
        arguments.integer("Dense", "units", Silent())
