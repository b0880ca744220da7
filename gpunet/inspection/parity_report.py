"""Parity: what two devices made of the same training step, array by array, and the losses of further steps."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from gpunet.backend.arrays import Shape
from gpunet.inspection.table import table
from gpunet.saving.replacing import replace_file
from gpunet.version import version

_COLUMNS = ("layer", "pass", "array", "shape", "own", "inherited too", "")


@dataclass(frozen=True)
class ParityRow:
    """How far one array of the step differs, in units of the last place of the largest number in it (ulps.py).

    `layer` is a layer's path (several that run as one op are joined by ' + '; ' #2' is the second use in the step),
    'loss', 'optimizer', or, for what arrives at a layer without coming straight from another one, whatever holds
    that layer. `direction` is the pass, 'forward', 'backward' or 'update'. `array` is 'y', 'dx', 'd' and the name of
    a weight, or for updates, by the optimizer or by the layer itself, the name of a weight or of an optimizer's slot.

    `own` is the difference that the layer made: both devices gave it the same input (or dy, or gradient). In
    `inherited` each device had its own, so that the differences of all layers before are in it, and may be large where
    they switched a relu or another maximum; for updates by the optimizer it is that after all steps. `sensitivity`
    tells how far the first device's own result moves if its input is moved by up to 16 units, None where nobody had to
    ask; `beyond` whether `own` is more than the tolerance and four times this explain.
    """

    layer: str
    direction: str
    array: str
    shape: Shape
    own: float
    inherited: float
    sensitivity: float | None
    beyond: bool


@dataclass(frozen=True)
class Drift:
    """The losses of the training steps, each device by itself from the same weights on, all on the same batch.

    `allowed` is, for each step, how far the losses may be apart: the tolerance and, where that was not enough, four
    times what the first device's own loss moved by when its initial weights were moved by up to 16 units.
    """

    against: tuple[float, ...]
    device: tuple[float, ...]
    allowed: tuple[float, ...]

    @property
    def differences(self) -> tuple[float, ...]:
        """How far the losses are apart at each step."""
        pairs = zip(self.against, self.device, strict=True)
        same = ((math.isnan(one) and math.isnan(other)) or one == other for one, other in pairs)
        apart = (abs(one - other) for one, other in zip(self.against, self.device, strict=True))
        return tuple(0.0 if alike else far for alike, far in zip(same, apart, strict=True))

    @property
    def first_beyond(self) -> int | None:
        """The number of the first step, from 1, whose losses are too far apart; None if all are near."""
        pairs = zip(self.differences, self.allowed, strict=True)
        return next((number for number, (found, allowed) in enumerate(pairs, 1) if not found <= allowed), None)


@dataclass(frozen=True)
class Parity:
    """What `gpunet.inspection.parity` found: rows in the order of computation, and the drift of the loss.

    `str(parity)` is a table; `to_json` and `to_png` write files.
    """

    model: str
    device: str
    against: str
    batch_size: int
    dtype: str
    tolerance: float
    rows: tuple[ParityRow, ...]
    drift: Drift

    @property
    def first_beyond(self) -> ParityRow | None:
        """The first row, in the order of computation, that is beyond tolerance."""
        return next((row for row in self.rows if row.beyond), None)

    @property
    def within_tolerance(self) -> bool:
        """Whether all rows and the losses of all steps are."""
        return self.first_beyond is None and self.drift.first_beyond is None

    def __str__(self) -> str:
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        both = f"{self.device} and {self.against}"
        yield f"{self.model}: a training step of {self.batch_size} samples, {self.dtype}, {both}"
        yield "(differences in units of the last place of an array's largest number)"
        yield from table(_COLUMNS, [_cells(row) for row in self.rows], numbers=(4, 5))
        if self.drift.device:
            yield ""
            yield from self._drift_lines()
        yield self.verdict

    def _drift_lines(self) -> Iterator[str]:
        pairs = zip(self.drift.against, self.drift.device, self.drift.differences, strict=True)
        rows = [(str(n), f"{a:.7g}", f"{b:.7g}", f"{d:.2g}") for n, (a, b, d) in enumerate(pairs, 1)]
        columns = ("step", f"loss on {self.against}", f"loss on {self.device}", "difference")
        yield from table(columns, rows, numbers=range(4))

    @property
    def verdict(self) -> str:
        """One line: whether all is within tolerance, or else what is beyond it first."""
        row, step = self.first_beyond, self.drift.first_beyond
        if row is not None:
            what = f"the {row.direction} pass of {row.layer}, {row.array}: {_number(row.own)} units"
            return f"First beyond a tolerance of {self.tolerance:g}: {what}."
        if step is not None:
            far = f"{self.drift.differences[step - 1]:.2g}, where {self.drift.allowed[step - 1]:.2g} is explained"
            return (
                f"Each array by itself is within a tolerance of {self.tolerance:g}, but the loss of step {step}: {far}."
            )
        return f"All within a tolerance of {self.tolerance:g}."

    def to_json(self, path: str | os.PathLike[str]) -> None:
        """Write everything to a JSON file; what is not finite becomes null."""
        found = {"within_tolerance": self.within_tolerance, "verdict": self.verdict}
        drift = asdict(self.drift) | {"differences": self.drift.differences}
        content = {"gpunet": version()} | asdict(self) | found | {"drift": drift}
        text = json.dumps(_finite(content), indent=1, allow_nan=False)
        replace_file(Path(path), (text + "\n").encode())

    def to_png(self, path: str | os.PathLike[str]) -> None:
        """Draw the differences of all rows, and of the loss at each step; needs matplotlib (gpunet[plot])."""
        from gpunet.inspection.plot import parity_png

        replace_file(Path(path), parity_png(self))


def _cells(row: ParityRow) -> tuple[str, ...]:
    shape = "x".join(map(str, row.shape))
    mark = "BEYOND" if row.beyond else "" if row.sensitivity is None else "explained by its sensitivity"
    return row.layer, row.direction, row.array, shape, _number(row.own), _number(row.inherited), mark


def _number(units: float) -> str:
    return f"{units:.2g}" if units < 100 else f"{units:.0f}" if units < 1e5 else f"{units:.1e}"


def _finite(value: Any) -> Any:
    """Return `value`, made of JSON's types, with None for numbers that JSON does not have."""
    if isinstance(value, dict):
        return {key: _finite(member) for key, member in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(member) for member in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
