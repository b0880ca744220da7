"""What graphs of layers merge: the sum of a skip connection and of what it skips, and both side by side."""

from __future__ import annotations

from collections.abc import Mapping

from bench.cases.case import Case, Data, array, float_bytes, numbers
from gpunet.ops import merging
from gpunet.ops.merging import Merge
from gpunet.ops.trace import flops_of

SHAPES = ((128, 28, 64), (32, 112, 64))  # batch, height and width, channels


def data(sizes: Mapping[str, int]) -> Data:
    shape = sizes["n"], sizes["h"], sizes["h"], sizes["c"]
    return {"x0": numbers(1, *shape), "x1": numbers(2, *shape)}


def _cases() -> list[Case]:
    cases = []
    for n, h, c in SHAPES:
        x = array(n, h, h, c)
        sizes, label = {"n": n, "h": h, "c": c}, f"{n}x{h}x{h}x{c}"
        flops = flops_of(merging.merge, [x, x], Merge.SUM)
        cases.append(Case("add", label, sizes, flops, float_bytes(3 * x.size), data, quick=h == 28))
        cases.append(Case("concatenate", label, sizes, 0, float_bytes(4 * x.size), data))
    return cases


CASES = tuple(_cases())
