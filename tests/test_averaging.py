"""Averages of an optimizer (averaging.cu): of weights over steps, of gradients over batches; scaled losses."""

from __future__ import annotations

from typing import Any

import checks
import numpy as np
import pytest

from gpunet import Dense, Input, Sequential, constraints, optimizers
from gpunet.backend.arrays import CPU, Device, HostArray
from gpunet.backend.random import set_random_seed
from gpunet.ops import averaging
from gpunet.ops.update import PIECE
from gpunet.parameters import Parameter
from gpunet.training.unchanged import unchanged

X = np.random.default_rng(0).standard_normal((12, 4)).astype(np.float32)
Y = np.random.default_rng(1).standard_normal((12, 2)).astype(np.float32)


def _apply(optimizer: optimizers.Optimizer, parameter: Parameter, *gradients: HostArray) -> None:
    for g in gradients:
        parameter.gradient = checks.on(parameter.device, g)
        optimizer.apply([parameter])


def test_ops(device: Device) -> None:
    """Also with the CPU's bits, in more than one piece."""
    start = [checks.normal(PIECE + 3, seed=seed) for seed in range(2)]
    results = []
    for place in (device, CPU):
        w, a, count = checks.on(place, *start, np.array([7]))
        averaging.average(w, a, count, 0.75, every=2)  # the third update is under way
        np.testing.assert_allclose(checks.host(a), 0.75 * start[1] + 0.25 * start[0], rtol=1e-5, atol=1e-6)
        checks.assert_same_bits(w, start[0])
        averaging.swap(w, a)
        checks.assert_same_bits(a, start[0])
        averaging.average(w, a, count, 0.75, every=2, period=4)
        checks.assert_same_bits(w, a)
        averaging.average(w, a, checks.on(place, np.array([2])), 0.75, every=2)  # no update before
        checks.assert_same_bits(a, w)
        averaging.mean_gradient(w, a, 3)
        np.testing.assert_array_equal(checks.host(a), 0)
        results.append(w)
    checks.assert_same_bits(*results)
    with pytest.raises(ValueError, match=r"swap: other must have shape \(2,\); got \(3,\)"):
        averaging.swap(*checks.on(device, checks.normal(2), checks.normal(3)))
    with pytest.raises(TypeError, match="average: iterations must be int64; got float32"):
        averaging.average(w, w, w, 0.5)


@pytest.mark.parametrize("frequency", [None, 2])
def test_the_average_of_weights(device: Device, frequency: int | None) -> None:
    optimizer = optimizers.SGD(0.5, use_ema=True, ema_momentum=0.75, ema_overwrite_frequency=frequency)
    parameter = Parameter(checks.on(device, np.float32([1, -1])), "w")
    w, average = np.array([1.0, -1.0]), np.zeros(2)
    for step in range(5):
        _apply(optimizer, parameter, np.float32([1, 2]))
        w = w - 0.5 * np.array([1, 2])
        average = w if step == 0 else 0.75 * average + 0.25 * w
        if frequency and (step + 1) % frequency == 0:
            w = average
        np.testing.assert_allclose(checks.host(optimizer.variables["w/average"]), average, rtol=1e-6)
        np.testing.assert_allclose(parameter.numpy(), w, rtol=1e-6)
    for expected in (average, w):
        optimizer.swap_averages()
        np.testing.assert_allclose(parameter.numpy(), expected, rtol=1e-6)
    optimizer.finalize_variable_values([parameter])
    np.testing.assert_allclose(parameter.numpy(), average, rtol=1e-6)


def test_swapping_asks_for_averages() -> None:
    with pytest.raises(ValueError, match="sgd: use_ema must be True for weights to be exchanged with their averages"):
        optimizers.SGD().swap_averages()


def test_several_calls_make_one_update(device: Device) -> None:
    """By the mean gradient, clipped and decayed once; Adam's count is that of updates."""
    gradients = [checks.normal(5, seed=step) for step in range(6)]
    options: dict[str, Any] = {"learning_rate": 0.1, "clipnorm": 0.9, "weight_decay": 0.5}
    parameters = [Parameter(checks.on(device, checks.normal(5, seed=9)), "w") for _ in range(2)]
    slow, fast = optimizers.Adam(**options, gradient_accumulation_steps=3), optimizers.Adam(**options)
    for first in (0, 3):
        _apply(slow, parameters[0], gradients[first])
        before = parameters[0].numpy()
        _apply(slow, parameters[0], gradients[first + 1])
        checks.assert_same_bits(parameters[0].value, before)
        _apply(slow, parameters[0], gradients[first + 2])
        _apply(fast, parameters[1], (gradients[first] + gradients[first + 1] + gradients[first + 2]) / np.float32(3))
        np.testing.assert_allclose(parameters[0].numpy(), parameters[1].numpy(), rtol=1e-5)
    assert (slow.iterations, slow.calls, fast.iterations) == (2, 6, 2)
    np.testing.assert_array_equal(checks.host(slow.variables["w/gradient_accumulator"]), 0)


def test_a_resumed_run_goes_on_in_the_middle_of_an_update(device: Device) -> None:
    gradients = [checks.normal(5, seed=step) for step in range(8)]
    options: dict[str, Any] = {"learning_rate": 0.1, "gradient_accumulation_steps": 3, "use_ema": True}
    whole = Parameter(checks.on(device, checks.normal(5)), "w", constraint=constraints.NonNeg())
    first = optimizers.Nadam(**options)
    _apply(first, whole, *gradients[:4])
    saved = {name: checks.host(value).copy() for name, value in first.variables.items()}
    resumed = Parameter(checks.on(device, whole.numpy()), "w", constraint=constraints.NonNeg())
    _apply(first, whole, *gradients[4:])
    second = optimizers.Nadam.from_config(first.get_config())
    second.build([resumed])
    second.set_variables(saved)
    _apply(second, resumed, *gradients[4:])
    checks.assert_same_bits(resumed.value, whole.value)
    for name, value in second.variables.items():
        checks.assert_same_bits(value, first.variables[name])


def _model(optimizer: optimizers.Optimizer, **options: Any) -> Sequential:
    set_random_seed(3)
    model = Sequential([Input((4,)), Dense(3, activation="tanh"), Dense(2)])
    model.compile(optimizer, "mse", **options)
    return model


def test_fit_ends_with_the_average(device: Device) -> None:
    model = _model(optimizers.SGD(0.1, use_ema=True, ema_momentum=0.5))
    model.fit(X, Y, batch_size=4, epochs=2, verbose=0)
    assert model.optimizer is not None
    for path, parameter in model.parameters_by_path.items():
        checks.assert_same_bits(parameter.value, model.optimizer.variables[f"{path}/average"])


def test_scaling_the_loss_changes_nothing_but_what_is_too_small(device: Device) -> None:
    """A power of two changes no bit; gradients of 1e-44 lose theirs without it."""
    weights = []
    for factor in (None, 1024.0):
        model = _model(optimizers.SGD(0.1, loss_scale_factor=factor, momentum=0.5))
        model.fit(X, Y, batch_size=4, verbose=0)
        weights.append(model.get_weights())
    for one, other in zip(*weights, strict=True):
        checks.assert_same_bits(one, other)
    model = Sequential([Input((4,)), Dense(2, activity_regularizer="l2")])
    model.compile(optimizers.SGD(0.1, loss_scale_factor=2.0), "mse")
    with pytest.raises(
        ValueError, match="loss_scale_factor must be None for a model with activity regularizers; got 2"
    ):
        model.train_on_batch(X, Y)


@pytest.mark.parametrize(
    "make",
    [
        lambda: optimizers.Nadam(0.1, use_ema=True, ema_overwrite_frequency=2),
        lambda: optimizers.Adagrad(0.1, gradient_accumulation_steps=2),
    ],
    ids=["nadam", "adagrad"],
)
def test_a_step_that_is_taken_back_leaves_no_trace(device: Device, make: Any) -> None:
    bad = np.full_like(Y, 1e30)
    models = [_model(make(), nonfinite="raise"), _model(make())]
    for model in models:
        for step in range(7):
            if step in (2, 5) and model is models[0]:
                with pytest.raises(FloatingPointError, match=f"must be finite; got inf .*, in step {step + 1}"):
                    model.train_on_batch(X, bad)
            model.train_on_batch(X, Y)
    for one, other in zip(models[0].get_weights(), models[1].get_weights(), strict=True):
        checks.assert_same_bits(one, other)
    third = np.concatenate([Y[:8], bad[8:]])
    with pytest.raises(FloatingPointError, match="in step 10, batch 2 of its epoch"):
        models[0].fit(X, third, batch_size=4, shuffle=False, verbose=0)


def test_a_step_without_a_trace_leaves_the_first_values_of_slots(device: Device) -> None:
    model = _model(optimizers.Adagrad(0.1, gradient_accumulation_steps=2))
    with unchanged(model, model.optimizer, []):
        for _ in range(2):
            model.train_on_batch(X, Y)
    assert model.optimizer is not None and model.optimizer.calls == 0
    for name, value in model.optimizer.variables.items():
        if name.endswith("/accumulator"):
            np.testing.assert_array_equal(checks.host(value), np.float32(0.1))
