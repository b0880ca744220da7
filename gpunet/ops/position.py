"""The place in a pass over the samples, kept in device memory so that a captured graph can move on by itself."""

from __future__ import annotations

import numpy as np

from gpunet.backend.arrays import Array, Kind, device_of
from gpunet.backend.launch import launch
from gpunet.ops import contract
from gpunet.ops.trace import op


@op(lambda *_: 1, changes=("position",))
def move_on(position: Array, count: int) -> None:
    """position += count, in place; int64 (1,).

    >>> position = np.array([3])
    >>> move_on(position, 4)
    >>> position
    array([7])
    """
    contract.has_dtype("move_on", "position", position, np.int64)
    contract.has_shape("move_on", "position", position, (1,))
    if device_of(position).kind is Kind.CPU:
        position += count
    else:
        launch("position.cu", "move_on", grid=1, block=1, args=(position, count), real=np.float32)
