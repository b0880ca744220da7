"""Softmax and cross-entropy as one op, from logits and integer labels: the mean loss and its gradient."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from bench.cases.case import Case, Data, array, float_bytes, numbers
from gpunet.ops.softmax_cross_entropy import softmax_cross_entropy
from gpunet.ops.trace import flops_of

SHAPES = ((128, 10), (256, 1000))


def data(sizes: Mapping[str, int]) -> Data:
    n, classes = sizes["n"], sizes["classes"]
    labels = np.random.default_rng(2).integers(classes, size=n).astype(np.int64)
    return {"logits": numbers(1, n, classes, scale=3), "labels": labels}


def flops(n: int, classes: int) -> int:
    return flops_of(softmax_cross_entropy, array(n, classes), array(n))


CASES = tuple(
    Case(
        "softmax_cross_entropy",
        f"{n}x{classes}",
        {"n": n, "classes": classes},
        flops=flops(n, classes),
        bytes=float_bytes(2 * n * classes) + 8 * n,
        make_data=data,
        quick=True,
    )
    for n, classes in SHAPES
)
