"""Compile and launch a kernel, on `cuda` or on `emulated`, through one door.

Scalars are converted here and nowhere else: a Python int becomes the kernels' `Index` (64-bit), a float becomes their
`REAL`. One compiled module is kept per (device, file, defines).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from gpunet.backend import emulator
from gpunet.backend.arrays import Array, Device, Kind, common_device, import_cupy, is_array
from gpunet.backend.sources import entry_points, source

Defines: TypeAlias = Mapping[str, int | str]
Argument: TypeAlias = Array | int | float | None

# What nvcc's front end and every host compiler must agree on. Contraction of a*b+c is off on both devices: where a
# kernel wants a fused multiply-add it says `fma`, so that both devices round in the same places.
NVRTC_OPTIONS = ("--std=c++17", "--fmad=false")

_REAL = {"float32": "float", "float64": "double"}

# Every (file, defines) compiled and every (file, entry) launched by this process: the proof that tests leave no
# kernel out reads these.
compiled: set[tuple[str, tuple[str, ...]]] = set()
launched: set[tuple[str, str]] = set()


def ceil_div(a: int, b: int) -> int:
    """Return the smallest integer not below a / b."""
    return -(-a // b)


def launch(
    file: str,
    entry: str,
    *,
    grid: int | tuple[int, ...],
    block: int | tuple[int, ...],
    args: Sequence[Argument],
    real: npt.DTypeLike,
    defines: Defines | None = None,
    shared_bytes: int = 0,
) -> None:
    """Run kernel `entry` of `file` on the device of its array arguments.

    `args` are passed in the kernel's order; None is a null pointer. `real` is the element type behind the kernels'
    `REAL`, float32 or float64. `defines` reach the compiler as `-DNAME=value`; `shared_bytes` is the size of dynamic
    shared memory. Arrays must be C-contiguous and on one device.
    """
    arrays = {f"argument {i}": argument for i, argument in enumerate(args) if is_array(argument)}
    device = common_device(f"{file}:{entry}", **arrays)  # type: ignore[arg-type]
    for name, array in arrays.items():
        assert array.flags.c_contiguous, f"{file}:{entry}: {name} is not contiguous"  # type: ignore[union-attr]
    dtype = np.dtype(real)
    options = _options(dtype, defines or {})
    values = [_scalar(argument, dtype) for argument in args]
    launched.add((file, entry))
    compiled.add((file, options))
    if device.kind is Kind.EMULATED:
        emulator.module(file, options).launch(entry, _dim3(grid), _dim3(block), values, shared_bytes)
    else:
        _launch_cuda(device, file, entry, options, _dim3(grid), _dim3(block), values, shared_bytes)


def _options(dtype: np.dtype[Any], defines: Defines) -> tuple[str, ...]:
    try:
        real = _REAL[dtype.name]
    except KeyError:
        raise TypeError(f"kernel: dtype must be float32 or float64; got {dtype}") from None
    return (f"-DREAL={real}", *(f"-D{name}={value}" for name, value in sorted(defines.items())))


def _scalar(argument: Argument, dtype: np.dtype[Any]) -> Any:
    if isinstance(argument, (bool, int, np.integer)):
        return np.int64(argument)
    if isinstance(argument, (float, np.floating)):
        return dtype.type(argument)
    return argument


def _dim3(size: int | tuple[int, ...]) -> tuple[int, int, int]:
    x, y, z = ((size,) if isinstance(size, int) else size) + (1,) * (3 - (1 if isinstance(size, int) else len(size)))
    return x, y, z


def _launch_cuda(
    device: Device,
    file: str,
    entry: str,
    options: tuple[str, ...],
    grid: tuple[int, int, int],
    block: tuple[int, int, int],
    values: list[Any],
    shared_bytes: int,
) -> None:
    cupy = import_cupy()
    with cupy.cuda.Device(device.index):
        kernel = _cuda_kernel(device.index, file, entry, options)
        if shared_bytes > kernel.max_dynamic_shared_size_bytes:
            kernel.max_dynamic_shared_size_bytes = shared_bytes
        pointers = [np.uint64(0) if value is None else value for value in values]
        kernel(grid, block, tuple(pointers), shared_mem=shared_bytes)


@cache
def _cuda_kernel(index: int, file: str, entry: str, options: tuple[str, ...]) -> Any:
    return _cuda_module(index, file, options).get_function(entry)


@cache
def _cuda_module(index: int, file: str, options: tuple[str, ...]) -> Any:
    cupy = import_cupy()
    assert entry_points(file), f"{file} has no entry points"
    return cupy.RawModule(code=source(file), options=NVRTC_OPTIONS + options, backend="nvrtc")
