"""Pictures (matplotlib, gpunet[plot]): a profile's ops under the roofline, and how far two devices are apart."""

from __future__ import annotations

import io
import itertools
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gpunet.inspection.parity_report import Parity, ParityRow
    from gpunet.inspection.profile import Profile

_MARKERS = "os^vD<>pP*X"
_LARGEST, _SMALLEST = 400.0, 15.0  # areas of marks, in square points: a mark's area is the op's share of the step
_FARTHEST = 2.0**54  # units: what is not finite is drawn there


def roofline_png(profile: Profile) -> bytes:
    """Return the picture as a PNG file; RuntimeError, naming the extra, where matplotlib is missing."""
    figure = _new_figure()
    axes = figure.subplots()
    limits = profile.roofline
    rows = [row for row in profile.rows if row.flops]
    ridge = limits.flops / limits.bandwidth  # flop per byte from which on arithmetic is the limit
    places = [row.flops / row.bytes for row in rows]
    left, right = min([*places, ridge]) / 2, max([*places, ridge]) * 2
    axes.plot([left, ridge, right], [left * limits.bandwidth, limits.flops, limits.flops], color="black")
    names = list(dict.fromkeys(row.op for row in rows))
    for name, marker in zip(names, itertools.cycle(_MARKERS), strict=False):
        found = [(place, row) for place, row in zip(places, rows, strict=True) if row.op == name]
        sizes = [max(_LARGEST * row.share, _SMALLEST) for _, row in found]
        rates = [row.flops_per_second for _, row in found]
        axes.scatter([place for place, _ in found], rates, sizes, marker=marker, label=name, alpha=0.7)
    axes.set(xscale="log", yscale="log", xlabel="flop per byte", ylabel="flop/s")
    axes.set_title(f"{profile.model}, {profile.batch_size} samples, on {profile.device_name}", fontsize=9)
    axes.grid(which="both", alpha=0.2)
    axes.legend(fontsize=7, loc="lower right")
    return _png(figure)


def parity_png(parity: Parity) -> bytes:
    """Return the picture as a PNG file; RuntimeError, naming the extra, where matplotlib is missing."""
    figure = _new_figure(height=3 + 0.16 * len(parity.rows))
    rows, losses = figure.subplots(2, height_ratios=(len(parity.rows) + 4, 10))
    _draw_rows(rows, parity)
    _draw_losses(losses, parity)
    return _png(figure)


def _draw_rows(axes: Any, parity: Parity) -> None:
    """Draw the differences of all rows, the first at the top, on a scale that has a place for 0."""
    places = range(len(parity.rows))
    axes.plot([_drawn(row.inherited) for row in parity.rows], places, "o", mfc="none", label="inherited too")
    axes.plot([_drawn(row.own) for row in parity.rows], places, "o", label="own")
    beyond = [place for place, row in zip(places, parity.rows, strict=True) if row.beyond]
    if beyond:
        worst = [_drawn(parity.rows[place].own) for place in beyond]
        axes.plot(worst, beyond, "rX", markersize=9, label="beyond tolerance")
    axes.axvline(parity.tolerance, color="black", linestyle=":", label="tolerance")
    axes.set_xscale("symlog", linthresh=1)
    axes.set_xlim(left=0)
    axes.set_yticks(places, [_label(row) for row in parity.rows], fontsize=6)
    axes.set_ylim(len(places) - 0.5, -0.5)
    axes.set_xlabel("units of the last place of an array's largest number")
    axes.set_title(f"{parity.model}, {parity.batch_size} samples, {parity.device} and {parity.against}", fontsize=9)
    axes.grid(alpha=0.2)
    axes.legend(fontsize=7)


def _draw_losses(axes: Any, parity: Parity) -> None:
    """Draw the losses of both devices at each step and, on an axis of its own, how far they are apart."""
    drift = parity.drift
    steps = range(1, len(drift.device) + 1)
    axes.plot(steps, drift.against, "o-", markersize=4, label=f"loss on {parity.against}")
    axes.plot(steps, drift.device, "x--", markersize=4, label=f"loss on {parity.device}")
    axes.set(xlabel="step", ylabel="loss")
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.grid(alpha=0.2)
    axes.legend(fontsize=7, loc="lower left")
    apart = [(step, far) for step, far in zip(steps, drift.differences, strict=True) if 0 < far < _FARTHEST]
    if apart:  # a logarithm has no place for 0
        other = axes.twinx()
        other.plot(*zip(*apart, strict=True), "k.")
        other.set(ylabel="difference (dots)", yscale="log")


def _drawn(units: float) -> float:
    return min(units, _FARTHEST)


def _label(row: ParityRow) -> str:
    return f"{row.layer}  {row.direction}  {row.array}"


def _png(figure: Any) -> bytes:
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=130)
    return file.getvalue()


def _new_figure(height: float = 6) -> Any:
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise RuntimeError(f"to_png: needs matplotlib ({error}); install gpunet[plot]") from error
    return Figure(figsize=(9, height), layout="constrained")
