"""The ladder's pictures (matplotlib): speeds where they were measured, else what the machine code consists of."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.ladder.examine import Row
from bench.ladder.measure import Timed
from bench.plots import new, save

_COLOURS = {
    "fma": "tab:blue",
    "shared memory": "tab:orange",
    "loads of global memory": "tab:green",
    "addresses, conditions, barriers": "lightgray",
}


def mixes(rows: Sequence[Row], path: Path) -> None:
    """Draw the kinds of instructions of each step's main loop, and the bounds that follow."""
    figure, axes = _bars([row.step.name for row in rows])
    left = [0.0] * len(rows)
    for kind, counts in _kinds(rows).items():
        shares = [count / row.loop.instructions for count, row in zip(counts, rows, strict=True)]
        axes.barh(range(len(rows)), shares, 0.6, left=left, label=kind, color=_COLOURS[kind])
        left = [before + share for before, share in zip(left, shares, strict=True)]
    for number, row in enumerate(rows):
        axes.plot([row.bound] * 2, [number - 0.4, number + 0.4], color="black", linewidth=2)
        axes.annotate(f" {row.bound:.0%}, by {row.limit}", (1, number), fontsize=8, va="center")
    axes.set_xlim(0, 1)
    axes.set_xlabel("share of the main loop's instructions; black: most fma a cycle that the loop allows, of the peak")
    axes.set_title(f"Machine code for sm_{rows[0].found.architecture}: counted, not timed", fontsize=10)
    figure.legend(loc="outside lower center", ncols=4, fontsize=8)
    save(figure, path)


def _kinds(rows: Sequence[Row]) -> dict[str, list[int]]:
    loops = [row.loop for row in rows]
    counted = [(loop.fma, loop.shared.total(), loop.reads.total()) for loop in loops]
    rest = [loop.instructions - sum(counts) for loop, counts in zip(loops, counted, strict=True)]
    return dict(zip(_COLOURS, [*map(list, zip(*counted, strict=True)), rest], strict=True))


def speeds(timed: Sequence[Timed], device: str, sizes: str, path: Path) -> None:
    """Draw the measured flop/s."""
    figure, axes = _bars([row.name for row in timed])
    bars = axes.barh(range(len(timed)), [row.rate / 1e12 for row in timed], 0.6)
    axes.bar_label(bars, [f"{row.rate / 1e12:.3g}" for row in timed], padding=3, fontsize=8)
    axes.axvline(timed[0].rate / timed[0].of_peak / 1e12, color="black", linewidth=1, label="peak, measured")
    axes.set_xlabel("TFLOP/s")
    axes.set_title(f"Measured on {device}, {sizes}", fontsize=10)
    axes.legend(fontsize=8)
    save(figure, path)


def _bars(names: Sequence[str]) -> tuple[Any, Any]:
    """Return a figure for a bar a name, the first on top."""
    figure, axes = new(9, 1.6 + 0.4 * len(names))
    axes.set_yticks(range(len(names)), [f"{number}  {name}" for number, name in enumerate(names, start=1)])
    axes.set_ylim(len(names) - 0.5, -0.5)
    return figure, axes
