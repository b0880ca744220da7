"""A file of results: written anew after each case, so that a run that is cut short leaves what it has.

JSON in the form of pytest-benchmark, and beside that `device` and its `device_name`, `threads`, `libraries` (versions
by name), `roofline`, `planned` (the tests of the run), `complete`, and `problems` (what is missing and why). A
benchmark's `extra_info` has `unit` ('seconds' or 'bytes'), `times` (or sizes: median, low, high by library), `ratios`
(to gpunet, likewise) and `missing` (reasons by library); and for cases `flops`, `bytes` and `share` of the roofline.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from bench import summary
from bench.measure import Measured
from bench.rivals import GPUNET
from gpunet.inspection.roofline import Roofline


class Result:
    """What a run has measured so far, and the file that it is kept in."""

    def __init__(self, path: Path, device: str, threads: int) -> None:
        self.path = path
        self._content: dict[str, Any] = {
            "device": device,
            "device_name": "",
            "threads": threads,
            "machine_info": {},
            "commit_info": {},
            "datetime": "",
            "libraries": {},
            "roofline": None,
            "planned": [],
            "complete": False,
            "problems": [],
            "benchmarks": [],
        }

    @property
    def content(self) -> dict[str, Any]:
        return self._content

    def describe(self, **facts: Any) -> None:
        """Note facts about the run, by the names of the file's form."""
        assert facts.keys() <= self._content.keys(), facts
        self._content.update(facts)

    def problem(self, text: str) -> None:
        """Note what is missing, and why, and write the file."""
        self._content["problems"].append(text)
        self.write()

    def add(self, name: str, test: str, group: str, stats: dict[str, Any], information: dict[str, Any]) -> None:
        """Add what `test` has measured, and write the file."""
        entry = {"group": group, "name": name, "fullname": test, "params": None, "param": None}
        self._content["benchmarks"].append({**entry, "extra_info": information, "options": {}, "stats": stats})
        self.write()

    def write(self) -> None:
        """Replace the file by a complete new one; if that fails, say so in `problems` and go on."""
        beside = self.path.with_name(f".{self.path.name}.part")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            beside.write_text(json.dumps(self._content, indent=1), encoding="utf-8")
            beside.replace(self.path)
        except OSError as error:
            beside.unlink(missing_ok=True)
            text = f"{self.path.name} could not be written: {error.strerror}"
            if text not in self._content["problems"]:
                self._content["problems"].append(text)


def information(measured: Measured, roofline: Roofline | None) -> dict[str, Any]:
    """Return a case's `extra_info`."""
    case, mine = measured.case, measured.visits[GPUNET.name]
    seconds = summary.times(mine).median
    ratios = {name: summary.ratio(visits, mine).as_dict() for name, visits in _others(measured)}
    return {
        "unit": "seconds",
        "flops": case.flops,
        "bytes": case.bytes,
        "share": None if roofline is None else roofline.share(case.flops, case.bytes, seconds),
        "times": {name: summary.times(visits).as_dict() for name, visits in measured.visits.items()},
        "ratios": ratios,
        "missing": measured.missing,
    }


def life_information(unit: str, values: dict[str, list[float]], missing: dict[str, str]) -> dict[str, Any]:
    """Return the `extra_info` of what a library costs its user: values in `unit` by library, in the same rounds."""
    mine = [[value] for value in values[GPUNET.name]]
    complete = {name: [[value] for value in found] for name, found in values.items() if len(found) == len(mine)}
    return {
        "unit": unit,
        "times": {name: summary.times(visits).as_dict() for name, visits in complete.items()},
        "ratios": {
            name: summary.ratio(visits, mine).as_dict() for name, visits in complete.items() if name != GPUNET.name
        },
        "missing": missing,
    }


def _others(measured: Measured) -> Iterable[tuple[str, list[list[float]]]]:
    return ((name, visits) for name, visits in measured.visits.items() if name != GPUNET.name)


def read(path: Path) -> dict[str, Any]:
    """Return the content of a file of results; ValueError if it is none."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: must be a file of results; {error}") from error
    if not isinstance(content, dict) or not {"benchmarks", "device", "libraries"} <= set(content):
        raise ValueError(f"{path}: must be a file of results of `pytest bench`; it has other keys")
    return content
