"""Machine code of kernels: what the main loop of each consists of.

It is disassembled by NVIDIA's nvdisasm, which comes as a wheel and needs neither a GPU nor a driver.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

_WHEEL, _PROGRAM = "nvidia-cuda-nvdisasm", "nvdisasm"
_SECTION = re.compile(r"\s*\.section\s+\.text\.(\w+),")
_LABEL = re.compile(r"(\.L_\w+):")
_INSTRUCTION = re.compile(r"\s*/\*[0-9a-f]+\*/\s+(@!?U?P\w+\s+)?([A-Z][\w.]*)(.*)")
_CONDITION = re.compile(r"\s*!?U?P\d")  # of a branch, as an operand
_TARGET = re.compile(r"`\((\.L_\w+)\)")
_WIDTHS = {"U8": 1, "S8": 1, "U16": 2, "S16": 2, "64": 8, "128": 16}  # bytes a thread, where it is not 4
_COPY = "LDGSTS"
_LOADS, _WAITS = ("LDG", _COPY), ("STS", "DEPBAR")
_FMA = {"FFMA": 1, "DFMA": 1, "FFMA2": 2}  # how many a thread does


class Instruction(NamedTuple):
    """`target` is the number of the instruction that a branch goes to; `maybe` says that a predicate decides."""

    opcode: str
    maybe: bool = False
    target: int | None = None

    @property
    def name(self) -> str:
        return self.opcode.partition(".")[0]

    @property
    def width(self) -> int:
        """The bytes that a load or store moves for one thread."""
        return next((_WIDTHS[part] for part in self.opcode.split(".") if part in _WIDTHS), 4)


@dataclass(frozen=True)
class Mix:
    """What a thread does in one turn of a loop."""

    instructions: int
    fma: int
    shared: Counter[int]  # loads and stores, by their bytes
    loads: Counter[int]  # from global memory to registers, by their bytes
    copies: Counter[int] = field(default_factory=Counter)  # likewise, from global to shared memory (asynchronous)

    @property
    def reads(self) -> Counter[int]:
        """What reads global memory, by its bytes."""
        return self.loads + self.copies

    @property
    def fma_share(self) -> float:
        return self.fma / self.instructions


def unavailable() -> str | None:
    """Return why nothing can be disassembled here, or None if it can."""
    try:
        _program()
    except metadata.PackageNotFoundError:
        return f"nvdisasm is not installed; install gpunet[test] ({_WHEEL}, on Linux or Windows)"
    return None


@cache
def _program() -> Path:
    for file in metadata.files(_WHEEL) or ():
        if file.stem == _PROGRAM and file.parent.name == "bin":
            return Path(str(file.locate()))
    raise metadata.PackageNotFoundError(_WHEEL)


def disassemble(cubin: bytes) -> dict[str, list[Instruction]]:
    """Return the instructions of each kernel in `cubin`."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "kernel.cubin"
        file.write_bytes(cubin)
        text = subprocess.run([_program(), "-c", file], check=True, capture_output=True, text=True).stdout
    return parse(text)


def parse(text: str) -> dict[str, list[Instruction]]:
    """Return the instructions of each kernel in nvdisasm's listing."""
    lines: dict[str, list[tuple[str, bool, str | None]]] = {}
    labels: dict[str, int] = {}
    code: list[tuple[str, bool, str | None]] = []
    for line in text.splitlines():
        if section := _SECTION.match(line):
            code = lines.setdefault(section[1], [])
        elif label := _LABEL.match(line):
            labels[label[1]] = len(code)
        elif found := _INSTRUCTION.match(line):
            target = _TARGET.search(found[3]) if found[2].startswith("BRA") else None
            maybe = found[1] is not None or (target is not None and _CONDITION.match(found[3]) is not None)
            code.append((found[2], maybe, None if target is None else target[1]))
    return {
        entry: [Instruction(opcode, maybe, None if to is None else labels[to]) for opcode, maybe, to in some]
        for entry, some in lines.items()
    }


def main_turn(code: Sequence[Instruction]) -> list[Instruction] | None:
    """Return a turn of the loop with the most fma a turn, of several the shortest; None if no loop has any."""
    turns = [
        _turn(code[instruction.target : number + 1], instruction.target)
        for number, instruction in enumerate(code)
        if instruction.target is not None and instruction.target <= number
    ]
    counted = [(mix(turn).fma, -len(turn), turn) for turn in turns]
    return max((found for found in counted if found[0]), key=lambda found: found[:2], default=(0, 0, None))[2]


def fma_behind_loads(turn: Sequence[Instruction], stages: int) -> int:
    """Count the fma from the last load of a turn to the first instruction that stores or awaits what was loaded.

    A turn comes after a turn, so that it may lie after the loop's end. 0 if fma take what was loaded themselves. Who
    awaits copies to shared memory awaits those for the next turn, and leaves those of `stages` - 2 turns under way.
    """
    names = [instruction.name for instruction in turn]
    last = max(number for number, name in enumerate(names) if name in _LOADS)
    after = [*turn[last + 1 :], *turn[: last + 1]]
    wait = next((number for number, instruction in enumerate(after) if instruction.name in _WAITS), 0)
    ahead = stages - 2 if names[last] == _COPY else 0
    return mix(after[:wait]).fma + ahead * mix(turn).fma


def _turn(loop: Sequence[Instruction], first: int) -> list[Instruction]:
    """Return what a usual turn of a loop runs: the end of a chunk is jumped over, all else that may be is not.

    It is known by what it stores: something to global memory, and nothing to shared memory, as the next tile is.
    """
    turn, number = [], 0
    while number < len(loop):
        instruction = loop[number]
        turn.append(instruction)
        target = None if instruction.target is None else instruction.target - first
        if target is not None and number < target < len(loop):
            skipped = {other.name for other in loop[number + 1 : target]}
            if not instruction.maybe or ("STG" in skipped and "STS" not in skipped):
                number = target
                continue
        number += 1
    return turn


def mix(code: Sequence[Instruction]) -> Mix:
    """Count `code`."""

    def widths(*names: str) -> Counter[int]:
        return Counter(instruction.width for instruction in code if instruction.name in names)

    fma = sum(_FMA.get(instruction.name, 0) for instruction in code)
    return Mix(len(code), fma, widths("LDS", "STS"), widths("LDG"), widths(_COPY))
