"""How far two arrays are from each other, in units of the last place of the largest number in them.

    distance = max |a - b| / spacing(max(|a|, |b|) over all elements)

The spacing is that of the array's largest magnitude, not of each element: a small element of a matrix product is what
is left of terms that cancel, and carries the rounding of these. By its own spacing a correct sum would be thousands of
units off, whenever it comes close to 0.
"""

from __future__ import annotations

import math

import numpy as np

from gpunet.backend.arrays import HostArray


def spacing(a: HostArray, b: HostArray) -> float:
    """Return the unit: the distance of neighbouring numbers at the largest finite magnitude of both; of integers 1."""
    if a.dtype.kind != "f":
        return 1.0
    largest = max(float(np.max(np.abs(one), where=np.isfinite(one), initial=0)) for one in (a, b))
    return float(np.spacing(a.dtype.type(largest)))


def differences(a: HostArray, b: HostArray) -> HostArray:
    """Return |a - b| in float64: 0 where both are the same number or NaN, inf where only one of them is finite."""
    with np.errstate(invalid="ignore"):
        found = np.abs(a.astype(np.float64) - b.astype(np.float64))
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    return np.where(same, 0.0, np.where(np.isnan(found), math.inf, found))


def distance(a: HostArray, b: HostArray, allowed: HostArray | float = 0.0) -> float:
    """Return the largest difference of `a` and `b`, of one shape and dtype, beyond what is `allowed`, in units."""
    beyond = np.max(differences(a, b) - allowed, initial=0)
    return float(beyond) / spacing(a, b)
