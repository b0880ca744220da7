"""Every optimizer but SGD and plain Adam: steps, bits, state (rmsprop.cu, lion.cu, ftrl.cu, lamb.cu and others)."""

from __future__ import annotations

import json
from typing import Any

import checks
import numpy as np
import oracle_optimizers as oracle
import pytest

from gpunet import constraints, optimizers, regularizers
from gpunet.backend.arrays import CPU, Array, Device, HostArray
from gpunet.ops.adafactor import adafactor
from gpunet.ops.flat import Layout
from gpunet.ops.lamb import lamb
from gpunet.ops.muon import combine, muon_momentum
from gpunet.ops.optimizer_step import advance_nadam
from gpunet.ops.preparation import Rules
from gpunet.ops.rmsprop import rmsprop
from gpunet.parameters import Parameter

WIDE = np.float64
STEPS = 4
SHAPES = [(257,), (6, 5), (2, 3, 40), (3, 1), (1, 70)]
ELEMENT_WISE: list[tuple[str, dict[str, Any]]] = [
    ("RMSprop", {"learning_rate": 0.01}),
    ("RMSprop", {"learning_rate": 0.02, "rho": 0.7, "momentum": 0.6, "centered": True, "epsilon": 1e-3}),
    ("Adam", {"learning_rate": 0.05, "beta_2": 0.6, "amsgrad": True}),
    ("AdamW", {"learning_rate": 0.1, "weight_decay": 0.3}),
    ("Adamax", {"learning_rate": 0.03, "beta_1": 0.8, "beta_2": 0.7}),
    ("Nadam", {"learning_rate": 0.03, "beta_1": 0.8, "beta_2": 0.9, "epsilon": 1e-3}),
    ("Adagrad", {"learning_rate": 0.3, "initial_accumulator_value": 0.5}),
    ("Adadelta", {"learning_rate": 0.7, "rho": 0.8, "epsilon": 1e-3}),
    ("Lion", {"learning_rate": 0.01, "beta_1": 0.8, "beta_2": 0.7}),
    (
        "Ftrl",
        {
            **{"learning_rate": 0.2, "l1_regularization_strength": 0.4, "l2_regularization_strength": 0.1},
            **{"l2_shrinkage_regularization_strength": 0.2, "beta": 0.3, "initial_accumulator_value": 0.7},
        },
    ),
]
OTHERS: list[tuple[str, dict[str, Any]]] = [
    ("Ftrl", {"learning_rate": 0.3, "learning_rate_power": -0.7}),
    ("Lamb", {"learning_rate": 0.1, "beta_1": 0.8, "epsilon": 1e-3}),
    ("Adafactor", {"learning_rate": 0.6, "clip_threshold": 0.5, "beta_2_decay": -0.6, "epsilon_2": 0.1}),
]
MUON: tuple[str, dict[str, Any]] = ("Muon", {"learning_rate": 0.1, "momentum": 0.7, "weight_decay": None})
ALL = [*ELEMENT_WISE, *OTHERS, MUON]


def _names(cases: list[tuple[str, dict[str, Any]]]) -> list[str]:
    return [f"{name}-{number}" for number, (name, _) in enumerate(cases)]


def _made(name: str, arguments: dict[str, Any], **more: Any) -> optimizers.Optimizer:
    made: optimizers.Optimizer = getattr(optimizers, name)(**arguments, **more)
    return made


def _start(dtype: Any = np.float32) -> list[HostArray]:
    return [checks.normal(*shape, seed=number, dtype=dtype) for number, shape in enumerate(SHAPES)]


def _gradients(step: int, dtype: Any = np.float32) -> list[HostArray]:
    return [
        checks.normal(*shape, seed=100 * step + number, dtype=dtype) for number, shape in enumerate(SHAPES, start=50)
    ]


def _parameters(device: Device, values: list[HostArray], **kwargs: Any) -> list[Parameter]:
    return [Parameter(checks.on(device, w), "w", path=f"w{number}", **kwargs) for number, w in enumerate(values)]


def _train(
    device: Device, optimizer: optimizers.Optimizer, parameters: list[Parameter], steps: range, dtype: Any = np.float32
) -> list[HostArray]:
    for step in steps:
        for parameter, g in zip(parameters, _gradients(step, dtype), strict=True):
            parameter.gradient = checks.on(device, g)
        optimizer.apply(parameters)
    return [parameter.numpy() for parameter in parameters]


def _expected(name: str, arguments: dict[str, Any], number: int, dtype: Any) -> HostArray:
    """Return the weights of a parameter after all steps."""
    w = _start()[number].astype(dtype)
    gradients = [_gradients(step)[number].astype(dtype) for step in range(STEPS)]
    if name == "Muon":
        rest = {key: value for key, value in arguments.items() if key not in ("weight_decay", "exclude_layers")}
        if w.ndim == 2:
            return oracle.muon(w, gradients, **rest)[-1]
        return oracle.adam(w, gradients, rest["learning_rate"], weight_decay=0.004)[-1]
    return getattr(oracle, name.lower())(w, gradients, **arguments)[-1]


@pytest.mark.parametrize(("name", "arguments"), ALL, ids=_names(ALL))
def test_steps(device: Device, name: str, arguments: dict[str, Any]) -> None:
    """All shapes side by side in one optimizer; of those of a matrix, some have a side of 1."""
    found = _train(device, _made(name, arguments), _parameters(device, _start()), range(STEPS))
    wide = [w.astype(WIDE) for w in _start()]
    parameters = _parameters(device, wide)
    optimizer = _made(name, arguments)
    for step in range(STEPS):
        for parameter, g in zip(parameters, _gradients(step), strict=True):
            parameter.gradient = checks.on(device, g.astype(WIDE))
        optimizer.apply(parameters)
    for number, (actual, in_double) in enumerate(zip(found, parameters, strict=True)):
        exact = _expected(name, arguments, number, WIDE)
        checks.assert_as_exact_as_plain(actual, exact, _expected(name, arguments, number, np.float32), times=3)
        checks.assert_close_in_double(in_double.value, exact, 1e-11)
    assert optimizer.iterations == STEPS


@pytest.mark.parametrize(("name", "arguments"), ALL, ids=_names(ALL))
def test_bits(device: Device, name: str, arguments: dict[str, Any]) -> None:
    """Two runs give the same; so does the CPU, where no sum and no power is involved; so does one that was resumed."""
    whole = _train(device, _made(name, arguments), _parameters(device, _start()), range(STEPS))
    if (name, arguments) in ELEMENT_WISE:
        for actual, expected in zip(
            whole, _train(CPU, _made(name, arguments), _parameters(CPU, _start()), range(STEPS)), strict=True
        ):
            checks.assert_same_bits(actual, expected)
    first = _made(name, arguments)
    middle = _train(device, first, _parameters(device, _start()), range(2))
    config = json.loads(json.dumps(optimizers.serialize(first)))
    saved = {key: checks.host(value).copy() for key, value in first.variables.items()}
    second, parameters = optimizers.deserialize(config), _parameters(device, middle)
    second.build(parameters)
    second.set_variables(saved)
    for actual, expected in zip(_train(device, second, parameters, range(2, STEPS)), whole, strict=True):
        checks.assert_same_bits(actual, expected)


def test_muon_leaves_named_parameters_to_adamw(device: Device) -> None:
    start = [checks.normal(4, 3, seed=number) for number in range(3)]
    parameters = [
        Parameter(checks.on(device, w), "w", path=path)
        for w, path in zip(start, ("dense/kernel", "Embedding/w", "out/kernel"), strict=True)
    ]
    optimizer = optimizers.Muon(0.1, exclude_layers=["^out"], adam_lr_ratio=0.5, weight_decay=0.3)
    g = checks.normal(4, 3, seed=9)
    for parameter in parameters:
        parameter.gradient = checks.on(device, g)
    optimizer.apply(parameters)
    matrix = oracle.muon(start[0].astype(WIDE) * (1 - 0.1 * 0.3), [g.astype(WIDE)], 0.1)[-1]
    np.testing.assert_allclose(parameters[0].numpy(), matrix, rtol=1e-4, atol=1e-6)
    for parameter, w in zip(parameters[1:], start[1:], strict=True):
        decayed = w.astype(WIDE) * (1 - 0.1 * 0.004)
        np.testing.assert_allclose(parameter.numpy(), oracle.adam(decayed, [g.astype(WIDE)], 0.05)[-1], rtol=1e-5)


@pytest.mark.parametrize("name", ["Lamb", "Adafactor", "Muon"])
def test_what_has_no_gradient_stays_and_what_lies_behind_counts_nothing(device: Device, name: str) -> None:
    """Norms are of parameters alone; an epsilon of 0 makes NaN of the zeros behind them, if anybody looks."""
    arguments = {"epsilon_1": 0.0} if name == "Adafactor" else {"epsilon": 0.0}
    on_cpu: list[HostArray] = []
    for place in (CPU, device):
        optimizer, parameters = _made(name, {"learning_rate": 0.1, **arguments}), _parameters(place, _start())
        for parameter in parameters:
            parameter.regularizer, parameter.constraint = regularizers.L2(0.01), constraints.NonNeg()
        for number in (0, 2, 3):
            parameters[number].gradient = checks.on(place, _gradients(0)[number])
        optimizer.apply(parameters)
        on_cpu = on_cpu or [parameter.numpy() for parameter in parameters]
    for actual, expected in zip(parameters, on_cpu, strict=True):
        np.testing.assert_allclose(actual.numpy(), expected, rtol=1e-4, atol=1e-6)
    for number, (parameter, before) in enumerate(zip(parameters, _start(), strict=True)):
        assert np.isfinite(parameter.numpy()).all()
        assert (parameter.numpy() == before).all() == (number not in (0, 2, 3))
        assert number in (1, 4) or (parameter.numpy() >= 0).all()


def test_a_parameter_of_zeros_and_a_step_of_zeros(device: Device) -> None:
    """Where a norm is 0, Lamb takes the step as it is."""
    parameters = _parameters(device, [np.zeros((2, 2), np.float32), np.ones(3, np.float32)])
    for parameter, g in zip(parameters, (np.ones((2, 2), np.float32), np.zeros(3, np.float32)), strict=True):
        parameter.gradient = checks.on(device, g)
    optimizers.Lamb(0.5).apply(parameters)
    np.testing.assert_allclose(parameters[0].numpy(), -0.5, rtol=1e-5)
    np.testing.assert_array_equal(parameters[1].numpy(), 1)


def test_nadams_product_follows_a_count_that_is_changed(device: Device) -> None:
    rate, factors, count = checks.on(device, np.array([0.5]), np.zeros(6), np.array([0]))
    for _ in range(9):
        advance_nadam(count, rate, factors, 0.9, 0.999)
    by_jump, jumped = checks.on(device, np.zeros(6), np.array([8]))
    advance_nadam(jumped, rate, by_jump, 0.9, 0.999)
    checks.assert_same_bits(factors, by_jump)
    product = np.prod([0.9 * (1 - 0.5 * 0.96**t) for t in range(1, 10)])
    np.testing.assert_allclose(checks.host(factors)[4:], [product, 9], rtol=1e-13)


def test_values_before_the_first_step(device: Device) -> None:
    optimizer = optimizers.Adagrad(initial_accumulator_value=0.25)
    optimizer.build(_parameters(device, [np.ones(3, np.float32)]))
    np.testing.assert_array_equal(checks.host(optimizer.variables["w0/accumulator"]), 0.25)
    assert optimizer.initial_value("w0/accumulator") == 0.25 and optimizer.initial_value("iterations") == 0


def test_nan_is_kept(device: Device) -> None:
    for name, arguments in (ELEMENT_WISE[2], ELEMENT_WISE[4], ELEMENT_WISE[8]):
        (parameter,) = _parameters(device, [np.ones(3, np.float32)])
        optimizer = _made(name, arguments)
        with np.errstate(invalid="ignore"):
            for g in ([1, np.nan, 1], [1, 1, 1]):
                parameter.gradient = checks.on(device, np.float32(g))
                optimizer.apply([parameter])
        for array in (parameter.value, *(slot for key, slot in optimizer.variables.items() if "/" in key)):
            np.testing.assert_array_equal(np.isnan(checks.host(array)), [False, True, False])


BAD: list[tuple[str, dict[str, Any], str]] = [
    ("RMSprop", {"rho": 1.5}, "RMSprop: rho must be from 0 to 1; got 1.5"),
    ("AdamW", {"weight_decay": None}, "AdamW: weight_decay must be a number; got None"),
    ("Nadam", {"beta_1": 1}, "Nadam: beta_1 must be from 0 to 1; got 1"),
    ("Adagrad", {"initial_accumulator_value": -1}, "Adagrad: initial_accumulator_value must be finite and at least 0"),
    ("Adafactor", {"beta_2_decay": 0.5}, "Adafactor: beta_2_decay must be finite and at most 0; got 0.5"),
    ("Lion", {"beta_1": 0}, "Lion: beta_1 must be from .* to 1; got 0"),
    ("Ftrl", {"learning_rate_power": 1}, "Ftrl: learning_rate_power must be finite and at most 0; got 1"),
    ("Muon", {"exclude_layers": ["("]}, r"Muon: exclude_layers must be regular expressions; got '\('"),
    ("SGD", {"gradient_accumulation_steps": 1}, "SGD: gradient_accumulation_steps must be at least 2; got 1"),
    ("SGD", {"use_ema": True, "ema_momentum": 2}, "SGD: ema_momentum must be from 0 to 1; got 2"),
    ("SGD", {"ema_overwrite_frequency": 0}, "SGD: ema_overwrite_frequency must be at least 1; got 0"),
    ("SGD", {"loss_scale_factor": 0}, "SGD: loss_scale_factor must be from .*; got 0"),
]


@pytest.mark.parametrize(("name", "arguments", "words"), BAD, ids=[str(number) for number in range(len(BAD))])
def test_bad_arguments_are_refused(name: str, arguments: dict[str, Any], words: str) -> None:
    with pytest.raises((ValueError, TypeError), match=words):
        _made(name, arguments)


def test_bad_input_of_ops_is_refused(device: Device) -> None:
    w, other, rate = checks.on(device, checks.normal(4), checks.normal(5), np.array([0.1]))
    with pytest.raises(ValueError, match=r"rmsprop: momentum must have shape \(4,\); got \(5,\)"):
        rmsprop(w, w, w, None, other, rate, 0.9, 0.9, 1e-7)
    with pytest.raises(ValueError, match=r"adafactor: factors must have shape \(3,\); got \(1,\)"):
        adafactor(w, w, w, rate, 0.0, 0.0, 1.0)
    with pytest.raises(ValueError, match=r"combine: y must have shape \(4,\); got \(5,\)"):
        combine(w, other, 1.0, 1.0)
    with pytest.raises(ValueError, match=r"muon_momentum: momentum must have shape \(4,\); got \(5,\)"):
        muon_momentum(w, other, 0.9, True)
    rules, corrections = Rules(Layout([(4,)]), [(0.0, 0.0)], [0.0], np.float32, device), checks.on(device, np.ones(2))
    with pytest.raises(ValueError, match=r"lamb: w must have shape \(256,\); got \(4,\)"):
        lamb(w, w, w, w, rules, slice(0, 1), rate, corrections, 0.9, 0.9, 1e-7)
    used: Array = w
    checks.assert_same_bits(used, checks.normal(4))


def test_adafactor_of_rows_and_columns_without_a_gradient(device: Device) -> None:
    """Their mean squares, of epsilon_1 alone, have a product that float32 has no number for: it must not be 0 / 0."""
    g = np.ones((3, 4), np.float32)
    g[0], g[:, 0] = 0, 0
    w, velocity = np.zeros_like(g), np.zeros_like(g)
    placed = checks.on(device, w, g, velocity, np.array([0.1, 0.0, 1.0]))
    adafactor(*placed, 1e-30, 1e-3, 1.0)
    found = checks.host(placed[0])
    assert (found[0] == 0).all() and (found[:, 0] == 0).all() and (found[1:, 1:] < 0).all()
