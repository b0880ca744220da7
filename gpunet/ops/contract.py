"""What every op demands of its arrays: one device, one float dtype, nothing empty, the right shapes."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from gpunet.backend.arrays import Array, Device, Shape, common_device

_FLOATS = (np.dtype(np.float32), np.dtype(np.float64))


def floats(where: str, **arrays: Array | None) -> Device:
    """Return the device of float `arrays`, leaving out those that are None.

    TypeError unless they lie on one device and are all float32 or all float64; ValueError if one has no elements.
    """
    device = common_device(where, **arrays)
    dtypes = []
    for name, array in arrays.items():
        if array is None:
            continue
        dtypes.append(array.dtype)
        if array.dtype not in _FLOATS:
            raise TypeError(f"{where}: {name} must be float32 or float64; got {array.dtype}")
        if array.size == 0:
            raise ValueError(f"{where}: {name} must have at least one element; got shape {array.shape}")
    if dtypes.count(dtypes[0]) != len(dtypes):
        listed = ", ".join(f"{name} of {array.dtype}" for name, array in arrays.items() if array is not None)
        raise TypeError(f"{where}: all arrays must have one dtype; got {listed}")
    return device


def has_shape(where: str, name: str, array: Array, shape: Shape) -> None:
    """ValueError unless `array` has `shape`."""
    if array.shape != shape:
        raise ValueError(f"{where}: {name} must have shape {shape}; got {array.shape}")


def has_rank(where: str, name: str, array: Array, rank: int, axes: str) -> None:
    """ValueError unless `array` has `rank` axes, which the message calls `axes`, say '(N, H, W, C)'."""
    if array.ndim != rank:
        raise ValueError(f"{where}: {name} must have {rank} axes, {axes}; got shape {array.shape}")


def is_per_row(where: str, name: str, array: Array, rows: int) -> bool:
    """Tell whether `array` holds one number for each of `rows`, not one for all; ValueError if it holds neither."""
    if array.shape not in ((1,), (rows,)):
        raise ValueError(f"{where}: {name} must have shape (1,) or ({rows},); got {array.shape}")
    return array.size > 1


def repeats(where: str, name: str, array: Array | None, rows: int) -> int:
    """Return for how many neighbouring rows each number of `array` is; ValueError unless their number divides `rows`.

    1 for None.
    """
    if array is None:
        return 1
    has_rank(where, name, array, 1, "(N,)")
    if rows % array.size:
        raise ValueError(f"{where}: {name} must be as many as {rows} rows can be shared among; got {array.size}")
    return rows // array.size


def has_dtype(where: str, name: str, array: Array, dtype: npt.DTypeLike) -> None:
    """TypeError unless `array` has `dtype`."""
    if array.dtype != dtype:
        raise TypeError(f"{where}: {name} must be {np.dtype(dtype)}; got {array.dtype}")


def is_output(where: str, shape: Shape, **arrays: Array | None) -> None:
    """ValueError unless `arrays`, into which the op is to write, are None or C-contiguous and of `shape`."""
    for name, array in arrays.items():
        if array is not None:
            has_shape(where, name, array, shape)
            is_contiguous(where, name, array)


def is_contiguous(where: str, name: str, array: Array) -> None:
    """ValueError unless `array`, which the op is to change in place, is C-contiguous."""
    if not array.flags.c_contiguous:
        raise ValueError(f"{where}: {name} must be C-contiguous, because it is changed in place; got a strided view")
