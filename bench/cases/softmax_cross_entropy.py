"""Softmax and cross-entropy as one op, from logits and integer labels: the mean loss and its gradient."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from bench.cases.case import Case, Data, float_bytes, numbers

SHAPES = ((128, 10), (256, 1000))


def data(sizes: Mapping[str, int]) -> Data:
    n, classes = sizes["n"], sizes["classes"]
    labels = np.random.default_rng(2).integers(classes, size=n).astype(np.int64)
    return {"logits": numbers(1, n, classes, scale=3), "labels": labels}


# Per logit: maximum, difference, exponential, sum, division, and the gradient's difference and factor.
CASES = tuple(
    Case(
        "softmax_cross_entropy",
        f"{n}x{classes}",
        {"n": n, "classes": classes},
        flops=7 * n * classes,
        bytes=float_bytes(2 * n * classes) + 8 * n,
        make_data=data,
        quick=True,
    )
    for n, classes in SHAPES
)
