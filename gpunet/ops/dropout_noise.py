"""The mask of a dropout in which one draw holds for whole axes."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from gpunet.backend.arrays import Array, Device, Shape, to_device
from gpunet.backend.random import generator
from gpunet.ops.trace import op


@op(lambda shape, *_: math.prod(shape))
def noise_mask(
    shape: Shape, noise_shape: Sequence[int | None], rate: float, key: tuple[int, int, int], device: Device
) -> Array:
    """mask = u >= rate as uint8 of `shape` on `device`, u uniform in [0, 1) of `noise_shape`, broadcast.

    `noise_shape` has 1, None (the size in `shape`) or that size for each axis. u is drawn on the host, like initial
    weights, as `generator(*key).random(noise_shape, dtype=numpy.float32)`; apply the mask with `dropout_gradient`.
    """
    sizes = [full if size is None else size for full, size in zip(shape, noise_shape, strict=True)]
    u = generator(*key).random(sizes, dtype=np.float32)
    mask = np.broadcast_to(u >= np.float32(rate), shape).astype(np.uint8)
    return to_device(mask, device)
