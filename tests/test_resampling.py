"""Resizing along an axis: resampling.cu, its CPU version, and the tables of weights."""

from __future__ import annotations

import checks
import numpy as np
import oracle_moves as oracle
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpunet.backend.arrays import CPU, Device
from gpunet.ops.resampling import resample, resample_gradient
from gpunet.ops.resampling_weights import INTERPOLATIONS, taps

GOLDEN = {
    "bilinear": [2.0, 2.0, 6.0],
    "antialiased": [2.28571429, 3.77777778, 6.28571429],
    "bicubic": [0.82524272, 2.81163435, 3.55976676, 2.0, 6.70845481, 7.07756233, 4.82524272],
    "lanczos3": [0.70892753, 2.96700475, 3.46239882, 2.0, 6.72424774, 7.28923895, 4.60818818],
    "area": [2.200000047683716, 3.5999999046325684, 6.200000762939453],
}
SIZES = [(1, 1), (1, 5), (7, 1), (5, 5), (4, 9), (9, 4), (3, 12), (12, 3)]


@pytest.mark.parametrize("antialias", [False, True])
@pytest.mark.parametrize("name", INTERPOLATIONS)
def test_tables_are_the_matrix_and_its_transpose(name: str, antialias: bool) -> None:
    for length, size in SIZES:
        expected = oracle.resampling_matrix(length, size, name, antialias)
        table = taps(length, size, name, antialias)
        for found, matrix in ((table, expected), (table.transposed(length), expected.T)):
            dense = np.zeros(matrix.shape)
            for p, (start, count) in enumerate(zip(found.starts, found.counts, strict=True)):
                dense[p, start : start + count] = found.weights[p, :count]
                assert not found.weights[p, count:].any() and start >= 0 and start + count <= matrix.shape[1]
            np.testing.assert_allclose(dense, matrix, rtol=0, atol=1e-14)


@given(
    shape=st.lists(st.integers(1, 6), min_size=1, max_size=4),
    size=st.integers(1, 9),
    name=st.sampled_from(INTERPOLATIONS),
    antialias=st.booleans(),
    data=st.data(),
)
def test_any_axis_and_size(
    device: Device, shape: list[int], size: int, name: str, antialias: bool, data: st.DataObject
) -> None:
    axis = data.draw(st.integers(0, len(shape) - 1))
    x = checks.normal(*shape)
    y = resample(checks.on(device, x), axis, size, name, antialias)
    exact = oracle.resample(x.astype(np.float64), axis, size, name, antialias)
    checks.assert_as_exact_as_plain(y, exact, oracle.resample(x, axis, size, name, antialias))
    dy = checks.normal(*y.shape, seed=1)
    dx = resample_gradient(checks.on(device, dy), axis, shape[axis], name, antialias)
    exact = oracle.resample_gradient(dy.astype(np.float64), axis, shape[axis], name, antialias)
    checks.assert_as_exact_as_plain(dx, exact, oracle.resample_gradient(dy, axis, shape[axis], name, antialias))
    if device != CPU:  # the same bits everywhere
        checks.assert_same_bits(y, resample(x, axis, size, name, antialias))
        checks.assert_same_bits(dx, resample_gradient(dy, axis, shape[axis], name, antialias))


@pytest.mark.parametrize("name", INTERPOLATIONS)
def test_double_and_several_blocks(device: Device, name: str) -> None:
    x = checks.normal(3, 20, 30, dtype=np.float64)
    y = resample(checks.on(device, x), 1, 13, name)
    checks.assert_close_in_double(y, oracle.resample(x, 1, 13, name))


def test_a_pixel_that_is_not_finite_reaches_its_neighbours_only(device: Device) -> None:
    x = np.ones((1, 9), np.float32)
    x[0, 4] = np.nan
    y = checks.host(resample(checks.on(device, x), 1, 18, "bilinear"))
    assert np.isnan(y[0, 7:11]).all() and np.isnan(y).sum() == 4


def test_what_the_numbers_are() -> None:
    """Of jax.image.resize, and tf.image.resize for the last one."""
    x = np.float64([1, 4, 2, 8, 5])
    np.testing.assert_allclose(resample(x, 0, 3, "bilinear"), GOLDEN["bilinear"], atol=1e-6)
    np.testing.assert_allclose(resample(x, 0, 3, "bilinear", True), GOLDEN["antialiased"], atol=1e-6)
    np.testing.assert_allclose(resample(x, 0, 7, "bicubic"), GOLDEN["bicubic"], atol=1e-6)
    np.testing.assert_allclose(resample(x, 0, 7, "lanczos3"), GOLDEN["lanczos3"], atol=1e-6)
    np.testing.assert_allclose(resample(x, 0, 3, "area"), GOLDEN["area"], atol=1e-6)


def test_bad_arguments() -> None:
    with pytest.raises(ValueError, match=r"taps: interpolation must be one of 'nearest', 'bilinear', .*; got 'cubic'"):
        resample(np.ones((2, 2)), 0, 3, "cubic")
    with pytest.raises(TypeError, match="resample: x must be float32 or float64; got int64"):
        resample(np.ones((2, 2), np.int64), 0, 3, "bilinear")
