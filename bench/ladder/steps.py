"""The steps: their files, how each cuts y into blocks and warps, and how to run one."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from bench import kernels
from bench.architectures import WARP
from gpunet.backend.arrays import Array, Kind, contiguous, empty
from gpunet.backend.launch import ceil_div, launch
from gpunet.backend.sources import entry_points
from gpunet.ops import contract
from gpunet.ops.activation import Activation
from gpunet.ops.dense import dense
from gpunet.ops.tiles import LARGE, Run, Tile

SHIPPED = "dense.cu"
_FOLDER = Path(__file__).parent
_ITEM, _SECTOR = 4, 32  # bytes: of an element, and what global memory moves at least


@dataclass(frozen=True)
class Step:
    """A kernel. `warp` is how many rows and columns of y its warps compute; `packs` tells whether elements move so."""

    file: str
    tile: Tile
    warp: tuple[int, int]
    packs: bool = False

    @property
    def name(self) -> str:
        return "shipped" if self.file == SHIPPED else Path(self.file).stem.partition("_")[2]

    @property
    def source(self) -> str:
        """The file as launch.py and sources.py take it."""
        return SHIPPED if self.file == SHIPPED else str(_FOLDER / self.file)

    @property
    def entry(self) -> str:
        return entry_points(self.source)[0]

    @property
    def shares(self) -> bool:
        """Whether the threads of a block share what they read."""
        return self.tile.bk > 1

    def defines(self, x_whole: bool = True, w_whole: bool = True) -> dict[str, int]:
        """Return what the compiler is told; `x_whole` and `w_whole` say whether rows are whole packs and aligned."""
        if self.tile.tm == 1:
            return {"TILE": self.tile.bm}
        sizes = {name: value for name, value in self.tile.defines.items() if name != "STAGES"}
        return sizes | ({"X_WHOLE": int(x_whole), "W_WHOLE": int(w_whole)} if self.packs else {})

    @property
    def options(self) -> tuple[str, ...]:
        """The compiler's options where sizes allow the widest loads."""
        if self.file == SHIPPED:
            return kernels.options("float", self.tile)
        return ("-DREAL=float", *(f"-D{name}={value}" for name, value in sorted(self.defines().items())))

    @property
    def global_bytes(self) -> float:
        """How many bytes global memory moves for one fma of one thread, if nothing is found in a cache."""
        if self.shares:
            return _ITEM * (1 / self.tile.bm + 1 / self.tile.bn)
        rows, columns = self.warp
        # Elements of different rows of x lie in different sectors, those of neighbouring columns of w in the same.
        return _SECTOR * (rows + ceil_div(columns * _ITEM, _SECTOR)) / WARP

    @property
    def near_bytes(self) -> float:
        """Likewise for the memory beside the arithmetic: shared memory, or the first-level cache where it serves all.

        What several threads of a warp read at the same time counts once.
        """
        rows, columns = self.warp
        return _ITEM * (rows + columns) / (rows * columns) if self.shares else self.global_bytes


_TILE = Tile(bm=128, bn=128, bk=8, tm=8, tn=8, stages=1)
_WARP = (2 * 8, 16 * 8)  # 2 x 16 threads
STEPS = (
    Step("1_naive.cu", Tile(32, 32, 1, 1, 1, 1), warp=(32, 1)),
    Step("2_coalesced.cu", Tile(32, 32, 1, 1, 1, 1), warp=(1, 32)),
    Step("3_shared.cu", Tile(32, 32, 32, 1, 1, 1), warp=(1, 32)),
    Step("4_registers.cu", _TILE, _WARP),
    Step("5_packs.cu", _TILE, _WARP, packs=True),
    Step("6_overlap.cu", replace(_TILE, stages=2), _WARP, packs=True),
    Step(SHIPPED, LARGE, warp=(4 * LARGE.tm, 8 * LARGE.tn), packs=True),
)


def run(step: Step, x: Array, w: Array, b: Array) -> Array:
    """Return y = relu(x w + b), float32, with x (M, K), w (K, N), b (N,), on `emulated` or `cuda`.

    ValueError for shapes that do not fit and for arrays of the CPU, TypeError for other dtypes or mixed devices.
    """
    device = contract.floats("ladder", x=x, w=w, b=b)
    if device.kind is Kind.CPU:
        raise ValueError("ladder: device must be emulated or cuda; got cpu")
    contract.has_dtype("ladder", "x", x, np.float32)
    contract.has_rank("ladder", "w", w, 2, "(K, N)")
    (k, n), m = w.shape, len(x)
    contract.has_shape("ladder", "x", x, (m, k))
    contract.has_shape("ladder", "b", b, (n,))
    if step.file == SHIPPED:
        return dense(x, w, b, Activation.RELU)[0]
    x, w, b, y = contiguous(x), contiguous(w), contiguous(b), empty((m, n), x.dtype, device)
    x_whole, w_whole = (each.width > 1 for each in (Run(k, (x,)), Run(n, (w,))))
    launch(
        Path(step.source),
        step.entry,
        grid=ceil_div(m, step.tile.bm) * ceil_div(n, step.tile.bn),
        block=step.tile.threads,
        args=(x, w, b, y, m, n, k),
        real=x.dtype,
        defines=step.defines(x_whole, w_whole),
    )
    return y
