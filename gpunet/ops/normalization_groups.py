"""Which elements of an array are normalized together, which parameter each has, and how kernels share that out.

kernels/normalization.cuh tells the same to the kernels.
"""

from __future__ import annotations

import math
from enum import IntEnum
from functools import lru_cache
from typing import NamedTuple

from gpunet.backend.arrays import Shape
from gpunet.backend.launch import ceil_div
from gpunet.ops.axes import reduced_and_kept

THREADS = 256  # of a block
_WARP = 32
_FEW_GROUPS = 8  # of a block where groups are neighbours: their elements fill the smallest read from memory
_LONG = 512  # elements from which on a group has a block of its own
_PER_THREAD, _MORE_PER_THREAD = 16, 64  # elements of a group, and where the blocks are many without splits
_MANY_BLOCKS = 1024
_KNOWN = 1024  # of each function's results are kept: every step asks for the same
_MOST_SPLITS = 256  # each block of a group reads the sums of all


class Parameters(IntEnum):
    """To what a parameter belongs: a group, an element of every group, or a channel, of which a group has several."""

    BY_GROUP = 0
    BY_ELEMENT = 1
    BY_CHANNEL = 2


class View(NamedTuple):
    """An array as five axes: group (i, j) is all elements with these indices on the axes k0 and k1."""

    r0: int
    k0: int
    r1: int
    k1: int
    r2: int

    @property
    def groups(self) -> int:
        return self.k0 * self.k1

    @property
    def terms(self) -> int:
        """The elements of a group."""
        return self.r0 * self.r1 * self.r2

    @property
    def kept_shape(self) -> Shape:
        """What one number a group broadcasts by."""
        return 1, self.k0, 1, self.k1, 1

    @property
    def reduced_shape(self) -> Shape:
        """What one number an element broadcasts by."""
        return self.r0, 1, self.r1, 1, self.r2


class Channels(NamedTuple):
    """The sizes of (samples, before, groups, per_group, after), as which an array with groups of channels is seen."""

    before: int = 1
    groups: int = 1
    per_group: int = 1
    after: int = 1


class Grouping(NamedTuple):
    """The groups of an array, the elements of each parameter as another view, and how the two belong together."""

    groups: View
    parameters: View
    kind: Parameters
    channels: Channels = Channels()


@lru_cache(_KNOWN)
def by_axes(where: str, shape: Shape, kept: tuple[int, ...]) -> Grouping:
    """Return groups of all elements with equal indices on the axes `kept`, each with one parameter."""
    view = View(*reduced_and_kept(where, shape, _others(shape, kept)))
    return Grouping(view, view, Parameters.BY_GROUP)


@lru_cache(_KNOWN)
def over_axes(where: str, shape: Shape, axes: tuple[int, ...]) -> Grouping:
    """Return groups of all elements with equal indices on the axes other than `axes`, a parameter for each element."""
    groups = View(*reduced_and_kept(where, shape, axes))
    return Grouping(groups, View(*reduced_and_kept(where, shape, _others(shape, axes))), Parameters.BY_ELEMENT)


@lru_cache(_KNOWN)
def of_channels(shape: Shape, axis: int, count: int) -> Grouping:
    """Return `count` groups a sample of neighbouring channels, which lie along `axis`, and with all other axes."""
    samples, channels = shape[0], shape[axis]
    before, after = math.prod(shape[1:axis]), math.prod(shape[axis + 1 :])
    per_group = channels // count
    return Grouping(
        View(1, samples, before, count, per_group * after),
        View(samples * before, channels, after, 1, 1),
        Parameters.BY_CHANNEL,
        Channels(before, count, per_group, after),
    )


def _others(shape: Shape, axes: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(axis for axis in range(len(shape)) if axis not in axes)


class Plan(NamedTuple):
    """How blocks share a view: GROUPS x LANES threads each, on one of `splits` chunks of its groups."""

    groups: int
    lanes: int
    columns: bool
    one_run: bool
    chunk: int
    splits: int
    blocks: int

    @property
    def defines(self) -> dict[str, int]:
        return {
            "GROUPS": self.groups,
            "LANES": self.lanes,
            "COLUMNS": int(self.columns),
            "ONE_RUN": int(self.one_run),
        }

    @property
    def grid(self) -> tuple[int, int]:
        return self.blocks, self.splits


@lru_cache(_KNOWN)
def plan_of(view: View) -> Plan:
    """Choose by the sizes alone, on which the order of additions depends."""
    innermost = next((name for name in reversed(View._fields) if getattr(view, name) > 1), "r2")
    columns = innermost.startswith("k")
    if columns:
        groups = _WARP if view.groups >= _WARP else _FEW_GROUPS
        lanes = THREADS // groups
    else:
        lanes = _WARP if view.terms <= _LONG else THREADS
        groups = THREADS // lanes
    blocks = ceil_div(view.groups, groups)
    chunk = lanes * (_MORE_PER_THREAD if blocks >= _MANY_BLOCKS else _PER_THREAD)
    chunk = max(chunk, ceil_div(ceil_div(view.terms, _MOST_SPLITS), lanes) * lanes)
    one_run = sum(size > 1 for size in (view.r0, view.r1, view.r2)) <= 1
    return Plan(groups, lanes, columns, one_run, chunk, ceil_div(view.terms, chunk), blocks)
