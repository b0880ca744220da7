"""Convolution, NHWC: forward with bias and ReLU, data gradient, and filter gradient with the bias's.

The shapes are the layers of cnn50 (batch 128), the stages of ResNet-18 (He et al. 2016, arXiv:1512.03385, table 1) at
batch 32, its first layer, and a 1x1 convolution.
"""

from __future__ import annotations

from collections.abc import Mapping

from bench.cases.case import Case, Data, float_bytes, numbers

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
)


def output_size(size: int, kernel: int, stride: int, padding: str) -> int:
    """Return how many windows fit along an axis."""
    return -(-size // stride) if padding == "same" else (size - kernel) // stride + 1


def data(sizes: Mapping[str, int]) -> Data:
    n, h, c, r, f, p = (sizes[name] for name in ("n", "h", "c", "r", "f", "p"))
    w = numbers(2, r, r, c, f, scale=(r * r * c) ** -0.5)
    return {"x": numbers(1, n, h, h, c), "w": w, "b": numbers(3, f), "dy": numbers(4, n, p, p, f)}


def _cases() -> list[Case]:
    cases = []
    for n, h, c, r, f, stride, padding in SHAPES:
        p = output_size(h, r, stride, padding)
        sizes = {"n": n, "h": h, "c": c, "r": r, "f": f, "p": p, "stride": stride, "padding": padding}
        label = f"{n}x{h}x{h}x{c}-k{r}s{stride}f{f}"
        x, w, y = n * h * h * c, r * r * c * f, n * p * p * f
        product = 2 * y * r * r * c
        quick = h == 11
        for op, flops, touched in (
            ("convolution_forward", product + 2 * y, float_bytes(x, w, f, y)),
            ("convolution_data_gradient", product, float_bytes(y, w, x)),
            ("convolution_filter_gradient", product + y, float_bytes(x, y, w, f)),
        ):
            cases.append(Case(op, label, sizes, flops, touched, data, quick=quick, has_images=True))
    return cases


CASES = tuple(_cases())
