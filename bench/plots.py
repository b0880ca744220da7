"""The pictures of a report (matplotlib)."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

Content = Mapping[str, Any]


def ratio_bars(content: Content, group: str, path: Path) -> bool:
    """Draw how often as long each rival takes in the cases of a group, logarithmic; False without any."""
    entries = [entry for entry in content["benchmarks"] if entry["extra_info"]["ratios"] and entry["group"] == group]
    rivals = list(dict.fromkeys(name for entry in entries for name in entry["extra_info"]["ratios"]))
    if not entries:
        return False
    height = 0.8 / len(rivals)
    figure, axes = new(10, 1.2 + len(entries) * (0.14 + 0.07 * len(rivals)))
    for number, rival in enumerate(rivals):
        ratios = [(row, entry["extra_info"]["ratios"].get(rival)) for row, entry in enumerate(entries)]
        found = [(row + (number - (len(rivals) - 1) / 2) * height, ratio) for row, ratio in ratios if ratio is not None]
        spread = [[r["median"] - r["low"] for _, r in found], [r["high"] - r["median"] for _, r in found]]
        rows, lengths = [row for row, _ in found], [ratio["median"] - 1 for _, ratio in found]
        axes.barh(rows, lengths, height, left=1, label=rival, xerr=spread, error_kw={"linewidth": 0.6})
    axes.axvline(1, color="black", linewidth=1)
    axes.set_xscale("log")
    axes.set_yticks(range(len(entries)), [entry["name"] for entry in entries], fontsize=7)
    axes.set_ylim(len(entries) - 0.5, -0.5)
    axes.set_xlabel("rival's time / gpunet's time (right of 1: gpunet is faster)")
    axes.grid(axis="x", which="both", alpha=0.25)
    figure.legend(loc="outside upper center", ncols=3, fontsize=8)
    save(figure, path)
    return True


def roofline(content: Content, path: Path) -> bool:
    """Draw each op's flop/s over its flops per byte, under the limits that were measured; False without any."""
    limits = content.get("roofline")
    entries = [entry for entry in content["benchmarks"] if entry["group"] == "ops" and entry["extra_info"]["flops"]]
    if not limits or not entries:
        return False
    figure, axes = new(10, 7)
    intensities = [entry["extra_info"]["flops"] / entry["extra_info"]["bytes"] for entry in entries]
    left, right = min(intensities) / 2, max(*intensities, limits["flops"] / limits["bandwidth"]) * 2
    ridge = limits["flops"] / limits["bandwidth"]
    axes.plot([left, ridge, right], [left * limits["bandwidth"], limits["flops"], limits["flops"]], color="black")
    kinds = dict.fromkeys(entry["name"].partition("[")[0] for entry in entries)
    for marker, kind in zip(itertools.cycle("os^vD<>pP*X"), kinds, strict=False):
        chosen = [(i, e) for i, e in zip(intensities, entries, strict=True) if e["name"].startswith(f"{kind}[")]
        rates = [e["extra_info"]["flops"] / e["extra_info"]["times"]["gpunet"]["median"] for _, e in chosen]
        axes.scatter([i for i, _ in chosen], rates, label=kind, s=25, marker=marker)
        for (intensity, entry), rate in zip(chosen, rates, strict=True):
            axes.annotate(entry["name"].partition("[")[2][:-1], (intensity, rate), fontsize=5, alpha=0.8)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("flop per byte")
    axes.set_ylabel("flop/s")
    axes.set_title(f"gpunet's ops on {content['device']} under the measured limits")
    axes.grid(which="both", alpha=0.2)
    axes.legend(fontsize=8)
    save(figure, path)
    return True


def new(width: float, height: float) -> tuple[Any, Any]:
    """Return a figure of so many inches, and its axes."""
    figure, axes = plt.subplots(layout="constrained", figsize=(width, height))
    return figure, axes


def save(figure: Any, path: Path) -> None:
    """Write `figure` and forget it."""
    figure.savefig(path, dpi=130)
    plt.close(figure)
