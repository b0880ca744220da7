"""Dense with bias and ReLU, x (M, K), w (K, N): forward, and backward from dy to dx, dw and db."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from bench.cases.case import Case, Data, array, float_bytes, numbers
from gpunet.ops.activation import Activation
from gpunet.ops.dense import dense, dense_input_gradient, dense_kernel_gradient
from gpunet.ops.trace import flops_of

SHAPES = ((32, 784, 128), (128, 1600, 128), (512, 784, 512), (1024, 1024, 1024), (4096, 4096, 4096))


def data(sizes: Mapping[str, int]) -> Data:
    m, k, n = sizes["m"], sizes["k"], sizes["n"]
    x, w, b = numbers(1, m, k), numbers(2, k, n, scale=k**-0.5), numbers(3, n)
    return {"x": x, "w": w, "b": b, "dy": numbers(4, m, n), "y": np.maximum(x @ w + b, 0)}


def forward_flops(m: int, k: int, n: int) -> int:
    """Return those of the product, bias and ReLU."""
    return flops_of(dense, array(m, k), array(k, n), array(n), Activation.RELU)


def backward_flops(m: int, k: int, n: int) -> int:
    """Return those of dx, dw and db, and of ReLU's gradient once."""
    x, dy, w = array(m, k), array(m, n), array(k, n)
    dx = flops_of(dense_input_gradient, dy, dy, w, Activation.LINEAR)
    return dx + flops_of(dense_kernel_gradient, x, dy, dy, Activation.RELU, w, array(n))


def _cases() -> list[Case]:
    cases = []
    for m, k, n in SHAPES:
        sizes, label, quick = {"m": m, "k": k, "n": n}, f"{m}x{k}x{n}", m == 128
        read_and_written = float_bytes(m * k, k * n, n, m * n)
        backward = float_bytes(2 * m * n, m * k, k * n, m * k, k * n, n)
        cases.append(Case("dense_forward", label, sizes, forward_flops(m, k, n), read_and_written, data, quick=quick))
        cases.append(Case("dense_backward", label, sizes, backward_flops(m, k, n), backward, data, quick=quick))
    return cases


CASES = tuple(_cases())
