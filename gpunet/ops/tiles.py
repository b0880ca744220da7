"""How a matrix product (m, k) (k, n) is cut into pieces for kernels/gemm.cuh: tile sizes, grid, splits of k.

Every choice goes by the shape and the dtype alone, never by the device, so that all devices that run kernels add in the
same order. (How much is read at once goes by how arrays lie in memory too; no sum depends on that.)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from gpunet.backend.arrays import Array, Device, address, device_of, empty
from gpunet.backend.launch import Argument, ceil_div, launch
from gpunet.ops.activation import Activation
from gpunet.ops.dropping import Dropping, kernel_arguments


@dataclass(frozen=True)
class Tile:
    """What a block computes (bm x bn sums, bk terms at a time) and what a thread of it does (tm x tn sums)."""

    bm: int
    bn: int
    bk: int
    tm: int
    tn: int

    @property
    def threads(self) -> int:
        return (self.bm // self.tm) * (self.bn // self.tn)

    @property
    def defines(self) -> dict[str, int]:
        return {"BM": self.bm, "BN": self.bn, "BK": self.bk, "TM": self.tm, "TN": self.tn}

    def widths(self, real: npt.DTypeLike) -> tuple[int, int]:
        """Return how many elements of the first and second factor a thread may copy at once: at most 16 bytes."""
        widest = _WIDEST_LOAD // np.dtype(real).itemsize
        a, b = (min(lines * self.bk // self.threads, widest) for lines in (self.bm, self.bn))
        return a, b


class Run(NamedTuple):
    """What lies next to each other in memory, of one factor of a product: so many elements, of each of some arrays."""

    length: int
    arrays: tuple[Array, ...]

    def width(self, widest: int) -> int:
        """Return how many elements can be read at once: `widest` where every run is whole packs that are aligned."""
        packs = self.length % widest == 0
        return widest if packs and not any(address(a) % (widest * a.itemsize) for a in self.arrays) else 1


# A larger tile reads less memory per sum, a smaller one wastes less on a small matrix and gives more blocks. Doubles
# take twice the registers and shared memory.
LARGE = Tile(128, 128, 8, 8, 8)
MEDIUM = Tile(64, 64, 16, 4, 4)
NARROW = Tile(64, 32, 16, 4, 4)
SMALL = Tile(32, 32, 16, 2, 2)
DOUBLE_MEDIUM = Tile(64, 64, 8, 4, 4)
DOUBLE_SMALL = Tile(32, 32, 8, 2, 2)

LARGEST_BK = max(tile.bk for tile in (LARGE, MEDIUM, NARROW, SMALL, DOUBLE_MEDIUM, DOUBLE_SMALL))

_ENOUGH_LARGE_TILES = 64  # fewer leave most multiprocessors of any GPU idle
_ENOUGH_BLOCKS = 256  # about two per multiprocessor of a large GPU
_SHORTEST_SPLIT = 256  # terms; below, the workspace costs more than the split gains
LONGEST_UNSPLIT = 2 * _SHORTEST_SPLIT - 1

_WIDEST_LOAD = 16  # bytes

_FINISH_THREADS = 256


@dataclass(frozen=True)
class Plan:
    """A tile, and how many blocks of it make up the product: grid (tiles of the output, groups, splits of k)."""

    tile: Tile
    grid: tuple[int, int, int]

    @property
    def splits(self) -> int:
        return self.grid[2]

    def workspace(self, size: int, dtype: npt.DTypeLike, device: Device) -> Array | None:
        """Return memory for one output of `size` elements per split; None if there is only one split."""
        return empty((self.splits, size), dtype, device) if self.splits > 1 else None


def choose_tile(m: int, n: int, dtype: npt.DTypeLike, rows: int = 1) -> Tile:
    """Return the tile for an output of m x n elements, of which a thread shall have `rows` rows, 1 to 4, at least."""
    if np.dtype(dtype) == np.float64:
        return DOUBLE_MEDIUM if min(m, n) > 32 or rows > DOUBLE_SMALL.tm else DOUBLE_SMALL
    if m >= 128 and n >= 128 and ceil_div(m, 128) * ceil_div(n, 128) >= _ENOUGH_LARGE_TILES:
        return LARGE
    if min(m, n) > 32:
        return MEDIUM
    return NARROW if m > 32 or rows > SMALL.tm else SMALL


def plan(m: int, n: int, k: int, dtype: npt.DTypeLike, groups: int = 1, rows: int = 1) -> Plan:
    """Return the plan for `groups` products (m, k) (k, n), `rows` as in choose_tile.

    A product with few output tiles and a long sum, above all a filter gradient, is split along k until there are
    enough blocks. No split is empty, and a sum of at most LONGEST_UNSPLIT terms is never split.
    """
    tile = choose_tile(m, n, dtype, rows)
    tiles = ceil_div(m, tile.bm) * ceil_div(n, tile.bn)
    splits = max(min(ceil_div(_ENOUGH_BLOCKS, tiles * groups), k // _SHORTEST_SPLIT), 1)
    tiles_k = ceil_div(k, tile.bk)
    return Plan(tile, (tiles, groups, ceil_div(tiles_k, ceil_div(tiles_k, splits))))


def run(
    file: str,
    entry: str,
    plan: Plan,
    args: tuple[Argument, ...],
    dtype: npt.DTypeLike,
    activation: Activation,
    runs: tuple[Run, Run],
    drops: bool = False,
    further: Mapping[str, int | str] | None = None,
) -> None:
    """Launch a kernel on gemm.cuh according to `plan`.

    `runs` are those of the two factors; `drops` tells whether there is a dropout behind the product; `further` defines
    are those that a file has beside gemm.cuh's.
    """
    a, b = (run.width(widest) for run, widest in zip(runs, plan.tile.widths(dtype), strict=True))
    widths = {"A_WIDTH": a, "B_WIDTH": b}
    defines = {**plan.tile.defines, **widths, "ACTIVATION": activation.code, "DROPS": int(drops), **(further or {})}
    launch(file, entry, grid=plan.grid, block=plan.tile.threads, args=args, real=dtype, defines=defines)


def finish(
    partial: Array,
    y: Array,
    b: Array | None = None,
    saved: Array | None = None,
    activation: Activation = Activation.LINEAR,
    tail: Array | None = None,
    dropping: Dropping | None = None,
) -> None:
    """Add up the splits in `partial`, then bias and activation: y = f(sum of partial + b), saved = the f's argument.

    Where a split holds more than y, the rest is that of `tail`, another output. With `dropping` a dropout follows.
    """
    size = y.size if tail is None else y.size + tail.size
    sizes = (len(partial), size, y.size, y.shape[-1])
    launch(
        "finish.cu",
        "finish",
        grid=ceil_div(size, _FINISH_THREADS),
        block=_FINISH_THREADS,
        args=(partial, b, y, saved, tail, *sizes, *kernel_arguments("finish", dropping, activation, device_of(y))),
        real=y.dtype,
        defines={"THREADS": _FINISH_THREADS, "ACTIVATION": activation.code, "DROPS": int(dropping is not None)},
    )
