"""The machine's own limits, measured as the libraries could reach them: all threads, and cuBLAS on a GPU."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np

from gpunet.inspection.roofline import Roofline

if TYPE_CHECKING:
    from bench.rivals.side import Side

_MATRIX, _COPIED_BYTES, _TRIES = {"cpu": 2048, "cuda": 8192}, {"cpu": 2**28, "cuda": 2**31}, 7


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
