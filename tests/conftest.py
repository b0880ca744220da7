"""Fixtures and the order of the test suite.

The suite ends with two proofs that need everything before them to have run: that every kernel was launched
(test_kernel_coverage.py), and that every configuration launched compiles for every GPU generation (test_nvrtc.py).
`pytest -n auto` shares it among processes, which tell each other what they launched (processes.py).
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from processes import Processes

import gpunet
from gpunet.backend import devices, emulator, launch
from gpunet.backend.arrays import Device, Kind, import_cupy, parse_device
from gpunet.backend.random import set_random_seed
from gpunet.training.capture import Captures

TESTS = Path(__file__).parent
sys.path.append(str(TESTS.parent))  # where `bench` lies; last, so that an installed gpunet is the one that is tested
LAST = ("test_kernel_coverage.py", "test_nvrtc.py")  # in this order, after all others
DESELECTED = pytest.StashKey[int]()

# The same examples in every run, and no time limit: emulated kernels compile on first use. The `device` fixture only
# sets a variable, so sharing it among the examples of one test is harmless.
hypothesis.settings.register_profile(
    "gpunet",
    derandomize=True,
    deadline=None,
    database=None,
    max_examples=15,
    suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture, hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("gpunet")


@pytest.fixture(params=["cpu", "emulated", "cuda"])
def device(request: pytest.FixtureRequest) -> Iterator[Device]:
    """The device that the test runs on, current while it runs; skipped with the reason where it is not usable.

    On `emulated` every access of every thread is checked, unless GPUNET_EMULATOR_CHECK says 0. On `cuda`, with
    GPUNET_TEST_POOL=0, each array is an allocation of its own, so that compute-sanitizer sees what lies outside it.
    """
    report = devices.examine(parse_device(request.param))
    if not report.usable:
        pytest.skip(f"{request.param}: {report.reason}")
    checked = os.environ.get("GPUNET_EMULATOR_CHECK", "1") != "0"
    if report.device.kind is Kind.CUDA and os.environ.get("GPUNET_TEST_POOL", "1") == "0":
        import_cupy().cuda.set_allocator(None)
    with devices.device(request.param) as current, emulator.configured(checked=checked):
        yield current


@pytest.fixture
def captures(monkeypatch: pytest.MonkeyPatch) -> list[Captures]:
    """The captures that are made while the test runs."""
    made: list[Captures] = []
    init = Captures.__init__

    def noted(self: Captures, *args: Any, **kwargs: Any) -> None:
        init(self, *args, **kwargs)
        made.append(self)

    monkeypatch.setattr(Captures, "__init__", noted)
    return made


@pytest.fixture(autouse=True)
def _seed() -> None:
    """Every test draws from seed 0."""
    set_random_seed(0)


@pytest.fixture(scope="session", autouse=True)
def _processes(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Processes]:
    """Let the other processes of `pytest -n` know what this one launched, once it has ended."""
    alone = not hasattr(request.config, "workerinput")
    base = tmp_path_factory.getbasetemp()
    processes = Processes(request.config, base if alone else base.parent)
    yield processes
    processes.leave()


@pytest.fixture(scope="session")
def launched(_processes: Processes) -> set[launch.Launch]:
    """What kernels were launched so far, in all processes of this run; for the tests of LAST alone."""
    return _processes.launched()


@pytest.fixture(scope="session")
def fuzzed(_processes: Processes) -> dict[str, set[tuple[str, str]]]:
    """What the cases of test_kernel_fuzz.py launched, in all processes of this run; for the tests of LAST alone."""
    return _processes.fuzzed()


@pytest.fixture(scope="session", autouse=True)
def _surroundings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep the suite off the user's files and settings; only the cache of compiled kernels is the user's own.

    The working folder is a temporary one, so that nothing writes `runs/` into the checkout; without a `device` fixture
    a test runs on the CPU on every machine; child processes import the gpunet that is tested.
    """
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # a suite started in the background would ignore Ctrl-C
        signal.signal(signal.SIGINT, signal.default_int_handler)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("working_folder"))
        patch.setenv("GPUNET_DEVICE", "cpu")
        patch.delenv("GPUNET_TUNING", raising=False)
        for name in [name for name in os.environ if name.startswith("PYTEST_XDIST")]:
            patch.delenv(name)  # a run of pytest that a test starts is no part of this one
        paths = [str(Path(gpunet.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
        patch.setenv("PYTHONPATH", os.pathsep.join(filter(None, paths)))
        yield


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the files in LAST after all others."""
    items.sort(key=lambda item: LAST.index(item.path.name) if item.path.name in LAST else -1)


def pytest_deselected(items: list[pytest.Item]) -> None:
    """Count what -k, -m, --lf and the like left out."""
    if items:
        stash = items[0].config.stash
        stash[DESELECTED] = stash.get(DESELECTED, 0) + len(items)


@pytest.fixture
def whole_suite(request: pytest.FixtureRequest) -> None:
    """Skip the test, with the reason, unless the whole suite (but for tests/parity) runs before it."""
    session = request.session
    missing = {path.name for path in TESTS.glob("test_*.py")} - {item.path.name for item in session.items}
    if missing:
        pytest.skip(f"needs the whole suite; {len(missing)} test files were left out, {min(missing)} among them")
    if any("::" in argument for argument in request.config.args):
        pytest.skip("needs the whole suite; single tests were named on the command line")
    deselected = request.config.stash.get(DESELECTED, 0)
    if deselected:
        pytest.skip(f"needs the whole suite; {deselected} tests were deselected")
