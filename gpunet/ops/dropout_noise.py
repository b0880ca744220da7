"""The mask of a dropout in which one draw holds for whole axes."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from gpunet.backend.arrays import Array, Device, Kind, Shape, empty
from gpunet.backend.launch import ceil_div, launch
from gpunet.ops.axes import reduced_and_kept
from gpunet.ops.dropout import Key, check_key, check_rate, generator_of, threshold_of
from gpunet.ops.trace import op

THREADS = 256


@op(lambda shape, *_: math.prod(shape))
def noise_mask(shape: Shape, noise_shape: Sequence[int | None], rate: float, key: Key, device: Device) -> Array:
    """mask = u >= rate as uint8 of `shape` on `device`, u uniform in [0, 1) of `noise_shape`, broadcast.

    `noise_shape` has 1, None (the size in `shape`) or that size for each axis. u is, in C order,
    `generator(*key).random(noise_shape, dtype=numpy.float32)` on every device; the step of `key` may lie there. Apply
    the mask with `dropout_gradient`.
    """
    rate = check_rate("noise_mask", rate)
    parts = check_key("noise_mask", key, device)
    sizes = [full if size is None else size for full, size in zip(shape, noise_shape, strict=True)]
    mask = empty(shape, np.uint8, device)
    if device.kind is Kind.CPU:
        mask[...] = generator_of(*parts).random(sizes, dtype=np.float32) >= np.float32(rate)
        return mask
    _, *axes = reduced_and_kept("noise_mask", shape, tuple(axis for axis, size in enumerate(sizes) if size == 1))
    args = (mask, mask.size, *axes, threshold_of(rate), *parts)
    launch(
        "dropout_noise.cu",
        "noise_mask",
        grid=ceil_div(mask.size, THREADS),
        block=THREADS,
        args=args,
        real=np.float32,
        defines={"THREADS": THREADS},
    )
    return mask
