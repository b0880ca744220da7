"""The report on kernels for GPUs that are not here (bench/kernels.py): occupancy, machine code, its bound."""

from __future__ import annotations

import itertools
from pathlib import Path

import checks
import pytest

from bench import kernels, nvrtc, sass
from bench.architectures import ARCHITECTURES
from gpunet.backend.arrays import CPU, Device, empty_like
from gpunet.backend.launch import Launch
from gpunet.backend.sources import entry_points, source
from gpunet.ops import tiles
from gpunet.ops.activation import Activation
from gpunet.ops.convolution import convolution, convolution_gradients
from gpunet.ops.convolution_pooling import convolution_pooling, convolution_pooling_gradients

LISTING = """
	.target	sm_90
	.section	.text.first,"ax",@progbits
first:
.text.first:
        /*0000*/                   LDC R1, c[0x0][0x28] ;
        /*0010*/              @P1  BRA `(.L_x_3) ;
.L_x_0:
        /*0020*/                   FADD R1, R1, R2 ;
        /*0030*/               @P0 BRA `(.L_x_0) ;
.L_x_1:
        /*0040*/               @P2 BRA `(.L_x_2) ;
        /*0050*/                   LDG.E.CONSTANT R4, desc[UR4][R2.64] ;
        /*0060*/                   LDG.E.128.CONSTANT R4, desc[UR4][R2.64] ;
        /*0068*/                   LDGSTS.E.BYPASS.LTC128B.128 [R5], desc[UR4][R2.64], P1 ;
.L_x_2:
        /*0070*/                   LDS.128 R8, [R0] ;
        /*0080*/                   FFMA R4, R8, R9, R4 ;
        /*0090*/                   FFMA2 R4, R8, R9, R4 ;
        /*00a0*/                   BRA.U !UP3, `(.L_x_4) ;
        /*00b0*/              @!P4 BRA `(.L_x_6) ;
        /*00c0*/                   STG.E.64 desc[UR4][R2.64], R4 ;
.L_x_6:
        /*00d0*/              @UP0 STS.U16 [R0], R4 ;
.L_x_4:
        /*00e0*/                   BAR.SYNC.DEFER_BLOCKING 0x0 ;
        /*00f0*/               @P0 BRA `(.L_x_1) ;
.L_x_3:
        /*0100*/                   EXIT ;
.L_x_5:
        /*0110*/                   BRA `(.L_x_5);
	.section	.text.second,"ax",@progbits
        /*0000*/                   EXIT ;
"""


def test_a_listing_is_read() -> None:
    code = sass.parse(LISTING)
    assert list(code) == ["first", "second"]
    assert code["second"] == [sass.Instruction("EXIT")]
    assert len(code["first"]) == 19
    assert code["first"][1] == sass.Instruction("BRA", maybe=True, target=17)
    assert [instruction.width for instruction in code["first"][5:9]] == [4, 16, 16, 16]


def test_a_turn_of_the_main_loop() -> None:
    """What a predicate may leave out counts, but for what is stored to global memory at the end of a chunk."""
    turn = sass.main_turn(sass.parse(LISTING)["first"])
    assert turn is not None
    loop = sass.mix(turn)
    assert (loop.instructions, loop.fma) == (12, 3)
    assert loop.shared == {16: 1, 2: 1} and loop.loads == {4: 1, 16: 1}
    assert loop.copies == {16: 1} and loop.reads == {4: 1, 16: 2}
    assert sass.main_turn(sass.parse(LISTING)["second"]) is None


@pytest.mark.parametrize(
    "architecture, threads, registers, shared, blocks",
    [
        (80, 256, 128, 0, 2),  # 64 warps of 128 registers would need 4 times what there is
        (80, 256, 32, 0, 8),  # all 64 warps
        (80, 32, 16, 0, 32),  # no more blocks
        (86, 128, 32, 48 * 1024, 2),  # 100 KiB, of which each block takes 49
        (86, 128, 32, 50 * 1024, 1),
        (75, 256, 40, 16 * 1024, 4),
        (90, 1024, 72, 0, 0),  # 32 warps of 72 registers are more than there are
        (90, 64, 200, 0, 4),  # 8 warps of 6400 registers: two in each fourth, though 10 would fit in all of them
    ],
)
def test_resident_blocks(architecture: int, threads: int, registers: int, shared: int, blocks: int) -> None:
    assert ARCHITECTURES[architecture].resident_blocks(threads, registers, shared) == blocks


def test_the_bound() -> None:
    def of(fma: int, others: int, packs: int, architecture: int = 90, real: str = "float") -> float:
        loop = sass.Mix(fma + others + packs, fma, sass.Counter({16: packs}), sass.Counter())
        return kernels.bound(loop, ARCHITECTURES[architecture], real)

    assert of(64, 0, 4) == 64 / 68  # issuing
    assert of(64, 0, 20) == 16 / 80  # shared memory: 20 x 4 cycles, beside 16 of arithmetic
    assert of(64, 0, 4, architecture=80) == 1  # 64 lanes: 32 cycles of arithmetic, 17 of issuing
    assert of(64, 0, 20, real="double") == 32 / 80


def test_every_kernel_keeps_to_its_line() -> None:
    """And a turn of a matrix kernel's main loop is one tile along k, with all of its fma.

    All architectures would take minutes.
    """
    architecture = 80
    missing = nvrtc.unavailable() or sass.unavailable()
    if missing:
        pytest.skip(missing)
    found = kernels.rows([architecture])
    assert {(architecture, row.entry, row.tile) for row in found} == {
        key for key in kernels.read_lines() if key[0] == architecture
    }
    faults = kernels.faults(found)
    assert not faults, "\n".join(faults)
    for row in found:
        assert row.loop is not None
        if row.tile in kernels.TILES:
            _, tile = kernels.TILES[row.tile]
            assert row.loop.fma == tile.bk * tile.tm * tile.tn
            assert row.behind >= 0.75 * row.loop.fma  # a turn's loads are under way during its arithmetic
        assert 0 < row.bound <= 1 and 0 < row.occupancy <= 1 and row.needs.spilled == 0


@pytest.mark.parametrize(
    "defines", [{"ACTIVATION": Activation.GELU.code}, {"DROPS": 1}, {"A_WIDTH": 1, "B_WIDTH": 1}], ids=str
)
def test_the_largest_tile_never_spills(defines: dict[str, int]) -> None:
    """With what takes more registers than its line is about, where spills were seen. (Others: tests/test_nvrtc.py.)"""
    missing = nvrtc.unavailable()
    if missing:
        pytest.skip(missing)
    given = dict(option[2:].split("=") for option in kernels.options("float", tiles.LARGE)) | defines
    options = tuple(f"-D{name}={value}" for name, value in given.items())
    for architecture in (80, 120):
        needs = nvrtc.compile_for(architecture, nvrtc.only(source("dense.cu"), {"dense"}), options).needs["dense"]
        assert nvrtc.faults(architecture, needs, tiles.LARGE.threads, 0) == []


def _row(registers: int, entry: str = "dense", shared: int = 0, behind: int = 40) -> kernels.Row:
    loop = sass.Mix(100, 50, sass.Counter({16: 8}), sass.Counter())
    return kernels.Row(entry, "large", 80, 256, nvrtc.Needs(registers, 0, shared), loop, behind=behind)


def test_a_fall_below_a_line_is_a_fault() -> None:
    row = _row(registers=100)
    assert row.line == kernels.Line(100, 2, 0.5, 40)
    assert kernels.Line(92, 2, 0.55, 44).faults(row) == []
    assert kernels.Line(91, 3, 0.56, 45).faults(row) == [
        "dense, large, sm_80: 100 registers, not 91",
        "dense, large, sm_80: 2 blocks, not 3",
        "dense, large, sm_80: 50% fma, not 56%",
        "dense, large, sm_80: 40 fma behind loads, not 45",
    ]


def test_blocks_are_missed_by_shared_memory_or_by_more_registers_than_compilers_differ() -> None:
    line = _row(registers=128).line
    assert line.blocks == 2
    assert line.faults(_row(registers=136)) == []
    assert line.faults(_row(registers=137)) == [
        "dense, large, sm_80: 137 registers, not 128",
        "dense, large, sm_80: 1 blocks, not 2",
    ]
    assert line.faults(_row(registers=128, shared=100_000)) == ["dense, large, sm_80: 1 blocks, not 2"]


def test_the_command_names_what_is_worse(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for module in (nvrtc, sass):
        monkeypatch.setattr(module, "unavailable", lambda: None)
    monkeypatch.setattr(kernels, "LINES", tmp_path / "kernels.json")
    monkeypatch.setattr(kernels, "rows", lambda architectures: [_row(registers=100)])
    kernels.main(["--write"])
    kernels.main(["--arch", "80"])
    assert " ".join(capsys.readouterr().out.split()).count("large 80 256 100") == 2
    monkeypatch.setattr(kernels, "rows", lambda architectures: [_row(registers=109), _row(90, "another")])
    with pytest.raises(SystemExit) as exit_:
        kernels.main(["--arch", "80"])
    assert exit_.value.code == 1
    assert capsys.readouterr().err.split("\n")[1:3] == [
        "dense, large, sm_80: 109 registers, not 100",
        "another, large, sm_80: not in kernels.json",
    ]


def test_all_tiles_are_reported() -> None:
    found = {(one.file, one.name) for one in kernels.configurations() if one.name in kernels.TILES}
    assert found == set(itertools.product(kernels.FILES, kernels.TILES))
    named = {value for value in vars(tiles).values() if isinstance(value, tiles.Tile)}
    assert {tile for _, tile in kernels.TILES.values()} == named


def test_all_kernels_of_the_files_are_reported() -> None:
    found = list(kernels.configurations())
    entries = {entry for file in {one.file for one in found} for entry in entry_points(file)}
    assert {entry for one in found for entry in one.blocks} == entries
    assert len({(entry, one.name) for one in found for entry in one.blocks}) == sum(len(one.blocks) for one in found)


@pytest.mark.parametrize("name", kernels.DIRECT)
def test_what_is_no_matrix_product_is_compiled_as_the_ops_ask(device: Device, name: str) -> None:
    if device == CPU:
        pytest.skip("cpu: has no kernels")
    layer = kernels.DIRECT[name]
    how = Activation.RELU, layer.sizes.geometry
    arrays = checks.normal(1, 8, 8, layer.sizes.x[3]), checks.normal(*layer.sizes.w), checks.normal(layer.sizes.w[3])
    x, w, b = checks.on(device, *arrays)
    dw, db = empty_like(w), empty_like(b)
    with checks.recorded_launches() as launches:
        if layer.is_pooled:
            y, saved, winner = convolution_pooling(x, w, b, *how, "same")
            convolution_pooling_gradients(x, y, saved, winner, w, *how, "same", dw, db)
        else:
            y, saved = convolution(x, w, b, *how)
            convolution_gradients(x, y, saved, w, *how, dw, db)
    asked = {launch for launch in launches if launch.file == f"{layer.kernel}.cu"}
    reported = next(one for one in kernels.configurations() if one.name.startswith(f"{name} float"))  # widest loads
    assert asked == {Launch(reported.file, entry, reported.options, *block) for entry, block in reported.blocks.items()}
