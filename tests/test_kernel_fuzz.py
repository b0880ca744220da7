"""Every kernel on random valid arguments: nothing to report in the checked mode, and the same bits in any order.

kernel_cases.py draws the calls. Each is made in the checked mode, which looks at every access of every thread and at
undefined behaviour (kernels/emulator/README.md), with threads in order, in reverse and permuted. GPUNET_TEST_LONG=1
draws many, GPUNET_TEST_DRAWS of each case, and makes them in the fast mode too; what fails names the number to draw it
again.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import checks
import numpy as np
import pytest
from draws import Draw
from kernel_cases import OTHERS, PRODUCTS
from processes import fuzzed

import gpunet
from gpunet.backend import devices, emulator, launch
from gpunet.backend.arrays import EMULATED, HostArray, to_host

MANY = int(os.environ.get("GPUNET_TEST_DRAWS", "300"))  # of each case, where it may take long
CASES = OTHERS | PRODUCTS


@pytest.fixture(scope="module", autouse=True)
def _emulated() -> Iterator[None]:
    report = devices.examine(EMULATED)
    if not report.usable:
        pytest.skip(report.reason)
    with gpunet.device(EMULATED):
        yield


def _run(name: str, number: int, checked: bool, order: str | int) -> list[HostArray]:
    """Return what a case gives; an error of the emulator names the draw."""
    try:
        with emulator.configured(checked=checked, order=order), np.errstate(all="ignore"):
            return [to_host(array) for array in CASES[name](Draw([number, *map(ord, name)]))]
    except emulator.EmulatorError as error:
        raise AssertionError(f"case {name!r}, draw {number}: {error}") from error


def _run_in_all_orders(name: str, number: int, checked: bool) -> list[HostArray]:
    """Return what a case gives, after it gave the same in other orders."""
    first = _run(name, number, checked, "forward")
    for order in (number, "reverse"):
        for place, (one, other) in enumerate(zip(first, _run(name, number, checked, order), strict=True)):
            same = one.tobytes() == other.tobytes()
            assert same, f"case {name!r}, draw {number}: array {place} has other bits in order {order}, {checked=}"
    return first


@pytest.mark.parametrize("name", CASES)
def test_random_calls(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    launched = set[launch.Launch]()
    monkeypatch.setattr(launch, "launched", launched)
    for number in range(MANY if checks.LONG else 1 if name in PRODUCTS else 8):
        checked = _run_in_all_orders(name, number, True)
        if not checks.LONG:  # all other tests of the ops use the fast mode
            continue
        # Between the modes a compiler may round otherwise: it computes logarithms of constants itself.
        for one, other in zip(_run_in_all_orders(name, number, False), checked, strict=True):
            largest = np.abs(one, where=np.isfinite(one), out=np.zeros(one.shape)).max() if one.dtype.kind == "f" else 0
            np.testing.assert_allclose(other, one, 0, 1e-5 * largest, err_msg=f"case {name!r}, draw {number}")
    fuzzed[name] = {(asked.file, asked.entry) for asked in launched}
