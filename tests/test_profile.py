"""Profiles: every op call of a step with its work, a model that stays as it was, and files that others can read."""

from __future__ import annotations

import builtins
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from types import FrameType
from typing import Any

import checks
import numpy as np
import pytest
from small_models import bits, digits, small_cnn

import gpunet
from gpunet import Conv2D, Dense, Dropout, Flatten, Input, Sequential, layers
from gpunet.backend.arrays import Device
from gpunet.inspection import measurement
from gpunet.inspection.profile import Profile, Row, duration, rate
from gpunet.inspection.roofline import Roofline
from gpunet.ops import trace


@pytest.fixture(autouse=True)
def _limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measure no limits: 1 Gflop/s and 10 GB/s are those of every device here."""
    monkeypatch.setattr(measurement, "roofline_of", lambda device, dtype: Roofline(1e9, 1e10))


@pytest.fixture
def profile(device: Device) -> Profile:
    return small_cnn().profile(*digits(12), batch_size=8, steps=3)


def _count_calls(run: Callable[[], object]) -> Counter[str]:
    """Count the calls of ops, by Python's own means: those that no other op makes."""
    codes = {}
    for name, module in list(sys.modules.items()):
        if name.startswith(("gpunet.ops.", "gpunet.inspection.")):
            ops = [value for value in vars(module).values() if trace.is_op(value)]
            codes.update({op.__wrapped__.__code__: op.__name__ for op in ops})
    found: Counter[str] = Counter()
    inside: list[FrameType] = []

    def watch(frame: FrameType, event: str, _: object) -> None:
        if frame.f_code in codes and event == "call":
            found.update([] if inside else [codes[frame.f_code]])
            inside.append(frame)
        elif inside and event == "return" and frame is inside[-1]:
            inside.pop()

    sys.setprofile(watch)
    try:
        run()
    finally:
        sys.setprofile(None)
    return found


def test_every_op_call_of_a_step_is_there(device: Device, profile: Profile) -> None:
    x, y = digits(8)
    model = small_cnn()
    counted = _count_calls(lambda: model.train_on_batch(x, y))
    # `train_on_batch` copies its batch as it is; `fit`, and so the profile, gathers x and y.
    assert Counter(row.op for row in profile.rows) == counted + Counter({"gather": 2})
    assert counted["adam"] == 1 and counted["convolution_kernel_gradient"] == 1


def test_rows_say_what_ran_for_whom(profile: Profile) -> None:
    rows = {(row.layer, row.op, row.direction): row for row in profile.rows}
    (conv,) = {layer for layer, _, _ in rows if layer.startswith("conv2d")}
    row = rows[conv, "convolution", "forward"]
    assert row.shapes == ((8, 8, 8, 1), (3, 3, 1, 8), (8,))
    y = 8 * 3 * 3 * 8
    assert (row.flops, row.bytes) == (y * (2 * 9 + 2), 4 * (8 * 64 + 72 + 8 + y))
    assert row.limit == max(row.flops / 1e9, row.bytes / 1e10) / row.seconds
    assert ("loss", "softmax_cross_entropy_value", "forward") in rows  # and its gradient with it
    assert ("metrics", "sparse_matches", "forward") in rows
    assert ("optimizer", "advance_adam", "update") in rows
    x, y = (
        next(row for row in profile.rows if row.op == "gather" and row.shapes[0] == shape)
        for shape in ((12, 8, 8, 1), (12,))
    )
    assert x.layer == y.layer == "data"
    assert (x.bytes, y.bytes) == (8 * 8 + 2 * 4 * 8 * 64, 8 * 8 + 2 * 4 * 8), "indices; what is read and written"


def test_rows_are_sorted_and_shares_add_up(device: Device, profile: Profile) -> None:
    assert all(one.seconds >= other.seconds > 0 for one, other in pairwise(profile.rows))
    assert sum(row.share for row in profile.rows) + profile.outside_share == pytest.approx(1)
    assert 0 <= profile.outside_share < 1
    assert profile.op_seconds == pytest.approx(sum(row.seconds for row in profile.rows))
    assert profile.outside_seconds / (profile.op_seconds + profile.outside_seconds) == pytest.approx(
        profile.outside_share
    )
    assert (profile.flops, profile.bytes) == (
        sum(row.flops for row in profile.rows),
        sum(row.bytes for row in profile.rows),
    )
    assert (profile.device, profile.batch_size, profile.steps, profile.dtype) == (str(device), 8, 3, "float32")
    assert profile.step_seconds > 0


def test_the_timeline_has_the_order_of_the_step(profile: Profile) -> None:
    in_order = sorted(profile.rows, key=lambda row: row.begin)
    passes = [row.direction for row in in_order if row.layer not in ("loss", "metrics")]
    assert passes == sorted(passes, key=["forward", "backward", "update"].index)
    assert in_order[0].layer == "data" and in_order[-1].layer == "optimizer"


def test_the_model_is_as_it_was(device: Device) -> None:
    """Training goes on with the same bits as without a profile: weights, slots, steps, masks, metrics."""
    x, y = digits(32)
    models = [_eventful_model(), _eventful_model()]
    for model in models:
        gpunet.set_random_seed(0)
        model.fit(x, y, 8, epochs=1, shuffle=False, verbose=0)
    profiled, untouched = models
    before = bits(profiled), profiled.metrics[0].result(), profiled.optimizer.iterations  # type: ignore[union-attr]
    profiled.profile(x, y, 16, steps=2)
    assert before == (bits(profiled), profiled.metrics[0].result(), profiled.optimizer.iterations)  # type: ignore[union-attr]
    assert before[2] == 4 and all(parameter.gradient is None for parameter in profiled.weights)
    for model in models:
        model.fit(x, y, 8, epochs=1, shuffle=False, verbose=0)
    assert bits(profiled) == bits(untouched)
    slots = [list(model.optimizer.variables.values()) for model in models]  # type: ignore[union-attr]
    for one, other in zip(*slots, strict=True):
        checks.assert_same_bits(one, other)


def _eventful_model() -> Sequential:
    gpunet.set_random_seed(0)
    model = Sequential(
        [
            Input((8, 8, 1)),
            Conv2D(4, 3, activation="relu", kernel_regularizer="l2", kernel_constraint="max_norm"),
            Flatten(),
            Sequential([Dropout(0.5), Dense(8, activity_regularizer="l1", name="inner")], name="nested"),
            Dropout(0.3),
            Dense(10, activation="softmax"),
        ]
    )
    model.compile("adam", "sparse_categorical_crossentropy", ["accuracy"])
    return model


def test_a_model_that_was_never_trained_stays_so() -> None:
    model = small_cnn()
    before = bits(model)
    model.profile(*digits(4), steps=1)
    assert bits(model) == before
    assert model.optimizer is not None and model.optimizer.iterations == 0
    assert not any(gpunet.to_host(slot).any() for name, slot in model.optimizer.variables.items() if "/" in name)


def test_it_is_put_back_even_if_the_step_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    model = small_cnn()
    model.train_on_batch(*digits(8))
    before = bits(model)
    updates = iter(range(3))
    apply = model.optimizer.apply  # type: ignore[union-attr]
    monkeypatch.setattr(model.optimizer, "apply", lambda parameters: (1 / (2 - next(updates)), apply(parameters)))
    with pytest.raises(ZeroDivisionError):
        model.profile(*digits(8))
    assert bits(model) == before and next(updates, None) is None, "two updates were made, the third failed"
    assert all(parameter.gradient is None for parameter in model.weights)


def test_layers_that_do_not_do_the_same_at_every_step() -> None:
    class Fickle(layers.Layer):
        calls = 0

        def forward(self, x: Any, training: bool) -> Any:
            Fickle.calls += 1
            inner = layers.ReLU(name="a") if Fickle.calls % 3 else layers.Softmax(name="b")
            return inner.apply(x, training)

    model = Sequential([Input((4,)), Fickle(name="fickle"), Dense(1)])
    model.compile("sgd", "mse")
    profile = model.profile(np.ones((4, 4)), np.ones(4), steps=5)
    assert 1 <= profile.steps < 5, "only those that are like the last one count"
    inner = [row for row in profile.rows if row.layer.startswith("fickle/") and row.direction == "forward"]
    assert len(inner) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"batch_size": 0}, "profile: batch_size must be at least 1; got 0"),
        ({"steps": 0}, "profile: steps must be at least 1; got 0"),
        ({"x": np.ones((4, 7, 7, 1))}, r"input must have shape \(None, 8, 8, 1\)"),
    ],
)
def test_bad_arguments_are_refused(arguments: dict[str, Any], message: str) -> None:
    x, y = digits(4)
    with pytest.raises(ValueError, match=message):
        small_cnn().profile(**({"x": x, "y": y} | arguments))
    with pytest.raises(ValueError, match=r"profile: the model must be compiled first"):
        Sequential([Input((8, 8, 1)), Flatten(), Dense(10)]).profile(x, y)


def test_what_makes_batches_is_profiled_too() -> None:
    class Batches:
        def __len__(self) -> int:
            return 2

        def __getitem__(self, index: int) -> Any:
            return digits(6)

    profile = small_cnn().profile(Batches(), steps=2)
    assert profile.batch_size == 6 and not any(row.op == "gather" for row in profile.rows)


def test_a_batch_is_never_larger_than_the_data() -> None:
    assert small_cnn().profile(*digits(5), steps=1).batch_size == 5


# Text and files.


def _profile(device: str = "cpu") -> Profile:
    rows = (
        Row("dense", "dense", "forward", ((2, 3), (3, 4), (4,)), 0.001, 0.002, 4_000_000, 96, 0.5, 2.0),
        Row("data", "batch", "forward", ((2,),), 0.0, 0.0005, 0, 1000, 0.125, 0.0002),
    )
    return Profile("m", device, "a machine", 2, "float32", 3, 0.004, 0.0015, 0.375, Roofline(1e9, 1e10), rows)


def test_the_table() -> None:
    assert str(_profile()).splitlines() == [
        "m: a training step of 2 samples, float32, on cpu",
        "(a machine; medians of 3 steps)",
        "Measured limits: 1 GFLOP/s, 10 GB/s.",
        "layer  op     pass     shapes         time  of step  FLOP/s   B/s  of limit",
        "dense  dense  forward  2x3, 3x4, 4    2 ms    50.0%     2 G  48 k      200%",
        "data   batch  forward  2            500 us    12.5%       -   2 M        0%",
        "2 op calls: 2.5 ms, 4 MFLOP, 1.1 kB; outside of ops: 1.5 ms, 37.5%",
        "As fit runs it, a step takes 4 ms.",
    ]
    short = _profile().table(1).splitlines()
    assert "and 1 more calls, 500 us, 12.5% of the step" in short and not any(line.startswith("data") for line in short)
    assert "those of the emulator: they say nothing about a GPU" in str(_profile("emulated"))
    assert "Ops are timed one by one" in str(_profile("cuda:0")) and "emulator" not in str(_profile("cuda:0"))


@pytest.mark.parametrize(
    ("seconds", "text"), [(2.5, "2.5 s"), (0.0123456, "12.3 ms"), (1e-3, "1 ms"), (4.56e-5, "45.6 us"), (0, "0 us")]
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(("value", "text"), [(2.5e12, "2.5 T"), (1e9, "1 G"), (999, "999 "), (12345, "12.3 k")])
def test_rates(value: float, text: str) -> None:
    assert rate(value) == text


def test_json(tmp_path: Path) -> None:
    _profile().to_json(tmp_path / "p.json")
    content = json.loads((tmp_path / "p.json").read_text())
    assert content["gpunet"] == gpunet.__version__ and content["roofline"] == {"flops": 1e9, "bandwidth": 1e10}
    assert (content["op_seconds"], content["outside_seconds"], content["flops"]) == (0.0025, 0.0015, 4_000_000)
    row = content["rows"][0]
    assert row["shapes"] == [[2, 3], [3, 4], [4]] and row["flops_per_second"] == 2e9 and row["layer"] == "dense"


def test_chrome_trace(tmp_path: Path, profile: Profile) -> None:
    profile.to_chrome_trace(tmp_path / "trace.json")
    events = json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    complete = [event for event in events if event["ph"] == "X"]
    assert len(complete) == len(profile.rows)
    for event in complete:
        assert {"name", "cat", "ts", "dur", "pid", "tid"} <= set(event) and event["dur"] > 0
    begins = [event["ts"] for event in complete]
    assert begins == sorted(begins) and begins[0] >= 0
    total = sum(event["dur"] for event in complete)
    assert total == pytest.approx(profile.op_seconds * 1e6)
    assert complete[0]["args"]["layer"] == "data"


def test_png(tmp_path: Path, profile: Profile) -> None:
    pytest.importorskip("matplotlib")
    profile.to_png(tmp_path / "p.png")
    assert (tmp_path / "p.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    from matplotlib.image import imread

    picture = imread(tmp_path / "p.png")
    assert picture.shape[0] > 500 and picture.min() < 0.5 < picture.max(), "there is something on it"


@pytest.fixture
def _no_matplotlib(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    real = builtins.__import__

    def refuse(name: str, *rest: Any) -> Any:
        if name.partition(".")[0] == "matplotlib":
            raise ImportError("No module named 'matplotlib'")
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", refuse)
    return


@pytest.mark.usefixtures("_no_matplotlib")
def test_without_matplotlib_the_extra_is_named(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"to_png: needs matplotlib \(No module.*\); install gpunet\[plot\]"):
        _profile().to_png(tmp_path / "p.png")
    assert not list(tmp_path.iterdir())


def test_the_profile_of_a_pretended_step_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a GPU runs behind the host, ops may take longer together than the host saw: then nothing is outside."""

    class Slow:
        marks = 0.0

        def mark(self) -> float:
            Slow.marks += 1.0
            return Slow.marks

        def seconds(self, begin: float, end: float) -> float:
            return end - begin

    monkeypatch.setattr(measurement, "clock_of", lambda device: Slow())
    model = Sequential([Input((4,)), Dense(2)])
    model.compile("sgd", "mse")
    profile = model.profile(np.ones((4, 4)), np.ones((4, 2)), steps=2)
    assert profile.outside_seconds == 0 and profile.outside_share == pytest.approx(0)
    assert {row.seconds for row in profile.rows} == {1.0}
    assert [row.begin for row in sorted(profile.rows, key=lambda row: row.begin)] == [
        1.0 + 2 * number for number in range(len(profile.rows))
    ]
