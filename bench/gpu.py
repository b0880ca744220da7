"""Everything that a machine with a GPU can tell, most valuable first: `python -m bench.gpu --out FOLDER`.

    tests       all tests on cuda                                              tests.log
    step        a captured step and one run op by op: bits, host time          step.json, .md
    models      whole networks beside the rivals                               models.json, .md, .png
    ops         each op beside cuDNN, cuBLAS and the others                    ops.json, .md, .png
    memcheck    compute-sanitizer over the op tests, without a memory pool     memcheck.log
    racecheck   likewise, for races in shared memory                           racecheck.log
    life        import, first step, memory                                     life.json, .md

It is over within --seconds (540): every part has a limit, and what is left over goes to the later ones. `summary.md` is
written anew after each part, so that a run cut short leaves what it has.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_FOLDER = Path(__file__).parents[1]
_SPARE = 10.0  # seconds between the end of measuring and the kill, to write what there is
_FOR_REPORTS = 25.0  # seconds


@dataclass(frozen=True)
class Part:
    """A command, its longest time in seconds, and the program that it needs. `{seconds}` becomes its time limit."""

    name: str
    command: tuple[str, ...]
    limit: float
    needs: str | None = None
    environment: tuple[tuple[str, str], ...] = ()


def op_tests() -> list[str]:
    """Return the test files that belong to a file of gpunet/ops."""
    names = sorted(path.stem for path in (_FOLDER / "gpunet" / "ops").glob("*.py"))
    candidates = [_FOLDER / "tests" / f"test_{name}{ending}.py" for name in names for ending in ("", "_op")]
    return [str(path.relative_to(_FOLDER)) for path in candidates if path.exists()]


def parts(out: Path) -> list[Part]:
    """Return the parts in their order."""
    python = sys.executable
    pytest = (python, "-m", "pytest", "-q", "-p", "no:cacheprovider")

    def bench(name: str, chosen: str, limit: float) -> Part:
        options = ("--device", "cuda", "--out", str(out / f"{name}.json"), "--time-limit", "{seconds}")
        return Part(name, (*pytest, "bench", "-k", chosen, *options), limit)

    def sanitizer(tool: str, limit: float) -> Part:
        command = ("compute-sanitizer", "--tool", tool, "--error-exitcode", "99", *pytest, *op_tests(), "-k", "cuda")
        return Part(tool, command, limit, needs="compute-sanitizer", environment=(("GPUNET_TEST_POOL", "0"),))

    return [
        Part("tests", (*pytest, "tests", "-k", "cuda"), 150),
        Part("step", (python, "-m", "bench.step", "--device", "cuda", "--out", str(out)), 40),
        bench("models", "test_model", 170),
        bench("ops", "test_op", 120),
        sanitizer("memcheck", 60),
        sanitizer("racecheck", 40),
        bench("life", "test_life", 60),
    ]


def run(chosen: Sequence[Part], out: Path, seconds: float) -> bool:
    """Run the parts, each into FOLDER/<name>.log, and write `summary.md` after each; tell whether all went well."""
    out.mkdir(parents=True, exist_ok=True)
    end = time.monotonic() + seconds
    lines = [
        "# A run of `python -m bench.gpu`",
        "",
        "| part | outcome | seconds | last line |",
        "| --- | --- | ---: | --- |",
    ]
    went_well = True
    for part in chosen:
        start = time.monotonic()
        outcome = _run(part, out / f"{part.name}.log", min(part.limit, end - start))
        went_well = went_well and outcome == "passed"
        last = _last_line(out / f"{part.name}.log")
        lines.append(f"| {part.name} | {outcome} | {time.monotonic() - start:.0f} | {last} |")
        (out / "summary.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
        print(lines[-1], flush=True)
    return went_well


def _run(part: Part, log: Path, limit: float) -> str:
    """Run one part and return its outcome in words."""
    if part.needs is not None and shutil.which(part.needs) is None:
        return f"left out: no {part.needs}"
    if limit <= _SPARE:
        return "left out: no time left"
    command = [word.format(seconds=f"{limit - _SPARE:.0f}") if word == "{seconds}" else word for word in part.command]
    environment = {**os.environ, **dict(part.environment)}
    with log.open("wb") as stream:
        process = subprocess.Popen(
            command, cwd=_FOLDER, env=environment, stdout=stream, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            code = process.wait(limit)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            return "cut short by its time limit"
    return "passed" if code == 0 else f"failed, exit {code}"


def _last_line(log: Path) -> str:
    if not log.exists():
        return ""
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1].strip("= ").replace("|", "/")[:120] if lines else ""


def _reports(out: Path) -> None:
    """Write Markdown and pictures of the results that are there."""
    for path in sorted(out.glob("*.json")):
        subprocess.run([sys.executable, "-m", "bench.report", str(path)], cwd=_FOLDER, check=False)


def main() -> None:
    """Run all parts; exit 1 if one did not pass."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder of the results")
    parser.add_argument("--seconds", type=float, default=540, help="when it must be over (540)")
    options = parser.parse_args()
    out = options.out.resolve()
    went_well = run(parts(out), out, options.seconds - _FOR_REPORTS)
    _reports(out)
    sys.exit(0 if went_well else 1)


if __name__ == "__main__":
    main()
