"""Constraints (kernels constraint.cu): formulas, axes, names and arguments as in Keras."""

from __future__ import annotations

import checks
import numpy as np
import oracle
import pytest

from gpunet import constraints
from gpunet.backend.arrays import Array, Device
from gpunet.ops.constraint import GROUPS, LANES, limit_norm, non_negative
from gpunet.ops.flat import BLOCK

WIDE = np.float64
# (in, out) around the groups of a block and the lanes of a group, then every kind of axes of a filter (R, S, C, F).
CASES: list[tuple[tuple[int, ...], tuple[int, ...]]] = [
    ((1, 1), (0,)),
    ((LANES - 1, GROUPS - 1), (0,)),
    ((LANES, GROUPS), (0,)),
    ((LANES + 1, GROUPS + 1), (0,)),
    ((GROUPS + 1, 3 * LANES), (1,)),
    ((5,), (0,)),
    ((6, 7), (0, 1)),
    ((3, 2, 5, 7), (0, 1, 2)),
    ((3, 2, 5, 7), (0, 1)),
    ((3, 2, 5, 7), (2,)),
    ((3, 2, 5, 7), (0, 2)),
    ((3, 2, 5, 7), (1, 3)),
    ((3, 2, 5, 7), (0, 3)),
    ((3, 2, 5, 7), (0, 1, 2, 3)),
]
LIMITS = [(0.0, 2.0, 1.0), (1.0, 1.0, 1.0), (0.5, 1.5, 0.3)]


@pytest.mark.parametrize("limits", LIMITS)
@pytest.mark.parametrize("shape, axes", CASES)
def test_limit_norm(
    device: Device, shape: tuple[int, ...], axes: tuple[int, ...], limits: tuple[float, float, float]
) -> None:
    start = checks.normal(*shape)
    w = checks.on(device, start)
    limit_norm(w, axes, *limits)
    exact, plain = oracle.limit_norm(start.astype(WIDE), axes, *limits), oracle.limit_norm(start, axes, *limits)
    checks.assert_as_exact_as_plain(w, exact, plain)
    double = checks.on(device, start.astype(WIDE))
    limit_norm(double, axes, *limits)
    checks.assert_close_in_double(double, exact)


def test_zeros_stay_zeros_and_nan_stays(device: Device) -> None:
    w = checks.on(device, np.float32([[0, 3, np.nan], [0, 4, 1]]))
    limit_norm(w, (0,), 1.0, 1.0)
    np.testing.assert_allclose(checks.host(w), [[0, 0.6, np.nan], [0, 0.8, np.nan]], rtol=1e-6)


@pytest.mark.parametrize("n", [1, BLOCK - 1, BLOCK, BLOCK + 1])
def test_non_negative(device: Device, n: int) -> None:
    start = checks.normal(n)
    w = checks.on(device, start)
    non_negative(w)
    checks.assert_same_bits(w, np.array([x if x > 0 else 0 for x in start], np.float32))


def test_classes(device: Device) -> None:
    start = 2 * checks.normal(6, 7)
    w = checks.on(device, start)
    for constraint, limits in [
        (constraints.MaxNorm(), (0, 2, 1)),
        (constraints.MaxNorm(0.5), (0, 0.5, 1)),
        (constraints.UnitNorm(), (1, 1, 1)),
        (constraints.MinMaxNorm(), (0, 1, 1)),
        (constraints.MinMaxNorm(0.5, 1.5, 0.3), (0.5, 1.5, 0.3)),
    ]:
        limited = constraint(w)
        assert type(limited) is type(w)
        checks.assert_as_exact_as_plain(
            limited, oracle.limit_norm(start.astype(WIDE), (0,), *limits), oracle.limit_norm(start, (0,), *limits)
        )
    checks.assert_same_bits(constraints.NonNeg()(w), np.maximum(start, 0))
    checks.assert_same_bits(w, start)  # a call works on a copy


@pytest.mark.parametrize("axis, axes", [(0, (0,)), (-1, (3,)), ([0, 1, 2], (0, 1, 2)), ((-4, 1), (0, 1)), (2, (2,))])
def test_axis(axis: int | list[int], axes: tuple[int, ...]) -> None:
    start = checks.normal(3, 2, 5, 7)
    w = start.copy()
    constraints.UnitNorm(axis=axis).apply(w)
    np.testing.assert_allclose(w, oracle.limit_norm(start, axes, 1, 1, 1), rtol=1e-5)


def test_same_bits_at_every_run(device: Device) -> None:
    start = checks.normal(50, 40)
    first, second = checks.on(device, start, start)
    for w in (first, second):
        constraints.MaxNorm(1).apply(w)
    checks.assert_same_bits(first, second)


def test_names_and_defaults() -> None:
    for name, expected in {
        "max_norm": constraints.MaxNorm,
        "MaxNorm": constraints.MaxNorm,
        "non_neg": constraints.NonNeg,
        "unit_norm": constraints.UnitNorm,
        "min_max_norm": constraints.MinMaxNorm,
    }.items():
        assert type(constraints.get(name)) is expected
    assert constraints.MaxNorm().get_config() == {"max_value": 2, "axis": 0}
    assert constraints.UnitNorm().get_config() == {"axis": 0}
    assert constraints.NonNeg().get_config() == {}
    assert constraints.MinMaxNorm().get_config() == {"min_value": 0.0, "max_value": 1.0, "rate": 1.0, "axis": 0}
    assert constraints.max_norm is constraints.MaxNorm and constraints.non_neg is constraints.NonNeg
    assert constraints.unit_norm is constraints.UnitNorm and constraints.min_max_norm is constraints.MinMaxNorm
    assert constraints.get(None) is None


def test_serialize_and_back() -> None:
    for constraint in (
        constraints.MaxNorm(3, axis=[0, 1, 2]),
        constraints.NonNeg(),
        constraints.UnitNorm((0, 1)),
        constraints.MinMaxNorm(0.5, 2, 0.25, 1),
    ):
        copy = constraints.deserialize(constraints.serialize(constraint))
        assert type(copy) is type(constraint) and copy.get_config() == constraint.get_config()
        assert constraints.get(constraint) is constraint
    assert constraints.serialize(None) is None


def test_bad_arguments_are_refused(device: Device) -> None:
    w = checks.on(device, checks.normal(3, 4))
    with pytest.raises(ValueError, match=r"MaxNorm: axis must be from -2 to 1 for weights of shape \(3, 4\); got 2"):
        constraints.MaxNorm(axis=2).apply(w)
    with pytest.raises(TypeError, match=r"UnitNorm: axis must be an integer; got 0.5"):
        constraints.UnitNorm(axis=0.5)
    with pytest.raises(ValueError, match="MaxNorm: max_value must be finite and at least 0; got -1"):
        constraints.MaxNorm(-1)
    with pytest.raises(ValueError, match="MinMaxNorm: max_value must be at least min_value, 2; got 1"):
        constraints.MinMaxNorm(2, 1)
    with pytest.raises(ValueError, match="MinMaxNorm: rate must be from 0 to 1; got 2"):
        constraints.MinMaxNorm(rate=2)
    with pytest.raises(ValueError, match=r"Dense: kernel_constraint must be one of 'max_norm', .*; got 'maxnorm'"):
        constraints.get("maxnorm", "Dense: kernel_constraint")
    with pytest.raises(ValueError, match="limit_norm: w must be C-contiguous"):
        limit_norm(w[:, ::2], (0,), 0.0, 1.0)
    with pytest.raises(ValueError, match="non_negative: w must be C-contiguous"):
        non_negative(w[:, ::2])


def test_an_own_constraint_is_a_subclass() -> None:
    class Halve(constraints.Constraint):
        def apply(self, w: Array) -> None:
            w *= 0.5

    start = np.float32([2, 4])
    np.testing.assert_array_equal(constraints.get(Halve)(start), [1, 2])
    np.testing.assert_array_equal(start, [2, 4])
