"""Time the steps on a device, and what CuPy's cuBLAS takes for the product alone; all by turns."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np

from bench.ladder.steps import STEPS, run
from bench.measure import check_agreement
from gpunet.backend.arrays import Array, Device, Kind, current, import_cupy, to_device, to_host
from gpunet.backend.clock import clock_of
from gpunet.inspection.roofline import roofline_of

RIVAL = "cuBLAS"
_TOLERANCE = 1e-5  # of the largest output: float32, sums of thousands of terms
COLUMNS = ("step", "ms", "TFLOP/s", "of the peak", f"of {RIVAL}")


class Timed(NamedTuple):
    """The median time of a step, and its flop/s beside the device's peak and, where there is one, the rival's."""

    name: str
    seconds: float
    rate: float
    of_peak: float
    of_rival: float | None

    @property
    def cells(self) -> tuple[str, ...]:
        """The row as text, in the order of COLUMNS."""
        rival = "-" if self.of_rival is None else f"{self.of_rival:.1%}"
        return self.name, f"{1e3 * self.seconds:.3f}", f"{self.rate / 1e12:.3g}", f"{self.of_peak:.1%}", rival


def measure(device: Device, m: int, n: int, k: int, rounds: int) -> list[Timed]:
    """Time all on `device` with x (m, k) and w (k, n); LibraryError if one computes something else."""
    rng = np.random.default_rng(0)
    x, w, b = (rng.standard_normal(shape).astype(np.float32) for shape in ((m, k), (k, n), n))
    exact = np.maximum(x.astype(np.float64) @ w + b, 0)
    arrays = x, w, b = tuple(to_device(array, device) for array in (x, w, b))
    contenders: dict[str, Callable[[], object]] = {}
    for step in STEPS:
        check_agreement([exact], [to_host(run(step, *arrays))], _TOLERANCE)
        contenders[step.name] = partial(run, step, *arrays)
    if device.kind is Kind.CUDA:
        contenders[RIVAL] = _product(device, x, w)
    seconds = _by_turns(device, contenders, rounds)
    peak, flop = roofline_of(device).flops, 2 * m * n * k
    rival = seconds.get(RIVAL)
    return [
        Timed(name, one, flop / one, flop / one / peak, None if rival is None else rival / one)
        for name, one in seconds.items()
    ]


def _product(device: Device, x: Array, w: Array) -> Callable[[], object]:
    """Return what lets cuBLAS compute x w, without bias and ReLU, as CuPy calls it: in exact float32."""
    with current(device):
        cupy = import_cupy()
        return partial(cupy.matmul, x, w, out=cupy.empty((x.shape[0], w.shape[1]), x.dtype))


def _by_turns(device: Device, contenders: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Return the median seconds of each; in every round each runs once untimed and once timed."""
    clock = clock_of(device)
    times: dict[str, list[float]] = {name: [] for name in contenders}
    with current(device):
        for _ in range(rounds):
            for name, work in contenders.items():
                work()
                begin = clock.mark()
                work()
                times[name].append(clock.seconds(begin, clock.mark()))
    return {name: statistics.median(some) for name, some in times.items()}
