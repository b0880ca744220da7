"""The ladder's table: `python -m bench.ladder`.

For each step and generation of GPUs: what a thread and a block take, how many blocks a multiprocessor holds, and what a
turn of the main loop consists of, from the machine code. `bound` is the share of the peak's fma that this allows if
nothing ever waits, and `by` what sets it: a kernel can be slower, not faster. Where there is a GPU, the steps are also
timed, beside cuBLAS. With `--out FOLDER` come tables in Markdown and pictures.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from bench import nvrtc, report, sass
from bench.architectures import ARCHITECTURES
from bench.ladder import examine, measure
from gpunet.backend import devices
from gpunet.backend.arrays import parse_device
from gpunet.inspection.table import table

_SIZE = 4096


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the tables, and write them where asked to."""
    parser = argparse.ArgumentParser(prog="python -m bench.ladder", description=(__doc__ or "").partition("\n\n")[2])
    parser.add_argument("--arch", type=int, nargs="+", choices=list(ARCHITECTURES), default=list(ARCHITECTURES))
    parser.add_argument("--device", default="cuda", help="where to time the steps, if it is there (cuda)")
    parser.add_argument("--sizes", type=int, nargs=3, default=[_SIZE] * 3, metavar=("M", "N", "K"))
    parser.add_argument("--rounds", type=int, default=10, help="how often each step is timed (10)")
    parser.add_argument("--out", type=Path, help="folder of tables and pictures (matplotlib)")
    chosen = parser.parse_args(arguments)
    place = devices.examine(parse_device(chosen.device))
    missing = nvrtc.unavailable() or sass.unavailable()
    if missing and not place.usable:
        parser.exit(1, f"{missing}\n{chosen.device}: {place.reason}\n")
    parts = []
    if missing:
        print(missing)
    else:
        parts += [_examined(architecture, chosen.out) for architecture in chosen.arch]
    if place.usable:
        parts.append(_timed(place, chosen.sizes, chosen.rounds, chosen.out))
    else:
        print(f"Not timed: {chosen.device}: {place.reason}")
    if chosen.out is not None:
        (chosen.out / "ladder.md").write_text("# The ladder\n\n" + "\n\n".join(parts) + "\n", encoding="utf-8")


def _examined(architecture: int, out: Path | None) -> str:
    """Print, draw and return what becomes of the steps on an architecture."""
    rows = list(examine.rows([architecture]))
    if out is not None:
        from bench.ladder import plots

        plots.mixes(rows, _inside(out) / f"mix-sm_{architecture}.png")
    return _show(f"sm_{architecture}, not timed", examine.COLUMNS, [row.cells for row in rows])


def _timed(place: devices.Report, sizes: Sequence[int], rounds: int, out: Path | None) -> str:
    """Time the steps; print, draw and return what came out."""
    m, n, k = sizes
    timed = measure.measure(place.device, m, n, k, rounds)
    product = f"x ({m}, {k}), w ({k}, {n})"
    if out is not None:
        from bench.ladder import plots

        plots.speeds(timed, f"{place.device}, {place.name}", product, _inside(out) / "speed.png")
    return _show(f"Measured on {place.device}, {place.name}: {product}", measure.COLUMNS, [row.cells for row in timed])


def _inside(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _show(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Print a table and return it in Markdown."""
    print(title)
    for line in table(columns, rows, numbers=range(1, len(columns))):
        print(line)
    print()
    return f"## {title}\n\n{report.table([columns, *rows])}"


if __name__ == "__main__":
    main()
