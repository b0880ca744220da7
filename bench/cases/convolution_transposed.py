"""Transposed convolution by 4 x 4 with strides of 2, which doubles height and width, NHWC: forward with bias and ReLU.

The shapes are layers of the generator of DCGAN (Radford et al. 2015, arXiv:1511.06434, figure 1) at batch 32.
"""

from __future__ import annotations

from collections.abc import Mapping

from bench.cases.case import Case, Data, array, float_bytes, numbers
from gpunet.ops.activation import Activation
from gpunet.ops.convolution_sizes import Geometry
from gpunet.ops.convolution_transposed import convolution_transposed
from gpunet.ops.trace import flops_of

KERNEL, STRIDE, PADS = 4, 2, 1
GEOMETRY = Geometry((STRIDE, STRIDE), pads=((PADS, PADS), (PADS, PADS)))
SHAPES = ((8, 4, 16, 8), (32, 8, 512, 256), (32, 32, 128, 3))  # batch, height and width, channels, filters


def data(sizes: Mapping[str, int]) -> Data:
    n, h, c, f = (sizes[name] for name in ("n", "h", "c", "f"))
    scale = (KERNEL**2 * c / STRIDE**2) ** -0.5
    return {"x": numbers(1, n, h, h, c), "w": numbers(2, KERNEL, KERNEL, f, c, scale=scale), "b": numbers(3, f)}


def _cases() -> list[Case]:
    cases = []
    for n, h, c, f in SHAPES:
        x, w, b, y = array(n, h, h, c), array(KERNEL, KERNEL, f, c), array(f), array(n, STRIDE * h, STRIDE * h, f)
        flops = flops_of(convolution_transposed, x, w, b, Activation.RELU, GEOMETRY, y.shape)
        sizes, moved = {"n": n, "h": h, "c": c, "f": f}, float_bytes(x.size, w.size, b.size, y.size)
        op, label = "convolution_transposed_forward", f"{n}x{h}x{h}x{c}-k{KERNEL}s{STRIDE}f{f}"
        cases.append(Case(op, label, sizes, flops, moved, data, quick=h == 4, has_images=True))
    return cases


CASES = tuple(_cases())
