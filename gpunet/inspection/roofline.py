"""The limits of a device: how fast it multiplies and adds, how fast it copies; measured once, and kept.

Roofline (Williams et al. 2009, "Roofline: an insightful visual performance model for multicore architectures"): work of
F flop and B bytes takes at least max(F / peak flop/s, B / peak byte/s).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

import numpy as np

from gpunet.backend import devices, emulator
from gpunet.backend.arrays import Device, Kind, empty, full
from gpunet.backend.clock import clock_of
from gpunet.backend.compiler import cache_folder
from gpunet.backend.threads import get_threads
from gpunet.ops.dense import multiply_host
from gpunet.ops.roofline import copy, multiply_adds
from gpunet.ops.trace import flops_of
from gpunet.saving.replacing import replace_file
from gpunet.version import version

_TRIES = 20  # the fastest counts, the first does not; threads may share a core for the first few


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


@dataclass(frozen=True)
class _Sizes:
    """How much work the limits are measured with."""

    copied: int  # elements
    matrix: int = 0  # rows and columns, on the CPU
    threads: int = 0  # and `turns` of each, elsewhere
    turns: int = 0


# Far more than caches hold, and on a GPU a millisecond or more of work; the emulator would take minutes for that.
_SIZES = {
    Kind.CPU: _Sizes(copied=2**24, matrix=1024),
    Kind.CUDA: _Sizes(copied=2**26, threads=2**20, turns=4096),
    Kind.EMULATED: _Sizes(copied=2**18, threads=2**12, turns=256),
}


def roofline_of(device: Device, dtype: str = "float32") -> Roofline:
    """Return the limits of `device` for arrays of `dtype`: on a CPU those of as many threads as a step uses.

    They are measured at the first call, by NumPy's copies and products on the CPU, by kernels/roofline.cu elsewhere,
    and kept in the user's cache folder; a file there that is damaged or cannot be written only means to measure again.
    """
    path = _path(device, dtype)
    with suppress(OSError, ValueError, TypeError, KeyError):
        return _read(path)
    measured = _measure(device, dtype)
    with suppress(OSError):
        replace_file(path, json.dumps(asdict(measured)).encode())
    return measured


def _path(device: Device, dtype: str) -> Path:
    """Return the file for what decides the limits: the device, the threads, how the emulator runs, who measures."""
    about = (str(device), devices.examine(device).name, _processor(), str(emulator.current_settings().checked))
    text = "\0".join((*about, str(get_threads()), dtype, version(), np.__version__))
    return cache_folder("roofline") / f"{device.kind.value}-{hashlib.sha256(text.encode()).hexdigest()[:32]}.json"


@cache
def _processor() -> str:
    return devices.examine(Device(Kind.CPU)).name


def _read(path: Path) -> Roofline:
    content = json.loads(path.read_text(encoding="utf-8"))
    limits = Roofline(float(content["flops"]), float(content["bandwidth"]))
    if not (0 < limits.flops < np.inf and 0 < limits.bandwidth < np.inf):
        raise ValueError(f"{path}: limits must be finite and above 0; got {limits}")
    return limits


def _measure(device: Device, dtype: str) -> Roofline:
    sizes = _SIZES[device.kind]
    x, y = full((sizes.copied,), 1, dtype, device), empty((sizes.copied,), dtype, device)
    bandwidth = 2 * x.nbytes / _fastest(device, lambda: copy(x, y))
    flops, work = _product(sizes.matrix, dtype) if device.kind is Kind.CPU else _chains(sizes, dtype, device)
    return Roofline(flops / _fastest(device, work), bandwidth)


def _product(size: int, dtype: str) -> tuple[int, Callable[[], object]]:
    """Return the flop of a matrix product on the CPU, and what runs it."""
    a = np.random.default_rng(0).random((size, size)).astype(dtype)
    b, out = a.T.copy(), np.empty_like(a)
    return 2 * size**3, lambda: multiply_host(a, b, out)


def _chains(sizes: _Sizes, dtype: str, device: Device) -> tuple[int, Callable[[], object]]:
    """Return the flop of chains of multiply-adds, and what runs them."""
    x, y = full((sizes.threads,), 1, dtype, device), empty((sizes.threads,), dtype, device)
    return flops_of(multiply_adds, x, y, sizes.turns), lambda: multiply_adds(x, y, sizes.turns)


def _fastest(device: Device, work: Callable[[], object]) -> float:
    """Return the shortest time of several runs, in seconds."""
    clock, times = clock_of(device), []
    for _ in range(_TRIES):
        begin = clock.mark()
        work()
        times.append(clock.seconds(begin, clock.mark()))
    return min(times[1:])
