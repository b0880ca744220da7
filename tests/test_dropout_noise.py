"""The mask of a dropout in which one draw holds for whole axes (kernels/dropout_noise.cu): NumPy's bits everywhere."""

from __future__ import annotations

from typing import Any

import checks
import numpy as np
import pytest

from gpunet.backend.arrays import CPU, Device
from gpunet.backend.random import generator
from gpunet.ops.dropout_noise import THREADS, noise_mask

KEY = (7, 3, 2**33 + 5)
CASES: list[tuple[tuple[int, ...], tuple[int | None, ...]]] = [
    ((3, 5), (None, 1)),
    ((3, 5), (1, None)),
    ((3, 5), (1, 1)),
    ((3, 5), (3, 5)),
    ((THREADS + 1,), (None,)),
    ((4, 3, 5, 6), (None, 1, 1, None)),
    ((4, 3, 5, 6), (1, None, 1, 6)),
    ((4, 3, 5, 6), (None, 1, None, 1)),
    ((4, 1, 5, 9), (4, 1, 1, None)),
]


@pytest.mark.parametrize("shape, noise_shape", CASES)
def test_masks_are_those_of_numpy(device: Device, shape: Any, noise_shape: Any) -> None:
    sizes = [size if noise is None else noise for size, noise in zip(shape, noise_shape, strict=True)]
    u = generator(*KEY).random(sizes, dtype=np.float32)
    expected = np.broadcast_to(u >= np.float32(0.4), shape).astype(np.uint8)
    checks.assert_same_bits(noise_mask(shape, noise_shape, 0.4, KEY, device), expected)
    step = checks.on(device, np.array([KEY[2]]))
    checks.assert_same_bits(noise_mask(shape, noise_shape, 0.4, (*KEY[:2], step), device), expected)


def test_bad_input_is_refused(device: Device) -> None:
    with pytest.raises(ValueError, match=r"noise_mask: rate must be at least 0 and below 1; got 1\.0"):
        noise_mask((3, 5), (None, 1), 1.0, KEY, device)
    step = checks.on(device, np.zeros(1, np.float32))
    with pytest.raises(TypeError, match="noise_mask: step must be int64; got float32"):
        noise_mask((3, 5), (None, 1), 0.5, (7, 3, step), device)
    if device != CPU:
        with pytest.raises(TypeError, match=f"noise_mask: step must be on {device}; got an array on cpu"):
            noise_mask((3, 5), (None, 1), 0.5, (7, 3, np.array([1])), device)
        with pytest.raises(ValueError, match=r"noise_mask: axes must form at most three runs of neighbours; got"):
            noise_mask((2,) * 7, (1, None) * 3 + (1,), 0.5, KEY, device)
