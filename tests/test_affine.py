"""Images through a matrix each: affine.cu and its CPU version."""

from __future__ import annotations

import checks
import numpy as np
import oracle_moves as oracle
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpunet.backend.arrays import CPU, Device
from gpunet.ops.affine import FILL_MODES, INTERPOLATIONS, THREADS, affine, affine_gradient


@given(
    sizes=st.tuples(*[st.integers(1, 6)] * 4),
    channels=st.integers(1, 3),
    interpolation=st.sampled_from(INTERPOLATIONS),
    mode=st.sampled_from(FILL_MODES),
    seed=st.integers(0, 99),
)
def test_any_matrix(
    device: Device, sizes: tuple[int, ...], channels: int, interpolation: str, mode: str, seed: int
) -> None:
    h, w, p, q = sizes
    x, dy = checks.normal(2, h, w, channels, seed=seed), checks.normal(2, p, q, channels, seed=seed + 1)
    matrices = 1.5 * checks.normal(2, 6, seed=seed + 2) * np.float32([1, 1, 4, 1, 1, 4])
    y = affine(*checks.on(device, x, matrices), (p, q), interpolation, mode, 0.5)
    checks.assert_same_bits(y, oracle.affine(x, matrices, (p, q), interpolation, mode, 0.5))
    dx = affine_gradient(*checks.on(device, dy, matrices), x.shape, interpolation, mode)
    checks.assert_same_bits(dx, oracle.affine_gradient(dy, matrices, x.shape, interpolation, mode))


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
def test_several_blocks_in_double(device: Device, interpolation: str) -> None:
    x = checks.normal(2, 19, 23, 2, dtype=np.float64)
    assert x[0].size > 3 * THREADS
    matrices = np.array([[0.8, -0.6, 3.0, 0.6, 0.8, -5.0], [1.0, 0.0, 0.25, 0.0, -1.0, 18.0]])
    y = affine(*checks.on(device, x, matrices), (19, 23), interpolation, "reflect")
    checks.assert_same_bits(y, oracle.affine(x, matrices, (19, 23), interpolation, "reflect"))
    dx = affine_gradient(*checks.on(device, x, matrices), x.shape, interpolation, "reflect")
    checks.assert_same_bits(dx, oracle.affine_gradient(x, matrices, x.shape, interpolation, "reflect"))


def test_nearest_copies_and_halves_go_to_even(device: Device) -> None:
    x = np.float32([-0.0, np.nan, np.inf, 4]).reshape(1, 1, 4, 1)
    flipped = affine(*checks.on(device, x, np.float32([[-1, 0, 3, 0, 1, 0]])), (1, 4), "nearest", "constant")
    checks.assert_same_bits(flipped, x[:, :, ::-1].copy())
    numbers = np.arange(4, dtype=np.float32).reshape(1, 1, 4, 1)
    y = affine(*checks.on(device, numbers, np.float32([[1, 0, 0.5, 0, 1, 0]])), (1, 3), "nearest", "constant")
    assert checks.host(y).ravel().tolist() == [0, 2, 2]


def test_matrices_of_anything_read_nothing_wild(device: Device) -> None:
    x = np.ones((4, 2, 3, 1), np.float32)
    matrices = np.zeros((4, 6), np.float32)
    matrices[:, 2], matrices[:, 4] = [np.nan, np.inf, -np.inf, 3e38], 1
    for mode in FILL_MODES:
        y = checks.host(affine(*checks.on(device, x, matrices), (2, 3), "nearest", mode))
        assert (y == (0 if mode == "constant" else 1)).all(), mode
        affine_gradient(*checks.on(device, x, matrices), x.shape, "bilinear", mode)


def test_bad_arguments(device: Device) -> None:
    x, m = checks.on(device, np.ones((1, 2, 2, 1), np.float32), np.zeros((1, 6), np.float32))
    with pytest.raises(ValueError, match=r"affine: matrices must have shape \(1, 6\); got \(6,\)"):
        affine(x, m.reshape(6), (2, 2), "nearest", "wrap")
    with pytest.raises(ValueError, match=r"affine: images must have 4 axes, \(N, H, W, C\)"):
        affine(x.reshape(1, 2, 2), m, (2, 2), "nearest", "wrap")
    with pytest.raises(ValueError, match="affine: interpolation must be one of 'nearest', 'bilinear'; got 'cubic'"):
        affine(x, m, (2, 2), "cubic", "wrap")
    with pytest.raises(ValueError, match=r"affine: fill_mode must be one of .*; got 'mirror'"):
        affine(x, m, (2, 2), "nearest", "mirror")
    if device == CPU:
        with pytest.raises(ValueError, match="affine: an image must be below 1073741824 elements; got 1073741824"):
            affine(x, m, (2**15, 2**15), "nearest", "wrap")
