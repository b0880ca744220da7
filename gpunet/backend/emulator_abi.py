"""The structs of kernels/emulator/launch.hpp in ctypes, and kernel arguments turned into what the entry points take."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gpunet.backend.emulated_array import EmulatedArray


class Dim3(ctypes.Structure):
    _fields_ = (("x", ctypes.c_uint), ("y", ctypes.c_uint), ("z", ctypes.c_uint))

    def __str__(self) -> str:
        return f"({self.x}, {self.y}, {self.z})"

    @property
    def last(self) -> Dim3:
        """The last block of a grid, or thread of a block, of this size."""
        return Dim3(self.x - 1, self.y - 1, self.z - 1)


class ArrayArgument(ctypes.Structure):
    _fields_ = (
        ("begin", ctypes.c_void_p),
        ("bytes", ctypes.c_ulonglong),
        ("cells", ctypes.c_void_p),
        ("cell_shift", ctypes.c_uint),
        ("item_shift", ctypes.c_uint),
        ("number", ctypes.c_uint),
        ("writable", ctypes.c_uint),
        ("type", ctypes.c_char * 28),
    )


class SharedArray(ctypes.Structure):
    _fields_ = (("begin", ctypes.c_uint), ("end", ctypes.c_uint), ("name", ctypes.c_char * 56))


class Checks(ctypes.Structure):
    _fields_ = (
        ("arrays", ctypes.POINTER(ArrayArgument)),
        ("shared", ctypes.POINTER(SharedArray)),
        ("array_count", ctypes.c_uint),
        ("shared_count", ctypes.c_uint),
        ("static_cells", ctypes.c_void_p),
        ("dynamic_cells", ctypes.c_void_p),
        ("shared_shift", ctypes.c_uint),
        ("needs_bytes", ctypes.c_uint),
        ("read_only_bytes", ctypes.c_ulonglong),
    )


class Launch(ctypes.Structure):
    _fields_ = (
        ("grid", Dim3),
        ("block", Dim3),
        ("dynamic_bytes", ctypes.c_uint),
        ("static_begin", ctypes.c_uint),
        ("static_end", ctypes.c_uint),
        ("checks", ctypes.POINTER(Checks)),
        ("order", ctypes.c_longlong),
        ("blocks", ctypes.c_longlong),
        ("next_block", ctypes.c_longlong),
        ("stride", ctypes.c_longlong),
        ("failed", ctypes.c_int),
        ("failed_block", Dim3),
        ("failed_thread", Dim3),
        ("report", ctypes.c_char * 1000),
    )


# What the checked mode remembers of each element that a kernel may write: `Cell`, an array of three `Access`.
ACCESS = np.dtype([("block", "u4"), ("barriers", "u4"), ("code", "u4"), ("thread", "u2"), ("meetings", "u2")])
CELL = np.dtype([("writer", ACCESS), ("readers", ACCESS, 2)])

# In the order of `emulator_struct_bytes` of runtime.cpp.
STRUCT_BYTES = (*map(ctypes.sizeof, (Launch, Checks, ArrayArgument, SharedArray)), CELL.itemsize)

_C_NAMES = {"f": "float", "d": "double", "i": "int", "q": "long long", "l": "long", "B": "unsigned char"}


@dataclass(frozen=True)
class Parameter:
    """A parameter of a kernel, from its C++ type."""

    kind: str  # r: pointer to const, w: pointer, s: scalar
    dtype: np.dtype[Any]

    @property
    def is_pointer(self) -> bool:
        return self.kind != "s"

    @property
    def is_written(self) -> bool:
        return self.kind == "w"

    def __str__(self) -> str:
        name = _C_NAMES.get(self.dtype.char, self.dtype.name)
        return f"{'const ' if self.kind == 'r' else ''}{name}{'*' if self.is_pointer else ''}"


def parse_signature(text: str) -> tuple[Parameter, ...]:
    """Return the parameters from a signature of entry.hpp: all kinds, then all types."""
    count = len(text) // 2
    return tuple(Parameter(kind, np.dtype(letter)) for kind, letter in zip(text[:count], text[count:], strict=True))


def check_values(where: str, parameters: tuple[Parameter, ...], values: Sequence[Any]) -> None:
    """Raise TypeError if `values` are not what `parameters` take: something a GPU would not notice."""
    if len(values) != len(parameters):
        raise TypeError(f"{where}: kernel must get {len(parameters)} arguments; got {len(values)}")
    for number, (parameter, value) in enumerate(zip(parameters, values, strict=True)):
        if not _fits(parameter, value):
            rule = f"{'an emulated array of' if parameter.is_pointer else 'a scalar of type'} {parameter.dtype.name}"
            raise TypeError(f"{where}: argument {number} ({parameter}) must be {rule}; got {_describe(value)}")
        if parameter.is_written and value is not None and not value.flags.writeable:
            raise TypeError(f"{where}: argument {number} ({parameter}) must be writable; got a read-only array")


def _fits(parameter: Parameter, value: Any) -> bool:
    if parameter.is_pointer:
        return value is None or (isinstance(value, EmulatedArray) and value.dtype == parameter.dtype)
    return isinstance(value, np.generic) and value.dtype == parameter.dtype


def _describe(value: Any) -> str:
    if isinstance(value, EmulatedArray):
        return f"an emulated array of {value.dtype.name}"
    return f"{value} of type {value.dtype.name}" if isinstance(value, np.generic) else type(value).__name__


def pack(parameters: tuple[Parameter, ...], values: Sequence[Any], addresses: Sequence[int | None]) -> Any:
    """Return the array of addresses of arguments that an entry point takes; `addresses` are those of the arrays.

    The array keeps the arguments alive.
    """
    holders = [
        ctypes.c_void_p(address) if parameter.is_pointer else np.ctypeslib.as_ctypes_type(parameter.dtype)(value.item())
        for parameter, value, address in zip(parameters, values, addresses, strict=True)
    ]
    packed = (ctypes.c_void_p * len(holders))(*map(ctypes.addressof, holders))
    packed.holders = holders  # type: ignore[attr-defined]
    return packed
