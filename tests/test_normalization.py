"""Normalization of groups of elements, and its gradients: normalization.cu and normalization_gradient.cu."""

from __future__ import annotations

from typing import Any, NamedTuple

import checks
import numpy as np
import oracle_normalization as oracle
import pytest

from gpunet.backend import emulator
from gpunet.backend.arrays import Device, HostArray, Kind
from gpunet.ops import normalization_groups as groups
from gpunet.ops import normalization_host
from gpunet.ops.normalization import (
    Moving,
    Statistic,
    normalize,
    normalize_gradient,
    parameter_gradients,
    standardize,
)
from gpunet.ops.normalization_groups import Grouping


class Case(NamedTuple):
    """How the op is told of the groups, and the shape and axes by which the oracle is."""

    grouping: Grouping
    shape: tuple[int, ...]
    axes: tuple[int, ...]
    kept: tuple[int, ...]

    @property
    def parameters(self) -> int:
        return self.grouping.parameters.groups


def _by_axes(shape: tuple[int, ...], *kept: int) -> Case:
    others = tuple(axis for axis in range(len(shape)) if axis not in kept)
    return Case(groups.by_axes("test", shape, kept), shape, others, kept)


def _over(shape: tuple[int, ...], *axes: int) -> Case:
    return Case(groups.over_axes("test", shape, axes), shape, axes, axes)


def _channels(samples: int, before: int, count: int, per_group: int, after: int) -> Case:
    grouping = groups.of_channels((samples, before, count * per_group, after), 2, count)
    return Case(grouping, (samples, before, count, per_group, after), (1, 3, 4), (2, 3))


BATCHES = {
    "images": _by_axes((3, 9, 20, 3), 3),  # of a few channels, in two chunks
    "wide": _by_axes((2, 9, 9, 40), 3),  # more channels than a block has, two chunks
    "first": _by_axes((3, 4, 5, 6), 1),
    "one": _by_axes((5, 1), 1),
}
SAMPLES = {
    "rows": _over((9, 33), 1),
    "long": _over((2, 4200), 1),  # two chunks, of a block each
    "two": _over((5, 2, 3, 7), 2, 3),
    "apart": _over((2, 4, 3, 5), 1, 3),
    "middle": _over((3, 40, 9), 1),
    "groups": _channels(2, 12, 4, 3, 1),
    "groups in the middle": _channels(2, 3, 2, 4, 5),
}
CASES = BATCHES | SAMPLES
MEAN, ROOT, NORM = Statistic(1e-3), Statistic(1e-6, centered=False), Statistic(0.0, False, True, 1e12)


def _how(statistic: Statistic) -> dict[str, Any]:
    return statistic._asdict()


def _data(case: Case, dtype: Any = np.float32) -> list[HostArray]:
    """Return x, dy, gamma and beta."""
    x, dy = (checks.normal(*case.shape, seed=seed, dtype=dtype) for seed in (1, 2))
    gamma, beta = (checks.normal(case.parameters, seed=seed, dtype=dtype) for seed in (3, 4))
    return [x + 1, dy, gamma, beta]


def _run(device: Device, case: Case, statistic: Statistic, data: list[HostArray]) -> list[Any]:
    """Return y, dx, dgamma and dbeta."""
    x, dy, gamma, beta = checks.on(device, *data)
    dgamma, dbeta = checks.on(device, np.zeros_like(data[2]), np.zeros_like(data[3]))
    y, mean, scale = normalize(x, case.grouping, statistic, gamma, beta)
    dx = normalize_gradient(dy, x, mean, scale, case.grouping, statistic, gamma, dgamma, dbeta)
    return [y, dx, dgamma, dbeta]


def _expected(case: Case, statistic: Statistic, data: list[HostArray], dtype: Any) -> list[HostArray]:
    x, dy, gamma, beta = (array.astype(dtype) for array in data)
    y = oracle.normalized(x, case.axes, case.kept, gamma, beta, **_how(statistic))
    return [y, *oracle.gradients(dy, x, case.axes, case.kept, gamma, **_how(statistic))]


@pytest.mark.parametrize("name", CASES)
def test_forward_and_back(device: Device, name: str) -> None:
    case, data = CASES[name], _data(CASES[name])
    found = _run(device, case, MEAN, data)
    exact, plain = (_expected(case, MEAN, data, dtype) for dtype in (np.float64, np.float32))
    for one, other, rough in zip(found, exact, plain, strict=True):
        checks.assert_as_exact_as_plain(one, other, rough)


@pytest.mark.parametrize("statistic", [MEAN, ROOT, NORM], ids=["mean", "root", "norm"])
@pytest.mark.parametrize("name", ["images", "rows", "groups in the middle"])
def test_in_double(device: Device, name: str, statistic: Statistic) -> None:
    case, data = CASES[name], _data(CASES[name], np.float64)
    found = _run(device, case, statistic, data)
    for one, other in zip(found, _expected(case, statistic, data, np.float64), strict=True):
        checks.assert_close_in_double(one, other)


@pytest.mark.parametrize("name", ["images", "long", "middle"])
def test_a_large_mean_costs_no_more_than_two_passes_do(device: Device, name: str) -> None:
    case = CASES[name]
    x, _, gamma, beta = _data(case)
    x = x + np.float32(1e4)
    found = normalize(checks.on(device, x), case.grouping, MEAN, *checks.on(device, gamma, beta))
    wanted = []
    for dtype in (np.float64, np.float32):
        given = (array.astype(dtype) for array in (gamma, beta))
        mean, _, scale = oracle.statistics(x.astype(dtype), case.axes, 1e-3)
        y = oracle.normalized(x.astype(dtype), case.axes, case.kept, *given, 1e-3)
        wanted.append((y, mean.reshape(-1), scale.reshape(-1)))
    for one, exact, plain in zip(found, *wanted, strict=True):
        checks.assert_as_exact_as_plain(one, exact, plain)
    assert np.abs(checks.host(found[1]) - wanted[0][1]).max() <= np.spacing(np.float32(1e4))


@pytest.mark.parametrize("name", BATCHES)
def test_moving_statistics(device: Device, name: str) -> None:
    case, data = BATCHES[name], _data(BATCHES[name])
    moving = Moving(*checks.on(device, data[2], np.abs(data[3])), 0.75)
    normalize(checks.on(device, data[0]), case.grouping, MEAN, moving=moving)
    wanted = []
    for dtype in (np.float64, np.float32):
        mean, variance, _ = oracle.statistics(data[0].astype(dtype), case.axes, 1e-3)
        before = data[2].astype(dtype), np.abs(data[3]).astype(dtype)
        wanted.append([0.75 * a + 0.25 * b.reshape(-1) for a, b in zip(before, (mean, variance), strict=True)])
    for one, exact, plain in zip(moving[:2], *wanted, strict=True):
        checks.assert_as_exact_as_plain(one, exact, plain.astype(np.float32))


@pytest.mark.parametrize("name", ["images", "long", "groups"])
def test_gradients_of_parameters_alone_are_the_same(device: Device, name: str) -> None:
    case, data = CASES[name], _data(CASES[name])
    _, _, *expected = _run(device, case, MEAN, data)
    x, dy = checks.on(device, *data[:2])
    _, mean, scale = normalize(x, case.grouping, MEAN)
    both = [checks.on(device, np.zeros_like(array)) for array in data[2:]]
    parameter_gradients(dy, x, mean, scale, case.grouping, *both)
    alone = checks.on(device, np.zeros_like(data[3]))
    parameter_gradients(dy, x, mean, scale, case.grouping, None, alone)
    for one, other in zip((*both, alone), (*expected, expected[1]), strict=True):
        np.testing.assert_allclose(checks.host(one), checks.host(other), rtol=1e-5, atol=1e-5)
    checks.assert_same_bits(alone, both[1])


@pytest.mark.parametrize("case", [_by_axes((7, 5, 3), 2), _by_axes((4, 3, 6, 2), 1, 3), _by_axes((300, 40), 1)])
def test_given_statistics_give_the_same_bits_on_every_device(device: Device, case: Case) -> None:
    x, n = checks.normal(*case.shape), case.parameters
    mean, gamma, beta = (checks.normal(n, seed=seed) for seed in (1, 2, 3))
    variance = np.square(checks.normal(n, seed=4))
    variance[0] = 0
    for given in (
        {"mean": mean, "variance": variance, "gamma": gamma, "beta": beta, "epsilon": 1e-3},
        {"mean": mean, "variance": variance, "least": 1e-7},
        {"variance": variance, "beta": mean, "least": 1e-7, "inverse": True},
        {"gamma": gamma},
        {"beta": beta},
    ):
        arrays = {name: value for name, value in given.items() if isinstance(value, np.ndarray)}
        numbers: dict[str, Any] = {name: value for name, value in given.items() if name not in arrays}
        placed = {name: checks.on(device, value) for name, value in arrays.items()}
        y = standardize(checks.on(device, x), case.grouping, **placed, **numbers)
        checks.assert_same_bits(y, standardize(x, case.grouping, **arrays, **numbers))
        wide = {name: oracle.spread(value.astype(np.float64), x.shape, case.kept) for name, value in arrays.items()}
        factor = wide.get("gamma", 1.0)
        if "variance" in wide:
            root = np.maximum(np.sqrt(wide["variance"] + numbers.get("epsilon", 0)), numbers.get("least", 0))
            factor = factor * root if "inverse" in numbers else factor / root
        exact = (x - wide.get("mean", 0.0)) * factor + wide.get("beta", 0.0)
        np.testing.assert_allclose(checks.host(y), exact, rtol=1e-5, atol=1e-6 * abs(exact).max())


def test_a_vector_of_nearly_no_length(device: Device) -> None:
    """Where the norm is bounded, by 1e-12, it is a constant to the gradient too."""
    case = _over((3, 4), 1)
    x, dy = checks.normal(3, 4), checks.normal(3, 4, seed=1)
    x[1] = 2.5e-13  # half of that length
    placed = checks.on(device, x)
    y, mean, scale = normalize(placed, case.grouping, NORM)
    dx = normalize_gradient(checks.on(device, dy), placed, mean, scale, case.grouping, NORM)
    np.testing.assert_allclose(checks.host(y)[1], 0.25, rtol=1e-6)
    np.testing.assert_allclose(checks.host(dx)[1], dy[1] * np.float32(1e12), rtol=1e-6)
    np.testing.assert_allclose(np.square(checks.host(y)[[0, 2]]).sum(axis=1), 1, rtol=1e-6)


@pytest.mark.parametrize("name", ["images", "rows"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_spoils_its_group_and_no_other(device: Device, name: str, value: float) -> None:
    case, data = CASES[name], _data(CASES[name])
    clean = checks.host(_run(device, case, MEAN, data)[0])
    place = (1,) * len(case.shape)
    data[0][place] = value
    with np.errstate(invalid="ignore"):
        spoilt = checks.host(_run(device, case, MEAN, data)[0])
    group = tuple(slice(None) if axis in case.axes else 1 for axis in range(len(case.shape)))
    assert np.isnan(spoilt[group]).all() if np.isnan(value) else np.isnan(spoilt[place])
    others = np.ones(case.shape, bool)
    others[group] = False
    checks.assert_same_bits(spoilt[others], clean[others])


@pytest.mark.parametrize("name", ["images", "long"])
def test_same_bits_in_any_order(device: Device, name: str) -> None:
    case, data = CASES[name], _data(CASES[name])
    first = _run(device, case, MEAN, data)
    for order in ("reverse", 5):
        with emulator.configured(order=order):
            for one, other in zip(first, _run(device, case, MEAN, data), strict=True):
                checks.assert_same_bits(one, other)


@pytest.mark.parametrize("name", ["images", "wide", "first", "rows", "apart", "groups in the middle"])
def test_small_parts_on_the_cpu(device: Device, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sums of many parts, put together, where everything fits the cache as one."""
    if device.kind is not Kind.CPU:
        pytest.skip("parts are the CPU version's")
    case, data = CASES[name], _data(CASES[name], np.float64)
    monkeypatch.setattr(normalization_host, "_CACHED_BYTES", 1000)
    for one, other in zip(_run(device, case, MEAN, data), _expected(case, MEAN, data, np.float64), strict=True):
        checks.assert_close_in_double(one, other)


def test_few_launches(device: Device) -> None:
    if device.kind is Kind.CPU:
        pytest.skip("cpu: has no kernels")
    for name, expected in (("images", (2, 2)), ("one", (1, 1)), ("rows", (1, 2)), ("long", (2, 3))):
        case, data = CASES[name], _data(CASES[name])
        x, dy, gamma, beta = checks.on(device, *data)
        with checks.recorded_launches() as forward:
            _, mean, scale = normalize(x, case.grouping, MEAN, gamma, beta)
        dgamma, dbeta = checks.on(device, *data[2:])
        with checks.recorded_launches() as back:
            normalize_gradient(dy, x, mean, scale, case.grouping, MEAN, gamma, dgamma, dbeta)
        assert (len(forward), len(back)) == expected, name


def test_bad_input_is_refused(device: Device) -> None:
    case, data = CASES["rows"], _data(CASES["rows"])
    x, dy, gamma, _ = checks.on(device, *data)
    with pytest.raises(ValueError, match=r"normalize: gamma must have 33 elements; got shape \(9,\)"):
        normalize(x, case.grouping, MEAN, gamma[:9])
    with pytest.raises(ValueError, match=r"normalize_gradient: dy must have shape \(9, 33\); got \(3, 33\)"):
        normalize_gradient(dy[:3], x, gamma, gamma, case.grouping, MEAN)
    with pytest.raises(TypeError, match="standardize: all arrays must have one dtype"):
        standardize(x, case.grouping, gamma=checks.on(device, np.ones(9)))
    with pytest.raises(ValueError, match=r"standardize: mean must have shape \(9,\); got \(33,\)"):
        standardize(x, case.grouping, mean=gamma)
    with pytest.raises(ValueError, match=r"test: axes must form at most three runs of neighbours; got \(1, 3, 5\)"):
        _over((1, 2, 1, 2, 1, 2, 2), 1, 3, 5)
