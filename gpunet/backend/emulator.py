"""Run CUDA kernels on the CPU: device `emulated`.

The kernel's own source is compiled as C++ behind kernels/emulator/emulator.hpp, and run with the launch geometry and
the arguments of the GPU path. Each worker thread has its own copy of the library, hence its own shared memory.

Two ways of building. The fast one finds barrier divergence and shared memory over the limit. The checked one looks at
every access of every thread, and finds out-of-bounds accesses, races (a missing `__syncthreads`), reads of memory that
nothing has written, outputs that a kernel leaves unwritten, and undefined behaviour. It is slower by a factor of about
ten, and chosen with `configured(checked=True)` or the environment variable GPUNET_EMULATOR_CHECK=1.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from functools import cache
from math import prod
from pathlib import Path
from typing import Any

from gpunet.backend import elf
from gpunet.backend.compiler import Compiler, build, cache_folder, find_compiler, load
from gpunet.backend.compiles import watched
from gpunet.backend.emulator_abi import STRUCT_BYTES
from gpunet.backend.emulator_kernel import EmulatorError, Kernel, Size
from gpunet.backend.emulator_workers import running
from gpunet.backend.locks import once
from gpunet.backend.sources import launch_bounds, source

__all__ = ["Compiler", "EmulatorError", "Module", "configured", "find_compiler", "module"]

_ORDERS = {"forward": -1, "reverse": -2}


@dataclass(frozen=True)
class Settings:
    """How kernels are run: with every access checked or not, in which order the threads of a block, and which blocks.

    `blocks` gives for a grid the numbers of those that are run, in ranges; all of them if it is None.
    """

    checked: bool
    order: int  # -1 forward, -2 reverse, else the seed of permutations
    blocks: Callable[[Size], Sequence[range]] | None = None


_settings: ContextVar[Settings | None] = ContextVar("gpunet_emulator", default=None)


@contextmanager
def configured(
    *,
    checked: bool | None = None,
    order: str | int | None = None,
    blocks: Callable[[Size], Sequence[range]] | None = None,
) -> Iterator[None]:
    """Inside a `with` block, check every access or do not, and run threads in `order`, in this thread.

    `order` is 'forward', 'reverse', or a number that seeds permutations of the threads; the results of a right kernel
    do not depend on it. `blocks` chooses, for a grid, which blocks are run: of a grid too large to be run as a whole,
    some can be, unchecked, as much of what a kernel has to write stays unwritten. None leaves a setting as it is. The
    environment variables GPUNET_EMULATOR_CHECK and GPUNET_EMULATOR_ORDER set the same for a whole process.
    """
    settings = current_settings()
    if checked is not None:
        settings = replace(settings, checked=checked)
    if order is not None:
        settings = replace(settings, order=_parse_order("order", str(order)))
    if blocks is not None:
        settings = replace(settings, blocks=blocks)
    token = _settings.set(settings)
    try:
        yield
    finally:
        _settings.reset(token)


def current_settings() -> Settings:
    """Return the settings that hold in this thread."""
    return _settings.get() or _environment_settings()


@cache
def _environment_settings() -> Settings:
    order = os.environ.get("GPUNET_EMULATOR_ORDER", "forward")
    checked = os.environ.get("GPUNET_EMULATOR_CHECK", "0") not in ("", "0")
    return Settings(checked, _parse_order("GPUNET_EMULATOR_ORDER", order))


def _parse_order(where: str, text: str) -> int:
    if text in _ORDERS:
        return _ORDERS[text]
    if not text.isdecimal():
        raise ValueError(f"{where}: value must be 'forward', 'reverse' or an integer >= 0; got {text!r}")
    return int(text)


def module(file: str, options: tuple[str, ...]) -> Module:
    """Return kernel `file` compiled with `options`, once per process; RuntimeError if it does not compile.

    `file` is one of ours or the path of another.
    """
    settings = current_settings()
    return _module(file, options, settings.checked and settings.blocks is None)


@once
def _module(file: str, options: tuple[str, ...], checked: bool) -> Module:
    name, entries, compiler = Path(file).name, launch_bounds(file), find_compiler()
    with watched(name, options, cache_folder):
        return Module(name, build(compiler, name, source(file), entries, options, checked), tuple(entries), checked)


class Module:
    """A compiled kernel file: its library, a copy of it per worker, and what is known of its kernels."""

    def __init__(self, file: str, path: Path, entries: tuple[str, ...], checked: bool) -> None:
        self.file = file
        self._path = path
        self._copies: list[ctypes.CDLL] = []
        sizes = tuple(self.copy(0).emulator_struct_bytes(i) for i in range(len(STRUCT_BYTES)))
        assert sizes == STRUCT_BYTES, f"emulator_abi.py is not what launch.hpp says: {STRUCT_BYTES} and {sizes} bytes"
        symbols = elf.Library(path)
        self.kernels = {entry: Kernel(file, entry, self.copy, symbols, checked) for entry in entries}

    def copy(self, worker: int) -> ctypes.CDLL:
        """Return the copy of the library that belongs to `worker`.

        A file that is loaded twice has its static memory once; a copy of the file has its own.
        """
        while len(self._copies) <= worker:
            with tempfile.TemporaryDirectory() as folder:
                self._copies.append(load(Path(shutil.copy(self._path, folder))))
        return self._copies[worker]

    def launch(self, entry: str, grid: Size, block: Size, values: Sequence[Any], shared_bytes: int) -> None:
        """Run a kernel on `values`: emulated arrays, NumPy scalars of exactly its types, or None for a null pointer.

        ValueError for a geometry that no GPU takes, TypeError for arguments of other types than the kernel's,
        EmulatorError for what the kernel does wrong.
        """
        if entry not in self.kernels:
            raise ValueError(f"{self.file}: entry must be one of {sorted(self.kernels)}; got {entry!r}")
        with running:
            settings = current_settings()
            ranges = (range(prod(grid)),) if settings.blocks is None else settings.blocks(grid)
            for blocks in ranges:
                self.kernels[entry].launch(grid, block, values, shared_bytes, settings.order, blocks)
