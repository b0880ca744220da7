"""Run one kernel on the CPU: what a GPU's driver does at a launch, and the checks that it does not make."""

from __future__ import annotations

import ctypes
import re
import time
from collections.abc import Callable, Sequence
from functools import partial
from math import prod
from typing import Any, TypeAlias

import numpy as np

from gpunet.backend import elf
from gpunet.backend.emulated_array import EmulatedArray
from gpunet.backend.emulator_abi import CELL, Checks, Dim3, Launch, SharedArray, check_values, pack, parse_signature
from gpunet.backend.emulator_checks import CheckedArguments, Unwritten
from gpunet.backend.emulator_workers import stacks
from gpunet.backend.threads import Part, get_threads, run

Size: TypeAlias = tuple[int, int, int]

# Limits of a GPU of compute capability 9.0.
_MOST_STATIC_SHARED = 48 * 1024  # bytes
_MOST_SHARED = 227 * 1024  # bytes, static and dynamic together

_FROM_THE_START = "needed from block (0, 0, 0), thread (0, 0, 0) on"

# Below this many seconds a launch is not worth waking other workers.
_WORTH_SPREADING = 200e-6


class EmulatorError(RuntimeError):
    """A kernel did something wrong that a GPU would not tell; the message names kernel, block and thread."""


class Kernel:
    """One entry point of a kernel file. `copy(worker)` gives the copy of the library that belongs to a worker."""

    def __init__(
        self, file: str, entry: str, copy: Callable[[int], ctypes.CDLL], symbols: elf.Library, checked: bool
    ) -> None:
        self.where = f"{file}:{entry}"
        self._entry = entry
        self._copy = copy
        self._symbols = symbols
        self._checked = checked
        signature = getattr(copy(0), f"emulator_signature_{entry}")
        signature.restype = ctypes.c_char_p
        self.parameters = parse_signature(signature().decode())
        self.most_threads = int(getattr(copy(0), f"emulator_bound_{entry}")())  # of a block: __launch_bounds__
        self.shared = [array for array in symbols.shared_arrays if array.kernel in ("", entry)]
        self._shared_shift = 2  # the checked mode looks at words of shared memory; 0 where it must look at bytes
        self._seconds_per_block = 0.0  # in the last launch
        self._runners: dict[int, Callable[[Launch, Any], None]] = {}  # by worker

    def launch(
        self, grid: Size, block: Size, values: Sequence[Any], shared_bytes: int, order: int, blocks: range
    ) -> None:
        """Run `blocks` of the grid, by number; see `Module.launch`. `order` is that of threads: -1, -2 or a seed."""
        self._check_block(block)
        self._check_shared(shared_bytes)
        check_values(self.where, self.parameters, values)
        begin, end = self._static_range()
        launch = Launch(
            grid=Dim3(*grid),
            block=Dim3(*block),
            dynamic_bytes=shared_bytes,
            static_begin=begin,
            static_end=end,
            order=order,
            blocks=blocks.stop,
            next_block=blocks.start,
            stride=1,
        )
        if self._checked:
            self._run_checked(launch, values)
        else:
            addresses = [value.ctypes.data if isinstance(value, EmulatedArray) else None for value in values]
            self._run_spread(launch, pack(self.parameters, values, addresses))

    def _check_block(self, block: Size) -> None:
        if prod(block) > self.most_threads:
            raise ValueError(
                f"{self.where}: block must have at most {self.most_threads} threads (__launch_bounds__); "
                f"got {block}, {prod(block)} threads"
            )

    def _check_shared(self, shared_bytes: int) -> None:
        static = sum(array.end - array.begin for array in self.shared)
        if static > _MOST_STATIC_SHARED:
            arrays = ", ".join(f"{array.name} has {array.end - array.begin}" for array in self.shared)
            raise EmulatorError(
                f"{self.where}: __shared__ arrays must have at most {_MOST_STATIC_SHARED} bytes; "
                f"got {static}: {arrays}, {_FROM_THE_START}"
            )
        if not 0 <= shared_bytes <= _MOST_SHARED - static:
            raise EmulatorError(
                f"{self.where}: dynamic shared memory must have from 0 to {_MOST_SHARED - static} bytes; "
                f"got {shared_bytes}, {_FROM_THE_START}"
            )

    def _static_range(self) -> tuple[int, int]:
        """Return where this kernel's arrays lie in the section of shared arrays; all of it if nobody knows."""
        if not self._symbols.is_known:
            return 0, int(self._copy(0).emulator_shared_bytes())
        begins, ends = [array.begin for array in self.shared], [array.end for array in self.shared]
        return min(begins, default=0), max(ends, default=0)

    def _runner(self, worker: int) -> Callable[[Launch, Any], None]:
        """Return the function that runs blocks of a launch in a worker until none is left."""
        if worker not in self._runners:
            library = self._copy(worker)
            run, memory = library.emulator_run, ctypes.c_void_p(stacks(worker, library))
            entry = ctypes.cast(getattr(library, f"emulator_call_{self._entry}"), ctypes.c_void_p)
            self._runners[worker] = lambda launch, packed: run(ctypes.byref(launch), entry, packed, memory)
        return self._runners[worker]

    def _run_spread(self, launch: Launch, packed: Any) -> None:
        """Run all blocks, on several workers if the time that the last launch took tells that it is worth it."""
        number = launch.blocks - launch.next_block
        expected = self._seconds_per_block * number
        count = min(get_threads(), number) if expected > _WORTH_SPREADING else 1
        launch.stride = max(1, number // (8 * count))
        runners = [self._runner(worker) for worker in range(count)]

        def part(runner: Callable[[Launch, Any], None]) -> Part:
            yield partial(runner, launch, packed)

        start = time.perf_counter()
        run(part(runner) for runner in runners)
        self._seconds_per_block = (time.perf_counter() - start) * count / number
        self._raise_report(launch)

    def _run_checked(self, launch: Launch, values: Sequence[Any]) -> None:
        """Run all blocks on one worker, on copies of the arrays; look for unwritten outputs afterwards."""
        first, arguments = launch.next_block, CheckedArguments(self.parameters, values)
        if not self._run_with_checks(launch, values, arguments):
            self._shared_shift = 0
            launch.failed, launch.next_block = 0, first
            arguments = CheckedArguments(self.parameters, values)
            self._run_with_checks(launch, values, arguments)
        self._raise_report(launch)
        unwritten = arguments.unwritten()
        if unwritten is not None:
            raise EmulatorError(f"{self.where}: {_tell_threads(unwritten, launch)}")
        arguments.copy_back()

    def _run_with_checks(self, launch: Launch, values: Sequence[Any], arguments: CheckedArguments) -> bool:
        """Run all blocks; False if the kernel touches shared memory in pieces smaller than what is looked at."""
        static_cells = np.zeros((launch.static_end >> self._shared_shift) + 1, CELL)
        dynamic_cells = np.zeros((launch.dynamic_bytes >> self._shared_shift) + 1, CELL)
        shared = [SharedArray(array.begin, array.end, array.name.encode()[:55]) for array in self.shared]
        checks = Checks(
            arrays=arguments.described,
            shared=(SharedArray * len(shared))(*shared),
            array_count=len(arguments.described),
            shared_count=len(shared),
            static_cells=static_cells.ctypes.data,
            dynamic_cells=dynamic_cells.ctypes.data,
            shared_shift=self._shared_shift,
            read_only_bytes=self._symbols.read_only_bytes,
        )
        launch.checks = ctypes.pointer(checks)
        self._runner(0)(launch, pack(self.parameters, values, arguments.addresses))
        return not checks.needs_bytes

    def _raise_report(self, launch: Launch) -> None:
        """Raise what a thread reported, if one did. `@123@` in a report is an address of the library."""
        if not launch.failed:
            return
        line = self._symbols.line
        text = re.sub(r"@(\d+)@", lambda match: line(int(match[1])) or f"{int(match[1]):#x}", launch.report.decode())
        raise EmulatorError(f"{self.where}: {text}, in block {launch.failed_block}, thread {launch.failed_thread}")


def _tell_threads(unwritten: Unwritten, launch: Launch) -> str:
    """Return the report of an unwritten output with the thread that wrote next to it, or all that wrote nothing."""
    if unwritten.block is not None:
        block, thread = _coordinates(unwritten.block, launch.grid), _coordinates(unwritten.thread, launch.block)
        return f"{unwritten.text} in block {block}, thread {thread}"
    last = f"block {launch.grid.last}, thread {launch.block.last}"
    return f"{unwritten.text}, from block (0, 0, 0), thread (0, 0, 0) to {last}"


def _coordinates(number: int, size: Dim3) -> Dim3:
    return Dim3(number % size.x, number // size.x % size.y, number // size.x // size.y)
