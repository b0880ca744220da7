"""Pooling by 2x2 with strides of 2, padding 'same', NHWC: the maximum and the mean, forward and back.

Forward of the maximum includes keeping what backward needs (which element won); backward adds each dy to its winner.
"""

from __future__ import annotations

from collections.abc import Mapping

from bench.cases.case import FLOAT_BYTES, Case, Data, array, float_bytes, numbers
from gpunet.ops import pooling
from gpunet.ops.trace import flops_of

SHAPES = ((128, 48, 16), (128, 22, 32), (32, 112, 64))  # batch, height and width, channels
_HOW = (2, 2, "same")  # pool_size, strides, padding


def data(sizes: Mapping[str, int]) -> Data:
    n, h, c = sizes["n"], sizes["h"], sizes["c"]
    p = h // 2
    return {"x": numbers(1, n, h, h, c), "dy": numbers(2, n, p, p, c)}


def _cases() -> list[Case]:
    cases = []
    for n, h, c in SHAPES:
        x, y = array(n, h, h, c), array(n, h // 2, h // 2, c)
        touched = float_bytes(x.size, y.size)
        with_winners = touched + FLOAT_BYTES * y.size  # one integer of four bytes a window
        for op, flops, moved in (
            ("max_pooling_forward", flops_of(pooling.max_pooling, x, *_HOW), with_winners),
            ("max_pooling_backward", flops_of(pooling.max_pooling_gradient, y, y, *_HOW, x.shape), with_winners),
            ("average_pooling_forward", flops_of(pooling.average_pooling, x, *_HOW), touched),
            ("average_pooling_backward", flops_of(pooling.average_pooling_gradient, y, *_HOW, x.shape), touched),
        ):
            label, sizes = f"{n}x{h}x{h}x{c}", {"n": n, "h": h, "c": c}
            cases.append(
                Case(op, label, sizes, flops, moved, data, quick=h == 22 and op.startswith("max"), has_images=True)
            )
    return cases


CASES = tuple(_cases())
