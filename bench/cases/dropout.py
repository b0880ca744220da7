"""Dropout: draw a mask, and y = mask x / (1 - rate).

Libraries draw different masks, so that what is compared is the share that was kept, and that what was kept is
x / (1 - rate).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from bench.cases.case import FLOAT_BYTES, Case, Data, HostArray, array, numbers
from gpunet.ops.dropout import dropout
from gpunet.ops.trace import flops_of

RATE = 0.4


def data(sizes: Mapping[str, int]) -> Data:
    return {"x": numbers(1, sizes["n"], sizes["features"])}


# A random number costs more than the one product and comparison that are counted. The mask is a byte an element.
CASES = tuple(
    Case(
        "dropout",
        f"{n}x{features}",
        {"n": n, "features": features},
        flops=flops_of(dropout, array(n, features), RATE, (0, 0, 0)),
        bytes=(2 * FLOAT_BYTES + 1) * n * features,
        make_data=data,
        tolerance=0.02,  # of the share kept: more than six standard deviations at 131072 elements
        quick=n == 128,
    )
    for n, features in ((128, 1024), (512, 8192))
)


def summary(x: HostArray, y: HostArray) -> HostArray:
    """Return the share of elements that were kept, and the largest error of one of them."""
    kept = y != 0
    error = np.abs(np.where(kept, y - x / (1 - RATE), 0)).max()
    return np.array([kept.mean(), error])
