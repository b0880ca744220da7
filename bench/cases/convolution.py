"""Convolution, NHWC: forward with bias and ReLU, data gradient, filter gradient with the bias's, and both gradients.

The shapes are the layers of cnn50 (batch 128), the stages of ResNet-18 (He et al. 2016, arXiv:1512.03385, table 1) at
batch 32, its first layer, a 1x1 convolution, and the first layer and some depthwise ones of MobileNet (Howard et al.
2017, arXiv:1704.04861, table 1).
"""

from __future__ import annotations

from collections.abc import Mapping

from bench.cases.case import Case, Data, array, float_bytes, numbers
from gpunet.ops import convolution as conv
from gpunet.ops.activation import Activation
from gpunet.ops.convolution_sizes import Geometry
from gpunet.ops.trace import flops_of
from gpunet.ops.windows import window_pads

# Batch, height and width, channels, kernel size, filters, stride, padding.
SHAPES = (
    (128, 50, 1, 3, 16, 1, "valid"),
    (128, 24, 16, 3, 32, 1, "valid"),
    (128, 11, 32, 3, 64, 1, "valid"),
    (32, 56, 64, 3, 64, 1, "same"),
    (32, 28, 128, 3, 128, 1, "same"),
    (32, 14, 256, 3, 256, 1, "same"),
    (32, 7, 512, 3, 512, 1, "same"),
    (32, 56, 64, 3, 128, 2, "same"),
    (32, 28, 128, 3, 256, 2, "same"),
    (32, 14, 256, 3, 512, 2, "same"),
    (32, 224, 3, 7, 64, 2, "same"),
    (32, 56, 64, 1, 256, 1, "valid"),
    (32, 224, 3, 3, 32, 2, "same"),
)
# Likewise, each channel with a filter of its own.
DEPTHWISE = (
    (32, 112, 32, 3, 32, 1, "same"),
    (32, 112, 64, 3, 64, 2, "same"),
    (32, 14, 512, 3, 512, 1, "same"),
)
# Enough of them, on every device, for gpunet to take Winograd's products where they are wanted. Flops are counted as
# for exact sums all the same, so rates may exceed what the device can do.
WINOGRADS_CHANNELS = 128


def output_size(size: int, kernel: int, stride: int, padding: str) -> int:
    """Return how many windows fit along an axis."""
    return -(-size // stride) if padding == "same" else (size - kernel) // stride + 1


def data(sizes: Mapping[str, int]) -> Data:
    n, h, c, r, f, p = (sizes[name] for name in ("n", "h", "c", "r", "f", "p"))
    c_of_filter = c // sizes["groups"]
    w = numbers(2, r, r, c_of_filter, f, scale=(r * r * c_of_filter) ** -0.5)
    return {"x": numbers(1, n, h, h, c), "w": w, "b": numbers(3, f), "dy": numbers(4, n, p, p, f)}


def _cases() -> list[Case]:
    cases = []
    for shape, groups in [*((shape, 1) for shape in SHAPES), *((shape, shape[2]) for shape in DEPTHWISE)]:
        n, h, c, r, f, stride, padding = shape
        p = output_size(h, r, stride, padding)
        sizes = {"n": n, "h": h, "c": c, "r": r, "f": f, "p": p, "stride": stride, "padding": padding, "groups": groups}
        label = f"{n}x{h}x{h}x{c}-k{r}s{stride}f{f}" + (f"g{groups}" if groups > 1 else "")
        x, w, b, dy = array(n, h, h, c), array(r, r, c // groups, f), array(f), array(n, p, p, f)
        size = {"x": x.size, "w": w.size, "b": b.size, "y": dy.size}
        pads = window_pads(h, r, stride, 1, padding)
        geometry, linear = Geometry((stride, stride), pads=(pads, pads), groups=groups), Activation.LINEAR
        filter_gradient = (x, dy, dy, linear, geometry, w, b)
        forward = flops_of(conv.convolution, x, w, b, Activation.RELU, geometry), "xwby"
        data_gradient = flops_of(conv.convolution_input_gradient, dy, dy, w, linear, geometry, x.shape), "ywx"
        by_winograd = (r, stride) == (3, 1) and min(c, f) >= WINOGRADS_CHANNELS and groups == 1
        for op, flops, touched in (
            ("convolution_forward", *forward),
            ("convolution_data_gradient", *data_gradient),
            ("convolution_filter_gradient", flops_of(conv.convolution_kernel_gradient, *filter_gradient), "xywb"),
            (
                "convolution_backward",
                flops_of(conv.convolution_gradients, x, dy, dy, w, linear, geometry, w, b),
                "xywxwb",
            ),
            *((("winograd_forward", *forward), ("winograd_data_gradient", *data_gradient)) if by_winograd else ()),
        ):
            moved = float_bytes(*(size[name] for name in touched))
            cases.append(Case(op, label, sizes, flops, moved, data, quick=h == 11, has_images=True))
    return cases


CASES = tuple(_cases())
