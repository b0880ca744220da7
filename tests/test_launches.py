"""What a training step launches: which kernels, in which order, how many, and how many bytes they move."""

from __future__ import annotations

import checks
import numpy as np
import pytest

from gpunet import Dense, Dropout, Input, Sequential
from gpunet.backend import devices
from gpunet.backend.arrays import EMULATED
from gpunet.backend.launch import Launch
from gpunet.layers import Layer
from gpunet.recipes import RECIPES

BATCH = 32


@pytest.fixture(autouse=True)
def _emulated() -> None:
    report = devices.examine(EMULATED)
    if not report.usable:
        pytest.skip(report.reason)


def _step(name: str) -> list[Launch]:
    """Return the launches of a step of `fit` on a set that lies on the device."""
    recipe = RECIPES[name]
    with devices.device("emulated"):
        model = recipe.network()
        model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"], run_eagerly=True)
        x = np.random.default_rng(0).random((BATCH, recipe.image_size, recipe.image_size, 1), np.float32)
        y = np.arange(BATCH) % 10
        with checks.recorded_launches() as launches:
            model.fit(x, y, batch_size=BATCH, verbose=0)
    return launches


def test_a_step_of_cnn50_with_adam_is_at_most_25_launches() -> None:
    entries = [launch.entry for launch in _step("cnn50")]
    assert len(entries) <= 25
    assert [entry for entry in entries if entry != "finish"] == [
        *["gather"] * 2,
        *["convolution_few_channels_pooling", "convolution_pooling", "convolution_pooling"],
        *["dense"] * 2,
        "softmax_cross_entropy_total",
        "sparse_matches",
        *["dense_kernel_gradient", "dense_input_gradient"] * 2,
        *["convolution_pooling_kernel_gradient", "convolution_pooling_input_gradient"] * 2,
        "convolution_few_channels_kernel_gradient",
        "advance_adam",
        "adam",
    ]


def test_watching_a_step_takes_two_launches_more_and_with_dropout_three() -> None:
    """Nothing is launched otherwise; and whatever a step does, more layers do not make it more."""

    def launches(nonfinite: str, *layers: Layer) -> list[str]:
        with devices.device("emulated"):
            model = Sequential([Input((4,)), *layers, Dense(2)])
        model.compile("adam", "mse", run_eagerly=True, nonfinite=nonfinite)
        with checks.recorded_launches() as launched:
            model.fit(np.ones((2, 4)), np.ones((2, 2)), verbose=0)
        return [launch.entry for launch in launched]

    def plain() -> list[Layer]:
        return [Dense(4), Dense(4, "tanh")]

    expected = launches("ignore", *plain())
    update = expected.index("adam")
    assert "note_nonfinite" not in expected and "keep_if" not in expected
    for nonfinite in ("warn", "raise"):
        watched = [*expected[:update], "note_nonfinite", "keep_if", *expected[update:]]
        assert launches(nonfinite, *plain()) == watched
    dropping = launches("ignore", *plain(), Dropout(0.5))
    watched = launches("raise", *plain(), Dropout(0.5))
    assert watched[2] == "keep_if" and [*watched[:2], *watched[3:]] == [
        *dropping[: dropping.index("adam")],
        "note_nonfinite",
        "keep_if",
        *dropping[dropping.index("adam") :],
    ]


def test_more_layers_need_no_more_updates() -> None:
    def updates(layers: int) -> list[str]:
        with devices.device("emulated"):
            model = Sequential([Input((4,)), *(Dense(4) for _ in range(layers))])
        model.compile("adam", "mse", run_eagerly=True)
        with checks.recorded_launches() as launches:
            model.fit(np.ones((2, 4)), np.ones((2, 4)), verbose=0)
        return [launch.entry for launch in launches if launch.file in ("adam.cu", "optimizer_step.cu")]

    assert updates(1) == updates(9) == ["advance_adam", "adam"]


def test_a_fused_step_of_cnn50_moves_half_of_the_bytes() -> None:
    """The whole step, each array that an op reads or writes counted once, as model.profile counts them."""
    recipe = RECIPES["cnn50"]
    x = np.random.default_rng(0).random((BATCH, 50, 50, 1), np.float32)
    moved = []
    for fuse in (True, False):
        model = recipe.network()
        model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
        model.fuse = fuse
        moved.append(model.profile(x, np.arange(BATCH) % 10, batch_size=BATCH, steps=1).bytes)
    assert 0 < moved[0] <= 0.5 * moved[1]
