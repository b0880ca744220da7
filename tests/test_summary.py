"""The summary: Keras 3's text, character for character (tests/parity compares it with Keras itself)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gpunet.layers import Conv2D, Dense, Flatten, Input, MaxPooling2D, ReLU
from gpunet.networks.sequential import SequentialNetwork


@pytest.fixture(autouse=True)
def _terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")


def _images() -> SequentialNetwork:
    model = SequentialNetwork(name="sequential")
    model.add(Conv2D(16, (3, 3), input_shape=(50, 50, 1), activation="relu", name="conv2d", trainable=False))
    model.add(MaxPooling2D((2, 2), padding="same", name="max_pooling2d"))
    model.add(Conv2D(32, (3, 3), name="a_very_long_layer_name_that_must_fold_somewhere"))
    model.add(Flatten(name="flatten"))
    model.add(Dense(128, name="dense"))
    return model


def _nested() -> SequentialNetwork:
    inner = SequentialNetwork([Dense(3, name="dense_1"), ReLU(name="re_lu")], name="inner")
    return SequentialNetwork([Input((7,)), inner, Dense(2, name="dense_2")], name="outer")


# Each printed by Keras 3.15 for the same network (whose class there is called Sequential).
IMAGES = """\
Model: "sequential"
┏━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━┳━━━━━━━━━━━━━━━━━━━━━━━━┳━━━━━━━━━━━━━━━┓
┃ Layer (type)                    ┃ Output Shape           ┃       Param # ┃
┡━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━╇━━━━━━━━━━━━━━━━━━━━━━━━╇━━━━━━━━━━━━━━━┩
│ conv2d (Conv2D)                 │ (None, 48, 48, 16)     │           160 │
├─────────────────────────────────┼────────────────────────┼───────────────┤
│ max_pooling2d (MaxPooling2D)    │ (None, 24, 24, 16)     │             0 │
├─────────────────────────────────┼────────────────────────┼───────────────┤
│ a_very_long_layer_name_that_mu… │ (None, 22, 22, 32)     │         4,640 │
│ (Conv2D)                        │                        │               │
├─────────────────────────────────┼────────────────────────┼───────────────┤
│ flatten (Flatten)               │ (None, 15488)          │             0 │
├─────────────────────────────────┼────────────────────────┼───────────────┤
│ dense (Dense)                   │ (None, 128)            │     1,982,592 │
└─────────────────────────────────┴────────────────────────┴───────────────┘
 Total params: 1,987,392 (7.58 MB)
 Trainable params: 1,987,232 (7.58 MB)
 Non-trainable params: 160 (640.00 B)"""

NARROW = """\
Model: "sequential"
┏━━━━━━━━━━━━━━━━━━━━━━━━━━┳━━━━━━━━━━━━━━━━━━━┳━━━━━━━━━━━┓
┃ Layer (type)             ┃ Output Shape      ┃   Param # ┃
┡━━━━━━━━━━━━━━━━━━━━━━━━━━╇━━━━━━━━━━━━━━━━━━━╇━━━━━━━━━━━┩
│ conv2d (Conv2D)          │ (None, 48, 48,    │       160 │
│                          │ 16)               │           │
├──────────────────────────┼───────────────────┼───────────┤
│ max_pooling2d            │ (None, 24, 24,    │         0 │
│ (MaxPooling2D)           │ 16)               │           │
├──────────────────────────┼───────────────────┼───────────┤
│ a_very_long_layer_name_… │ (None, 22, 22,    │     4,640 │
│ (Conv2D)                 │ 32)               │           │
├──────────────────────────┼───────────────────┼───────────┤
│ flatten (Flatten)        │ (None, 15488)     │         0 │
├──────────────────────────┼───────────────────┼───────────┤
│ dense (Dense)            │ (None, 128)       │ 1,982,592 │
└──────────────────────────┴───────────────────┴───────────┘"""

NESTED = """\
Model: "outer"
┏━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━┳━━━━━━━━━━━━━━━━━━━━━━━━┳━━━━━━━━━━━━━━━┓
┃ Layer (type)                    ┃ Output Shape           ┃       Param # ┃
┡━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━╇━━━━━━━━━━━━━━━━━━━━━━━━╇━━━━━━━━━━━━━━━┩
│ inner (Sequential)              │ (None, 3)              │            24 │
├─────────────────────────────────┼────────────────────────┼───────────────┤
│    └ dense_1 (Dense)            │ (None, 3)              │            24 │
├─────────────────────────────────┼────────────────────────┼───────────────┤
│    └ re_lu (ReLU)               │ (None, 3)              │             0 │
├─────────────────────────────────┼────────────────────────┼───────────────┤
│ dense_2 (Dense)                 │ (None, 2)              │             8 │
└─────────────────────────────────┴────────────────────────┴───────────────┘
 Total params: 32 (128.00 B)
 Trainable params: 32 (128.00 B)
 Non-trainable params: 0 (0.00 B)"""

TRAINABLE = """\
Model: "outer"
┏━━━━━━━━━━━━━━━━━━━━━━━━━━━━━┳━━━━━━━━━━━━━━━━━━━━━━━┳━━━━━━━━━━━━┳━━━━━━━┓
┃ Layer (type)                ┃ Output Shape          ┃    Param # ┃ Trai… ┃
┡━━━━━━━━━━━━━━━━━━━━━━━━━━━━━╇━━━━━━━━━━━━━━━━━━━━━━━╇━━━━━━━━━━━━╇━━━━━━━┩
│ inner (Sequential)          │ (None, 3)             │         24 │   Y   │
├─────────────────────────────┼───────────────────────┼────────────┼───────┤
│ dense_2 (Dense)             │ (None, 2)             │          8 │   N   │
└─────────────────────────────┴───────────────────────┴────────────┴───────┘
 Total params: 98 (392.00 B)
 Trainable params: 24 (96.00 B)
 Non-trainable params: 8 (32.00 B)
 Optimizer params: 66 (264.00 B)"""

UNBUILT = """\
Model: "sequential_3"
┏━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━┳━━━━━━━━━━━━━━━━━━━━━━━━┳━━━━━━━━━━━━━━━┓
┃ Layer (type)                    ┃ Output Shape           ┃       Param # ┃
┡━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━╇━━━━━━━━━━━━━━━━━━━━━━━━╇━━━━━━━━━━━━━━━┩
│ dense_3 (Dense)                 │ ?                      │   0 (unbuilt) │
├─────────────────────────────────┼────────────────────────┼───────────────┤
│ re_lu_1 (ReLU)                  │ ?                      │             0 │
└─────────────────────────────────┴────────────────────────┴───────────────┘
 Total params: 0 (0.00 B)
 Trainable params: 0 (0.00 B)
 Non-trainable params: 0 (0.00 B)"""


def _text(model: SequentialNetwork, **arguments: Any) -> str:
    # The class of a nested network is shorter in Keras; the columns keep their width.
    return model.summary_text(**arguments).replace("(SequentialNetwork)       ", "(Sequential)              ")


def test_keras_text() -> None:
    assert _text(_images()) == IMAGES
    assert _text(_images(), line_length=60).startswith(NARROW)
    assert _text(_nested(), expand_nested=True) == NESTED


def test_trainable_column_and_optimizer() -> None:
    model = _nested()
    model.layers[1].trainable = False
    slots = [np.zeros(64, np.float32), np.zeros(2, np.float32)]
    text = model.summary_text(show_trainable=True, optimizer_arrays=slots)
    assert text.replace("(SequentialNetwork)  ", "(Sequential)         ") == TRAINABLE


def test_unbuilt_layers() -> None:
    model = SequentialNetwork([Dense(3, name="dense_3"), ReLU(name="re_lu_1")], name="sequential_3")
    assert model.summary_text() == UNBUILT


def test_layer_range() -> None:
    text = _images().summary_text(layer_range=("max_.*", "flatten"))
    assert [name in text for name in ("│ conv2d", "│ max_pool", "│ a_very", "│ flatten", "│ dense")] == [0, 1, 1, 1, 0]
    assert _images().summary_text(layer_range=("flatten", "max_.*")) == text


def test_wide_lines_and_positions() -> None:
    lines = _images().summary_text(line_length=120).splitlines()
    assert {len(line) for line in lines[1:-3]} == {120}
    assert "a_very_long_layer_name_that_must_fold_somewhere" in "\n".join(lines)
    narrow_first = _images().summary_text(line_length=100, positions=[0.2, 0.6, 1.0]).splitlines()
    assert narrow_first[1].index("┳") == 20


@pytest.mark.parametrize("size, text", [(1, "4.00 B"), (300, "1.17 KB"), (2**20, "4.00 MB"), (2**29, "2.00 GB")])
def test_sizes(size: int, text: str) -> None:
    array = np.broadcast_to(np.float32(0), (size,))
    assert f"Optimizer params: {size:,} ({text})" in _nested().summary_text(optimizer_arrays=[array])


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"line_length": 20}, "summary: line_length must leave room for 3 columns; got 20"),
        ({"positions": [0.5, 1.0]}, "positions must be 3 growing numbers that end in 1.0"),
        ({"positions": [0.5, 0.2, 1.0]}, "positions must be 3 growing numbers"),
        ({"layer_range": ("x", "y")}, r"layer_range must match names among \['inner', 'dense_2'\]; got \['x', 'y'\]"),
        ({"layer_range": ("x",)}, "layer_range must be two names"),
    ],
)
def test_bad_arguments(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        _nested().summary_text(**arguments)
