"""Which tile a matrix kernel runs with, where that was measured: a table that is read, never timed at run time.

A table is a JSON object:

    format    "gpunet tuning"
    version   1
    choices   operation (a kernel's name) -> compute capability ("9.0", or "emulated") -> class of products -> tile

A class, such as "float32 m1024 n64 k256", is the dtype and the sizes of a product (m, k) (k, n), rounded up to powers
of two; " groups" follows where several are computed in one launch. No sum depends on the tile (tiles.py), so a table
changes how long a kernel takes and not one bit of what it computes.

Choices come from the user's table, if there is one (`set_tuning`, else the file that GPUNET_TUNING names), then from
choices.json beside this file. What neither holds is left to tiles.choose_tile.
"""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from gpunet import changes
from gpunet.backend.arrays import Device
from gpunet.backend.devices import capability

FORMAT, VERSION = "gpunet tuning", 1

_OWN = Path(__file__).with_suffix(".json")
_VARIABLE = "GPUNET_TUNING"
_LARGEST = 2**20  # of a size in a class: far more than fills any GPU, so what is larger is no different
_CAPABILITY = re.compile(r"[0-9]{1,2}\.[0-9]|emulated")
_CLASS = re.compile(r"(float32|float64) m([0-9]{1,7}) n([0-9]{1,7}) k([0-9]{1,7})( groups)?")


class Product(NamedTuple):
    """`groups` matrix products (m, k) (k, n)."""

    m: int
    n: int
    k: int
    groups: int = 1

    def class_of(self, dtype: str) -> str:
        """Return the class of this product of elements of `dtype`."""
        m, n, k = map(_rounded_up, self[:3])
        return f"{dtype} m{m} n{n} k{k}{' groups' if self.groups > 1 else ''}"


def _rounded_up(size: int) -> int:
    return int(min(1 << (size - 1).bit_length(), _LARGEST))


class Key(NamedTuple):
    """What a choice goes by."""

    operation: str
    capability: str
    product_class: str


Table: TypeAlias = dict[Key, str]

# Returns, by name, the tiles that an operation can run with, for arrays of a dtype; none if there is no such operation.
Candidates: TypeAlias = Callable[[str, str], Mapping[str, object]]


@dataclass(frozen=True)
class Source:
    """A table, and where it comes from, in words."""

    table: Table
    origin: str

    def __str__(self) -> str:
        counts = Counter(key.capability for key in self.table)
        listed = ", ".join(f"{count} for {number}" for number, count in sorted(counts.items()))
        return f"{self.origin} ({f'choices: {listed}' if listed else 'empty'})"


class Choices:
    """The tables in use, the strongest first; `candidates` says what they may hold."""

    def __init__(self, candidates: Candidates) -> None:
        self._candidates = candidates
        self._sources: tuple[Source, ...] | None = None

    @property
    def sources(self) -> tuple[Source, ...]:
        """The tables; those that nobody set are read when they are first needed, ValueError if one is no table."""
        if self._sources is None:
            path = os.environ.get(_VARIABLE)
            self._sources = (*([self._read(_VARIABLE, Path(path))] if path else []), self._own())
        return self._sources

    def use(self, where: str, path: str | os.PathLike[str] | None) -> None:
        """Take choices from the file at `path` first; None: from gpunet's own table alone."""
        given = [] if path is None else [self._read(where, Path(path))]
        self._sources = (*given, self._own())
        changes.note("tuning")  # no bit of a result is another one, but captured steps run what was chosen before

    def find(self, operation: str, device: Device, product: Product, dtype: npt.DTypeLike) -> str | None:
        """Return the name of the tile for a product on `device`; None if no table holds one."""
        for source in self.sources:
            if source.table:  # most often there is none
                key = Key(operation, capability(device), product.class_of(np.dtype(dtype).name))
                if key in source.table:
                    return source.table[key]
        return None

    def describe(self) -> str:
        """Return which tables are in use, and for how many classes they choose on which devices."""
        return ", then ".join(map(str, self.sources))

    def read(self, where: str, path: Path) -> Table:
        """Return the table in the file at `path`; ValueError that names the place if it is not one."""
        if not path.is_file():
            raise FileNotFoundError(f"{where}: {path}: no such file")
        return dict(_parse(f"{where}: {path}", path.read_bytes(), self._candidates))

    def _read(self, where: str, path: Path) -> Source:
        return Source(self.read(where, path), f"{path.absolute()} by {where}")

    def _own(self) -> Source:
        return Source(self.read("gpunet", _OWN), "gpunet's own table")


def _parse(where: str, data: bytes, candidates: Candidates) -> Iterator[tuple[Key, str]]:
    """Yield the choices of a file."""
    try:
        content = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{where}: must be a table of gpunet tune; it is not JSON ({error})") from error
    content = _object(where, "the file", content)
    if content.get("format") != FORMAT:
        raise ValueError(f"{where}: format must be {FORMAT!r}; got {content.get('format')!r}")
    version = content.get("version")
    if type(version) is not int or version != VERSION:
        raise ValueError(f"{where}: version must be {VERSION}; got {version!r}; run gpunet tune again")
    for operation, by_capability in _object(where, "choices", content.get("choices")).items():
        if not candidates(operation, "float32"):
            raise ValueError(f"{where}: choices: must be of matrix kernels of gpunet; got {operation!r}")
        place = f"choices[{operation!r}]"
        for number, by_class in _object(where, place, by_capability).items():
            if not _CAPABILITY.fullmatch(number):
                raise ValueError(f"{where}: {place}: must be of capabilities such as '9.0'; got {number!r}")
            inner = f"{place}[{number!r}]"
            for product_class, name in _object(where, inner, by_class).items():
                valid = tuple(candidates(operation, _dtype_of(f"{where}: {inner}", product_class)))
                if name not in valid:
                    listed = ", ".join(map(repr, valid))
                    raise ValueError(f"{where}: {inner}[{product_class!r}] must be one of {listed}; got {name!r}")
                yield Key(operation, number, product_class), name


def _object(where: str, place: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{where}: {place} must be a JSON object; got {value!r}")
    return value


def _dtype_of(where: str, product_class: str) -> str:
    """Return the dtype of a class; ValueError unless it is one that `Product.class_of` makes."""
    match = _CLASS.fullmatch(product_class)
    sizes = [int(size) for size in match.groups()[1:4]] if match else [0]
    if match is None or any(size < 1 or size != _rounded_up(size) for size in sizes):
        rule = f"such as 'float32 m1024 n64 k256', of powers of two up to {_LARGEST}"
        raise ValueError(f"{where}: must be of classes {rule}; got {product_class!r}")
    return match[1]


def render(table: Mapping[Key, str], about: str) -> bytes:
    """Return the file of a table; `about` says where it comes from. The same table gives the same bytes."""
    choices: dict[str, dict[str, dict[str, str]]] = {}
    for key in sorted(table):
        by_capability = choices.setdefault(key.operation, {})
        by_capability.setdefault(key.capability, {})[key.product_class] = table[key]
    content = {"format": FORMAT, "version": VERSION, "about": about, "choices": choices}
    return (json.dumps(content, indent=2) + "\n").encode()
