"""`gpunet devices`: what can be used here, and why not; and who chooses the tiles of matrix kernels."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from gpunet.backend import devices
from gpunet.cli.application import app, reported_errors
from gpunet.inspection.table import table
from gpunet.ops.tiles import choices


@app.command("devices")
def _devices_command() -> None:
    """Print every device: usable or the reason why not, name, memory; and the tables of tuning in use."""
    with reported_errors():
        rows = [_row(report) for report in devices.survey()]
        if sys.stdout.isatty():
            _print_table(rows)
        else:
            for line in table(rows[0], rows[1:]):
                print(line)
        print(f"tiles of matrix kernels: {choices.describe()}, then rules")


_COLUMNS = ("device", "usable", "name", "memory", "why")


def _row(report: devices.Report) -> tuple[str, ...]:
    memory = ""
    if report.memory_total is not None and report.memory_free is not None:
        memory = f"{report.memory_free / 2**30:.1f} of {report.memory_total / 2**30:.1f} GiB free"
    return str(report.device), "yes" if report.usable else "no", report.name, memory, report.reason


def _print_table(rows: Sequence[tuple[str, ...]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(*_COLUMNS)
    for row in rows:
        table.add_row(*row, style=None if row[1] == "yes" else "dim")
    Console().print(table, markup=False)
