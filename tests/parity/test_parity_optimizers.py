"""Optimizers and schedules with random arguments against Keras 3."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import checks
import numpy as np
import pytest
from keras_side import assert_close, host, tensor

import gpunet
from gpunet.backend.arrays import Device
from gpunet.parameters import Parameter

pytestmark = pytest.mark.usefixtures("in_double")

SHAPES = [(5, 3), (4,), (2, 3, 4), (3, 6), (7, 1), (1, 5)]
STEPS = 10
DRAWS = 4

Draw = np.random.Generator


def _flag(rng: Draw) -> bool:
    return bool(rng.integers(2))


def _betas(rng: Draw) -> dict[str, Any]:
    return {"beta_1": rng.uniform(0.5, 0.95), "beta_2": rng.uniform(0.5, 0.999), "epsilon": 10 ** rng.uniform(-7, -2)}


# For each optimizer, arguments of its own.
OWN: dict[str, Callable[[Draw], dict[str, Any]]] = {
    "SGD": lambda rng: {"momentum": rng.uniform(0, 0.9), "nesterov": _flag(rng)},
    "RMSprop": lambda rng: {
        **{"rho": rng.uniform(0.5, 0.99), "momentum": rng.choice([0.0, 0.7]), "epsilon": 10 ** rng.uniform(-5, -2)},
        "centered": _flag(rng),
    },
    "Adam": lambda rng: {**_betas(rng), "amsgrad": _flag(rng)},
    "AdamW": lambda rng: {**_betas(rng), "amsgrad": _flag(rng), "weight_decay": rng.uniform(0, 1)},
    "Adamax": _betas,
    "Nadam": _betas,
    "Adagrad": lambda rng: {"initial_accumulator_value": rng.uniform(0, 1), "epsilon": 10 ** rng.uniform(-7, -2)},
    "Adadelta": lambda rng: {"rho": rng.uniform(0.5, 0.99), "epsilon": 10 ** rng.uniform(-7, -2)},
    "Adafactor": lambda rng: {
        **{"beta_2_decay": rng.uniform(-1, -0.5), "epsilon_1": 10 ** rng.uniform(-30, -3)},
        **{"epsilon_2": 10 ** rng.uniform(-3, 0), "clip_threshold": rng.uniform(0.5, 2), "relative_step": _flag(rng)},
    },
    "Lamb": _betas,
    "Lion": lambda rng: {"beta_1": rng.uniform(0.5, 0.95), "beta_2": rng.uniform(0.5, 0.999)},
    "Ftrl": lambda rng: {
        **{"learning_rate_power": rng.choice([-0.5, -0.7, 0.0]), "initial_accumulator_value": rng.uniform(0, 1)},
        **{"l1_regularization_strength": rng.uniform(0, 0.5), "l2_regularization_strength": rng.uniform(0, 0.5)},
        **{"l2_shrinkage_regularization_strength": rng.uniform(0, 0.5), "beta": rng.uniform(0, 0.5)},
    },
    "Muon": lambda rng: {
        **{"adam_beta_1": rng.uniform(0.5, 0.95), "adam_weight_decay": rng.uniform(0, 0.5)},
        **{
            "exclude_layers": ["w3"] * _flag(rng),
            "adam_lr_ratio": rng.uniform(0.1, 1),
            "momentum": rng.uniform(0.5, 1),
        },
        **{"ns_steps": int(rng.integers(1, 6)), "nesterov": _flag(rng), "rms_rate": rng.choice([None, 0.3])},
    },
}


def _common(rng: Draw) -> dict[str, Any]:
    clip = [{}, {"clipnorm": rng.uniform(1, 4)}, {"clipvalue": rng.uniform(0.5, 2)}, {"global_clipnorm": 3.0}]
    averages = {
        "use_ema": True,
        "ema_momentum": rng.uniform(0.5, 1),
        "ema_overwrite_frequency": int(rng.integers(1, 5)),
    }
    return {
        **clip[rng.integers(4)],
        **(averages if _flag(rng) else {}),
        **({"gradient_accumulation_steps": int(rng.integers(2, 4))} if _flag(rng) else {}),
        **({"loss_scale_factor": rng.uniform(0.5, 100)} if _flag(rng) else {}),
        "learning_rate": float(rng.uniform(0.01, 0.1)),
    }


@pytest.mark.parametrize("draw", range(DRAWS))
@pytest.mark.parametrize("name", OWN)
def test_ten_steps(device: Device, name: str, draw: int) -> None:
    """Keras computes rates and step counts partly in float32, hence the tolerance."""
    import keras

    rng = np.random.default_rng([draw, len(name), ord(name[-1])])
    arguments = _common(rng) | OWN[name](rng)
    if name != "AdamW" and _flag(rng):
        arguments["weight_decay"] = rng.uniform(0, 0.5)
    ours, theirs = getattr(gpunet.optimizers, name)(**arguments), getattr(keras.optimizers, name)(**arguments)
    start = [rng.standard_normal(shape) for shape in SHAPES]
    parameters = [Parameter(checks.on(device, w), f"w{i}", path=f"w{i}") for i, w in enumerate(start)]
    variables = [keras.Variable(w, dtype="float64", name=f"w{i}") for i, w in enumerate(start)]
    ours.build(parameters)
    for _ in range(STEPS):
        gradients = [rng.standard_normal(shape) for shape in SHAPES]
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.gradient = checks.on(device, gradient)
        ours.apply(parameters)
        theirs.apply([tensor(gradient) for gradient in gradients], variables)
        for parameter, variable in zip(parameters, variables, strict=True):
            assert_close(parameter.numpy(), host(variable), f"{parameter.name} with {arguments}", 1e-5)
    assert ours.iterations == int(theirs.iterations)
    ours.finalize_variable_values(parameters)
    theirs.finalize_variable_values(variables)
    for parameter, variable in zip(parameters, variables, strict=True):
        assert_close(parameter.numpy(), host(variable), f"{parameter.name} at the end with {arguments}", 1e-5)


SCHEDULES: dict[str, Callable[[Draw], dict[str, Any]]] = {
    "ExponentialDecay": lambda rng: {"decay_rate": rng.uniform(0.1, 1), "staircase": _flag(rng)},
    "InverseTimeDecay": lambda rng: {"decay_rate": rng.uniform(0.1, 1), "staircase": _flag(rng)},
    "PolynomialDecay": lambda rng: {
        **{"end_learning_rate": rng.uniform(0, 0.1), "power": rng.choice([0.5, 1.0, 2.0, 2.5]), "cycle": _flag(rng)},
    },
    "CosineDecay": lambda rng: {
        "alpha": rng.uniform(0, 0.5),
        **({"warmup_target": rng.uniform(0, 1), "warmup_steps": int(rng.integers(1, 40))} if _flag(rng) else {}),
    },
    "CosineDecayRestarts": lambda rng: {
        **{"t_mul": rng.choice([1.0, 1.5, 2.0]), "m_mul": rng.uniform(0.5, 1), "alpha": rng.uniform(0, 0.5)},
    },
    "PiecewiseConstantDecay": lambda rng: {
        **{"boundaries": sorted(map(int, rng.choice(300, 3, replace=False))), "values": rng.random(4).tolist()},
    },
}


@pytest.mark.parametrize("draw", range(DRAWS))
@pytest.mark.parametrize("name", SCHEDULES)
def test_schedules(name: str, draw: int) -> None:
    """At every step of 400; at the moment of a restart Keras, in float32, may be on either side of it."""
    import keras

    rng = np.random.default_rng([draw, len(name)])
    arguments = SCHEDULES[name](rng)
    if name != "PiecewiseConstantDecay":
        steps = "first_decay_steps" if name == "CosineDecayRestarts" else "decay_steps"
        arguments |= {"initial_learning_rate": rng.uniform(0.01, 1), steps: int(rng.integers(5, 100))}
    ours = getattr(gpunet.optimizers.schedules, name)(**arguments)
    theirs = getattr(keras.optimizers.schedules, name)(**arguments)
    assert ours.get_config() == theirs.get_config()
    found = np.array([ours(step) for step in range(400)])
    expected = np.array([float(theirs(step)) for step in range(400)])
    far = np.flatnonzero(abs(found - expected) > 1e-5 * expected.max())
    if name == "CosineDecayRestarts":
        restarts = np.flatnonzero(np.diff(found) > 0) + 1
        far = np.setdiff1d(far, [*restarts, *(restarts - 1)])
    assert not len(far), f"{arguments}: steps {far}: {found[far]} instead of {expected[far]}"


@pytest.mark.parametrize("name", [*OWN, *SCHEDULES])
def test_arguments_stand_in_keras_order(name: str) -> None:
    import keras

    modules = [library.optimizers if name in OWN else library.optimizers.schedules for library in (gpunet, keras)]
    own, theirs = (inspect.signature(getattr(module, name)).parameters for module in modules)
    expected = [(one.name, one.default) for one in theirs.values() if one.kind is not one.VAR_KEYWORD]
    assert [(one.name, one.default) for one in own.values()] == expected
    if name in OWN:
        keys = set(getattr(keras.optimizers, name)().get_config())
        assert set(getattr(gpunet.optimizers, name)().get_config()) <= keys
