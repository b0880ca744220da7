"""Convolution with bias, ReLU and max-pooling by 2x2 (strides of 2, padding 'same'), NHWC: forward, and all gradients.

The shapes are the layers of cnn50 (batch 128). Forward includes keeping what backward needs of the pooling; backward
gives the gradients of images, filters and bias.

Images, filters and biases are multiples of small powers of 2, such that sums are exact in float32: libraries that add
in different orders would else disagree here and there about which element of a window is the greatest.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from bench.cases import convolution
from bench.cases.case import Case, Data, HostArray, array, float_bytes, numbers
from gpunet.ops.activation import Activation
from gpunet.ops.convolution_pooling import (
    convolution_pooling,
    convolution_pooling_gradients,
)
from gpunet.ops.convolution_sizes import Geometry
from gpunet.ops.trace import flops_of
from gpunet.ops.windows import window_pads

_X_STEP, _W_STEP = 2.0**-6, 2.0**-10


def data(sizes: Mapping[str, int]) -> Data:
    n, u, f = sizes["n"], sizes["u"], sizes["f"]
    images = convolution.data(sizes)
    x, w = _rounded(images["x"], _X_STEP), _rounded(images["w"], _W_STEP)
    return {"x": x, "w": w, "b": _rounded(images["b"], _X_STEP * _W_STEP), "dy": numbers(4, n, u, u, f)}


def _rounded(values: HostArray, step: float) -> HostArray:
    return (np.round(values / np.float32(step)) * np.float32(step)).astype(np.float32)


def _cases() -> list[Case]:
    cases = []
    for n, h, c, r, f, stride, padding in convolution.SHAPES[:3]:
        p = convolution.output_size(h, r, stride, padding)
        u = convolution.output_size(p, 2, 2, "same")
        sizes = {
            "n": n,
            "h": h,
            "c": c,
            "r": r,
            "f": f,
            "p": p,
            "u": u,
            "stride": stride,
            "padding": padding,
            "groups": 1,
        }
        label = f"{n}x{h}x{h}x{c}-k{r}s{stride}f{f}"
        images, filters, bias, dy = array(n, h, h, c), array(r, r, c, f), array(f), array(n, u, u, f)
        x, w, maxima = images.size, filters.size, dy.size
        pads = window_pads(h, r, stride, 1, padding)
        geometry = Geometry(strides=(stride, stride), pads=(pads, pads))
        forward = flops_of(convolution_pooling, images, filters, bias, Activation.RELU, geometry, "same")
        backward = flops_of(
            convolution_pooling_gradients,
            *(images, dy, dy, dy, filters, Activation.RELU, geometry, "same", filters, bias),
        )
        winners = maxima  # a byte each
        for op, flops, touched in (
            ("convolution_pooling_forward", forward, float_bytes(x, w, f, maxima) + winners),
            ("convolution_pooling_backward", backward, float_bytes(2 * (x + w + maxima), f) + winners),
        ):
            cases.append(Case(op, label, sizes, flops, touched, data, quick=h == 11, has_images=True))
    return cases


CASES = tuple(_cases())
