"""The array type of the `emulated` device: memory of the host that refuses to be mixed with host arrays."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from gpunet.backend import recording

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
        run = partial(getattr(ufunc, method), *map(_plain, inputs), **kwargs)
        results = run()
        if outputs:
            recording.note(run)
            return outputs[0] if len(outputs) == 1 else outputs
        if isinstance(results, tuple):
            recording.refuse(f"the emulator cannot run {ufunc.__name__}, which has several results, again")
            return tuple(np.asarray(result).view(EmulatedArray) for result in results)
        return None if results is None else _noted(np.asarray(results), run)

    def __array_function__(self, func: Any, types: Iterable[type], args: Any, kwargs: Any) -> Any:
        _refuse_host_arrays(func.__name__, (args, kwargs))
        run = partial(super().__array_function__, func, types, args, kwargs)
        result = run()
        if isinstance(result, (tuple, list)):
            recording.refuse(f"the emulator cannot run {func.__name__}, which has several results, again")
        return _noted(result, run) if isinstance(result, np.ndarray) else result

    def __getitem__(self, index: Any) -> Any:
        run = partial(super().__getitem__, index)
        result = run()
        if not isinstance(result, np.ndarray):
            recording.refuse("the host reads the device")
            return result
        return result if np.may_share_memory(result, self) else _noted(result, run)

    def __setitem__(self, index: Any, value: Any) -> None:
        _refuse_host_arrays("assignment", (index, value))
        run = partial(super().__setitem__, index, value)
        run()
        recording.note(run)

    def astype(self, *args: Any, **kwargs: Any) -> Any:
        run = partial(super().astype, *args, **kwargs)
        return _noted(run(), run)

    def copy(self, *args: Any, **kwargs: Any) -> Any:
        run = partial(super().copy, *args, **kwargs)
        return _noted(run(), run)

    def __deepcopy__(self, memo: dict[int, Any] | None) -> EmulatedArray:
        copied = empty_emulated(self.shape, self.dtype)  # which begins where kernels may load vectors
        np.copyto(np.asarray(copied), self.get())
        return copied

    def get(self) -> npt.NDArray[Any]:
        """Return a copy on the host, as CuPy's `get` does."""
        recording.refuse("the host reads the device")
        return np.array(self, copy=True, subok=False)


def _noted(result: npt.NDArray[Any], run: Callable[[], Any]) -> EmulatedArray:
    """Return `result`, which `run` has just given, on the device; run again, a captured step puts it there again."""
    recording.note(lambda: np.copyto(np.asarray(result), np.asarray(run())))
    return result.view(EmulatedArray)


def _refused_while_capturing(name: str) -> Callable[..., Any]:
    method = getattr(np.ndarray, name)

    def refused(self: EmulatedArray, *args: Any, **kwargs: Any) -> Any:
        recording.refuse(f"an array's {name} runs outside of kernels")
        return method(self, *args, **kwargs)

    return refused


# Methods that read the device, or that NumPy runs without asking: nothing would notice that they have to run again.
for _name in ("item", "tolist", "take", "dot", "flatten", "repeat", "argmax", "argmin", "argsort", "cumsum", "nonzero"):
    setattr(EmulatedArray, _name, _refused_while_capturing(_name))
for _name in ("__float__", "__int__", "__bool__"):
    setattr(EmulatedArray, _name, _refused_while_capturing(_name))


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
