"""The capture of CUDA graphs (backend/graph.py), up to the door of CuPy: what is asked of it, in which order."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest
from fake_cupy import CUDARuntimeError, FakeCupy

from gpunet.backend import arrays, graph, launch, recording
from gpunet.backend.arrays import Device, Kind, empty, to_host
from gpunet.backend.graph import CaptureError, Workspace
from gpunet.layers import Dense

GPU = Device(Kind.CUDA)


@pytest.fixture
def cupy(monkeypatch: pytest.MonkeyPatch) -> FakeCupy:
    fake = FakeCupy()
    monkeypatch.setitem(sys.modules, "cupy", fake)  # type: ignore[arg-type]
    for module in (arrays, launch, graph):
        monkeypatch.setattr(module, "import_cupy", lambda: fake)
    monkeypatch.setattr(launch, "launched", set())
    for cached in (launch._cuda_kernel, launch._cuda_module):
        cached.cache_clear()
    return fake


def _work(y: Any) -> None:
    launch.launch("probe.cu", "probe", grid=4, block=256, args=(y, 1000), real=np.float32)


def _log(y: Any) -> list[tuple[Any, ...]]:
    with recording.started(capture=False) as made:
        _work(y)
    return made.log


def test_what_is_captured_is_launched_once_at_once_and_then_at_every_call(cupy: FakeCupy) -> None:
    workspace, y = Workspace(GPU), empty((1000,), np.float32, GPU)
    log = _log(y)
    made = workspace.capture(lambda: _work(y), log)
    with workspace.entered():
        made.launch()
    (stream,) = {entry.split(":")[0] for entry in cupy.log if "capture" in entry}
    assert stream != "computing"
    waits = ["computing: record event 0", f"{stream}: wait for event 0"]
    waited = [f"{stream}: record event 0", "computing: wait for event 0"]
    assert cupy.log == [
        *waits,
        "free all blocks",
        "memory from pool 0",
        f"{stream}: begin capture",
        f"{stream}: end capture",
        "memory as before",
        f"{stream}: launch graph",
        *waited,
        *waits,
        f"{stream}: launch graph",
        *waited,
    ]
    assert len(cupy.kernels[-1].launches) == 2  # to be logged, and to be captured; a replay asks for none
    assert cupy.cuda.get_current_stream().name == "computing"


def test_every_graph_has_memory_of_its_own(cupy: FakeCupy) -> None:
    workspace, y = Workspace(GPU), empty((1000,), np.float32, GPU)
    log = _log(y)
    for _ in range(2):
        workspace.capture(lambda: _work(y), log)
    assert [entry for entry in cupy.log if "memory from" in entry] == ["memory from pool 0", "memory from pool 1"]


def test_work_runs_on_the_stream_of_the_workspace(cupy: FakeCupy) -> None:
    """It waits for that outside, not by itself: another thread may use the default stream while it is captured."""
    workspace = Workspace(GPU)
    with workspace.entered(), workspace.entered():
        stream = cupy.cuda.get_current_stream()
        assert stream.name != "computing" and stream.is_non_blocking
        cupy.log.append("work")
    assert cupy.cuda.get_current_stream().name == "computing"
    before, after = cupy.log[: cupy.log.index("work")], cupy.log[cupy.log.index("work") + 1 :]
    assert before == ["computing: record event 0", f"{stream.name}: wait for event 0"]
    assert after == [f"{stream.name}: record event 0", "computing: wait for event 0"]


def test_the_stream_outside_waits_after_an_error_too(cupy: FakeCupy) -> None:
    with pytest.raises(ZeroDivisionError), Workspace(GPU).entered():
        raise ZeroDivisionError
    assert cupy.log[-1] == "computing: wait for event 0"


@pytest.mark.parametrize(
    "act, reason",
    [
        (to_host, "the host reads the device"),
        (lambda y: arrays.assign(y, np.zeros(1000, np.float32)), "the host writes to the device"),
    ],
    ids=["read", "write"],
)
def test_what_cannot_be_captured_ends_it_at_once(cupy: FakeCupy, act: Any, reason: str) -> None:
    workspace, y = Workspace(GPU), empty((1000,), np.float32, GPU)
    reached = []

    class Own(Dense):
        def forward(self, x: Any, training: bool) -> Any:
            act(y)
            reached.append(1)

    layer = Own(1, name="own")
    with pytest.raises(CaptureError, match=f"Own 'own': {reason}") as caught:
        workspace.capture(lambda: layer.forward(None, True), [])
    assert not reached and not caught.value.has_run
    assert [entry.split(": ")[1] for entry in cupy.log if "capture" in entry] == ["begin capture", "end capture"]
    assert not any("launch" in entry for entry in cupy.log)
    assert recording.current() is None


def test_other_launches_than_before_are_not_captured(cupy: FakeCupy) -> None:
    workspace, y = Workspace(GPU), empty((1000,), np.float32, GPU)
    with pytest.raises(CaptureError, match="two runs launch different numbers of kernels: 0 and 1") as caught:
        workspace.capture(lambda: _work(y), [])
    assert not caught.value.has_run
    assert not any("launch" in entry for entry in cupy.log)


def test_a_graph_gets_what_lies_free_and_is_not_made_where_that_is_too_little(cupy: FakeCupy) -> None:
    workspace = Workspace(GPU)

    class Own(Dense):
        def forward(self, x: Any, training: bool) -> Any:
            empty((2**30,), np.float32, GPU)

    with pytest.raises(
        CaptureError, match="Own 'own': a graph needs arrays of its own, and cuda:0: an array of"
    ) as error:
        workspace.capture(lambda: Own(1, name="own").forward(None, True), [])
    assert not error.value.has_run
    free, begin, end = (
        next(number for number, entry in enumerate(cupy.log) if what in entry)
        for what in ("free all blocks", "begin capture", "end capture")
    )
    assert free < begin < end, "what is freed within a capture is not free before its end"


def test_what_cuda_refuses_is_said(cupy: FakeCupy) -> None:
    """CuPy's own arithmetic may do what a stream that is being captured does not take; only CUDA knows."""

    class Own(Dense):
        def forward(self, x: Any, training: bool) -> Any:
            raise CUDARuntimeError("cudaErrorStreamCaptureUnsupported: operation not permitted")

    workspace = Workspace(GPU)
    with pytest.raises(CaptureError, match="Own 'own': cudaErrorStreamCaptureUnsupported"):
        workspace.capture(lambda: Own(1, name="own").forward(None, True), [])
    cupy.failure = CUDARuntimeError("cudaErrorStreamCaptureInvalidated: operation failed")
    with pytest.raises(CaptureError, match="cudaErrorStreamCaptureInvalidated"):
        workspace.capture(lambda: None, [])


def test_errors_of_the_work_pass(cupy: FakeCupy) -> None:
    def work() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        Workspace(GPU).capture(work, [])
    assert [entry.split(": ")[1] for entry in cupy.log if "capture" in entry] == ["begin capture", "end capture"]
