"""Layers that a file is about to fill: their weights start from zeros, and are no more than the file holds."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import numpy as np
import numpy.typing as npt

from gpunet.backend.arrays import HostArray, Shape

_scalars_left: ContextVar[int | None] = ContextVar("gpunet_scalars_left", default=None)


@contextmanager
def weights_from_file(scalars: int) -> Iterator[None]:
    """Inside this `with` block, layers draw no initial values and have `scalars` numbers in all their weights at most.

    So a damaged or malicious file cannot ask for more memory than it fills.
    """
    token = _scalars_left.set(scalars)
    try:
        yield
    finally:
        _scalars_left.reset(token)


def placeholder(where: str, shape: Shape, dtype: npt.DTypeLike) -> HostArray | None:
    """Return zeros for a weight that a file fills, None outside `weights_from_file`; ValueError if it has too few."""
    left = _scalars_left.get()
    if left is None:
        return None
    size = math.prod(shape)
    if size > left:
        raise ValueError(f"{where}: weights must be in the file; a weight of shape {shape} needs more than it holds")
    _scalars_left.set(left - size)
    return np.zeros(shape, dtype)
