"""Batch normalization in training, NHWC, and layer normalization of rows: forward, and back to x, gamma and beta.

Forward includes keeping what backward needs, mean and scale; neither side moves statistics.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bench.cases.case import Case, Data, array, float_bytes, numbers
from gpunet.ops import normalization
from gpunet.ops.trace import flops_of

EPSILON = 1e-3
BATCHES = ((128, 48, 16), (128, 22, 32), (32, 14, 256))  # batch, height and width, channels
ROWS = ((4096, 768),)  # rows, features


def data(sizes: Mapping[str, int]) -> Data:
    shape = (sizes["n"], sizes["h"], sizes["h"], sizes["c"]) if "h" in sizes else (sizes["n"], sizes["c"])
    gamma, beta = (1 + numbers(seed, sizes["c"], scale=0.1) for seed in (3, 4))
    return {"x": numbers(1, *shape), "dy": numbers(2, *shape), "gamma": gamma, "beta": beta}


def _case(op: str, label: str, sizes: Mapping[str, int], quick: bool) -> Case:
    x = array(*((sizes["n"], sizes["h"], sizes["h"], sizes["c"]) if "h" in sizes else (sizes["n"], sizes["c"])))
    back, c = op.endswith("backward"), sizes["c"]
    counted: Any = normalization.normalize_gradient if back else normalization.normalize
    arguments = (x,) * 4 + (None,) * 2 if back else (x,) + (None,) * 2
    flops, moved = flops_of(counted, *arguments), float_bytes(*([x.size] * (3 if back else 2)), (3 if back else 2) * c)
    return Case(op, label, sizes, flops, moved, data, quick=quick, has_images="h" in sizes)


CASES = tuple(
    _case(f"{name}_normalization_{direction}", label, sizes, quick=quick)
    for name, label, sizes, quick in (
        *(("batch", f"{n}x{h}x{h}x{c}", {"n": n, "h": h, "c": c}, h == 14) for n, h, c in BATCHES),
        *(("layer", f"{n}x{c}", {"n": n, "c": c}, True) for n, c in ROWS),
    )
    for direction in ("forward", "backward")
)
