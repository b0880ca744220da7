"""Initializers: distributions, seeds, names, configurations."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest

from gpunet import initializers
from gpunet.backend.random import Purpose, generator, set_random_seed
from gpunet.initializers import Initializer, compute_fans

SHAPE = (3, 3, 40, 60)
FAN_IN, FAN_OUT = 9 * 40, 9 * 60

# With every argument away from its default.
INSTANCES: list[tuple[str, dict[str, Any]]] = [
    ("Constant", {"value": 2.5}),
    ("Zeros", {}),
    ("Ones", {}),
    ("RandomNormal", {"mean": 1.0, "stddev": 0.5, "seed": 3}),
    ("TruncatedNormal", {"mean": 1.0, "stddev": 0.5, "seed": 3}),
    ("RandomUniform", {"minval": 0.5, "maxval": 1.5, "seed": 3}),
    (
        "VarianceScaling",
        {
            "scale": 2.0,
            "mode": "fan_out",
            "distribution": "uniform",
            "seed": 3,
            "input_axes": [0],
            "output_axes": [1, 2],
        },
    ),
    *[
        (name, {"seed": 3, "input_axes": [0], "output_axes": [1]})
        for name in ("GlorotUniform", "GlorotNormal", "HeUniform", "HeNormal", "LecunUniform", "LecunNormal")
    ],
    ("Orthogonal", {"gain": 1.5, "seed": 3}),
]
RANDOM = [name for name, arguments in INSTANCES if "seed" in arguments]


def _make(name: str, **arguments: Any) -> Initializer:
    made: Initializer = getattr(initializers, name)(**arguments)
    return made


@pytest.mark.parametrize("name, arguments", INSTANCES)
def test_a_configuration_comes_back(name: str, arguments: dict[str, Any]) -> None:
    initializer = _make(name, **arguments)
    config = initializer.get_config()
    assert config == arguments
    assert json.loads(json.dumps(config)) == config
    again = initializers.deserialize(json.loads(json.dumps(initializers.serialize(initializer))))
    assert type(again) is type(initializer) and again.get_config() == config
    np.testing.assert_array_equal(again((4, 5, 6)), initializer((4, 5, 6)))


@pytest.mark.parametrize(
    "identifier, name",
    [
        ("glorot_uniform", "GlorotUniform"),
        ("HeNormal", "HeNormal"),
        ("zeros", "Zeros"),
        ("zero", "Zeros"),
        ("one", "Ones"),
        ("normal", "RandomNormal"),
        ("uniform", "RandomUniform"),
        ("truncated_normal", "TruncatedNormal"),
        ("lecun_normal", "LecunNormal"),
        ("orthogonal", "Orthogonal"),
        (None, "GlorotUniform"),
        (initializers.Ones, "Ones"),
        ({"class_name": "Constant", "config": {"value": 3.0}}, "Constant"),
    ],
)
def test_names(identifier: Any, name: str) -> None:
    assert type(initializers.get(identifier)).__name__ == name


def test_values_of_the_constant_ones() -> None:
    np.testing.assert_array_equal(_make("Zeros")((2, 3)), np.zeros((2, 3), np.float32))
    np.testing.assert_array_equal(_make("Ones")((2,), "float64"), np.ones(2))
    np.testing.assert_array_equal(_make("Constant", value=0.1)((2,)), np.full(2, 0.1, np.float32))
    assert _make("Constant", value=3)(()).shape == ()


# The standard deviation and the largest magnitude that each must have.
SPREADS = [
    ("RandomNormal", {"stddev": 0.3}, 0.3, math.inf),
    ("TruncatedNormal", {"stddev": 0.3}, 0.3 * initializers.TRUNCATED_STDDEV, 0.6),
    ("RandomUniform", {"minval": -0.3, "maxval": 0.3}, 0.3 / math.sqrt(3), 0.3),
    ("GlorotUniform", {}, math.sqrt(2 / (FAN_IN + FAN_OUT)), math.sqrt(6 / (FAN_IN + FAN_OUT))),
    ("GlorotNormal", {}, math.sqrt(2 / (FAN_IN + FAN_OUT)), 2 * math.sqrt(2 / (FAN_IN + FAN_OUT)) / 0.8796),
    ("HeUniform", {}, math.sqrt(2 / FAN_IN), math.sqrt(6 / FAN_IN)),
    ("HeNormal", {}, math.sqrt(2 / FAN_IN), 2 * math.sqrt(2 / FAN_IN) / 0.8796),
    ("LecunUniform", {}, math.sqrt(1 / FAN_IN), math.sqrt(3 / FAN_IN)),
    ("LecunNormal", {}, math.sqrt(1 / FAN_IN), 2 * math.sqrt(1 / FAN_IN) / 0.8796),
    ("VarianceScaling", {"mode": "fan_out", "distribution": "untruncated_normal"}, math.sqrt(1 / FAN_OUT), math.inf),
]


@pytest.mark.parametrize("name, arguments, stddev, largest", SPREADS)
def test_mean_and_spread(name: str, arguments: dict[str, Any], stddev: float, largest: float) -> None:
    w = _make(name, **arguments)(SHAPE, "float64")
    error = stddev / math.sqrt(w.size)
    assert abs(w.mean()) < 5 * error
    assert abs(w.std() - stddev) < 5 * error
    assert np.abs(w).max() <= largest
    if math.isfinite(largest):
        assert np.abs(w).max() > 0.99 * largest


def test_one_seed_gives_the_same_values_in_both_dtypes() -> None:
    for name in RANDOM:
        double = _make(name, seed=5)((6, 7), "float64")
        np.testing.assert_array_equal(_make(name, seed=5)((6, 7), "float32"), double.astype(np.float32))


@pytest.mark.parametrize("name", RANDOM)
def test_seeds(name: str) -> None:
    shape = (4, 6)
    set_random_seed(1)
    first, second = _make(name), _make(name)
    np.testing.assert_array_equal(first(shape), first(shape))
    assert not np.array_equal(first(shape), second(shape))
    set_random_seed(1)
    np.testing.assert_array_equal(_make(name)(shape), first(shape))
    assert not np.array_equal(_make(name, seed=1)(shape), _make(name, seed=2)(shape))


def test_anyone_can_draw_the_same_numbers() -> None:
    u = generator(9, Purpose.INITIALIZER, 0).uniform(-2.0, 2.0, (3, 4))
    np.testing.assert_array_equal(_make("RandomUniform", minval=-2, maxval=2, seed=9)((3, 4), "float64"), u)


@pytest.mark.parametrize("shape", [(5, 3), (3, 5), (4, 4), (2, 3, 4), (2, 2, 3, 20)])
def test_orthogonal(shape: tuple[int, ...]) -> None:
    w = _make("Orthogonal", gain=2.0)(shape, "float64").reshape(-1, shape[-1])
    product = w.T @ w if w.shape[0] >= w.shape[1] else w @ w.T
    np.testing.assert_allclose(product, 4 * np.eye(len(product)), atol=1e-12)


def test_orthogonal_matrices_are_drawn_from_all_of_them() -> None:
    corners = [_make("Orthogonal", seed=seed)((3, 3))[0, 0] for seed in range(20)]
    assert min(corners) < 0 < max(corners)


@pytest.mark.parametrize(
    "shape, axes, fans",
    [
        ((), {}, (1, 1)),
        ((7,), {}, (7, 7)),
        ((7, 3), {}, (7, 3)),
        ((3, 2, 5, 4), {}, (30, 24)),
        ((3, 2, 5), {"input_axes": [0, 1], "output_axes": [2]}, (6, 5)),
        ((3, 2), {"input_axes": [1]}, (3, 2)),
    ],
)
def test_fans(shape: tuple[int, ...], axes: dict[str, list[int]], fans: tuple[int, int]) -> None:
    assert compute_fans(shape, **axes) == fans


@pytest.mark.parametrize(
    "make, error, message",
    [
        (lambda: initializers.get("glorot"), ValueError, "'glorot_normal', 'glorot_uniform'"),
        (lambda: initializers.get(3), TypeError, "got 3"),
        (
            lambda: initializers.RandomNormal(stddev=-1),
            ValueError,
            "RandomNormal: stddev must be finite and at least 0",
        ),
        (
            lambda: initializers.RandomUniform(1, 0),
            ValueError,
            "RandomUniform: maxval must be at least minval, 1; got 0",
        ),
        (lambda: initializers.VarianceScaling(scale=0), ValueError, "scale must be above 0; got 0"),
        (lambda: initializers.VarianceScaling(mode="fan"), ValueError, "mode must be one of 'fan_in', 'fan_out'"),
        (lambda: initializers.VarianceScaling(distribution="x"), ValueError, "distribution must be one of"),
        (lambda: initializers.GlorotNormal(seed=-1), ValueError, "GlorotNormal: seed must be from 0"),
        (lambda: initializers.GlorotNormal(seed="a"), TypeError, "GlorotNormal: seed must be an integer"),
        (
            lambda: initializers.Orthogonal()((3,)),
            ValueError,
            r"Orthogonal: shape must have at least 2 axes; got \(3,\)",
        ),
        (lambda: initializers.Zeros()((0, 2)), ValueError, "Zeros: shape must be at least 1; got 0"),
        (lambda: initializers.Zeros()((2,), "int32"), TypeError, "Zeros: dtype must be 'float32' or 'float64'"),
        (lambda: initializers.Constant("a"), TypeError, "Constant: value must be a number"),
    ],
)
def test_bad_arguments(make: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        make()


def test_identity() -> None:
    made = initializers.get("IdentityInitializer")
    assert made.get_config() == {"gain": 1.0}
    w = initializers.deserialize(initializers.serialize(initializers.Identity(2.5)))((2, 3))
    np.testing.assert_array_equal(w, np.float32([[2.5, 0, 0], [0, 2.5, 0]]))
    assert w.dtype == np.float32 and made((2, 2), "float64").dtype == np.float64
    with pytest.raises(ValueError, match=r"Identity: shape must have 2 axes; got \(2, 2, 2\)"):
        made((2, 2, 2))
