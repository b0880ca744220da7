"""Whether all numbers of a gradient are finite, as training asks in each step with compile(nonfinite="raise")."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from bench.cases.case import Case, Data, float_bytes, numbers


def data(sizes: Mapping[str, int]) -> Data:
    """Return a gradient, which is what is timed, and one with an infinity at its end, which has to be told from it."""
    g = numbers(1, sizes["n"])
    return {"g": g, "bad": np.append(g[:-1], np.float32(np.inf))}


# Each number is read once, and compared with itself less itself, as gpunet's op counts it.
CASES = tuple(
    Case("nonfinite", f"{n:.0e}".replace("e+0", "e"), {"n": n}, 2 * n, float_bytes(n), data, 0, quick=n == 10**5)
    for n in (10**5, 10**6, 10**7)
)
