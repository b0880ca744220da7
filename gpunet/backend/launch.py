"""Compile and launch a kernel, on `cuda` or on `emulated`, through one door.

Scalars are converted here and nowhere else: a Python int becomes the kernels' `Index` (64-bit), a float becomes their
`REAL`. One compiled module is kept per (device, file, defines).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from gpunet.backend import emulator, recording
from gpunet.backend.arrays import Array, Device, Kind, common_device, current, import_cupy, is_array
from gpunet.backend.compiles import cupy_cache, watched
from gpunet.backend.locks import once
from gpunet.backend.sources import entry_points, source

Defines: TypeAlias = Mapping[str, int | str]
Argument: TypeAlias = Array | int | float | None

# What nvcc's front end and every host compiler must agree on. Contraction of a*b+c is off on both devices: where a
# kernel wants a fused multiply-add it says `fma`, so that both devices round in the same places. (CuPy adds
# -ftz=true, which nothing can undo: float32 results below 1.2e-38 are zero on `cuda`.)
NVRTC_OPTIONS = ("--std=c++17", "--fmad=false")

_REAL = {"float32": "float", "float64": "double"}

# CUDA's limits since compute capability 3.0, for x, y, z; and threads per block.
_GRID_LIMIT = (2**31 - 1, 65535, 65535)
_BLOCK_LIMIT = (1024, 1024, 64)
_THREADS_LIMIT = 1024


class Launch(NamedTuple):
    """What a launch asks of a GPU: a kernel, how it is compiled, and the threads and dynamic memory of a block."""

    file: str
    entry: str
    options: tuple[str, ...]
    threads: int
    shared_bytes: int


# Every different launch of this process. The tests prove from it that no kernel is left out, and that every kernel
# compiles and fits for every generation of GPUs just as it was asked for here.
launched: set[Launch] = set()


def ceil_div(a: int, b: int) -> int:
    """Return the smallest integer not below a / b."""
    return -(-a // b)


def launch(
    file: str | Path,
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

    `file` is the name of one of our kernel files, or a `Path` to any other. `args` are passed in the kernel's order;
    None is a null pointer. `real` is the element type behind the kernels' `REAL`, float32 or float64. `defines` reach
    the compiler as `-DNAME=value`; `shared_bytes` is the size of dynamic shared memory. Arrays must be C-contiguous and
    on one device.
    """
    file = str(file.resolve()) if isinstance(file, Path) else file
    arrays = {f"argument {i}": argument for i, argument in enumerate(args) if is_array(argument)}
    device = common_device(f"{file}:{entry}", **arrays)  # type: ignore[arg-type]
    for name, array in arrays.items():
        assert array.flags.c_contiguous, f"{file}:{entry}: {name} is not contiguous"  # type: ignore[union-attr]
    dtype = np.dtype(real)
    options = _options(dtype, defines or {})
    values = [_scalar(argument, dtype) for argument in args]
    grid, block = _dim3(grid), _dim3(block)
    _check_geometry(f"{file}:{entry}", grid, block)
    launched.add(Launch(file, entry, options, math.prod(block), shared_bytes))
    record = recording.current()
    if record is not None:
        record.log.append((file, entry, options, grid, block, shared_bytes, *map(_description, values)))
    if device.kind is Kind.EMULATED:
        run = partial(emulator.module(file, options).launch, entry, grid, block, values, shared_bytes)
        run()
        recording.note(run)
    else:
        _launch_cuda(device, file, entry, options, grid, block, values, shared_bytes)


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


def _description(value: Any) -> Any:
    """Return what is the same at every run of a step: a number, or the shape and dtype of an array."""
    return (value.shape, value.dtype.name) if is_array(value) else value


def _dim3(size: int | tuple[int, ...]) -> tuple[int, int, int]:
    sizes = (size,) if isinstance(size, int) else size
    x, y, z = (*sizes, *(1,) * (3 - len(sizes)))
    return x, y, z


def _check_geometry(where: str, grid: tuple[int, int, int], block: tuple[int, int, int]) -> None:
    """ValueError for more blocks than CUDA takes, which large arrays can ask for."""
    assert min(*grid, *block) >= 1, f"{where}: {grid} blocks of {block} threads"
    assert math.prod(block) <= _THREADS_LIMIT and _within(block, _BLOCK_LIMIT), f"{where}: blocks of {block} threads"
    if not _within(grid, _GRID_LIMIT):
        raise ValueError(f"{where}: grid must have at most {_GRID_LIMIT} blocks; got {grid}; use smaller batches")


def _within(size: tuple[int, int, int], limit: tuple[int, int, int]) -> bool:
    return all(a <= b for a, b in zip(size, limit, strict=True))


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
    # CuPy takes no None; a zero as wide as a pointer is a null pointer.
    pointers = tuple(np.uint64(0) if value is None else value for value in values)
    with current(device):
        _cuda_kernel(device, file, entry, options, shared_bytes)(grid, block, pointers, shared_mem=shared_bytes)


@once
def _cuda_kernel(device: Device, file: str, entry: str, options: tuple[str, ...], shared_bytes: int) -> Any:
    """Return the compiled kernel, allowed to use `shared_bytes` of dynamic shared memory; `device` must be current."""
    with watched(file, options, cupy_cache):
        kernel = _cuda_module(device, file, options).get_function(entry)
        limit = kernel.max_dynamic_shared_size_bytes  # 48 KiB less the static part, unless it is raised
    if shared_bytes > limit:
        kernel.max_dynamic_shared_size_bytes = shared_bytes
    return kernel


@once
def _cuda_module(device: Device, file: str, options: tuple[str, ...]) -> Any:
    assert entry_points(file), f"{file} has no entry points"
    return import_cupy().RawModule(code=source(file), options=NVRTC_OPTIONS + options, backend="nvrtc")
