"""Every kernel was run by a test, on `emulated` or on a GPU, and by one with random calls.

conftest.py puts this file after those of the ops.
"""

from __future__ import annotations

import pytest
from kernel_cases import OTHERS, PRODUCTS

from gpunet.backend import devices
from gpunet.backend.arrays import EMULATED
from gpunet.backend.launch import Launch
from gpunet.backend.sources import entry_points, kernel_files


@pytest.mark.usefixtures("whole_suite")
def test_every_entry_point_was_run(launched: set[Launch]) -> None:
    report = devices.examine(EMULATED)
    if not report.usable:
        pytest.skip(f"no kernel can run here: {report.reason}")
    ran = {(asked.file, asked.entry) for asked in launched}
    missing = [f"{file}:{entry}" for file in kernel_files() for entry in entry_points(file) if (file, entry) not in ran]
    assert not missing, f"kernels that no test has run: {', '.join(missing)}"


def test_every_kernel_has_a_case_of_random_calls(fuzzed: dict[str, set[tuple[str, str]]]) -> None:
    cases = OTHERS | PRODUCTS
    if set(fuzzed) != set(cases):
        pytest.skip(f"needs all cases of test_kernel_fuzz.py; {len(cases) - len(fuzzed)} did not run, or failed")
    met = set().union(*fuzzed.values())
    missing = [f"{file}:{entry}" for file in kernel_files() for entry in entry_points(file) if (file, entry) not in met]
    assert not missing, f"kernel_cases.py has no case that launches {', '.join(missing)}"
