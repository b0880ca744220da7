"""Several threads at once: they predict with one model, and train models of their own."""

from __future__ import annotations

import copy
import pickle
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import checks
import numpy as np
import pytest
from at_once import THREADS, assert_all_same, at_once, switch_often  # noqa: F401 — a fixture
from small_models import bits, digits, small_cnn

import gpunet
from gpunet import Conv2D, Dense, Dropout, Flatten, Input, MaxPooling2D, Sequential
from gpunet.backend import emulator
from gpunet.backend.arrays import CPU, Device, Kind
from gpunet.callbacks import LambdaCallback
from gpunet.parameters import Parameter

REPEATS = 40 if checks.LONG else 3


@pytest.fixture(autouse=True)
def _unchecked(request: pytest.FixtureRequest) -> Iterator[None]:
    """Run emulated kernels fast, in every thread: what they compute is checked elsewhere."""
    emulator._environment_settings.cache_clear()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GPUNET_EMULATOR_CHECK", "0")
        yield
    emulator._environment_settings.cache_clear()


def _network(device: Device) -> Sequential:
    with gpunet.device(device):
        model = Sequential(
            [
                Input((8, 8, 1)),
                Conv2D(6, 3, activation="relu", kernel_regularizer="l2"),
                MaxPooling2D(2),
                Dropout(0.2),
                Flatten(),
                Dense(12, activation="tanh", activity_regularizer="l2"),
                Dense(10, activation="softmax"),
            ]
        )
        model.compile("adam", "sparse_categorical_crossentropy", ["accuracy"])
    return model


@pytest.mark.parametrize("method", ["predict", "predict_on_batch", "call", "evaluate", "test_on_batch"])
def test_one_model_gives_the_same_bits_from_eight_threads(device: Device, method: str) -> None:
    x, y = digits(40)
    model = _network(device)
    uses: dict[str, Callable[[int], Any]] = {
        "predict": lambda n: model.predict(x[n : n + 30], batch_size=13, verbose=0),
        "predict_on_batch": lambda n: model.predict_on_batch(x[n : n + 30]),
        "call": lambda n: model(x[n : n + 30]),
        "evaluate": lambda n: model.evaluate(x[n : n + 30], y[n : n + 30], batch_size=13, verbose=0),
        "test_on_batch": lambda n: model.test_on_batch(x[n : n + 30], y[n : n + 30]),
    }
    use = uses[method]
    expected = [use(n) for n in range(THREADS)]
    for _ in range(REPEATS):
        for n, result in enumerate(at_once(*(lambda n=n: use(n) for n in range(THREADS)))):
            assert_all_same([result], expected[n])


def test_all_ways_of_using_a_model_at_once(device: Device) -> None:
    x, y = digits(24)
    model = _network(device)
    uses: list[Callable[[], Any]] = [
        lambda: model.predict(x, batch_size=7, verbose=0),
        lambda: model.evaluate(x, y, batch_size=7, verbose=0),
        lambda: model(x),
        lambda: model.test_on_batch(x, y),
    ]
    expected = [use() for use in uses]
    for _ in range(REPEATS):
        for result, wanted in zip(at_once(*uses, *uses), expected * 2, strict=True):
            assert_all_same([result], wanted)


def test_a_model_that_several_threads_use_first_is_built_once(device: Device) -> None:
    x, _ = digits(6)
    for _ in range(REPEATS):
        gpunet.set_random_seed(3)
        with gpunet.device(device):
            model = Sequential([Conv2D(3, 3), Flatten(), Dense(5)])

        def use(model: Sequential = model) -> Any:
            with gpunet.device(device):
                return model.predict(x, verbose=0)

        results = at_once(*[use] * THREADS)
        assert len(model.weights) == 4
        assert_all_same(results, use())


def test_a_first_use_that_fails_takes_nothing_from_others() -> None:
    """It forgets the weights that it has made for wrong data; nobody may have begun to use them."""
    x, y = digits(6)
    for _ in range(4 * REPEATS):
        model = Sequential([Conv2D(3, 3), Flatten(), Dense(5, activation="softmax")])
        model.compile("sgd", "sparse_categorical_crossentropy")

        def fail(model: Sequential = model) -> None:
            with pytest.raises(ValueError, match="labels"):
                model.test_on_batch(x, y + 100)

        uses = [lambda model=model: model.predict(x, verbose=0)] * 4
        results = [result for result in at_once(*[fail] * 4, *uses) if result is not None]
        assert_all_same(results, results[0])
        assert_all_same(results, model.predict(x, verbose=0))


def test_a_layer_that_several_threads_call_first_is_built_once() -> None:
    for _ in range(REPEATS):
        layer = Dense(4)
        results = at_once(*[lambda layer=layer: layer(np.ones((2, 3), np.float32))] * THREADS)
        assert len(layer.weights) == 2
        assert_all_same(results, results[0])


def test_predictions_beside_training_are_of_one_step(device: Device) -> None:
    """Every batch sees the weights between two steps, never some of one and some of the next."""
    x, y = digits(16)
    model, twin = _network(device), None
    twin = copy.deepcopy(model)
    steps = 12
    allowed = {twin.predict_on_batch(x).tobytes()}
    for _ in range(steps):
        twin.train_on_batch(x, y)
        allowed.add(twin.predict_on_batch(x).tobytes())
    ended, seen = threading.Event(), set()

    def train() -> None:
        try:
            for _ in range(steps):
                model.train_on_batch(x, y)
        finally:
            ended.set()

    def predict() -> None:
        while not ended.is_set():
            seen.add(model.predict_on_batch(x).tobytes())

    at_once(train, predict, predict)
    assert seen <= allowed and bits(model) == bits(twin)


def test_weights_beside_training_are_of_one_step(tmp_path: Path) -> None:
    x, y = digits(16)
    model = small_cnn()
    twin, steps = copy.deepcopy(model), 60
    allowed = {tuple(bits(twin))}
    for _ in range(steps):
        twin.train_on_batch(x, y)
        allowed.add(tuple(bits(twin)))
    ended, seen = threading.Event(), set()

    def train() -> None:
        try:
            for _ in range(steps):
                model.train_on_batch(x, y)
        finally:
            ended.set()

    def read() -> None:
        while not ended.is_set():
            seen.add(tuple(bits(model)))

    def save() -> None:
        path = tmp_path / "model.gpunet"
        while not ended.is_set():
            model.save(path)
            seen.add(tuple(bits(gpunet.load_model(path))))

    at_once(train, read, save)
    assert seen <= allowed


def test_saving_keeps_steps_out_while_it_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, free = small_cnn(), list[bool]()
    numpy = Parameter.numpy

    def watched(self: Parameter) -> Any:
        free.extend(at_once(lambda: model.turn.acquire(blocking=False)))
        return numpy(self)

    monkeypatch.setattr(Parameter, "numpy", watched)
    model.save(tmp_path / "model.gpunet")
    assert free == [False] * 4


def test_a_model_is_trained_by_one_thread() -> None:
    x, y = digits(16)
    model = small_cnn()
    inside, leave = threading.Event(), threading.Event()

    def wait(batch: int, logs: Any) -> None:
        inside.set()
        assert leave.wait(60)

    fit = threading.Thread(
        target=lambda: model.fit(x, y, callbacks=LambdaCallback(on_train_batch_end=wait), verbose=0), name="trainer"
    )
    fit.start()
    try:
        assert inside.wait(60)
        uses: dict[str, Callable[[], Any]] = {
            "fit": lambda: model.fit(x, y, verbose=0),
            "train_on_batch": lambda: model.train_on_batch(x, y),
            "evaluate": lambda: model.evaluate(x, y, verbose=0),
            "test_on_batch": lambda: model.test_on_batch(x, y),
            "profile": lambda: model.profile(x, y),
        }
        for name, use in uses.items():
            with pytest.raises(RuntimeError, match=rf"\.{name}: the model must be trained by one thread.*'trainer'"):
                use()
        model.predict(x, verbose=0)
        for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):  # which nobody trains
            other.train_on_batch(x, y)
    finally:
        leave.set()
        fit.join(60)
    assert model.optimizer.iterations == 1
    model.fit(x, y, verbose=0)


def test_a_callback_may_use_the_model_that_is_trained() -> None:
    x, y = digits(16)
    model = small_cnn()

    def use(epoch: int, logs: Any) -> None:
        model.evaluate(x, y, verbose=0)
        model.train_on_batch(x, y)
        with pytest.raises(RuntimeError, match="here: the model must be trained by one thread"):  # still
            at_once(lambda: model.turns.check("here"))

    model.fit(x, y, epochs=2, callbacks=LambdaCallback(on_epoch_end=use), verbose=0)
    assert model.optimizer.iterations == 4


@pytest.mark.parametrize("seeded", [False, True], ids=["built before", "under seeds of their own"])
def test_models_train_at_once_as_one_after_the_other(device: Device, seeded: bool) -> None:
    x, y = digits(40)

    def built(number: int) -> Sequential:
        with gpunet.random_seed(number) if seeded else gpunet.device(device):
            return _network(device)

    def trained(number: int, model: Sequential | None = None) -> list[bytes]:
        if model is not None:
            model.fit(x, y, batch_size=9, epochs=2, shuffle=False, verbose=0)
            return bits(model)
        with gpunet.random_seed(number):
            model = _network(device)
            model.fit(x, y, batch_size=9, epochs=2, validation_split=0.2, verbose=0)
        return bits(model)

    def models() -> list[Sequential | None]:
        gpunet.set_random_seed(0)
        return [None] * 4 if seeded else [built(n) for n in range(4)]

    expected = [trained(n, model) for n, model in enumerate(models())]
    assert len({weights[0] for weights in expected}) == 4
    for _ in range(REPEATS):
        assert at_once(*(lambda n=n, model=model: trained(n, model) for n, model in enumerate(models()))) == expected


def test_threads_choose_devices_and_policies_of_their_own(device: Device) -> None:
    x, y = digits(20)

    def trained(place: Device, policy: str, seed: int) -> tuple[str, str, list[bytes]]:
        with gpunet.device(place), gpunet.convolution(policy), gpunet.random_seed(seed):
            model = _network(gpunet.current_device())
            model.fit(x, y, batch_size=8, verbose=0)
            return str(model.device), gpunet.current_convolution(), bits(model)

    asked = [(device, "exact", 1), (CPU, "winograd", 2), (device, "winograd", 3), (CPU, "exact", 4)]
    expected = [trained(*one) for one in asked]
    for _ in range(REPEATS):
        assert at_once(*(lambda one=one: trained(*one) for one in asked)) == expected


def test_models_that_others_build_do_not_end_captures(device: Device) -> None:
    """A captured step is void after any change to a layer; those of other threads come to an end."""
    if device.kind is Kind.CPU:
        pytest.skip("nothing is captured on cpu")
    x, y = digits(16)
    model, ended = _network(device), threading.Event()

    def train() -> None:
        try:
            for _ in range(30):
                model.train_on_batch(x, y)
        finally:
            ended.set()

    def build() -> None:
        while not ended.is_set():
            Dense(3).build((None, 4))

    at_once(train, build)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(4):
            model.train_on_batch(x, y)
    assert model._step is not None and model._step._captures.graphs == 1


def test_a_trained_model_is_that_of_its_thread_s_seed() -> None:
    results = at_once(*(lambda seed=seed: _fitted(seed) for seed in (1, 2, 1, 2)))
    assert results[0] == results[2] != results[1] == results[3]


def _fitted(seed: int) -> list[bytes]:
    with gpunet.random_seed(seed):
        model = small_cnn()
        model.fit(*digits(32), verbose=0)
    return bits(model)
