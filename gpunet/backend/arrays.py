"""Arrays and the devices they lie on. The only module that imports CuPy.

Every array of gpunet is a NumPy array (`cpu`), a CuPy array (`cuda`) or an `EmulatedArray` (`emulated`). They share
the attributes that gpunet uses (shape, dtype, reshape, size), so one alias, `Array`, stands for all three.
"""

from __future__ import annotations

import atexit
import os
import shutil
import sys
import tempfile
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from enum import Enum
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from gpunet.backend import gauge, memory, recording
from gpunet.backend.emulated_array import EmulatedArray, empty_emulated
from gpunet.backend.locks import in_child, once
from gpunet.backend.memory import empty_host, out_of_memory

Array: TypeAlias = npt.NDArray[Any]
HostArray: TypeAlias = npt.NDArray[Any]
Shape: TypeAlias = tuple[int, ...]


class Kind(Enum):
    """The three ways of running an op."""

    CPU = "cpu"
    CUDA = "cuda"
    EMULATED = "emulated"


@dataclass(frozen=True)
class Device:
    """A device by kind and, for `cuda`, by number."""

    kind: Kind
    index: int = 0

    def __str__(self) -> str:
        return f"cuda:{self.index}" if self.kind is Kind.CUDA else self.kind.value


CPU = Device(Kind.CPU)
EMULATED = Device(Kind.EMULATED)


def parse_device(name: str | Device, where: str = "device") -> Device:
    """Return the device called `cpu`, `cuda`, `cuda:N` or `emulated`; ValueError for any other name."""
    if isinstance(name, Device):
        return name
    if not isinstance(name, str):
        raise TypeError(f"{where}: name must be a string or a Device; got {name!r}")
    kind, _, index = name.partition(":")
    if kind == Kind.CUDA.value and (index.isdecimal() or name == kind):
        return Device(Kind.CUDA, int(index or 0))
    if name in (Kind.CPU.value, Kind.EMULATED.value):
        return Device(Kind(name))
    raise ValueError(f"{where}: name must be 'auto', 'cpu', 'cuda', 'cuda:N' or 'emulated'; got {name!r}")


@once
def import_cupy() -> Any:
    """Return the module cupy; RuntimeError with the reason where it is missing or broken, or of no use after a fork."""
    if _used_by_parent:
        raise RuntimeError(
            "cuda: a process must not use a GPU that its parent had used before the fork; start processes by "
            'multiprocessing\'s "spawn" or "forkserver" (multiprocessing.get_context("spawn")), or fork before the '
            "first use"
        )
    _give_cupy_a_cache()
    try:
        import cupy
    except ImportError as error:
        if isinstance(error, ModuleNotFoundError) and error.name == "cupy":
            reason = "CuPy is not installed; install gpunet[cuda13] or gpunet[cuda12]"
        else:
            reason = f"CuPy does not import: {_first_line(error)}"
        raise RuntimeError(f"cuda: {reason}") from error
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a broken installation may raise anything at all
        raise RuntimeError(f"cuda: CuPy does not import: {_first_line(error)}") from error
    return cupy


_used = _used_by_parent = False  # a GPU: CUDA keeps what no forked child can go on with


def note_use_of_gpu() -> None:
    """Say that CUDA has been asked for a GPU in this process."""
    global _used
    _used = True


@in_child
def _begin_child() -> None:
    global _used_by_parent
    _used_by_parent |= _used
    if _used_by_parent:
        import_cupy.cache_clear()


def _give_cupy_a_cache() -> None:
    """Let CuPy keep its compiled kernels in a temporary folder where the home folder cannot be written.

    CuPy makes its cache folder when it is imported, and its import fails where it cannot.
    """
    if "CUPY_CACHE_DIR" in os.environ:
        return
    try:
        folder = Path("~/.cupy/kernel_cache").expanduser()
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return
    except (OSError, RuntimeError):  # RuntimeError: there is no home folder
        substitute = tempfile.mkdtemp(prefix="gpunet_cupy_")
        atexit.register(shutil.rmtree, substitute, ignore_errors=True)
        os.environ["CUPY_CACHE_DIR"] = substitute


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip(" =\t")]
    return lines[0] if lines else type(error).__name__


def device_of(array: Array) -> Device:
    """Return the device that `array` lies on; TypeError if it is not an array of NumPy, CuPy or the emulator."""
    if isinstance(array, EmulatedArray):
        return EMULATED
    if isinstance(array, np.ndarray):
        return CPU
    if is_cupy(array):
        import_cupy()  # which refuses, in a forked child, what would end in errors of CUDA
        return Device(Kind.CUDA, int(array.device.id))
    raise TypeError(f"array: must be a NumPy, CuPy or emulated array; got {type(array).__name__}")


def is_cupy(value: object) -> bool:
    """Tell whether `value` is a CuPy array, without importing CuPy."""
    return isinstance(value, getattr(sys.modules.get("cupy"), "ndarray", ()))


def is_array(value: object) -> bool:
    """Tell whether `value` is an array of any device."""
    return isinstance(value, np.ndarray) or is_cupy(value)


def common_device(where: str, **arrays: Array | None) -> Device:
    """Return the one device of all `arrays` that are not None; TypeError that names them if they differ."""
    devices = [device_of(array) for array in arrays.values() if array is not None]
    if not devices or devices.count(devices[0]) != len(devices):
        places = ", ".join(f"{name} on {device_of(array)}" for name, array in arrays.items() if array is not None)
        raise TypeError(
            f"{where}: all arrays must be on one device; got {places or 'none'}; copy with gpunet.to_device"
        )
    return devices[0]


def empty(shape: Shape, dtype: npt.DTypeLike, device: Device) -> Array:
    """Return uninitialised memory on `device`; on `emulated` it holds NaN until something writes it."""
    dtype = np.dtype(dtype)
    if device.kind is Kind.CPU:
        return empty_host(shape, dtype)
    if device.kind is Kind.EMULATED:
        return _empty_emulated(shape, dtype)
    cupy = import_cupy()
    with current(device):
        try:
            array: Array = cupy.empty(shape, dtype)
        except cupy.cuda.memory.OutOfMemoryError as error:
            raise out_of_memory(str(device), shape, dtype, *_free_and_total(cupy)) from error
    gauge.note(array, array.nbytes)
    return array


def _empty_emulated(shape: Shape, dtype: np.dtype[Any]) -> Array:
    try:
        array = empty_emulated(shape, dtype)
    except MemoryError:
        raise out_of_memory("emulated", shape, dtype, *free_and_total_memory(EMULATED)) from None
    gauge.note(array.base, array.nbytes)  # the base of plain views too
    return array


def empty_like(array: Array) -> Array:
    """Return uninitialised memory of the shape, dtype and device of `array`."""
    return empty(array.shape, array.dtype, device_of(array))


def address(array: Array) -> int:
    """Return where the memory of `array` begins."""
    given: Any = array
    return int(given.data.ptr if is_cupy(array) else given.ctypes.data)


def current(device: Device) -> AbstractContextManager[Any]:
    """Return a context in which `device` is CuPy's current device; on other kinds it does nothing."""
    return import_cupy().cuda.Device(device.index) if device.kind is Kind.CUDA else nullcontext()


def free_memory(device: Device) -> int | None:
    """Return the bytes that `device` has left for new arrays; None where it shares the host's memory."""
    if device.kind is not Kind.CUDA:
        return None
    with current(device):
        return _free_and_total(import_cupy())[0]


def free_and_total_memory(device: Device) -> tuple[int | None, int | None]:
    """Return the bytes that arrays on `device` can still have, and all that it has; None where nobody tells."""
    if device.kind is not Kind.CUDA:
        return memory.free_and_total()
    with current(device):
        return _free_and_total(import_cupy())


def _free_and_total(cupy: Any) -> tuple[int, int]:
    """Return the bytes of CuPy's current device: free ones, those that CuPy keeps for reuse included, and all."""
    free, total = cupy.cuda.runtime.memGetInfo()
    return free + cupy.get_default_memory_pool().free_bytes(), total


def zeros(shape: Shape, dtype: npt.DTypeLike, device: Device) -> Array:
    """Return memory filled with zeros on `device`."""
    array = empty(shape, dtype, device)
    fill(array, 0)
    return array


def fill(array: Array, value: float) -> None:
    """Set every element of `array` to `value`."""
    with current(device_of(array)):
        array.fill(value)
    recording.note(partial(array.fill, value))


def zeros_like(array: Array) -> Array:
    """Return zeros of the shape, dtype and device of `array`."""
    return zeros(array.shape, array.dtype, device_of(array))


def full(shape: Shape, value: float, dtype: npt.DTypeLike, device: Device) -> Array:
    """Return memory filled with `value` on `device`."""
    return to_device(np.full(shape, value, dtype), device)


def to_device(array: Array, device: Device | str) -> Array:
    """Return `array` on `device`: itself if it is there already, else a C-contiguous copy."""
    device = parse_device(device)
    source = device_of(array)
    if source == device:
        return array
    host = to_host(array)
    if device.kind is Kind.CPU:
        return host
    target = empty(host.shape, host.dtype, device)
    assign(target, host)
    return target


def to_host(array: Array) -> HostArray:
    """Return `array` as a NumPy array: itself if it is one, else a copy."""
    if isinstance(array, EmulatedArray) or is_cupy(array):
        device_of(array)
        recording.refuse("the host reads the device")
        host: HostArray = array.get()  # type: ignore[attr-defined, unused-ignore]
        return host
    return array


def assign(target: Array, source: Array) -> None:
    """Copy `source` into `target`, from the host or from the same device, in place; shapes must be equal."""
    if target.shape != source.shape:
        raise ValueError(f"assign: source must have shape {target.shape}; got {source.shape}")
    device = device_of(target)
    if device.kind is not Kind.CPU and device_of(source).kind is Kind.CPU:
        recording.refuse("the host writes to the device")
    if device.kind is Kind.CUDA and device_of(source).kind is Kind.CPU:
        target.set(np.ascontiguousarray(source, target.dtype))  # type: ignore[attr-defined]
    elif device.kind is Kind.EMULATED and device_of(source).kind is Kind.CPU:
        np.copyto(np.asarray(target), source)
    else:
        common_device("assign", target=target, source=source)
        with current(device):
            target[...] = source


def contiguous(array: Array) -> Array:
    """Return `array` in C order, copied only if it is not."""
    if array.flags.c_contiguous:
        return array
    target = empty_like(array)
    assign(target, array)
    return target


def synchronize(device: Device) -> None:
    """Wait until `device` has finished all work it was given."""
    if device.kind is Kind.CUDA:
        with current(device):
            import_cupy().cuda.get_current_stream().synchronize()
