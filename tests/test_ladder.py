"""The ladder of bench/ladder: each step is right on every edge, and its machine code is what the text says."""

from __future__ import annotations

import itertools
import re
from pathlib import Path
from typing import Any

import checks
import numpy as np
import oracle
import pytest
from test_architecture import HEADER

from bench import nvrtc, sass
from bench.ladder import __main__ as command
from bench.ladder import examine
from bench.ladder.steps import SHIPPED, STEPS, Step, run
from gpunet.backend import emulator
from gpunet.backend.arrays import CPU, EMULATED, Device
from gpunet.backend.sources import source
from gpunet.ops import tiles

FILES = sorted((Path(command.__file__).parent).glob("*.cu"))
NAMES = [step.name for step in STEPS]
# (M, N, K) at the edges of tiles of 32 and of 128, and of 8 and 32 terms; rows of whole packs come last.
SIZES = [(1, 1, 1), (33, 31, 7), (31, 33, 33), (129, 127, 9), (127, 130, 17), (32, 32, 32), (132, 260, 40)]


@pytest.fixture
def kernels_run(device: Device) -> Device:
    if device == CPU:
        pytest.skip("cpu: has no kernels")
    return device


@pytest.fixture(scope="module")
def rows() -> list[examine.Row]:
    missing = nvrtc.unavailable() or sass.unavailable()
    if missing:
        pytest.skip(missing)
    return list(examine.rows([80]))


def _case(m: int, n: int, k: int) -> tuple[np.ndarray, ...]:
    return checks.normal(m, k), checks.normal(k, n, seed=1), checks.normal(n, seed=2)


@pytest.mark.parametrize("step", STEPS, ids=NAMES)
def test_edges(kernels_run: Device, step: Step) -> None:
    for sizes in SIZES:
        x, w, b = _case(*sizes)
        y = run(step, *checks.on(kernels_run, x, w, b))
        exact = oracle.dense(*(array.astype(np.float64) for array in (x, w, b)), "relu")
        checks.assert_as_exact_as_plain(y, exact, oracle.dense(x, w, b, "relu"))


@pytest.mark.parametrize("step", STEPS, ids=NAMES)
def test_every_step_has_the_bits_of_the_first_in_any_order_of_threads(kernels_run: Device, step: Step) -> None:
    x, w, b = checks.on(kernels_run, *_case(130, 129, 19))
    first = run(STEPS[0], x, w, b)
    for order in ("forward", "reverse", 3):  # on device emulated
        with emulator.configured(order=order):
            checks.assert_same_bits(run(step, x, w, b), first)


def test_rows_that_are_not_aligned_are_read_one_by_one(kernels_run: Device) -> None:
    x, w, b = _case(33, 35, 8)
    shifted = checks.on(kernels_run, np.concatenate((np.zeros(1, np.float32), x.reshape(-1))))[1:].reshape(x.shape)
    x, w, b = checks.on(kernels_run, x, w, b)
    for step in STEPS[:-1]:
        with checks.recorded_launches() as launches:
            checks.assert_same_bits(run(step, shifted, w, b), run(step, x, w, b))
        wholes = [option for launch in launches for option in launch.options if "X_WHOLE" in option]
        assert wholes == (["-DX_WHOLE=0", "-DX_WHOLE=1"] if step.packs else [])


def test_infinities_and_nans_come_through(kernels_run: Device) -> None:
    x, w, b = _case(3, 5, 4)
    x[0, 0], x[1, 0], w[0] = np.inf, np.nan, 1
    for step in STEPS:
        y = checks.host(run(step, *checks.on(kernels_run, x, w, b)))
        assert np.isposinf(y[0]).all() and np.isnan(y[1]).all() and np.isfinite(y[2]).all(), step.name


def test_the_last_step_is_the_file_that_gpunet_ships_with_the_tile_of_large_products(kernels_run: Device) -> None:
    last = STEPS[-1]
    with checks.recorded_launches() as launches:
        run(last, *checks.on(kernels_run, *_case(33, 31, 7)))
    assert [(launch.file, launch.entry) for launch in launches] == [(SHIPPED, last.entry)] == [("dense.cu", "dense")]
    assert tiles.plan(4096, 4096, 4096, np.float32).tile == last.tile == tiles.LARGE


def test_wrong_arrays_are_refused(kernels_run: Device) -> None:
    x, w, b = checks.on(kernels_run, *_case(3, 4, 5))
    with pytest.raises(ValueError, match=r"ladder: x must have shape \(3, 5\); got \(3, 4\)"):
        run(STEPS[0], checks.on(kernels_run, np.ones((3, 4), np.float32)), w, b)
    with pytest.raises(ValueError, match=r"ladder: b must have shape \(4,\); got \(5,\)"):
        run(STEPS[0], x, w, checks.on(kernels_run, np.ones(5, np.float32)))
    with pytest.raises(TypeError, match="ladder: x must be float32; got float64"):
        run(STEPS[0], *checks.on(kernels_run, *(array.astype(np.float64) for array in _case(3, 4, 5))))
    with pytest.raises(ValueError, match="ladder: device must be emulated or cuda; got cpu"):
        run(STEPS[0], *_case(3, 4, 5))


def test_every_file_is_a_step_and_introduces_itself() -> None:
    assert [path.name for path in FILES] == [step.file for step in STEPS[:-1]]
    for path in FILES:
        header, code = path.read_text(encoding="utf-8").split("#include", 1)
        found = re.findall(r"^// +(\w+:)", header, re.MULTILINE)
        assert [section for section in found if section in HEADER] == list(HEADER), path.name
        assert re.search(r"^// Teaches:", header, re.MULTILINE), path.name
        assert not re.search(r"\batomic\w*\s*\(", code) and "#ifndef" not in code
        assert len(path.read_text(encoding="utf-8").splitlines()) <= 150, path.name


def test_no_step_spills() -> None:
    missing = nvrtc.unavailable()
    if missing:
        pytest.skip(missing)
    for architecture in (75, 90):
        for step in STEPS[:-1]:
            one_by_one = ("-DREAL=float", *(f"-D{name}={value}" for name, value in step.defines(False, False).items()))
            for options in dict.fromkeys((step.options, tuple(sorted(one_by_one))) if step.packs else (step.options,)):
                needs = nvrtc.compile_for(architecture, source(step.source), options).needs[step.entry]
                assert nvrtc.faults(architecture, needs, step.tile.threads, 0) == [], f"{step.name}: {options}"


def test_the_table_shows_what_the_text_claims(rows: list[examine.Row]) -> None:
    naive, coalesced, shared, registers, packs, overlap, shipped = rows
    assert [row.step for row in rows] == list(STEPS)
    for before, after in itertools.pairwise(rows):
        assert after.loads_per_fma <= before.loads_per_fma or after is shipped
        assert after.step.global_bytes <= before.step.global_bytes and after.step.near_bytes <= before.step.near_bytes
    # Coalescing moves fewer sectors by the same loads.
    assert naive.loads_per_fma == coalesced.loads_per_fma == 2
    assert (naive.step.global_bytes, coalesced.step.global_bytes) == (33, 5)
    # A tile is shared, so that each load serves 32 fma; then a larger one with 8 x 8 sums a thread; then 4 at a time.
    assert (shared.loads_per_fma, registers.loads_per_fma, packs.loads_per_fma) == (2 / 32, 8 / 512, 2 / 512)
    assert set(registers.loop.loads) == {4} and set(packs.loop.loads) == set(overlap.loop.loads) == {16}
    assert coalesced.loop.fma_share < shared.loop.fma_share < registers.loop.fma_share < packs.loop.fma_share
    assert naive.bound < coalesced.bound < shared.bound < registers.bound
    assert naive.limit == shared.limit == "memory"
    # Only the last two have arithmetic between a load and who waits for it: most of a turn's, and of three turns'.
    assert (
        [row.found.behind for row in rows[:5]] == [0] * 5
        and overlap.found.behind > 0.5 * 512
        and shipped.found.behind > 2.5 * 512
    )
    assert packs.found.blocks == overlap.found.blocks == shipped.found.blocks == 2
    assert shipped.loop.copies and not shipped.loop.loads
    assert all(row.found.needs.spilled == 0 and 0 < row.bound <= 1 for row in rows)


def test_the_command_writes_tables_and_pictures(
    rows: list[examine.Row], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib")
    monkeypatch.setattr(examine, "rows", lambda architectures: rows)
    options = ["--arch", "80", "--out", str(tmp_path / "new"), "--device", "emulated"]
    command.main([*options, "--sizes", "33", "31", "7", "--rounds", "1"])
    out = capsys.readouterr().out
    assert out.count("shipped") == 2 and "sm_80, not timed" in out and "x (33, 7), w (7, 31)" in out
    text = (tmp_path / "new" / "ladder.md").read_text(encoding="utf-8")
    assert text.count("| naive |") == 2 and "Measured on emulated" in text
    assert {path.name for path in (tmp_path / "new").iterdir()} == {"ladder.md", "mix-sm_80.png", "speed.png"}


def test_without_compiler_and_gpu_there_is_nothing_to_show(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    report: Any = command.devices.Report(EMULATED, False, "none here")
    monkeypatch.setattr(command.devices, "examine", lambda place: report)
    monkeypatch.setattr(nvrtc, "unavailable", lambda: "no NVRTC")
    with pytest.raises(SystemExit) as exit_:
        command.main([])
    assert exit_.value.code == 1
    assert capsys.readouterr().err == "no NVRTC\ncuda: none here\n"
