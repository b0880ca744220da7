"""Which device: the user's choice, what `auto` finds, and why.

The choice is, from strongest to weakest: `with gpunet.device(...)` in this thread, `gpunet.set_device(...)`, the
environment variable GPUNET_DEVICE, `auto`. Nothing is detected at import; the first question detects.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from gpunet.backend import emulator
from gpunet.backend.arrays import (
    CPU,
    EMULATED,
    Device,
    Kind,
    empty,
    import_cupy,
    note_use_of_gpu,
    parse_device,
    to_host,
)
from gpunet.backend.launch import launch
from gpunet.backend.locks import once
from gpunet.backend.memory import free_and_total

_AUTO = "auto"
_VARIABLE = "GPUNET_DEVICE"
_PROBE_SIZE = 1000
_INSTALL = "install gpunet[cuda13] or gpunet[cuda12]"
_REASON_LIMIT = 300  # characters: a compiler's message can be pages long


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
        name = os.environ.get(_VARIABLE, _AUTO)
        if name != _AUTO:
            return _usable(name, _VARIABLE), f"{_VARIABLE} is {name!r}"
    if name == _AUTO:
        report = examine(Device(Kind.CUDA))
        return (report.device, report.reason) if report.usable else (CPU, report.reason)
    return _usable(name), "asked for"


def _usable(name: str | Device, where: str = "device") -> Device:
    if name == _AUTO:
        return choose(_AUTO)[0]
    wanted = parse_device(name, where)
    report = examine(wanted)
    if not report.usable:
        raise RuntimeError(f"{where}: {wanted} is not usable here: {report.reason}")
    return wanted


@once
def examine(wanted: Device) -> Report:
    """Find out, once, whether a device can be used, by running the probe kernel on it."""
    if wanted.kind is Kind.CPU:
        return Report(CPU, True, "always there", _processor(), *_host_memory())
    if wanted.kind is Kind.EMULATED:
        return _examine_emulated()
    return _examine_cuda(wanted)


@cache
def capability(wanted: Device) -> str:
    """Return the compute capability of a GPU that is there, such as '9.0'; of another device its kind."""
    if wanted.kind is not Kind.CUDA:
        return str(wanted)
    properties = import_cupy().cuda.runtime.getDeviceProperties(wanted.index)
    return f"{properties['major']}.{properties['minor']}"


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
        note_use_of_gpu()
        if wanted.index >= count:
            return Report(wanted, False, f"there are {count} CUDA devices, numbered from 0")
        _run_probe(wanted)
        properties = cupy.cuda.runtime.getDeviceProperties(wanted.index)
        with cupy.cuda.Device(wanted.index):
            free, total = cupy.cuda.runtime.memGetInfo()
    except Exception as error:  # CuPy, NVRTC and the driver each raise types of their own, and a broken one anything
        return Report(wanted, False, _explain_cuda_failure(error))
    name = f"{properties['name'].decode()}, compute capability {capability(wanted)}"
    return Report(wanted, True, "a probe kernel ran", name, total, free)


def _explain_cuda_failure(error: Exception) -> str:
    """Say in the user's words why `cuda` cannot be used, and what to do."""
    text = " ".join(str(error).split())
    if "InsufficientDriver" in text:
        return _explain_driver()
    if "NoDevice" in text:
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        hidden = "" if visible is None else f"; CUDA_VISIBLE_DEVICES is {visible!r}"
        return f"there is an NVIDIA driver, but it shows no GPU{hidden}"
    if "libnvrtc" in text or "nvrtc64" in text:
        return f"CuPy is installed, but NVRTC is not; {_INSTALL}"
    if "CUDA root directory" in text:
        return f"CuPy is installed, but NVIDIA's CUDA runtime package is not; {_INSTALL}"
    if text.startswith("cuda: "):  # our own words already
        return text.removeprefix("cuda: ")
    return f"{type(error).__name__}: {text}"[:_REASON_LIMIT]


def _explain_driver() -> str:
    cupy = import_cupy()
    driver = cupy.cuda.runtime.driverGetVersion()
    if driver == 0:
        return f"CuPy {cupy.__version__} is installed, but this machine has no NVIDIA driver"
    needed = cupy.cuda.runtime.runtimeGetVersion()
    return (
        f"the NVIDIA driver is made for CUDA {_version(driver)}, CuPy for CUDA {_version(needed)}; "
        f"install a newer driver, or gpunet[cuda12] instead of gpunet[cuda13]"
    )


def _version(number: int) -> str:
    """Write CUDA's version number, such as 12040, as people do: 12.4."""
    return f"{number // 1000}.{number % 1000 // 10}"


def _run_probe(wanted: Device) -> None:
    y = empty((_PROBE_SIZE,), np.float32, wanted)
    launch("probe.cu", "probe", grid=-(-_PROBE_SIZE // 256), block=256, args=(y, _PROBE_SIZE), real=np.float32)
    if not np.array_equal(to_host(y), 2 * np.arange(_PROBE_SIZE, dtype=np.float32) + 1):
        raise RuntimeError(f"the probe kernel gave wrong results on {wanted}")


def _processor() -> str:
    """Return the processor's name as its maker writes it, or else its architecture."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return f"{line.partition(':')[2].strip()}, {os.cpu_count()} cores"
    return f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores"


def _host_memory() -> tuple[int | None, int | None]:
    """Return total and free memory of the host in bytes, where the system tells."""
    free, total = free_and_total()
    return total, free
