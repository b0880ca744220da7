"""The machine's own limits, measured: float32 products per second, bytes per second; and how close to them a case is.

Roofline (Williams et al. 2009): a case of F flops and B bytes takes at least max(F / peak flops, B / peak bandwidth).
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from bench.rivals.side import Side

_MATRIX, _COPIED_BYTES, _TRIES = {"cpu": 2048, "cuda": 8192}, {"cpu": 2**28, "cuda": 2**31}, 7


@dataclass(frozen=True)
class Roofline:
    """The highest rates that were measured, in flop/s and byte/s."""

    flops: float
    bandwidth: float

    def least_seconds(self, flops: int, touched: int) -> float:
        """Return the shortest time that the limits allow for so many flops and bytes."""
        return max(flops / self.flops, touched / self.bandwidth)

    def share(self, flops: int, touched: int, seconds: float) -> float:
        """Return how close to the limit a run of `seconds` came: 1 is at it. Data in caches may bring it above 1."""
        return self.least_seconds(flops, touched) / seconds


def measure(side: Side) -> Roofline:
    """Measure with NumPy's BLAS and copies on the CPU, with cuBLAS (exact float32) and copies through CuPy on CUDA."""
    library: Any = np
    if side.device == "cuda":
        from gpunet.backend.arrays import import_cupy

        library = import_cupy()
    size, copied = _MATRIX[side.device], _COPIED_BYTES[side.device]
    a = library.asarray(np.random.default_rng(0).random((size, size), np.float32))
    b, product = a.T.copy(), library.empty_like(a)
    multiply = _fastest(side, lambda: library.matmul(a, b, out=product))
    source = library.ones(copied // 4, np.float32)
    target = library.empty_like(source)
    copy = _fastest(side, lambda: library.copyto(target, source))
    return Roofline(2 * size**3 / multiply, 2 * copied / copy)


def _fastest(side: Side, run: Any) -> float:
    times = []
    for _ in range(_TRIES):
        start = time.perf_counter()
        run()
        side.synchronize()
        times.append(time.perf_counter() - start)
    return min(times[1:])
