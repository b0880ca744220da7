"""What each step becomes on a generation of GPUs, from its machine code, without one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from bench import kernels, nvrtc, sass
from bench.architectures import ARCHITECTURES, WARP
from bench.ladder.steps import STEPS, Step
from gpunet.backend.sources import source

COLUMNS = (
    *("step", "registers", "shared", "blocks", "occupancy", "loads per fma", "global by bytes", "shared by bytes"),
    *("global B/flop", "near B/flop", "fma behind loads", "fma", "bound", "by"),
)


class Row(NamedTuple):
    """A step on an architecture."""

    step: Step
    found: kernels.Row
    loop: sass.Mix

    @property
    def cycles(self) -> dict[str, float]:
        """For how long a warp's turn keeps each part of a multiprocessor busy."""
        moved = self.loop.fma * WARP * self.step.near_bytes
        return kernels.cycles(self.loop, ARCHITECTURES[self.found.architecture], "float", moved)

    @property
    def bound(self) -> float:
        """The share of the fma a cycle that is possible if nothing ever waits."""
        return self.cycles["fma"] / max(self.cycles.values())

    @property
    def limit(self) -> str:
        """What sets the bound."""
        return max(self.cycles, key=lambda part: self.cycles[part])

    @property
    def loads_per_fma(self) -> float:
        """Instructions of a thread that read global memory, for each fma."""
        return self.loop.reads.total() / self.loop.fma

    @property
    def cells(self) -> tuple[str, ...]:
        """The row as text, in the order of COLUMNS."""
        needs, found, loop = self.found.needs, self.found, self.loop
        return (
            *(self.step.name, str(needs.registers), str(needs.shared), str(found.blocks), f"{found.occupancy:.0%}"),
            *(f"{self.loads_per_fma:.3g}", kernels.widths(loop.reads), kernels.widths(loop.shared)),
            *(f"{self.step.global_bytes / 2:.3g}", f"{self.step.near_bytes / 2:.3g}", str(found.behind)),
            *(f"{loop.fma_share:.0%}", f"{self.bound:.0%}", self.limit),
        )


def rows(architectures: Sequence[int]) -> Iterator[Row]:
    """Compile and examine all steps for `architectures`."""
    for architecture in architectures:
        for step in STEPS:
            yield _examine(step, architecture)


def _examine(step: Step, architecture: int) -> Row:
    compiled = nvrtc.compile_for(architecture, nvrtc.only(source(step.source), {step.entry}), step.options)
    turn = sass.main_turn(sass.disassemble(compiled.cubin)[step.entry])
    assert turn is not None, f"{step.file}: sm_{architecture} has no loop with fma"
    loop = sass.mix(turn)
    behind = sass.fma_behind_loads(turn, step.tile.stages)
    needs = compiled.needs[step.entry]
    found = kernels.Row(step.entry, step.name, architecture, step.tile.threads, needs, loop, behind=behind)
    return Row(step, found, loop)
