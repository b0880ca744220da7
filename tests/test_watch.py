"""compile(nonfinite=…): an infinity or NaN in training gives the model back as it was before, or a warning.

On `cpu` the host looks at each step, on `emulated` and `cuda` where it reads the loss; captured steps are looked at as
those that run as they are. What is named as the first is in test_diagnosis.py.
"""

from __future__ import annotations

import gc
import warnings
import weakref
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from watched import (
    ADVICE,
    FIRST,
    HUGE,
    LAST,
    MIDDLE,
    PER_EPOCH,
    PLANTS,
    SIZE,
    Square,
    assert_same_state,
    error_of,
    fit,
    new_data,
    new_model,
    planted,
    trained_until,
)

import gpunet
from gpunet.backend.arrays import CPU, Array, Device, HostArray
from gpunet.callbacks import LambdaCallback
from gpunet.layers import Layer
from gpunet.training.capture import Captures
from gpunet.training.watch import Watch


@pytest.mark.parametrize("eager", [False, True], ids=["captured", "eager"])
@pytest.mark.parametrize("batch", [FIRST, MIDDLE, LAST])
@pytest.mark.parametrize("kind", PLANTS)
def test_the_first_of_all_is_named_and_taken_back(device: Device, kind: str, batch: int, eager: bool) -> None:
    layer, _, subject, text = PLANTS[kind]
    model = new_model(layer(name="own"), run_eagerly=eager)
    x, y = planted(kind, batch)
    place = f"in step {batch + 1}, batch {batch} of its epoch"
    assert error_of(model, x, y) == f"Sequential 'net': {subject} must be finite; got {text}, {place}; {ADVICE}"
    assert_same_state(model, trained_until(batch, layer, x, y))


def test_a_batch_in_parts(device: Device) -> None:
    """Indices of samples are those in their part."""
    model = new_model(Square(name="own"), batch_parts=3)
    x, y = new_data()
    x[SIZE * MIDDLE + 4, 2] = HUGE  # parts of 3, 3 and 2
    place = f"in step {MIDDLE + 1}, batch {MIDDLE} of its epoch"
    text = f"outputs must be finite; got inf in the output of own at index (1, 2), {place}; {ADVICE}"
    assert error_of(model, x, y) == f"Sequential 'net': {text}"
    before = new_model(Square(name="own"), batch_parts=3, nonfinite="ignore")
    fit(before, x[: SIZE * MIDDLE], y[: SIZE * MIDDLE])
    assert_same_state(model, before)


def test_the_host_looks_where_it_reads_the_loss(device: Device) -> None:
    x, y = planted("forward", FIRST)
    trained: list[int] = []
    count = LambdaCallback(on_train_batch_end=lambda batch, logs: trained.append(batch))
    count.wants_logs = lambda hook: False  # type: ignore[method-assign]
    error_of(new_model(Square(name="own")), x, y, callbacks=count)
    assert trained == ([] if device == CPU else list(range(PER_EPOCH)))
    trained.clear()
    error_of(new_model(Square(name="own")), x, y, callbacks=LambdaCallback(on_train_batch_end=lambda batch, logs: None))
    assert trained == []


@pytest.mark.parametrize("bad", [9, 22], ids=["of 8", "of 2"])
def test_a_replayed_step_of_either_size_is_found_in_its_epoch(
    device: Device, bad: int, captures: list[Captures]
) -> None:
    """Batches of 8 and of 2 by turns, 10 an epoch: all but the first six are replays where steps are captured."""

    def batches(stop: int) -> Iterator[tuple[HostArray, HostArray]]:
        rng = np.random.default_rng(0)
        for number in range(1, stop):
            x = rng.random((8 if number % 2 else 2, 4), np.float32)
            if number == bad:
                x[1, 3] = HUGE
            yield x, x[:, :2]

    model = new_model(Square(name="own"))
    with pytest.raises(FloatingPointError) as caught:
        model.fit(batches(31), epochs=3, steps_per_epoch=10, verbose=0)
    place = f"in step {bad}, batch {(bad - 1) % 10} of its epoch"
    got = "inf in the output of own at index (1, 3)"
    assert str(caught.value) == f"Sequential 'net': outputs must be finite; got {got}, {place}; {ADVICE}"
    assert device == CPU or captures[-1].graphs == 2
    reference = new_model(Square(name="own"), nonfinite="ignore")
    reference.fit(batches(bad), verbose=0)
    assert_same_state(model, reference)
    for one in (model, reference):  # and both can go on
        fit(one, *new_data())
    assert_same_state(model, reference)


@pytest.mark.parametrize("kind", PLANTS)
def test_a_warning_comes_once_and_changes_nothing(device: Device, kind: str) -> None:
    layer, _, subject, text = PLANTS[kind]
    x, y = planted(kind, MIDDLE)
    model, reference = (new_model(layer(name="own"), nonfinite=nonfinite) for nonfinite in ("warn", "ignore"))
    with pytest.warns(UserWarning) as caught:
        history = fit(model, x, y, epochs=3)
    (warning,) = caught
    place = f"in step {MIDDLE + 1}, batch {MIDDLE} of its epoch"
    rest = "training goes on, without further warnings; a smaller learning_rate, or clipnorm, may help"
    assert str(warning.message) == f"Sequential 'net': {subject} must be finite; got {text}, {place}; {rest}"
    with np.errstate(all="ignore"):
        expected = fit(reference, x, y, epochs=3)
    assert_same_state(model, reference)
    np.testing.assert_array_equal(history.history["loss"], expected.history["loss"])
    assert not np.isfinite(history.history["loss"][-1])


def test_train_on_batch(device: Device) -> None:
    """It has no epochs; after an error the same step is used again."""
    (x, y), (bad, _) = new_data(), planted("forward", FIRST)
    model, reference = new_model(Square(name="own")), new_model(Square(name="own"), nonfinite="ignore")
    for step in range(1, 9):
        if step in (2, 6):
            with pytest.raises(
                FloatingPointError, match=rf"inf in the output of own at .*, in step {step - step // 4}; "
            ):
                model.train_on_batch(bad[:SIZE], y[:SIZE])
        else:
            assert model.train_on_batch(x[:SIZE], y[:SIZE]) == reference.train_on_batch(x[:SIZE], y[:SIZE])
    assert_same_state(model, reference)


def test_batches_of_ever_new_shapes_are_looked_at_at_once(device: Device) -> None:
    """There are copies for 16 kinds; by then steps are not captured any more, which is said."""
    (x, y), (bad, _) = new_data(), planted("forward", FIRST)
    model, reference = new_model(Square(name="own")), new_model(Square(name="own"), nonfinite="ignore")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        for size in range(1, 19):
            model.train_on_batch(x[:size], y[:size])
            reference.train_on_batch(x[:size], y[:size])
        with pytest.raises(FloatingPointError, match=r"inf in the output of own at index \(1, 2\), in step 19; "):
            model.train_on_batch(bad[:19], y[:19])
    assert_same_state(model, reference)


class _Average(Layer):
    """y = x; keeps a moving average of x in a weight that is not trained, by arithmetic in place."""

    def build(self, input_shape: Any) -> None:
        self.mean = self.add_weight((input_shape[-1],), "zeros", name="mean", trainable=False)

    def forward(self, x: Array, training: bool) -> Any:
        if training:
            mean = self.mean.value
            mean += np.float32(0.1) * (x.mean(axis=0) - mean)
        return x, lambda dy: dy


def test_what_a_forward_pass_changes_is_taken_back_too(device: Device) -> None:
    x, y = planted("forward", MIDDLE)
    layers = [(_Average(name="average"), Square(name="own")) for _ in range(2)]
    model, reference = new_model(*layers[0]), new_model(*layers[1], nonfinite="ignore")
    error_of(model, x, y)
    fit(reference, x[: SIZE * MIDDLE], y[: SIZE * MIDDLE])
    assert_same_state(model, reference)
    assert (layers[0][0].mean.numpy() > 0).all()


class _Wide(Layer):
    """y = a x, with a in float64."""

    def build(self, input_shape: Any) -> None:
        self.a = self.add_weight((input_shape[-1],), "ones", name="a", dtype="float64")

    def forward(self, x: Array, training: bool) -> Any:
        factor = self.a.value.astype(np.float32)

        def backward(dy: Array) -> Array:
            self.a.add_gradient((dy * x).sum(axis=0).astype(np.float64))
            return dy * factor

        return x * factor, backward


@pytest.mark.parametrize("kind", ["forward", "backward"])
def test_weights_of_two_dtypes(device: Device, kind: str) -> None:
    x, y = planted(kind, MIDDLE)
    layer = PLANTS[kind][0]
    layers = [(layer(name="own"), _Wide(name="wide")) for _ in range(2)]
    model, reference = new_model(*layers[0]), new_model(*layers[1], nonfinite="ignore")
    assert PLANTS[kind][3] in error_of(model, x, y)
    fit(reference, x[: SIZE * MIDDLE], y[: SIZE * MIDDLE])
    assert_same_state(model, reference)


def test_layers_may_be_frozen_before_the_host_has_looked(device: Device) -> None:
    """The optimizer then lays the others out anew; what was kept finds its place all the same."""
    x, y = planted("forward", 1)
    model = new_model(Square(name="own"))

    def freeze(batch: int, logs: Any) -> None:
        if batch == 2:
            model.get_layer("a").trainable = False

    callback = LambdaCallback(on_train_batch_end=freeze)
    callback.wants_logs = lambda hook: False  # type: ignore[method-assign]
    assert "got inf in the output of own at index (1, 2), in step 2, batch 1 of" in error_of(
        model, x, y, callbacks=callback
    )
    reference = trained_until(1, Square, x, y)
    assert_same_state(model, reference)
    if device != CPU:
        assert not model.get_layer("a").trainable


def test_a_profile_shows_what_watching_takes(device: Device) -> None:
    model = new_model()
    profile = model.profile(*new_data(), batch_size=SIZE, steps=1)
    watching = [(row.op, row.layer, row.direction) for row in profile.rows if "note" in row.op]
    assert sorted(watching) == [
        (op, "optimizer", "update") for op in ("keep_if_noted", "keep_if_noted", "note_nonfinite")
    ]


def test_what_training_took_is_given_back_at_its_end() -> None:
    """Without waiting for Python to look for circles."""
    model = new_model(optimizer="sgd")
    kept: list[Any] = []
    gc.disable()
    try:
        with pytest.MonkeyPatch.context() as patch:
            init = Watch.__init__

            def noted(self: Watch, *args: Any) -> None:
                init(self, *args)
                kept.append(weakref.ref(self))

            patch.setattr(Watch, "__init__", noted)
            fit(model, *new_data())
        assert [one() for one in kept] == [None]
    finally:
        gc.enable()


def test_the_choice_is_part_of_the_configuration(tmp_path: Any) -> None:
    for nonfinite in ("ignore", "warn", "raise"):
        model = new_model(nonfinite=nonfinite)
        config = model.get_compile_config()
        assert config.get("nonfinite", "ignore") == nonfinite and ("nonfinite" in config) == (nonfinite != "ignore")
        model.save(tmp_path / "model.gpunet")
        assert gpunet.load_model(tmp_path / "model.gpunet").get_compile_config() == config
    with pytest.raises(ValueError, match=r"compile: nonfinite must be one of 'ignore', 'warn', 'raise'; got 'stop'"):
        new_model(nonfinite="stop")


def test_finite_training_has_the_same_bits_watched_or_not(device: Device) -> None:
    models = [new_model(nonfinite=nonfinite) for nonfinite in ("ignore", "warn", "raise")]
    histories = [fit(model, *new_data(), epochs=4, validation_split=0.1).history for model in models]
    for model, history in zip(models, histories, strict=True):
        assert_same_state(model, models[0])
        assert history == histories[0]
