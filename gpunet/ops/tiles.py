"""How a matrix product (m, k) (k, n) is cut into pieces for kernels/gemm.cuh: tile sizes, grid, splits of k.

Which tile runs never changes a bit: speed is chosen per device, numerics by shape alone. A sum is one chain per split
and chunk of terms, in order; splits and chunks begin at the same terms whatever the tile is, and how many splits there
are goes by the shape and the dtype (`plan`). So the tile itself may go by what was measured on a device (`run`, by the
tables of choices.py), and how much is read at once by how arrays lie in memory.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple, Protocol, cast

import numpy as np
import numpy.typing as npt

from gpunet.backend.arrays import Array, Device, address, device_of, empty, is_array
from gpunet.backend.launch import Argument, ceil_div, launch
from gpunet.ops.activation import Activation
from gpunet.ops.choices import Choices, Product
from gpunet.ops.dropping import Dropping, kernel_arguments


@dataclass(frozen=True)
class Tile:
    """What a block computes (bm x bn sums, bk terms at a time) and what a thread of it does (tm x tn sums).

    Its shared memory holds `stages` tiles of both factors: one that is multiplied, and the next ones on their way.
    """

    bm: int
    bn: int
    bk: int
    tm: int
    tn: int
    stages: int

    @property
    def threads(self) -> int:
        return (self.bm // self.tm) * (self.bn // self.tn)

    @property
    def defines(self) -> dict[str, int]:
        return {"BM": self.bm, "BN": self.bn, "BK": self.bk, "TM": self.tm, "TN": self.tn, "STAGES": self.stages}


def widest_load(dtype: npt.DTypeLike) -> int:
    """Return how many elements a thread can read at once: 16 bytes."""
    return 16 // np.dtype(dtype).itemsize


class Run(NamedTuple):
    """What lies next to each other in memory, of one factor of a product: so many elements, of each of some arrays."""

    length: int
    arrays: tuple[Array, ...]

    @property
    def width(self) -> int:
        """How many elements can be read at once: as many as load in one go if every run is whole, aligned packs."""
        widest = widest_load(self.arrays[0].dtype)
        packs = self.length % widest == 0
        return widest if packs and not any(address(a) % (widest * a.itemsize) for a in self.arrays) else 1


# A larger tile reads less memory per sum, a smaller one wastes less on a small matrix and gives more blocks. Doubles
# take twice the registers and shared memory.
LARGE = Tile(128, 128, 8, 8, 8, 4)
MEDIUM = Tile(64, 64, 16, 8, 4, 3)
TALL = Tile(128, 32, 16, 8, 4, 3)
NARROW = Tile(64, 32, 16, 4, 4, 3)
SMALL = Tile(32, 32, 16, 4, 4, 4)
DOUBLE_MEDIUM = Tile(64, 64, 8, 4, 4, 3)
DOUBLE_SMALL = Tile(32, 32, 8, 4, 4, 3)

# All of them by name, with the dtype that each is for.
TILES = {
    "large": ("float32", LARGE),
    "medium": ("float32", MEDIUM),
    "tall": ("float32", TALL),
    "narrow": ("float32", NARROW),
    "small": ("float32", SMALL),
    "double medium": ("float64", DOUBLE_MEDIUM),
    "double small": ("float64", DOUBLE_SMALL),
}

# The kernels on gemm.cuh.
OPERATIONS = frozenset(
    {
        "dense",
        "dense_input_gradient",
        "dense_kernel_gradient",
        "convolution",
        "convolution_input_gradient",
        "convolution_kernel_gradient",
        "convolution_pooling",
        "convolution_pooling_input_gradient",
        "convolution_pooling_kernel_gradient",
        "convolution_transposed",
        "winograd_products",
    }
)

UNIT = 16  # terms: splits begin at whole units, as in kernels/gemm.cuh; a multiple of every bk

_ENOUGH_LARGE_TILES = 64  # fewer leave most multiprocessors of any GPU idle
_ENOUGH_BLOCKS = 256  # about two per multiprocessor of a large GPU
_SHORTEST_SPLIT = 256  # terms; below, the workspace costs more than the split gains
LONGEST_UNSPLIT = 2 * _SHORTEST_SPLIT - 1

_FINISH_THREADS = 256


@dataclass(frozen=True)
class Plan:
    """A product, the tile that it is cut into, and into how many sums its sums are split along k.

    `phases` products of this size or less, of one kernel and group, follow each other in the grid (kernels/phases.cuh).
    """

    product: Product
    tile: Tile
    splits: int
    phases: int = 1

    @property
    def grid(self) -> tuple[int, int, int]:
        """The blocks: tiles of the output, groups, splits."""
        m, n, _, groups = self.product
        return ceil_div(m, self.tile.bm) * ceil_div(n, self.tile.bn) * self.phases, groups, self.splits

    def workspace(self, size: int, dtype: npt.DTypeLike, device: Device) -> Array | None:
        """Return memory for one output of `size` elements per split; None if there is only one split."""
        return empty((self.splits, size), dtype, device) if self.splits > 1 else None


def choose_tile(m: int, n: int, dtype: npt.DTypeLike) -> Tile:
    """Return the tile for an output of m x n elements where no table has a better one."""
    if np.dtype(dtype) == np.float64:
        return DOUBLE_MEDIUM if min(m, n) > 32 else DOUBLE_SMALL
    if m >= 128 and n >= 128 and ceil_div(m, 128) * ceil_div(n, 128) >= _ENOUGH_LARGE_TILES:
        return LARGE
    if min(m, n) > 32:
        return MEDIUM
    if ceil_div(m, 128) >= _ENOUGH_LARGE_TILES:
        return TALL
    return NARROW if m > 32 else SMALL


def plan(m: int, n: int, k: int, dtype: npt.DTypeLike, groups: int = 1, phases: int = 1) -> Plan:
    """Return the plan for `groups` products (m, k) (k, n), or `groups` times `phases` of them.

    A product with few output tiles and a long sum, above all a filter gradient, is split along k until there are
    enough blocks. No split is empty, and a sum of at most LONGEST_UNSPLIT terms is never split.
    """
    tile = choose_tile(m, n, dtype)
    tiles = ceil_div(m, tile.bm) * ceil_div(n, tile.bn) * phases
    splits = max(min(ceil_div(_ENOUGH_BLOCKS, tiles * groups), k // _SHORTEST_SPLIT), 1)
    units = ceil_div(k, UNIT)
    return Plan(Product(m, n, k, groups), tile, ceil_div(units, ceil_div(units, splits)), phases)


def candidates(operation: str, dtype: str) -> dict[str, Tile]:
    """Return the tiles, by name, that kernel `operation` can run with; none if there is no such kernel."""
    return {name: tile for name, (real, tile) in TILES.items() if real == dtype and operation in OPERATIONS}


choices = Choices(candidates)


def set_tuning(path: str | os.PathLike[str] | None) -> None:
    """Choose the tiles of matrix products by the table at `path`, which `gpunet tune` wrote, from now on.

    What that table does not hold, and with None everything, is chosen by gpunet's own table and rules. Results stay
    the same to the last bit; training steps that were captured are captured anew. ValueError for a file that is not a
    table of this version, FileNotFoundError for none. Without this call the file that GPUNET_TUNING names is read when
    the first matrix kernel runs.

    >>> set_tuning(None)  # or the name of a file
    """
    choices.use("set_tuning", path)


class Again(Protocol):
    """Runs a launch once more, with another tile."""

    def __call__(self, *, tile: Tile) -> None: ...


class Launched(NamedTuple):
    """A launch of a matrix kernel: its arrays, those that are factors of the product, and what does it again."""

    operation: str
    plan: Plan
    dtype: str
    arrays: tuple[Array, ...]
    factors: tuple[Array, ...]
    again: Again


_listening: ContextVar[list[Launched] | None] = ContextVar("gpunet_products", default=None)


@contextmanager
def noted() -> Iterator[list[Launched]]:
    """List the matrix kernels that this thread launches inside a `with` block; the list keeps their arrays alive."""
    launches: list[Launched] = []
    token = _listening.set(launches)
    try:
        yield launches
    finally:
        _listening.reset(token)


def _chosen(operation: str, plan: Plan, dtype: npt.DTypeLike, device: Device) -> Tile:
    """Return the tile that a table holds for the product of `plan` on `device`, else the plan's own."""
    name = choices.find(operation, device, plan.product, dtype)
    return plan.tile if name is None else TILES[name][1]


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
    tile: Tile | None = None,
) -> None:
    """Launch a kernel on gemm.cuh according to `plan`, with the tile that was measured to be fastest for it, if any.

    `runs` are those of the two factors; `drops` tells whether there is a dropout behind the product; `further`
    defines are those that a file has beside gemm.cuh's; `tile` is the one to run with whatever was measured.
    """
    if tile is None:
        factors = tuple(array for run in runs for array in run.arrays)
        tile = _chosen(entry, plan, dtype, device_of(factors[0]))
        launches = _listening.get()
        if launches is not None:
            arrays = tuple(cast(Array, argument) for argument in args if is_array(argument))
            again = partial(run, file, entry, plan, args, dtype, activation, runs, drops, further)
            launches.append(Launched(entry, plan, np.dtype(dtype).name, arrays, factors, again))
    plan = plan if tile is plan.tile else replace(plan, tile=tile)
    widths = {"A_WIDTH": runs[0].width, "B_WIDTH": runs[1].width}
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
