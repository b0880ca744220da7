"""Profile: where a training step's time goes, op by op, and how far that is from the limits of the device."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from gpunet.backend.arrays import Shape
from gpunet.inspection.roofline import Roofline
from gpunet.inspection.table import table
from gpunet.saving.replacing import replace_file
from gpunet.version import version

_COLUMNS = ("layer", "op", "pass", "shapes", "time", "of step", "FLOP/s", "B/s", "of limit")
_PREFIXES = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


@dataclass(frozen=True)
class Row:
    """One call of an op in the step: the median of its times, and the least flop and bytes that it needs.

    `layer` is a layer's path, or one of 'loss', 'metrics', 'optimizer' and 'data'; `direction` the pass, 'forward',
    'backward' or 'update'; `shapes` those of the arrays it was given; `begin` when it began, in seconds from the begin
    of the step. `share` is its part of the step's time, `limit` the roofline's least time for its work over its own:
    above 1 where data lay in caches.
    """

    layer: str
    op: str
    direction: str
    shapes: tuple[Shape, ...]
    begin: float
    seconds: float
    flops: int
    bytes: int
    share: float
    limit: float

    @property
    def flops_per_second(self) -> float:
        return self.flops / self.seconds

    @property
    def bytes_per_second(self) -> float:
        return self.bytes / self.seconds


@dataclass(frozen=True)
class Profile:
    """What `model.profile(x, y)` found: a row for each op call of a training step, those that cost most first.

    The rows are of a step that launches its ops one by one. `step_seconds` is the time of one as `fit` runs it, on a
    device captured as a graph, from gathering the batch to the end of the update. `outside_seconds` is what a traced
    step spends outside of ops: Python between them, arithmetic of your own layers, waiting. The shares of all rows and
    `outside_share` add up to 1. All times are medians over `steps` steps.

    `str(profile)` is a table; `to_json`, `to_chrome_trace` and `to_png` write files.
    """

    model: str
    device: str
    device_name: str
    batch_size: int
    dtype: str
    steps: int
    step_seconds: float
    outside_seconds: float
    outside_share: float
    roofline: Roofline
    rows: tuple[Row, ...]

    @property
    def op_seconds(self) -> float:
        """The time inside ops, the sum over the rows."""
        return sum(row.seconds for row in self.rows)

    @property
    def flops(self) -> int:
        """The flop of all ops of the step."""
        return sum(row.flops for row in self.rows)

    @property
    def bytes(self) -> int:
        """The bytes of all ops of the step, each read and written as if nothing were kept in between."""
        return sum(row.bytes for row in self.rows)

    def __str__(self) -> str:
        return self.table()

    def table(self, most: int | None = None) -> str:
        """Return the table, with the `most` costly rows only if that is a number."""
        shown = [_cells(row) for row in self.rows[:most]]
        lines = table(_COLUMNS, shown, numbers=range(4, 9))
        return "\n".join([*self._heading(), *lines, *self._totals(len(shown))])

    def _heading(self) -> Iterator[str]:
        yield f"{self.model}: a training step of {self.batch_size} samples, {self.dtype}, on {self.device}"
        yield f"({self.device_name}; medians of {self.steps} steps)"
        if self.device == "emulated":
            yield "The times are those of the emulator: they say nothing about a GPU."
        elif self.device.startswith("cuda"):
            yield "Ops are timed one by one; a short one takes as long as the host needs to launch it."
        yield f"Measured limits: {rate(self.roofline.flops)}FLOP/s, {rate(self.roofline.bandwidth)}B/s."

    def _totals(self, shown: int) -> Iterator[str]:
        hidden = self.rows[shown:]
        if hidden:
            seconds, share = sum(row.seconds for row in hidden), sum(row.share for row in hidden)
            yield f"and {len(hidden)} more calls, {duration(seconds)}, {share:.1%} of the step"
        yield (
            f"{len(self.rows)} op calls: {duration(self.op_seconds)}, {rate(self.flops)}FLOP, {rate(self.bytes)}B; "
            f"outside of ops: {duration(self.outside_seconds)}, {self.outside_share:.1%}"
        )
        yield f"As fit runs it, a step takes {duration(self.step_seconds)}."

    def to_json(self, path: str | os.PathLike[str]) -> None:
        """Write everything to a JSON file; times are in seconds, rates per second."""
        rows = [
            asdict(row) | {"flops_per_second": row.flops_per_second, "bytes_per_second": row.bytes_per_second}
            for row in self.rows
        ]
        totals = {"op_seconds": self.op_seconds, "flops": self.flops, "bytes": self.bytes}
        content = {"gpunet": version()} | asdict(self) | totals | {"rows": rows}
        replace_file(Path(path), (json.dumps(content, indent=1) + "\n").encode())

    def to_chrome_trace(self, path: str | os.PathLike[str]) -> None:
        """Write the step as a timeline for chrome://tracing or https://ui.perfetto.dev."""
        events = [_event(row) for row in sorted(self.rows, key=lambda row: row.begin)]
        name = {"name": "process_name", "ph": "M", "pid": 0, "args": {"name": f"{self.model} on {self.device}"}}
        content = {"traceEvents": [name, *events], "displayTimeUnit": "ms"}
        replace_file(Path(path), json.dumps(content).encode())

    def to_png(self, path: str | os.PathLike[str]) -> None:
        """Draw each op's FLOP/s over its flop per byte, under the roofline; needs matplotlib (gpunet[plot])."""
        from gpunet.inspection.plot import roofline_png

        replace_file(Path(path), roofline_png(self))


def _cells(row: Row) -> tuple[str, ...]:
    shapes = ", ".join("x".join(map(str, shape)) for shape in row.shapes)
    rates = (rate(row.flops_per_second) if row.flops else "-", rate(row.bytes_per_second))
    share, limit = f"{row.share:.1%}", f"{row.limit:.0%}"
    return row.layer, row.op, row.direction, shapes, duration(row.seconds), share, *rates, limit


def _event(row: Row) -> dict[str, Any]:
    about = {"layer": row.layer, "shapes": row.shapes, "flops": row.flops, "bytes": row.bytes, "of limit": row.limit}
    times = {"ts": row.begin * 1e6, "dur": row.seconds * 1e6}  # microseconds
    return {"name": row.op, "cat": row.direction, "ph": "X", **times, "pid": 0, "tid": 0, "args": about}


def duration(seconds: float) -> str:
    """Return a time as people write it, with three digits: '1.23 ms'."""
    for unit, name in ((1.0, "s"), (1e-3, "ms")):
        if seconds >= unit:
            return f"{seconds / unit:.3g} {name}"
    return f"{seconds * 1e6:.3g} us"


def rate(value: float) -> str:
    """Return a number with three digits and a prefix, to be followed by its unit: '1.23 G'."""
    for size, prefix in _PREFIXES:
        if value >= size:
            return f"{value / size:.3g} {prefix}"
    return f"{value:.3g} "
