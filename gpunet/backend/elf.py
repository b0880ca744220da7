"""Read from a compiled library what the emulator wants to know: its shared arrays, and the source line of an address.

Formats: System V ABI, "ELF-64 Object File Format" (sections and symbols), and DWARF 4, section 6.2 (line numbers).
A library that is not ELF (macOS) has neither, as far as this module is concerned.
"""

from __future__ import annotations

import re
import struct
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

_WRITABLE, _ALLOCATED = 1, 2  # flags of a section
# Opcodes of line number programs, and those behind the opcode _EXTENDED.
_EXTENDED, _COPY, _ADVANCE_ADDRESS, _ADVANCE_LINE, _SET_FILE = 0, 1, 2, 3, 4
_CONST_ADD_ADDRESS, _FIXED_ADVANCE_ADDRESS = 8, 9
_END_SEQUENCE, _SET_ADDRESS = 1, 2

_LOCAL_STATIC = re.compile(r"_ZZ(\d+)(\w+)")


@dataclass(frozen=True)
class _Section:
    flags: int
    address: int
    content: bytes


@dataclass(frozen=True)
class SharedArray:
    """A `__shared__` array: the kernel that declares it ("" if it is not a kernel), and where it lies, in bytes."""

    kernel: str
    name: str
    begin: int  # in the section of shared arrays
    end: int


class Library:
    """A compiled library, read when first asked."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @cached_property
    def _sections(self) -> dict[str, _Section]:
        data = self._path.read_bytes()
        if data[:6] != b"\x7fELF\x02\x01":  # 64 bits, little-endian
            return {}
        table, size, count, names = struct.unpack_from("<Q10xHHH", data, 40)
        headers = [struct.unpack_from("<IIQQQQ", data, table + i * size) for i in range(count)]
        text = data[headers[names][4] :]
        return {_string(text, h[0]): _Section(h[2], h[3], data[h[4] : h[4] + h[5]]) for h in headers}

    @property
    def is_known(self) -> bool:
        """Whether this is an ELF library with its symbols, without which the answers are all empty."""
        return ".symtab" in self._sections

    @cached_property
    def _symbols(self) -> list[tuple[str, int, int]]:
        """Name, address and size in bytes of each symbol."""
        if not self.is_known:
            return []
        names = self._sections[".strtab"].content
        symbols = struct.iter_unpack("<IBBHQQ", self._sections[".symtab"].content)
        return [(_string(names, name), address, size) for name, _, _, _, address, size in symbols]

    @cached_property
    def read_only_bytes(self) -> int:
        """How far from the beginning of the library nothing can be written: code and constants."""
        writable = [s.address for s in self._sections.values() if s.flags & _WRITABLE and s.flags & _ALLOCATED]
        return min(writable, default=0)

    @cached_property
    def shared_arrays(self) -> list[SharedArray]:
        """All shared arrays, in the order of their addresses."""
        section = self._sections.get("gpunet_shared")
        if section is None:
            return []
        end = section.address + len(section.content)
        inside = sorted((s for s in self._symbols if section.address <= s[1] < end and s[2]), key=lambda s: s[1])
        return [
            SharedArray(*_local_static(name), address - section.address, address - section.address + size)
            for name, address, size in inside
        ]

    def line(self, address: int) -> str | None:
        """Return "file:line" of the code at `address`, if the library was compiled with line numbers."""
        index = bisect_right(self._lines, address, key=lambda row: row[0]) - 1
        return self._lines[index][1] or None if index >= 0 else None

    @cached_property
    def _lines(self) -> list[tuple[int, str]]:
        section = self._sections.get(".debug_line")
        return sorted(_line_table(section.content), key=lambda row: row[0]) if section else []


def _string(data: bytes, start: int) -> str:
    return data[start : data.index(b"\0", start)].decode()


def _local_static(symbol: str) -> tuple[str, str]:
    """Split the symbol of a static variable of an `extern "C"` function: `_ZZ4gemmE1a` is `a` of `gemm`."""
    match = _LOCAL_STATIC.fullmatch(symbol)
    if match is None or match[2][int(match[1])] != "E":
        return "", symbol
    length, rest = int(match[1]), match[2]
    name = re.match(r"(\d+)(\w+)", rest[length + 1 :])
    return rest[:length], name[2][: int(name[1])] if name else rest[length + 1 :]


class _Reader:
    """Numbers from bytes, one after the other."""

    def __init__(self, data: bytes, position: int = 0) -> None:
        self.data, self.position = data, position

    def fixed(self, code: str) -> int:
        (value,) = struct.unpack_from("<" + code, self.data, self.position)
        self.position += struct.calcsize("<" + code)
        return int(value)

    def unsigned(self) -> int:
        """LEB128: seven bits a byte, the lowest first."""
        value = shift = 0
        while True:
            byte = self.fixed("B")
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    def signed(self) -> int:
        start = self.position
        value = self.unsigned()
        bits = 7 * (self.position - start)
        return value - (1 << bits) if value >> (bits - 1) else value

    def text(self) -> str:
        value = _string(self.data, self.position)
        self.position += len(value.encode()) + 1
        return value


def _line_table(data: bytes) -> Iterator[tuple[int, str]]:
    """Run the line number programs; yield (address, "file:line"), and (address, "") past the end of a sequence."""
    position = 0
    while position < len(data):
        reader = _Reader(data, position)
        length = reader.fixed("I")
        position = reader.position + length
        content = _Reader(data[reader.position : position])
        if content.fixed("H") == 4:  # what we ask for; the C library's start files may have brought other versions
            yield from _LineProgram(content).rows()


class _LineProgram:
    """A line number program (DWARF 4, 6.2): a machine whose rows say from which address on code is of which line."""

    def __init__(self, reader: _Reader) -> None:
        self.reader = reader
        header_length = reader.fixed("I")
        begin = reader.position + header_length
        self.unit, _, _ = (reader.fixed("B") for _ in range(3))  # bytes of the shortest instruction
        self.line_base, self.line_range, self.opcode_base = reader.fixed("b"), reader.fixed("B"), reader.fixed("B")
        self.operands = [0, *(reader.fixed("B") for _ in range(self.opcode_base - 1))]
        self.files = _file_names(reader)
        reader.position = begin
        self.address, self.file, self.line = 0, 1, 1

    def rows(self) -> Iterator[tuple[int, str]]:
        while self.reader.position < len(self.reader.data):
            opcode = self.reader.fixed("B")
            if opcode == _EXTENDED:
                if self._run_extended():
                    yield self.address, ""
                    self.address, self.file, self.line = 0, 1, 1
                continue
            if opcode >= self.opcode_base:
                step = opcode - self.opcode_base
                self.address += step // self.line_range * self.unit
                self.line += self.line_base + step % self.line_range
            else:
                self._run_standard(opcode)
            if (opcode >= self.opcode_base or opcode == _COPY) and self.line > 0:  # 0: the compiler cannot tell
                yield self.address, f"{self.files[self.file]}:{self.line}"

    def _run_standard(self, opcode: int) -> None:
        if opcode == _ADVANCE_ADDRESS:
            self.address += self.reader.unsigned() * self.unit
        elif opcode == _ADVANCE_LINE:
            self.line += self.reader.signed()
        elif opcode == _SET_FILE:
            self.file = self.reader.unsigned()
        elif opcode == _CONST_ADD_ADDRESS:
            self.address += (255 - self.opcode_base) // self.line_range * self.unit
        elif opcode == _FIXED_ADVANCE_ADDRESS:
            self.address += self.reader.fixed("H")
        else:  # columns, statements and the like
            for _ in range(self.operands[opcode]):
                self.reader.unsigned()

    def _run_extended(self) -> bool:
        """Run an opcode of the kind that carries its length; return whether it ends a sequence of addresses."""
        end = self.reader.unsigned() + self.reader.position
        opcode = self.reader.fixed("B")
        if opcode == _SET_ADDRESS:
            self.address = self.reader.fixed("Q")
        self.reader.position = end
        return opcode == _END_SEQUENCE


def _file_names(reader: _Reader) -> list[str]:
    """Read the header's folders and files; return the files' names, which are numbered from 1."""
    while reader.text():  # the folders
        pass
    names = [""]
    while name := reader.text():
        names.append(Path(name).name)
        for _ in range(3):  # folder, time, size
            reader.unsigned()
    return names
