"""What SGD and Adam have in common: checks of an update in place, and pieces that stay in a CPU's cache."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from gpunet.backend.arrays import Array, Device, HostArray, common_device
from gpunet.ops import contract

# Elements that a CPU update works on at a time: its temporaries then stay in the processor's cache, and its calls of
# NumPy are long enough to be made by several threads.
PIECE = 2**17


def check_update(where: str, w: Array, gradient: Array, rate_name: str, rate: Array, **slots: Array) -> Device:
    """Return the device of an update of `w` in place.

    `gradient` and `slots` must have w's shape and dtype, `rate` must be float64 (1,); `w` and `slots` C-contiguous.
    """
    device = contract.floats(where, w=w, gradient=gradient, **slots)
    common_device(where, w=w, **{rate_name: rate})
    contract.has_dtype(where, rate_name, rate, np.float64)
    contract.has_shape(where, rate_name, rate, (1,))
    for name, array in {"gradient": gradient, **slots}.items():
        contract.has_shape(where, name, array, w.shape)
    for name, array in {"w": w, **slots}.items():
        contract.is_contiguous(where, name, array)
    return device


def pieces(*arrays: HostArray) -> Iterator[tuple[HostArray, ...]]:
    """Yield views of up to PIECE elements of C-contiguous `arrays`, all flat and at the same place."""
    flat = [array.reshape(-1) for array in arrays]
    for start in range(0, flat[0].size, PIECE):
        yield tuple(array[start : start + PIECE] for array in flat)
