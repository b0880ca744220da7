"""Merging several arrays (kernels/merging.cu): element by element, repeated where sizes are 1, and side by side."""

from __future__ import annotations

from typing import Any

import checks
import numpy as np
import oracle_merging as oracle
import pytest

from gpunet.backend.arrays import Device
from gpunet.ops import merging
from gpunet.ops.merging import THREADS, Merge

HOW = {how.name.lower(): how for how in Merge}


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("count", [2, 3, 4, 5, 8])
def test_the_elements_of_several_arrays_become_one(device: Device, how: str, count: int) -> None:
    xs = [checks.normal(3, THREADS // 2, seed=seed) for seed in range(count)]
    for number, value in enumerate((np.nan, np.inf, -np.inf)):
        xs[number % count][0, number] = value
    placed = [checks.on(device, x) for x in xs]
    y = merging.merge(placed, HOW[how])
    checks.assert_same_bits(y, oracle.merge(xs, how))
    for x, one in zip(xs, placed, strict=True):
        checks.assert_same_bits(one, x)


def test_double_and_other_layouts(device: Device) -> None:
    xs = [checks.normal(4, 5, seed=seed, dtype=np.float64) for seed in range(3)]
    y = merging.add([checks.on(device, x).T for x in xs])
    checks.assert_same_bits(y, np.ascontiguousarray((xs[0] + xs[1] + xs[2]).T))


@pytest.mark.parametrize("how", ["maximum", "minimum"])
def test_the_gradient_of_a_choice(device: Device, how: str) -> None:
    dy, x0, x1 = (checks.normal(THREADS + 1, seed=seed) for seed in range(3))
    x1[::3] = x0[::3]
    dy[0] = np.inf  # which a product with a mask would turn into NaN
    found = merging.choice_gradient(*checks.on(device, dy, x0, x1), HOW[how])
    for actual, expected in zip(found, oracle.choice_gradient(dy, x0, x1, how), strict=True):
        checks.assert_same_bits(actual, expected)
    x0[5], x1[6] = np.nan, np.nan
    to_first, to_second = checks.host(*merging.choice_gradient(*checks.on(device, dy, x0, x1), HOW[how]))
    assert (to_first[5], to_second[5]) == (dy[5], 0) and (to_first[6], to_second[6]) == (0, dy[6])


SPREADS = [((2, 1), (2, 300)), ((2, 1, 1, 3), (2, 5, 4, 3)), ((2, 1, 3, 1), (2, 4, 3, 5)), ((2, 3), (2, 3))]


@pytest.mark.parametrize(("shape", "target"), SPREADS)
def test_sizes_of_one_are_repeated_and_summed(device: Device, shape: Any, target: Any) -> None:
    x, dy = checks.normal(*shape), checks.normal(*target, seed=1)
    checks.assert_same_bits(merging.spread(checks.on(device, x), target), np.array(np.broadcast_to(x, target)))
    dx = merging.spread_gradient(checks.on(device, dy), shape)
    exact = oracle.spread_gradient(dy.astype(np.float64), shape)
    checks.assert_as_exact_as_plain(dx, exact, oracle.spread_gradient(dy, shape))


@pytest.mark.parametrize("sizes", [(3, 1), (2, 3, 4), (1, 2, 3, 4), (5, 1, 2, 3, 4), tuple(range(1, 10)), (1,) * 18])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_side_by_side_and_back(device: Device, sizes: tuple[int, ...], axis: int) -> None:
    rest = (3, 2)
    xs = [checks.normal(*rest[:axis], size, *rest[axis:], seed=number) for number, size in enumerate(sizes)]
    y = merging.concatenate([checks.on(device, x) for x in xs], axis)
    checks.assert_same_bits(y, np.concatenate(xs, axis))
    for part, x in zip(merging.split(y, sizes, axis), xs, strict=True):
        checks.assert_same_bits(part, x)


def test_bad_input_is_refused(device: Device) -> None:
    a, b = checks.on(device, checks.normal(2, 3), checks.normal(2, 4))
    with pytest.raises(ValueError, match=r"merge: xs must be at least two arrays; got 1"):
        merging.merge([a], Merge.SUM)
    with pytest.raises(ValueError, match=r"merge: x1 must have shape \(2, 3\); got \(2, 4\)"):
        merging.add([a, b])
    with pytest.raises(ValueError, match=r"concatenate: x1 must have shape \(2, 4\); got \(2, 3\)"):
        merging.concatenate([b, a], 0)
    with pytest.raises(ValueError, match=r"split: sizes must add up to 3; got \[1, 1\]"):
        merging.split(a, [1, 1], 1)
    with pytest.raises(ValueError, match=r"spread: sizes must be 1 or those of \(2, 4\); got \(2, 3\)"):
        merging.spread(a, (2, 4))
    with pytest.raises(TypeError, match="merge: all arrays must have one dtype; got x0 of float32, x1 of float64"):
        merging.add([a, checks.on(device, checks.normal(2, 3, dtype=np.float64))])
