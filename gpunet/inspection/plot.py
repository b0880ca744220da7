"""The picture of a profile: its ops under the roofline of the device (matplotlib, gpunet[plot])."""

from __future__ import annotations

import io
import itertools
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gpunet.inspection.profile import Profile

_MARKERS = "os^vD<>pP*X"
_LARGEST, _SMALLEST = 400.0, 15.0  # areas of marks, in square points: a mark's area is the op's share of the step


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
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=130)
    return file.getvalue()


def _new_figure() -> Any:
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise RuntimeError(f"to_png: needs matplotlib ({error}); install gpunet[plot]") from error
    return Figure(figsize=(9, 6), layout="constrained")
