"""Axes that are treated alike, merged, so that a kernel takes an array of any rank as one of five axes."""

from __future__ import annotations

import math
from itertools import groupby

from gpunet.backend.arrays import Shape


def reduced_and_kept(where: str, shape: Shape, axes: tuple[int, ...]) -> tuple[int, int, int, int, int]:
    """Return the sizes (R0, K0, R1, K1, R2) of `shape` with neighbouring axes of one kind merged, R those in `axes`.

    Missing ones are 1. ValueError if five do not suffice, which takes more than four axes.
    """
    runs = [
        (reduced, math.prod(shape[axis] for axis in run))
        for reduced, run in groupby(range(len(shape)), key=lambda axis: axis in axes)
    ]
    if runs and not runs[0][0]:
        runs.insert(0, (True, 1))
    sizes = [size for _, size in runs] + [1] * (5 - len(runs))
    if len(sizes) > 5:
        raise ValueError(f"{where}: axes must form at most three runs of neighbours; got {axes} of shape {shape}")
    r0, k0, r1, k1, r2 = sizes
    return r0, k0, r1, k1, r2
