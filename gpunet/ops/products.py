"""Matrix products in NumPy, cut so that they are more exact, and faster with OpenBLAS, NumPy's usual library.

Shapes are (groups, rows, ...); how they are cut depends on them alone.
"""

from __future__ import annotations

import numpy as np

from gpunet.backend.arrays import HostArray
from gpunet.backend.launch import ceil_div
from gpunet.backend.memory import empty_host

# Of terms. How exact a longer sum is depends on the version of BLAS: OpenBLAS 0.3.34 is half as exact as 0.3.31 at
# 1008 terms.
_LONGEST_SUM = 384
# Of multiplications. OpenBLAS does not bring the factors of so small a product into another order first, which for few
# filters takes as long as to multiply.
_SMALL_PRODUCT = 10**6
_FEWEST_ROWS = 32  # of such a product: with fewer there is little to win, or something to lose


def multiply(a: HostArray, b: HostArray, out: HostArray) -> None:
    """out = a b, for a (G or 1, M, K), b (G, K, N) and out (G, M, N); long sums are added up in pieces."""
    _multiply(a[..., :_LONGEST_SUM], b[:, :_LONGEST_SUM], out)
    for first in range(_LONGEST_SUM, b.shape[1], _LONGEST_SUM):
        terms = slice(first, first + _LONGEST_SUM)
        more = empty_host(out.shape, out.dtype)
        _multiply(a[..., terms], b[:, terms], more)
        out += more


def _multiply(a: HostArray, b: HostArray, out: HostArray) -> None:
    count = _pieces(a.shape[1], b[0].size, _FEWEST_ROWS)
    np.matmul(_cut(a, count), b[:, np.newaxis], out=_cut(out, count))
    rest = slice(a.shape[1] // count * count, None)
    if a[:, rest].size:
        np.matmul(a[:, rest], b, out=out[:, rest])


def multiply_transposed(a: HostArray, b: HostArray, out: HostArray) -> None:
    """out = a' b, for a (G, M, K), b (G, M, N) and out (G, K, N)."""
    count = _pieces(a.shape[1], out[0].size, 4 * _FEWEST_ROWS)  # whose results are to be added up
    if count == 1:
        np.matmul(a.transpose(0, 2, 1), b, out=out)
        return
    rest = slice(a.shape[1] // count * count, None)
    products = empty_host((len(a), count + 1, *out.shape[1:]), out.dtype)
    np.matmul(_cut(a, count).transpose(0, 1, 3, 2), _cut(b, count), out=products[:, :-1])
    np.matmul(a[:, rest].transpose(0, 2, 1), b[:, rest], out=products[:, -1])
    np.add.reduce(products, axis=1, out=out)


def _pieces(rows: int, others: int, fewest: int) -> int:
    """Return how many small products `rows` are to be cut into: 1 if these had less than `fewest` rows each."""
    count = max(ceil_div(rows * others, _SMALL_PRODUCT), 1)
    return count if rows >= fewest * count else 1


def _cut(values: HostArray, count: int) -> HostArray:
    """Return `values` (G, M, ...) as a view (G, count, M // count, ...), which may lack the last rows."""
    groups, m = values.shape[:2]
    return values[:, : m // count * count].reshape(groups, count, m // count, *values.shape[2:])
