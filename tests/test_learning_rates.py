"""Schedules of learning rates (learning_rate.cu): formulas, the same bits on every device, own ones, captured steps."""

from __future__ import annotations

import json
from typing import Any

import checks
import numpy as np
import oracle_optimizers as oracle
import pytest

from gpunet import Dense, Input, Sequential, optimizers
from gpunet.backend.arrays import CPU, Array, Device
from gpunet.backend.random import set_random_seed
from gpunet.identifiers import custom_object_scope, snake_case
from gpunet.ops.learning_rate import Formula, scheduled_rate
from gpunet.optimizers import schedules
from gpunet.parameters import Parameter
from gpunet.training.capture import Captures

CASES: list[tuple[str, dict[str, Any]]] = [
    ("ExponentialDecay", {"initial_learning_rate": 0.3, "decay_steps": 7, "decay_rate": 0.8}),
    ("ExponentialDecay", {"initial_learning_rate": 0.3, "decay_steps": 7, "decay_rate": 0.8, "staircase": True}),
    ("InverseTimeDecay", {"initial_learning_rate": 0.3, "decay_steps": 7, "decay_rate": 0.8}),
    ("InverseTimeDecay", {"initial_learning_rate": 0.3, "decay_steps": 7, "decay_rate": 0.8, "staircase": True}),
    ("PolynomialDecay", {"initial_learning_rate": 0.3, "decay_steps": 7, "end_learning_rate": 0.1, "power": 2.0}),
    ("PolynomialDecay", {"initial_learning_rate": 0.3, "decay_steps": 7, "power": 0.5, "cycle": True}),
    ("PiecewiseConstantDecay", {"boundaries": [3, 7.5, 40], "values": [0.5, 0.25, 0.1, 0.0]}),
    ("PiecewiseConstantDecay", {"boundaries": [], "values": [0.5]}),
    ("CosineDecay", {"initial_learning_rate": 0.3, "decay_steps": 50, "alpha": 0.1}),
    ("CosineDecay", {"initial_learning_rate": 0.1, "decay_steps": 50, "warmup_target": 0.4, "warmup_steps": 9}),
    ("CosineDecayRestarts", {"initial_learning_rate": 0.3, "first_decay_steps": 4, "m_mul": 0.8, "alpha": 0.1}),
    ("CosineDecayRestarts", {"initial_learning_rate": 0.3, "first_decay_steps": 4, "t_mul": 1.0, "m_mul": 0.9}),
]
IDS = [f"{name}-{number}" for number, (name, _) in enumerate(CASES)]
STEPS = [*range(40), 999, 10**4]
# Powers that are no integers; a GPU's may differ from the CPU's in their last bits.
_WITH_POWERS = (0, 5)


def _schedule(number: int) -> schedules.LearningRateSchedule:
    name, arguments = CASES[number]
    made: schedules.LearningRateSchedule = getattr(schedules, name)(**arguments)
    return made


@pytest.mark.parametrize("number", range(len(CASES)), ids=IDS)
def test_rates(device: Device, number: int) -> None:
    schedule, (name, arguments) = _schedule(number), CASES[number]
    formula = getattr(oracle, snake_case(name))
    optimizer = optimizers.SGD(schedule)
    optimizer.build([Parameter(checks.on(device, np.float32([1])), "w")])
    for step in STEPS:
        expected = formula(step, **arguments)
        np.testing.assert_allclose(schedule(step), expected, rtol=1e-11, atol=1e-14)
        if 20 < step < 10**4:
            continue
        count, rate = checks.on(device, np.array([step]), np.zeros(1))
        scheduled_rate(count, optimizer._schedule_numbers, rate, schedule.formula)
        if number in _WITH_POWERS:
            np.testing.assert_allclose(checks.host(rate), schedule(step), rtol=1e-14)
        else:
            checks.assert_same_bits(rate, np.array([schedule(step)]))


@pytest.mark.parametrize("number", range(len(CASES)), ids=IDS)
def test_configurations(number: int) -> None:
    schedule = _schedule(number)
    config = json.loads(json.dumps(schedules.serialize(schedule)))
    again = schedules.deserialize(config)
    assert type(again) is type(schedule) and again.get_config() == schedule.get_config()
    assert {**again.get_config(), **CASES[number][1]} == again.get_config()
    optimizer = optimizers.deserialize(json.loads(json.dumps(optimizers.serialize(optimizers.Adam(schedule)))))
    assert optimizer.learning_rate == schedule(0)
    assert optimizer.get_config()["learning_rate"] == config


def test_an_optimizer_follows_its_schedule(device: Device) -> None:
    optimizer = optimizers.SGD(schedules.PiecewiseConstantDecay([1, 2], [0.5, 0.25, 2.0]))
    parameter = Parameter(checks.on(device, np.float32([0])), "w")
    for rate in (0.5, 0.5, 0.25, 2.0, 2.0):
        assert optimizer.learning_rate == rate
        before = parameter.numpy()
        parameter.gradient = checks.on(device, np.float32([1]))
        optimizer.apply([parameter])
        np.testing.assert_array_equal(parameter.numpy(), before - np.float32(rate))
    with pytest.raises(
        TypeError, match=r"sgd: learning_rate must be a schedule, because the optimizer has one; got 0.1"
    ):
        optimizer.learning_rate = 0.1
    optimizer.learning_rate = schedules.ExponentialDecay(8.0, 5, 0.5)
    assert optimizer.learning_rate == 4.0
    parameter.gradient = checks.on(device, np.float32([1]))
    before = parameter.numpy()
    optimizer.apply([parameter])
    np.testing.assert_array_equal(parameter.numpy(), before - np.float32(4))
    before_change = optimizer.hyperparameters
    optimizer.learning_rate = _constant
    assert optimizer.hyperparameters != before_change
    parameter.gradient = checks.on(device, np.float32([1]))
    before = parameter.numpy()
    optimizer.apply([parameter])
    np.testing.assert_array_equal(parameter.numpy(), before - np.float32(0.05))
    optimizer.learning_rate = 0.5
    assert optimizer.learning_rate == 0.5


class _Halving(schedules.LearningRateSchedule):
    def __call__(self, step: int) -> float:
        return 1 / 2**step

    def get_config(self) -> dict[str, Any]:
        return {}


class _Slower(schedules.ExponentialDecay):
    def __call__(self, step: int) -> float:
        return super().__call__(step) / 4


def test_own_schedules_and_functions(device: Device) -> None:
    rates = iter([0.5, 2.0])
    for learning_rate, expected in (
        (_Halving(), [1, 0.5, 0.25]),
        (_Slower(4.0, 1, 0.5), [1, 0.5, 0.25]),
        (lambda: next(rates), [0.5, 2.0]),
    ):
        parameter, optimizer = Parameter(checks.on(device, np.float32([0])), "w"), optimizers.SGD(learning_rate)
        for rate in expected:
            before = parameter.numpy()
            parameter.gradient = checks.on(device, np.float32([1]))
            optimizer.apply([parameter])
            np.testing.assert_array_equal(parameter.numpy(), before - np.float32(rate))
    config = optimizers.serialize(optimizers.SGD(_Halving()))
    with custom_object_scope({"_Halving": _Halving}):
        assert optimizers.deserialize(config).learning_rate == 1
    with pytest.raises(ValueError, match=r"SGD: learning_rate must be one of 'CosineDecay'.*got '_Halving'"):
        optimizers.deserialize(config)
    bad = optimizers.SGD(lambda: -1.0)
    parameter.gradient = checks.on(device, np.float32([1]))
    with pytest.raises(ValueError, match=r"sgd: learning_rate must be finite and at least 0; got -1.0"):
        bad.apply([parameter])


def _constant() -> float:
    return 0.05


X = np.random.default_rng(0).standard_normal((16, 6)).astype(np.float32)
Y = np.random.default_rng(1).integers(0, 3, 16)


def _model(optimizer: optimizers.Optimizer, **options: Any) -> Sequential:
    set_random_seed(3)
    model = Sequential([Input((6,)), Dense(5, activation="relu", kernel_regularizer="l2"), Dense(3)])
    model.add(Dense(3, activation="softmax", kernel_constraint="max_norm"))
    model.compile(optimizer, "sparse_categorical_crossentropy", **options)
    return model


def _trained(optimizer: optimizers.Optimizer, **options: Any) -> list[Array]:
    model = _model(optimizer, **options)
    model.fit(X, Y, batch_size=4, epochs=3, verbose=0)
    return [*model.get_weights(), *map(checks.host, optimizer.variables.values())]


MAKERS: list[tuple[Any, int]] = [
    (lambda: optimizers.RMSprop(schedules.CosineDecay(0.01, 9, warmup_target=0.05, warmup_steps=3), momentum=0.5), 1),
    (lambda: optimizers.Nadam(_Halving(), use_ema=True, ema_overwrite_frequency=4, ema_momentum=0.5), 1),
    (lambda: optimizers.Adam(_constant, gradient_accumulation_steps=2, global_clipnorm=0.5, use_ema=True), 2),
    (lambda: optimizers.Lamb(0.05, gradient_accumulation_steps=3, weight_decay=0.1), 2),
    (lambda: optimizers.Adafactor(0.1, loss_scale_factor=64.0), 1),
    (lambda: optimizers.Muon(0.05), 1),
]


@pytest.mark.parametrize(("make", "graphs"), MAKERS, ids=["rmsprop", "nadam", "adam", "lamb", "adafactor", "muon"])
def test_a_captured_run_has_the_bits_of_a_plain_one(
    device: Device, make: Any, graphs: int, captures: list[Captures]
) -> None:
    """Steps that add up and steps that update are two graphs; nothing of a schedule is written into one."""
    if device == CPU:
        pytest.skip("the CPU captures nothing")
    eager = _trained(make(), run_eagerly=True)
    assert captures[-1].graphs == 0
    for actual, expected in zip(_trained(make()), eager, strict=True):
        checks.assert_same_bits(actual, expected)
    assert captures[-1].graphs == graphs and captures[-1].wanted


BAD: list[tuple[str, dict[str, Any], str]] = [
    ("ExponentialDecay", {"decay_steps": 0}, "ExponentialDecay: decay_steps must be at least 1e-09; got 0"),
    ("InverseTimeDecay", {"decay_rate": -1}, "InverseTimeDecay: decay_rate must be finite and at least 0; got -1"),
    ("ExponentialDecay", {"staircase": 1}, "ExponentialDecay: staircase must be True or False; got 1"),
    ("PolynomialDecay", {"power": -1}, "PolynomialDecay: power must be finite and at least 0; got -1"),
    ("PiecewiseConstantDecay", {"values": [1]}, "values must have one number more than boundaries, 4; got 1"),
    ("PiecewiseConstantDecay", {"boundaries": [3, 3, 1]}, r"boundaries must grow; got \[3.0, 3.0, 1.0\]"),
    ("CosineDecayRestarts", {"t_mul": 0.5}, "CosineDecayRestarts: t_mul must be finite and at least 1; got 0.5"),
]


@pytest.mark.parametrize(("name", "changed", "words"), BAD, ids=[str(number) for number in range(len(BAD))])
def test_bad_arguments_are_refused(name: str, changed: dict[str, Any], words: str) -> None:
    arguments = next(arguments for one, arguments in CASES if one == name)
    with pytest.raises((ValueError, TypeError), match=words):
        getattr(schedules, name)(**arguments | changed)


def test_bad_use_is_refused(device: Device) -> None:
    with pytest.raises(ValueError, match="SGD: learning_rate must be one of 'CosineDecay'"):
        optimizers.SGD({"class_name": "Adam", "config": {}})
    with pytest.raises(ValueError, match="SGD: learning_rate must be an own function that is known here; got 'f'"):
        optimizers.SGD({"class_name": "function", "config": "f"})
    numbers, rate = checks.on(device, np.ones(4), np.ones(1))
    with pytest.raises(TypeError, match="scheduled_rate: iterations must be int64; got float64"):
        scheduled_rate(rate, numbers, rate, Formula.EXPONENTIAL)
