"""What the kernels of Dense and convolution become on each generation of GPUs, without one: `python -m bench.kernels`.

Every kernel on gemm.cuh, with every tile that gpunet chooses, and those for few channels and small groups, with widest
and single loads, are compiled and disassembled. A row says what a thread and a block take, how many blocks a
multiprocessor holds, and what a turn of the main loop consists of. `bound` is the share of the multiprocessor's fma a
cycle that this mix allows if nothing ever waits: kernels can be slower, not faster.

`--write` keeps registers, blocks, shares of fma and what lies behind loads in kernels.json. What does not keep to them
is listed below the table, and the exit status is 1; a test does this for 8.0.
"""

from __future__ import annotations

import argparse
import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bench import nvrtc, sass
from bench.architectures import ARCHITECTURES, SCHEDULERS, SHARED_BYTES_PER_CYCLE, WARP, Architecture
from gpunet.backend.sources import entry_points, source
from gpunet.inspection.table import table
from gpunet.ops import convolution_direct, tiles
from gpunet.ops.activation import Activation
from gpunet.ops.convolution_sizes import Geometry, Sizes, sizes_of
from gpunet.ops.tiles import Tile

FILES = (
    *("dense.cu", "convolution.cu", "convolution_pooling.cu", "convolution_pooling_gradient.cu"),
    *("convolution_transposed.cu", "winograd_products.cu"),
)
_REALS = {"float32": "float", "float64": "double"}
TILES = {name: (_REALS[dtype], tile) for name, (dtype, tile) in tiles.TILES.items()}
LINES = Path(__file__).with_name("kernels.json")
_MORE_REGISTERS, _LESS_FMA = 8, 0.9  # within which versions of the compiler may differ
_DTYPES = {"float": np.float32, "double": np.float64}
_LOADS = (("float", 4), ("float", 1), ("double", 2))  # of layers without tiles: how many elements at once, at most
_COLUMNS = (
    *("kernel", "variant", "sm", "threads", "registers", "spilled", "shared", "blocks", "occupancy"),
    *("behind loads", "fma", "shared by bytes", "global by bytes", "bound"),
)


class Direct(NamedTuple):
    """A layer whose kernels are no matrix products, and how their names end; `is_pooled` says whether it pools."""

    kernel: str
    endings: tuple[str, ...]
    sizes: Sizes
    is_pooled: bool = False

    def blocks(self, real: str) -> dict[str, tuple[int, int]]:
        """Return the kernels, with the threads and the bytes of dynamic shared memory of a block."""
        plan, item = convolution_direct.gradient_plan(self.sizes), np.dtype(_DTYPES[real]).itemsize
        gradient, others = (plan.threads, plan.elements), convolution_direct.forward_block(self.sizes)
        found = {ending: gradient if ending == "_kernel_gradient" else others for ending in self.endings}
        return {self.kernel + ending: (threads, elements * item) for ending, (threads, elements) in found.items()}


def _layer(channels: int, filters: int, groups: int = 1) -> Sizes:
    return sizes_of("bench", (32, 64, 64, channels), (3, 3, channels // groups, filters), Geometry(groups=groups))


_FEW, _GROUPED = "convolution_few_channels", "convolution_grouped"
DIRECT = {
    "first": Direct(_FEW, ("", "_kernel_gradient"), _layer(3, 32)),
    "pooled": Direct(_FEW, ("_pooling", "_kernel_gradient"), _layer(3, 32), is_pooled=True),
    "depthwise": Direct(_GROUPED, ("", "_input_gradient", "_kernel_gradient"), _layer(64, 64, 64)),
    "grouped": Direct(_GROUPED, ("", "_input_gradient", "_kernel_gradient"), _layer(64, 64, 16)),
}


class Line(NamedTuple):
    """What a kernel is held to: registers a thread at most, and at least so many blocks of a multiprocessor.

    Of its main loop, at least such a share of fma, and so many behind its loads.
    """

    registers: int
    blocks: int
    fma_share: float
    behind: int

    def faults(self, row: Row) -> list[str]:
        """Return what is worse in `row`, by more than compilers differ."""
        found = row.line
        rules = [
            (found.registers > self.registers + _MORE_REGISTERS, f"{found.registers} registers, not {self.registers}"),
            (row.blocks_with(_MORE_REGISTERS) < self.blocks, f"{found.blocks} blocks, not {self.blocks}"),
            (found.fma_share < self.fma_share * _LESS_FMA, f"{found.fma_share:.0%} fma, not {self.fma_share:.0%}"),
            (found.behind < self.behind * _LESS_FMA, f"{found.behind} fma behind loads, not {self.behind}"),
        ]
        return [f"{row.name}: {text}" for broken, text in rules if broken]


class Row(NamedTuple):
    """A kernel with a tile on an architecture; `loop` is None if it has no main loop that could be found.

    What is no matrix product has a layer and the width of its loads where others have a tile. `needs` include dynamic
    shared memory. `behind` is how many fma of the main loop a thread has between its loads and what waits for them; 0
    where the loop has no loads, or was not looked at.
    """

    entry: str
    tile: str
    architecture: int
    threads: int
    needs: nvrtc.Needs
    loop: sass.Mix | None
    real: str = "float"
    behind: int = 0

    @property
    def name(self) -> str:
        return f"{self.entry}, {self.tile}, sm_{self.architecture}"

    @property
    def line(self) -> Line:
        """What kernels.json keeps of this row."""
        share = round(self.loop.fma_share, 2) if self.loop is not None else 0.0
        return Line(self.needs.registers, self.blocks, share, self.behind)

    @property
    def blocks(self) -> int:
        """How many blocks a multiprocessor holds."""
        return self.blocks_with(0)

    def blocks_with(self, fewer: int) -> int:
        """How many it would hold if a thread took so many registers fewer."""
        known = ARCHITECTURES[self.architecture]
        return known.resident_blocks(self.threads, self.needs.registers - fewer, self.needs.shared)

    @property
    def occupancy(self) -> float:
        """The share of the warps that a multiprocessor could hold."""
        return self.blocks * -(-self.threads // WARP) / ARCHITECTURES[self.architecture].warps

    @property
    def bound(self) -> float:
        """The share of the fma a cycle that the loop's mix allows."""
        return bound(self.loop, ARCHITECTURES[self.architecture], self.real) if self.loop is not None else 0.0


def bound(loop: sass.Mix, architecture: Architecture, real: str) -> float:
    """Return the cycles of a turn's fma over those of whatever takes longest."""
    found = cycles(loop, architecture, real)
    return found["fma"] / max(found.values())


def cycles(loop: sass.Mix, architecture: Architecture, real: str, moved: float | None = None) -> dict[str, float]:
    """Return for how long a turn of one warp keeps a multiprocessor's fma, issuing and shared memory busy.

    `moved` is how many bytes the warp moves, if that is known. Else they are counted as if no two threads of a warp
    read the same place: some do, so this is the worst case.
    """
    lanes = architecture.float_lanes if real == "float" else architecture.double_lanes
    if moved is None:
        moved = sum(count * width for width, count in (loop.shared + loop.copies).items()) * WARP
    return {
        "fma": loop.fma * WARP / lanes,
        "issuing": loop.instructions / SCHEDULERS,
        "memory": moved / SHARED_BYTES_PER_CYCLE,
    }


class Configuration(NamedTuple):
    """A file with a tile, or with what a row has in its place, and how it is compiled.

    `blocks` are the kernels to examine, with the threads and the bytes of dynamic shared memory of a block; `stages` is
    the tile's.
    """

    file: str
    name: str
    real: str
    options: tuple[str, ...]
    blocks: Mapping[str, tuple[int, int]]
    stages: int | None = None


def configurations() -> Iterator[Configuration]:
    """Yield each file of matrix products with each tile, and each layer of the others with each kind of loads."""
    for file in FILES:
        for name, (real, tile) in TILES.items():
            blocks = dict.fromkeys(entry_points(file), (tile.threads, 0))
            yield Configuration(file, name, real, options(real, tile), blocks, tile.stages)
    for name, layer in DIRECT.items():
        for real, widest in _LOADS:
            defines = convolution_direct.defines(layer.sizes, Activation.RELU, widest, is_pooled=layer.is_pooled)
            if real == "float" and defines["WIDTH"] < widest:  # all loads of this layer are single
                continue
            loads = f"{name} {real} x {defines['WIDTH']}"
            yield Configuration(f"{layer.kernel}.cu", loads, real, _options(real, defines), layer.blocks(real))


def options(real: str, tile: Tile) -> tuple[str, ...]:
    """Return the compiler's options for a layer with ReLU, strides of 1 and sizes that allow the widest loads."""
    width = tiles.widest_load(_DTYPES[real])
    layer: dict[str, int | str] = {"ACTIVATION": Activation.RELU.code, "DROPS": 0, "STRIDED": 0, "TAP_OFFSET": "int"}
    return _options(real, {**tile.defines, "A_WIDTH": width, "B_WIDTH": width, **layer})


def _options(real: str, defines: Mapping[str, int | str]) -> tuple[str, ...]:
    return (f"-DREAL={real}", *(f"-D{name}={value}" for name, value in sorted(defines.items())))


def rows(architectures: Sequence[int]) -> list[Row]:
    """Compile and examine everything for `architectures`."""
    # NVRTC and nvdisasm run outside Python's lock, so threads use all cores.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        asked = [(architecture, one) for architecture in architectures for one in configurations()]
        return [row for some in pool.map(lambda one: list(_examine(*one)), asked) for row in some]


def _examine(architecture: int, one: Configuration) -> Iterator[Row]:
    compiled = nvrtc.compile_for(architecture, nvrtc.only(source(one.file), set(one.blocks)), one.options)
    code = sass.disassemble(compiled.cubin)
    for entry, (threads, dynamic) in one.blocks.items():
        needs = replace(compiled.needs[entry], shared=compiled.needs[entry].shared + dynamic)
        turn = sass.main_turn(code[entry])
        behind = sass.fma_behind_loads(turn, one.stages) if turn is not None and one.stages is not None else 0
        loop = sass.mix(turn) if turn is not None else None
        yield Row(entry, one.name, architecture, threads, needs, loop, one.real, behind)


def read_lines() -> dict[tuple[int, str, str], Line]:
    """Return the lines of kernels.json by architecture, kernel and tile."""
    kept = json.loads(LINES.read_text(encoding="utf-8"))
    return {
        (int(architecture), *name.split(" ", 1)): Line(*line)
        for architecture, some in kept.items()
        for name, line in some.items()
    }


def faults(found: Sequence[Row]) -> list[str]:
    """Return what is worse in rows than kernels.json says, and what it does not know."""
    lines, worse = read_lines(), list[str]()
    for row in found:
        line = lines.get((row.architecture, row.entry, row.tile))
        worse += [f"{row.name}: not in {LINES.name}"] if line is None else line.faults(row)
    return worse


def _write_lines(found: Sequence[Row]) -> None:
    kept: dict[int, dict[str, Line]] = {}
    for row in found:
        kept.setdefault(row.architecture, {})[f"{row.entry} {row.tile}"] = row.line
    blocks = (
        f'  "{architecture}": {{\n'
        + ",\n".join(f"    {json.dumps(name)}: {json.dumps(line)}" for name, line in lines.items())
        + "\n  }"
        for architecture, lines in kept.items()
    )
    LINES.write_text("{\n" + ",\n".join(blocks) + "\n}\n", encoding="utf-8")


def _cells(row: Row) -> tuple[str, ...]:
    needs, loop = row.needs, row.loop
    taken = (row.threads, needs.registers, needs.spilled, needs.shared, row.blocks)
    found = (row.entry, row.tile, str(row.architecture), *map(str, taken), f"{row.occupancy:.0%}")
    if loop is None:
        return (*found, "-", "-", "-", "-", "-")
    return (
        *found,
        str(row.behind),
        f"{loop.fma_share:.0%}",
        widths(loop.shared),
        widths(loop.reads),
        f"{row.bound:.0%}",
    )


def widths(counts: Counter[int]) -> str:
    """Return `counts` in words: how many of each width."""
    return " + ".join(f"{count} x {width}" for width, count in sorted(counts.items(), reverse=True)) or "-"


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m bench.kernels", description=(__doc__ or "").partition("\n\n")[2])
    parser.add_argument("--arch", type=int, nargs="+", choices=list(ARCHITECTURES), default=list(ARCHITECTURES))
    parser.add_argument("--write", action="store_true", help="keep the lines, of all architectures")
    chosen = parser.parse_args(arguments)
    missing = nvrtc.unavailable() or sass.unavailable()
    if missing:
        parser.exit(1, f"{missing}\n")
    found = rows(list(ARCHITECTURES) if chosen.write else chosen.arch)
    if chosen.write:
        _write_lines(found)
    for line in table(_COLUMNS, [_cells(row) for row in found], numbers=(*range(2, 11), 13)):
        print(line)
    worse = faults(found)
    if worse:
        parser.exit(1, "\n".join(["", *worse, ""]))


if __name__ == "__main__":
    main()
