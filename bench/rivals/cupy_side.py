"""CuPy, whose matrix products are cuBLAS's: Dense, and gather."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import cupy

from bench.cases.case import Data, HostArray
from bench.rivals.side import Run, Side, UnsupportedError, cupy_seconds

Op = tuple[Run, Callable[[], list[Any]]]


class CupySide(Side):
    def versions(self) -> dict[str, str]:
        return {
            "CuPy": cupy.__version__,
            "cuBLAS": str(cupy.cuda.cublas.getVersion(cupy.cuda.device.get_cublas_handle())),
        }

    def synchronize(self) -> None:
        cupy.cuda.Device().synchronize()

    def to_host(self, outputs: Any) -> HostArray:
        host: HostArray = cupy.asnumpy(outputs)
        return host

    def device_seconds(self, run: Run, repetitions: int) -> list[float]:
        return cupy_seconds(cupy, run, repetitions)

    def network(self, name: str, data: Data) -> tuple[Callable[[], float], Callable[[], Any]]:
        raise UnsupportedError("CuPy has no networks")

    def dense_forward(self, data: Data, sizes: Mapping[str, Any]) -> Op:
        x, w, b = (cupy.asarray(data[name]) for name in ("x", "w", "b"))
        run: Callable[[], Any] = lambda: cupy.maximum(x @ w + b, 0)  # noqa: E731
        return run, lambda: [run()]

    def dense_backward(self, data: Data, sizes: Mapping[str, Any]) -> Op:
        x, w, y, dy = (cupy.asarray(data[name]) for name in ("x", "w", "y", "dy"))

        def run() -> tuple[Any, ...]:
            dz = dy * (y > 0)
            return dz @ w.T, x.T @ dz, dz.sum(axis=0)

        return run, lambda: list(run())

    def gather(self, data: Data, sizes: Mapping[str, Any]) -> Op:
        source, indices = cupy.asarray(data["source"]), cupy.asarray(data["order"][: sizes["n"]])
        run: Callable[[], Any] = lambda: source[indices].astype(cupy.float32)  # noqa: E731
        return run, lambda: [run()]

    def nonfinite(self, data: Data, sizes: Mapping[str, Any]) -> Op:
        g, bad = cupy.asarray(data["g"]), cupy.asarray(data["bad"])
        both = lambda: [cupy.isfinite(one).all().astype(cupy.float32)[None] for one in (g, bad)]  # noqa: E731
        return lambda: cupy.isfinite(g).all(), both


SIDE = CupySide
