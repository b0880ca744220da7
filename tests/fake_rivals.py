"""Libraries for the tests of the benchmark suite: right, wrong, slow, dying, and one that cannot do a case."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from bench.cases.case import Data, HostArray
from bench.rivals.side import Run, Side, UnsupportedError


class FakeSide(Side):
    """Dense forward only; the mode says what happens."""

    def versions(self) -> dict[str, str]:
        if self.mode == "does not start":
            raise RuntimeError("no such driver")
        return {"fake": "1.0"}

    def synchronize(self) -> None:
        pass

    def to_host(self, outputs: Any) -> HostArray:
        return np.asarray(outputs)

    def network(self, name: str, data: Data) -> tuple[Callable[[], float], Callable[[], Any]]:
        raise UnsupportedError("no networks")

    def dense_forward(self, data: Data, sizes: Mapping[str, int]) -> tuple[Run, Callable[[], list[HostArray]]]:
        y = np.maximum(data["x"] @ data["w"] + data["b"], 0)
        runs = iter(range(10**9))

        def run() -> None:
            number = next(runs)
            time.sleep(0.002)
            if self.mode == "dies" and number > 3:
                os.write(1, b"a last word\n")  # where the library would print
                os._exit(11)
            if self.mode == "hangs":
                time.sleep(60)

        if self.mode == "wrong":
            y = y * 1.01
        if self.mode == "nan":
            y[0, 0] = np.nan
        if self.mode == "shape":
            y = y[:1]
        return run, lambda: [y]


SIDE = FakeSide
