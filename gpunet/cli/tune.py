"""`gpunet tune`: measure which tile of the matrix kernels is fastest on this device, and keep it in a table."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from gpunet.backend import devices
from gpunet.backend.arrays import Device, Kind
from gpunet.cli.application import DeviceOption, app, choose_device, reported_errors
from gpunet.cli.models import find_model
from gpunet.inspection.profile import duration
from gpunet.inspection.table import table
from gpunet.inspection.tuning import Measured, choose, measure, merged, products
from gpunet.models import Model
from gpunet.ops import tiles
from gpunet.ops.choices import Table, render
from gpunet.recipes import RECIPES
from gpunet.saving.replacing import replace_file
from gpunet.version import version

_COLUMNS = ("kernel", "dtype", "(m, k) (k, n)", "default", "time", "best", "time", "gain")


@app.command("tune")
def _tune_command(
    model: Annotated[
        list[str] | None,
        typer.Option(
            help=f"{', '.join(RECIPES)}, or the file of a saved model; may be given several times.",
            metavar="NAME|FILE",
            show_default="all built-in networks",
        ),
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Samples of the step.")] = 32,
    device: DeviceOption = None,
    out: Annotated[
        Path, typer.Option(dir_okay=False, help="Table to write; one that is there keeps its other choices.")
    ] = Path("tuning.json"),
) -> None:
    """Time the matrix kernels of a training step with every tile, and write the fastest into a table."""
    with reported_errors():
        chosen = devices.set_device(choose_device(device)[0])
        _existing(out)
        models = [find_model(name) for name in model or RECIPES]
        if chosen.kind is Kind.CPU:
            print("cpu: NumPy multiplies its matrices; there is nothing to tune")
            return
        measured = _measure(models, batch_size, chosen)
        found = choose(measured, chosen)
        whole = merged(_existing(out), found)
        about = f"Written by gpunet tune {version()}, last on {devices.examine(chosen).name}."
        replace_file(out, render(whole, about))
        _report(measured, chosen)
        faster = sum(name is not None for name in found.values())
        print(f"{faster} of {len(found)} classes of products have a faster tile; {out} now holds {len(whole)} choices.")
        print(f"Use it by GPUNET_TUNING={out}, or gpunet.set_tuning({str(out)!r}).")


def _existing(out: Path) -> Table:
    """Return the table at `out`, empty if there is no file; ValueError if that is no table, or no folder is there."""
    if not out.parent.is_dir():
        raise ValueError(f"--out: the folder of {out} must exist")
    return tiles.choices.read("--out", out) if out.exists() else {}


def _measure(models: list[Model], batch_size: int, device: Device) -> list[Measured]:
    """Measure the products of all models, each once."""
    measured: dict[tuple[object, ...], Measured] = {}
    with _progress() as show:
        for number, model in enumerate(models):
            with products(model, batch_size) as launches:
                for done, one in enumerate(launches):
                    show(model.name, number + done / len(launches), len(models))
                    key = one.operation, one.dtype, one.plan.product
                    if key not in measured:
                        measured[key] = measure(one, device)
    return list(measured.values())


@contextmanager
def _progress() -> Iterator[Callable[[str, float, int], None]]:
    """Give a function that shows a name, and how much is done of how much, in a bar if the output is a terminal."""
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(highlight=False), transient=True, disable=not Console().is_interactive) as progress:
        task = progress.add_task("")
        yield lambda name, done, of: progress.update(task, description=name, completed=done, total=of)


def _report(measured: Iterable[Measured], device: Device) -> None:
    rows = [_cells(one) for one in measured]
    for line in table(_COLUMNS, rows, numbers=(4, 6, 7)):
        print(line)
    if device.kind is Kind.EMULATED:
        print("The times are those of the emulator: they say nothing about a GPU.")


def _cells(one: Measured) -> tuple[str, ...]:
    m, n, k, groups = one.product
    sizes = f"({m}, {k}) ({k}, {n})" + (f" x {groups}" if groups > 1 else "")
    default, best = one.median(one.default), one.median(one.best)
    gain = "-" if one.best == one.default else f"{default / best:.2f}"
    return one.operation, one.dtype, sizes, one.default, duration(default), one.best, duration(best), gain
