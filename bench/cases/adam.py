"""One step of Adam over a flat vector of parameters."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from bench.cases.case import Case, Data, array, float_bytes, numbers
from gpunet.ops.adam import adam
from gpunet.ops.trace import flops_of

LEARNING_RATE, BETA_1, BETA_2, EPSILON = 1e-3, 0.9, 0.999, 1e-7


def data(sizes: Mapping[str, int]) -> Data:
    """Return parameters and gradients; none of these is near 0, where libraries differ in what epsilon is added to."""
    g = numbers(2, sizes["n"])
    return {"w": numbers(1, sizes["n"]), "g": g + np.copysign(np.float32(0.1), g)}


def flops(n: int) -> int:
    w, rate = array(n), array(1)
    return flops_of(adam, w, w, w, w, rate, BETA_1, BETA_2, EPSILON)


# Read w, g, m, v, write w, m, v.
CASES = tuple(
    Case("adam", f"{n:.0e}".replace("e+0", "e"), {"n": n}, flops(n), float_bytes(7 * n), data, quick=n == 10**5)
    for n in (10**5, 10**6, 10**7)
)
