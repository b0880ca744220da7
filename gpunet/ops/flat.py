"""Many arrays side by side in one flat array, so that one kernel can work on all of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import accumulate

import numpy as np

from gpunet.backend.arrays import Array, HostArray, Shape
from gpunet.backend.launch import ceil_div

BLOCK = 256  # elements: a block of threads works on so many, and on one of the arrays only


class Layout:
    """Where arrays of `shapes` lie in a flat array of `size` elements: each from a multiple of BLOCK on.

    >>> layout = Layout([(3, 100), (10,)])
    >>> layout.starts, layout.size
    ((0, 512), 768)
    """

    def __init__(self, shapes: Sequence[Shape]) -> None:
        self.shapes = tuple(shapes)
        self.sizes = tuple(math.prod(shape) for shape in self.shapes)
        blocks = [ceil_div(size, BLOCK) for size in self.sizes]
        self.first_blocks = tuple(accumulate(blocks, initial=0))
        self.starts = tuple(BLOCK * first for first in self.first_blocks[:-1])
        self.size = BLOCK * self.first_blocks[-1]

    def views(self, flat: Array) -> list[Array]:
        """Return the arrays that lie in `flat`."""
        places = zip(self.starts, self.sizes, self.shapes, strict=True)
        return [flat[start : start + size].reshape(shape) for start, size, shape in places]

    def owners(self) -> HostArray:
        """Return the number of the array that each block belongs to, int32."""
        blocks = np.diff(self.first_blocks)
        return np.repeat(np.arange(len(blocks), dtype=np.int32), blocks)

    def span(self, first: int, end: int) -> slice:
        """Return where the arrays number `first` to `end` - 1 lie, the space behind each included."""
        return slice(BLOCK * self.first_blocks[first], BLOCK * self.first_blocks[end])
