"""Gather: a batch of samples by index, from bytes that stay where they are, as floats."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from bench.cases.case import FLOAT_BYTES, Case, Data, array
from gpunet.ops.gather import gather
from gpunet.ops.trace import flops_of

SAMPLES = 4096  # more bytes than the second-level cache of any CPU holds, at these sizes


def data(sizes: Mapping[str, int]) -> Data:
    rng = np.random.default_rng(1)
    source = rng.integers(256, size=(SAMPLES, sizes["features"]), dtype=np.uint8)
    return {"source": source, "order": rng.permutation(SAMPLES)}


# An index and a row of bytes are read, a row of floats is written; the conversions are counted as the operations.
CASES = tuple(
    Case(
        "gather",
        f"{n}x{features}",
        {"n": n, "features": features},
        flops=flops_of(gather, array(SAMPLES, features), array(SAMPLES), array(1), array(n, features)),
        bytes=8 * n + (1 + FLOAT_BYTES) * n * features,
        make_data=data,
        tolerance=0,
        quick=n == 128,
    )
    for n, features in ((128, 784), (512, 50 * 50 * 3))
)
