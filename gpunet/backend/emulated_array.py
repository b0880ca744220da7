"""The array type of the `emulated` device: memory of the host that refuses to be mixed with host arrays."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

# The bit pattern of memory that nothing has written yet, by item size. Read as floats they are quiet NaNs, so that a
# kernel that reads or leaves such an element spoils its result visibly; the checked emulator looks for the bits.
UNWRITTEN_BITS = {1: 0xA5, 2: 0x7EA5, 4: 0x7FC5A5A5, 8: 0x7FF8A5A5A5A5A5A5}

_ALIGNMENT = 256  # bytes


class EmulatedArray(np.ndarray[Any, Any]):
    """An ndarray on the `emulated` device.

    It behaves as a CuPy array does: arithmetic among its own kind and with scalars works, arithmetic with a host array
    raises TypeError, and `.get()` copies it to the host. (`numpy.asarray` cannot be intercepted for a subclass; a
    device array of CuPy would refuse that too.)
    """

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        _refuse_host_arrays(ufunc.__name__, (inputs, kwargs))
        outputs = kwargs.pop("out", ())
        if outputs:
            kwargs["out"] = tuple(map(_plain, outputs))
        results = getattr(ufunc, method)(*map(_plain, inputs), **kwargs)
        if outputs:
            return outputs[0] if len(outputs) == 1 else outputs
        if isinstance(results, tuple):
            return tuple(np.asarray(result).view(EmulatedArray) for result in results)
        return None if results is None else np.asarray(results).view(EmulatedArray)

    def __array_function__(self, func: Any, types: Iterable[type], args: Any, kwargs: Any) -> Any:
        _refuse_host_arrays(func.__name__, (args, kwargs))
        result = super().__array_function__(func, types, args, kwargs)
        return result.view(EmulatedArray) if type(result) is np.ndarray else result

    def __setitem__(self, index: Any, value: Any) -> None:
        _refuse_host_arrays("assignment", (index, value))
        super().__setitem__(index, value)

    def get(self) -> npt.NDArray[Any]:
        """Return a copy on the host, as CuPy's `get` does."""
        return np.array(self, copy=True, subok=False)


def _plain(value: Any) -> Any:
    return value.view(np.ndarray) if isinstance(value, EmulatedArray) else value


def _refuse_host_arrays(where: str, values: Any) -> None:
    """Raise TypeError if `values`, searched through containers, holds an array of the host."""
    if isinstance(values, EmulatedArray):
        return
    if isinstance(values, np.ndarray):
        raise TypeError(
            f"{where}: all arrays must be on device 'emulated'; got a host array of shape {values.shape}; "
            f"copy it with gpunet.to_device(array, 'emulated')"
        )
    if isinstance(values, Mapping):
        values = values.values()
    elif not isinstance(values, (tuple, list)):
        return
    for value in values:
        _refuse_host_arrays(where, value)


def empty_emulated(shape: tuple[int, ...], dtype: np.dtype[Any]) -> EmulatedArray:
    """Return emulated memory filled with the bit pattern of memory that nothing has written.

    Like memory that CUDA allocates it starts at a multiple of 256 bytes, so that kernels may load vectors.
    """
    size = math.prod(shape) * dtype.itemsize
    memory = np.empty(size + _ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % _ALIGNMENT
    bits = memory[start : start + size].view(f"u{dtype.itemsize}")
    bits.fill(UNWRITTEN_BITS[dtype.itemsize])
    return bits.view(dtype).reshape(shape).view(EmulatedArray)
