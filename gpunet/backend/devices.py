"""Which device: the user's choice, what `auto` finds, and why.

The choice is, from strongest to weakest: `with gpunet.device(...)` in this thread, `gpunet.set_device(...)`, the
environment variable GPUNET_DEVICE, `auto`. Nothing is detected at import; the first question detects.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache

import numpy as np

from gpunet.backend import emulator
from gpunet.backend.arrays import CPU, EMULATED, Device, Kind, empty, import_cupy, parse_device, to_host
from gpunet.backend.launch import launch

_AUTO = "auto"
_PROBE_SIZE = 1000


@dataclass(frozen=True)
class Report:
    """What is known of one device: `reason` says why it is not usable, or how it was tried."""

    device: Device
    usable: bool
    reason: str
    name: str = ""
    memory_total: int | None = None  # bytes
    memory_free: int | None = None  # bytes


_local: ContextVar[Device | None] = ContextVar("gpunet_device", default=None)
_chosen: Device | None = None


def set_device(name: str | Device) -> Device:
    """Use device `name` ('auto', 'cpu', 'cuda', 'cuda:N', 'emulated') from now on, in every thread.

    ValueError for an unknown name, RuntimeError with the reason for a device that cannot be used.
    """
    global _chosen
    _chosen = _usable(name)
    return _chosen


@contextmanager
def device(name: str | Device) -> Iterator[Device]:
    """Use device `name` inside a `with` block, in this thread: `with gpunet.device("emulated"): …`."""
    chosen = _usable(name)
    token = _local.set(chosen)
    try:
        yield chosen
    finally:
        _local.reset(token)


def current_device() -> Device:
    """Return the device on which new layers and arrays are made."""
    return _local.get() or _chosen or choose()[0]


def choose(name: str | Device | None = None) -> tuple[Device, str]:
    """Return the device for `name` (None: GPUNET_DEVICE, else 'auto') and the reason for this choice, in words."""
    if name is None:
        name = os.environ.get("GPUNET_DEVICE", _AUTO)
        if name != _AUTO:
            return _usable(name), f"GPUNET_DEVICE is {name!r}"
    if name == _AUTO:
        report = examine(Device(Kind.CUDA))
        return (report.device, report.reason) if report.usable else (CPU, report.reason)
    return _usable(name), "asked for"


def _usable(name: str | Device) -> Device:
    if name == _AUTO:
        return choose(_AUTO)[0]
    wanted = parse_device(name)
    report = examine(wanted)
    if not report.usable:
        raise RuntimeError(f"device: {wanted} is not usable here: {report.reason}")
    return wanted


@cache
def examine(wanted: Device) -> Report:
    """Find out, once, whether a device can be used, by running the probe kernel on it."""
    if wanted.kind is Kind.CPU:
        return Report(CPU, True, "always there", platform.processor() or platform.machine(), *_host_memory())
    if wanted.kind is Kind.EMULATED:
        return _examine_emulated()
    return _examine_cuda(wanted)


def survey() -> list[Report]:
    """Return a report of each device of this machine, the first CUDA device always among them."""
    reports = [examine(CPU), examine(Device(Kind.CUDA))]
    if reports[-1].usable:
        count = import_cupy().cuda.runtime.getDeviceCount()
        reports += [examine(Device(Kind.CUDA, index)) for index in range(1, count)]
    return [*reports, examine(EMULATED)]


def _examine_emulated() -> Report:
    try:
        compiler = emulator.find_compiler()
        _run_probe(EMULATED)
    except RuntimeError as error:
        return Report(EMULATED, False, str(error))
    return Report(EMULATED, True, "a probe kernel ran", compiler.description, *_host_memory())


def _examine_cuda(wanted: Device) -> Report:
    try:
        cupy = import_cupy()
        count = cupy.cuda.runtime.getDeviceCount()
        if wanted.index >= count:
            return Report(wanted, False, f"there are {count} CUDA devices, numbered from 0")
        _run_probe(wanted)
        properties = cupy.cuda.runtime.getDeviceProperties(wanted.index)
        with cupy.cuda.Device(wanted.index):
            free, total = cupy.cuda.runtime.memGetInfo()
    except Exception as error:  # CuPy, NVRTC and the driver each raise types of their own, and a broken one anything
        return Report(wanted, False, _explain_cuda_failure(error))
    capability = f"compute capability {properties['major']}.{properties['minor']}"
    return Report(wanted, True, "a probe kernel ran", f"{properties['name'].decode()}, {capability}", total, free)


def _explain_cuda_failure(error: Exception) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    if "InsufficientDriver" in text or "NoDevice" in text:
        return f"CuPy is installed but finds no usable NVIDIA driver or GPU ({text})"
    if "nvrtc" in text.lower():
        return f"CuPy cannot load NVRTC ({text}); install gpunet[cuda13] or gpunet[cuda12]"
    return text.removeprefix("cuda: ")


def _run_probe(wanted: Device) -> None:
    y = empty((_PROBE_SIZE,), np.float32, wanted)
    launch("probe.cu", "probe", grid=-(-_PROBE_SIZE // 256), block=256, args=(y, _PROBE_SIZE), real=np.float32)
    if not np.array_equal(to_host(y), 2 * np.arange(_PROBE_SIZE, dtype=np.float32) + 1):
        raise RuntimeError(f"the probe kernel gave wrong results on {wanted}")


def _host_memory() -> tuple[int | None, int | None]:
    """Return total and free memory of the host in bytes, where the system tells."""
    try:
        page = os.sysconf("SC_PAGE_SIZE")
        return page * os.sysconf("SC_PHYS_PAGES"), page * os.sysconf("SC_AVPHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None, None
