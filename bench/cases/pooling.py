"""Pooling by 2x2 with strides of 2, padding 'same', NHWC: the maximum and the mean, forward and back.

Forward of the maximum includes keeping what backward needs (which element won); backward adds each dy to its winner.
"""

from __future__ import annotations

from collections.abc import Mapping

from bench.cases.case import FLOAT_BYTES, Case, Data, float_bytes, numbers

SHAPES = ((128, 48, 16), (128, 22, 32), (32, 112, 64))  # batch, height and width, channels
_WINDOW = 4


def data(sizes: Mapping[str, int]) -> Data:
    n, h, c = sizes["n"], sizes["h"], sizes["c"]
    p = h // 2
    return {"x": numbers(1, n, h, h, c), "dy": numbers(2, n, p, p, c)}


def _cases() -> list[Case]:
    cases = []
    for n, h, c in SHAPES:
        x, y = n * h * h * c, n * (h // 2) ** 2 * c
        winners = FLOAT_BYTES * y  # one integer of four bytes a window
        for op, flops, touched in (
            ("max_pooling_forward", (_WINDOW - 1) * y, float_bytes(x, y) + winners),
            ("max_pooling_backward", y, float_bytes(y, x) + winners),
            ("average_pooling_forward", _WINDOW * y, float_bytes(x, y)),
            ("average_pooling_backward", y, float_bytes(y, x)),
        ):
            label, sizes = f"{n}x{h}x{h}x{c}", {"n": n, "h": h, "c": c}
            cases.append(
                Case(op, label, sizes, flops, touched, data, quick=h == 22 and op.startswith("max"), has_images=True)
            )
    return cases


CASES = tuple(_cases())
