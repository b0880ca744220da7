"""Padding, cropping, permutation and repetition: rearrangement.cu and its CPU versions."""

from __future__ import annotations

from typing import Any

import checks
import numpy as np
import oracle_moves as oracle
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpunet.backend.arrays import CPU, Device
from gpunet.ops.rearrangement import THREADS, pad, permute, repeat, repeat_gradient


@pytest.mark.parametrize(
    "shape, pads",
    [
        ((1,), [(0, 0)]),
        ((THREADS + 1,), [(2, -3)]),
        ((2, 5, 4, 3), [(0, 0), (1, 2), (3, 0), (0, 0)]),
        ((2, 5, 4, 3), [(0, 0), (-1, -2), (-3, 0), (0, 0)]),
        ((2, 3, 4, 2, 3, 2), [(1, 0), (0, -1), (1, 1), (-1, 1), (0, 2), (-1, 0)]),
    ],
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_pad(device: Device, shape: Any, pads: Any, dtype: Any) -> None:
    x = checks.normal(*shape, dtype=dtype)
    checks.assert_same_bits(pad(checks.on(device, x), pads, 0.5), oracle.pad(x, pads, 0.5))


@pytest.mark.parametrize(
    "shape, axes",
    [((3, 4), (1, 0)), ((2, 3, 4), (0, 1, 2)), ((2, 3, 4, 5), (0, 3, 1, 2)), ((1, 2, 3, 2, 3, 2, 2), None)],
)
def test_permute(device: Device, shape: Any, axes: Any) -> None:
    axes = tuple(reversed(range(len(shape)))) if axes is None else axes
    x = checks.normal(*shape)
    checks.assert_same_bits(permute(checks.on(device, x), axes), oracle.permute(x, axes))


@given(
    shape=st.lists(st.integers(1, 4), min_size=1, max_size=4),
    times=st.integers(1, 3),
    others=st.integers(1, 3),
    data=st.data(),
)
def test_repeat(device: Device, shape: list[int], times: int, others: int, data: st.DataObject) -> None:
    """Of one axis or two; the gradient is the sum, in order."""
    repeats = [1] * len(shape)
    for number in (times, others):
        repeats[data.draw(st.integers(0, len(shape) - 1))] = number
    x = checks.normal(*shape)
    y = repeat(checks.on(device, x), repeats)
    checks.assert_same_bits(y, oracle.repeat(x, repeats))
    dy = checks.normal(*y.shape, seed=1)
    checks.assert_same_bits(repeat_gradient(checks.on(device, dy), repeats), oracle.repeat_gradient(dy, repeats))


def test_neighbours_that_move_together_are_one_axis(device: Device) -> None:
    if device == CPU:
        pytest.skip("cpu: has no kernels")
    with checks.recorded_launches() as launches:
        pad(checks.on(device, checks.normal(2, 3, 4, 5)), [(0, 0), (1, 1), (2, 2), (0, 0)])
        permute(checks.on(device, checks.normal(2, 3, 4, 5)), (0, 3, 1, 2))
    assert ["-DAXES=3" in launch.options for launch in launches] == [True, True]


def test_bad_arguments(device: Device) -> None:
    x = checks.on(device, checks.normal(2, 3))
    with pytest.raises(ValueError, match=r"pad: pads must leave sizes of at least 1; got \[\(0, 0\), \(-1, -2\)\]"):
        pad(x, [(0, 0), (-1, -2)])
    with pytest.raises(ValueError, match=r"permute: axes must be 0 to 1 in some order; got \(0, 2\)"):
        permute(x, (0, 2))
    with pytest.raises(ValueError, match="repeat: repeats must be 2 integers of at least 1"):
        repeat(x, (1, 0))
    with pytest.raises(ValueError, match=r"repeat_gradient: dy must have sizes that are multiples of \[2, 2\]"):
        repeat_gradient(x, (2, 2))
    with pytest.raises(ValueError, match="repeat_gradient: repeats must be 1 but on two axes"):
        repeat_gradient(checks.on(device, checks.normal(2, 2, 2)), (2, 2, 2))
    if device != CPU:
        with pytest.raises(ValueError, match=r"permute: axes must form at most 6 groups.*got 7"):
            permute(checks.on(device, checks.normal(*[2] * 7)), tuple(reversed(range(7))))
