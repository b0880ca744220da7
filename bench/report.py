"""A file of results as Markdown and as pictures: `python -m bench.report RESULT.json [--out FOLDER]`.

A ratio is the rival's time over gpunet's in the same rounds, with quartiles: 2 means that gpunet is twice as fast.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from bench import result

Content = Mapping[str, Any]
_OURS = "gpunet"


def markdown(content: Content) -> str:
    """Return tables of the models, the ops, and life as a user, the versions, and what is missing and why."""
    parts = [_heading(content)]
    for group in ("models", "ops"):
        entries = [entry for entry in content["benchmarks"] if entry["group"] == group]
        if entries:
            parts.append(f"## {group.capitalize()}\n\n{_case_table(entries)}")
    life = [entry for entry in content["benchmarks"] if entry["group"] == "life"]
    if life:
        parts.append(f"## Life as a user\n\n{_life_table(life)}")
    problems = list(content.get("problems", ()))
    missing = _reasons(content["benchmarks"])
    if problems or missing:
        parts.append("## Missing\n\n" + "\n".join(f"- {text}" for text in [*problems, *missing]))
    return "\n\n".join(parts) + "\n"


def _heading(content: Content) -> str:
    where = content.get("device_name") or "unknown"
    lines = [
        f"# {content['device']}: {where}, {content.get('threads')} threads, {content.get('datetime', '')[:10]}",
        "",
        "Median times; in brackets how often as long a rival takes, quartile to quartile of interleaved rounds.",
    ]
    roofline = content.get("roofline")
    if roofline:
        lines += [
            "",
            f"Measured limits: {_rate(roofline['flops'], 'FLOP/s')} (float32 products), "
            f"{_rate(roofline['bandwidth'], 'B/s')} (copies).",
        ]
    versions = {name: f"{name} ({_versions(found)})" for name, found in content["libraries"].items()}
    return "\n".join([*lines, "", "Libraries: " + "; ".join(versions.values()) + "."])


def _versions(found: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in found.items())


def _case_table(entries: list[Content]) -> str:
    rivals = _rivals(entries)
    rows = [["case", "gpunet", "FLOP/s", "B/s", "of the limit", *rivals]]
    for entry in entries:
        info = entry["extra_info"]
        seconds = info["times"][_OURS]["median"]
        rows.append(
            [
                entry["name"],
                _seconds(seconds),
                _rate(info["flops"] / seconds, "") if info["flops"] else "-",
                _rate(info["bytes"] / seconds, ""),
                "-" if info["share"] is None else f"{info['share']:.0%}",
                *(_ratio(info["ratios"].get(rival)) for rival in rivals),
            ]
        )
    return table(rows)


def _life_table(entries: list[Content]) -> str:
    names = dict.fromkeys([_OURS, *(name for entry in entries for name in entry["extra_info"]["times"])])
    rows = [["", *names]]
    for entry in entries:
        info = entry["extra_info"]
        show = _bytes if info["unit"] == "bytes" else _seconds
        values = [info["times"].get(name) for name in names]
        rows.append([entry["name"], *("-" if value is None else show(value["median"]) for value in values)])
    return table(rows)


def _rivals(entries: Iterable[Content]) -> list[str]:
    return list(dict.fromkeys(name for entry in entries for name in entry["extra_info"]["ratios"]))


def _reasons(entries: Iterable[Content]) -> list[str]:
    """Return why rivals are missing, each reason once with the cases that it holds for."""
    cases: dict[str, list[str]] = {}
    total = 0
    for entry in entries:
        total += 1
        for name, reason in entry["extra_info"]["missing"].items():
            cases.setdefault(f"{name}: {reason}", []).append(entry["name"])
    return [
        reason + (f" ({', '.join(names)})" if len(names) <= 3 else f" ({len(names)} of {total} cases)")
        for reason, names in cases.items()
    ]


def table(rows: Sequence[Sequence[str]]) -> str:
    """Return a table in Markdown, the names of its columns first."""
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    rule = "|" + "|".join([" --- ", *(" ---: " for _ in rows[0][1:])]) + "|"
    return "\n".join([lines[0], rule, *lines[1:]])


def _ratio(value: Mapping[str, float] | None) -> str:
    return "-" if value is None else f"{value['median']:.2f} [{value['low']:.2f}, {value['high']:.2f}]"


def _seconds(seconds: float) -> str:
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds / 1e-6:.3g} µs"


def _rate(value: float, unit: str) -> str:
    for prefix, size in (("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= size:
            return f"{value / size:.3g} {prefix}{unit}"
    return f"{value:.3g} {unit}"


def _bytes(count: float) -> str:
    return f"{count / 2**20:.4g} MiB"


def main() -> None:
    """Write the report beside the file, or to the folder of --out."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("result", type=Path)
    parser.add_argument("--out", type=Path, default=None, help="folder of the report; that of the file")
    options = parser.parse_args()
    try:
        content = result.read(options.result)
    except ValueError as error:
        sys.exit(f"bench.report: {error}")
    folder = options.out or options.result.parent
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"{options.result.stem}.md"
    target.write_text(markdown(content), encoding="utf-8")
    print(target)
    try:
        from bench.plots import ratio_bars, roofline
    except ImportError as error:
        sys.exit(f"bench.report: no pictures without matplotlib ({error}); pip install '.[bench]'")
    pictures = {f"ratios-{group}": partial(ratio_bars, content, group) for group in ("models", "ops", "life")}
    for name, draw in {**pictures, "roofline": partial(roofline, content)}.items():
        picture = folder / f"{options.result.stem}-{name}.png"
        if draw(picture):
            print(picture)


if __name__ == "__main__":
    main()
