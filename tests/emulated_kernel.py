"""Run a kernel of tests/planted, or of a given text, on the emulator."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from gpunet.backend import devices, emulator, launch
from gpunet.backend.arrays import EMULATED, Array, empty, to_device

PLANTED = Path(__file__).parent / "planted"


def require_emulator() -> None:
    """Skip the test, with the reason, where no compiler is found."""
    report = devices.examine(EMULATED)
    if not report.usable:
        pytest.skip(report.reason)


def on_emulator(array: npt.NDArray[Any]) -> Array:
    return to_device(array, EMULATED)


def output(*shape: int, dtype: npt.DTypeLike = np.float32) -> Array:
    return empty(shape, dtype, EMULATED)


def run(
    file: Path, entry: str, *args: Any, grid: Any = 1, block: Any = 64, real: Any = np.float32, shared: int = 0
) -> None:
    launch.launch(file, entry, grid=grid, block=block, args=args, real=real, shared_bytes=shared)


def fault_line(entry: str) -> str:
    """Return "faults.cu:line" of the comment that marks the fault of kernel `entry`."""
    for number, line in enumerate((PLANTED / "faults.cu").read_text().splitlines(), start=1):
        if "fault: " in line and entry in line.partition("fault: ")[2].split(", "):
            return f"faults.cu:{number}"
    raise AssertionError(f"no line is marked as the fault of {entry}")


def message(entry: str, *args: Any, checked: bool = True, **geometry: Any) -> str:
    """Run a kernel of faults.cu; return the message of the error that it must raise."""
    with emulator.configured(checked=checked), pytest.raises(emulator.EmulatorError) as caught:
        run(PLANTED / "faults.cu", entry, *args, **geometry)
    return str(caught.value)
