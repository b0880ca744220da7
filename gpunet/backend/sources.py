"""Kernel sources: where the `.cu` files lie, their text with includes inlined, their entry points."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

_INCLUDE = re.compile(r'^\s*#include\s+"([^"]+)"\s*$')
_ENTRY = re.compile(r'extern\s+"C"\s+__global__\s+void\s+(?:__launch_bounds__\s*\(([^;{]*?)\)\s*)?(\w+)\s*\(')


@cache
def kernel_folder() -> Path:
    """Return the folder of the kernels: inside the installed package, or beside it in a checkout."""
    package = Path(__file__).resolve().parents[1]
    for folder in (package / "kernels", package.parent / "kernels"):
        if folder.is_dir():
            return folder
    raise RuntimeError(f"kernels: no folder with kernel sources in {package} or beside it; reinstall gpunet")


def kernel_files() -> list[str]:
    """Return the names of all `.cu` files, sorted."""
    return sorted(path.name for path in kernel_folder().glob("*.cu"))


@cache
def source(file: str) -> str:
    """Return the text of kernel `file` with every `#include "…"` of ours inlined once, in place.

    `file` is one of `kernel_files()`, or the path of a kernel elsewhere, which may include our headers too. The text
    is complete because the kernel caches, which go by the text, do not see include files. `#line` directives keep
    compiler messages pointing at the original files.
    """
    return "\n".join(_inline(kernel_folder() / file, set())) + "\n"


def _inline(path: Path, seen: set[str]) -> list[str]:
    seen.add(path.name)
    lines = [f'#line 1 "{path.name}"']
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        match = _INCLUDE.match(line)
        if match is None:
            lines.append(line)
        else:
            if match[1] not in seen:
                lines += _inline(_header(match[1], path.parent), seen)
            lines.append(f'#line {number + 1} "{path.name}"')
    return lines


def _header(name: str, folder: Path) -> Path:
    """Return the header `name` beside the file that includes it, or else ours."""
    beside = folder / name
    return beside if beside.exists() else kernel_folder() / name


@cache
def entry_points(file: str) -> tuple[str, ...]:
    """Return the names of the `extern "C" __global__` functions of kernel `file`, in order."""
    return tuple(launch_bounds(file))


@cache
def launch_bounds(file: str) -> dict[str, str]:
    """Return the entry points of kernel `file`, each with what its `__launch_bounds__` says, "" where it has none."""
    return {entry: bounds for bounds, entry in _ENTRY.findall(source(file))}
