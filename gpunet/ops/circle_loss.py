"""The circle loss: products of embeddings with the same label are to be large, all others small."""

from __future__ import annotations

import numpy as np

from gpunet.backend.arrays import Array, HostArray, Kind, contiguous, empty
from gpunet.backend.launch import ceil_div, launch
from gpunet.ops import contract
from gpunet.ops.labels import check_labels
from gpunet.ops.trace import op

THREADS = 128
ROWS = THREADS // 32  # rows that one block works on: a warp each

_FILE = "circle_loss.cu"


@op(lambda products, *_: 20 * products.size)
def circle_loss(
    products: Array, labels: Array, gamma: float, margin: float, remove_diagonal: bool
) -> tuple[Array, Array]:
    """losses[i] = log(1 + sum_p exp(a[i, p]) sum_n exp(b[i, n])), and slopes = dlosses[i] / dproducts[i, j].

    d = max(1 - products, 0); a = gamma (d + margin) (d - margin) for the others p with the label of i, and i itself
    unless `remove_diagonal`; b = gamma max(1 + margin - d, 0) (1 - margin - d) for all n with another label. Without
    such p or n the loss is 0. `products` and slopes have shape (N, N), int32 `labels` and the losses (N,).
    """
    device = contract.floats("circle_loss", products=products)
    check_labels("circle_loss", "products", products, labels)
    contract.has_shape("circle_loss", "products", products, (len(products), len(products)))
    if device.kind is Kind.CPU:
        return _on_host(products, labels, gamma, margin, remove_diagonal)
    losses, slopes = empty(labels.shape, products.dtype, device), empty(products.shape, products.dtype, device)
    numbers = float(gamma), float(margin), remove_diagonal, len(products)
    args = (contiguous(products), contiguous(labels), losses, slopes, *numbers)
    blocks, defines = ceil_div(len(products), ROWS), {"THREADS": THREADS}
    launch(_FILE, "circle_loss", grid=blocks, block=THREADS, args=args, real=products.dtype, defines=defines)
    return losses, slopes


def _on_host(
    products: HostArray, labels: HostArray, gamma: float, margin: float, remove_diagonal: bool
) -> tuple[HostArray, HostArray]:
    real = products.dtype.type
    g, m = real(gamma), real(margin)
    near, far = labels[:, None] == labels, labels[:, None] != labels
    if remove_diagonal:
        np.fill_diagonal(near, False)
    d = np.maximum(1 - products, 0)
    room = np.maximum(1 + m - d, 0)
    exponents = np.where(near, g * (d + m) * (d - m), g * room * (1 - m - d))
    slopes = np.where(near, -2 * g * d, np.where(room > 0, 2 * g * (1 - d), real(0)))
    slopes[products >= 1] = 0
    sums, shares = np.zeros((2, len(labels)), products.dtype), np.zeros_like(d)
    for total, mask in zip(sums, (near, far), strict=True):
        top = np.max(exponents, axis=1, keepdims=True, where=mask, initial=real(-np.inf))
        e = np.exp(exponents - np.where(np.isfinite(top), top, 0), where=mask, out=np.zeros_like(d))
        parts = e.sum(axis=1, keepdims=True)
        found = parts > 0
        np.divide(e, parts, out=shares, where=mask & found)
        total[:] = np.where(found, np.log(np.where(found, parts, 1)) + top, -np.inf)[:, 0]
    z = sums.sum(axis=0)
    e = np.exp(-np.abs(z))
    slopes *= shares * (np.where(z >= 0, real(1), e) / (1 + e))[:, None]
    return np.maximum(z, 0) + np.log1p(e), slopes
