"""Tuning: time every tile on every matrix product of a training step, and keep those that beat the default's.

A tile is timed by a graph of some launches of the same kernel on the same arrays, all tiles in turns, so that what else
the machine does disturbs all alike. That leaves out what the host needs for a launch, as a captured step does; inputs
lie in the caches more often than in a step, for all tiles alike.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from gpunet.backend import recording
from gpunet.backend.arrays import Device, Kind, fill, to_host
from gpunet.backend.clock import clock_of
from gpunet.backend.devices import capability
from gpunet.backend.graph import Graph, Workspace
from gpunet.inspection.samples import random_inputs, random_targets
from gpunet.ops import tiles
from gpunet.ops.choices import Key, Product, Table
from gpunet.ops.tiles import Launched, Tile
from gpunet.training.trainer import Trainer
from gpunet.training.unchanged import unchanged

_LEAST_GAIN = 1.03  # of the medians: what is less may be noise
_MOST_ROUNDS = 0.75  # of the rounds that a tile must win
_ROUNDS = {Kind.CUDA: 21, Kind.EMULATED: 3}
_LAUNCHES = {Kind.CUDA: 20, Kind.EMULATED: 1}  # in a graph: a GPU's clock is too coarse for one
_NO_RESULT = 7  # what lies in an output before a kernel writes it


@dataclass(frozen=True)
class Measured:
    """The seconds that one launch took with each tile, by name, round by round; `default` is the tile of the plan."""

    operation: str
    dtype: str
    product: Product
    default: str
    seconds: dict[str, list[float]]

    def median(self, name: str) -> float:
        """Return the median of the times of a tile."""
        return float(np.median(self.seconds[name]))

    def beats(self, name: str) -> bool:
        """Tell whether a tile is faster than the default by more than noise."""
        pairs = list(zip(self.seconds[name], self.seconds[self.default], strict=True))
        won = sum(own < other for own, other in pairs)
        return self.median(name) * _LEAST_GAIN < self.median(self.default) and won >= _MOST_ROUNDS * len(pairs)

    @property
    def best(self) -> str:
        """The fastest tile of those that beat the default; the default if none does."""
        return min([self.default, *filter(self.beats, self.seconds)], key=self.median)


@contextmanager
def products(model: Trainer, batch_size: int) -> Iterator[list[Launched]]:
    """Inside a `with` block, give a launch of each different product of a training step on `batch_size` random samples.

    To launch them again overwrites arrays of the model, which is put back as it was at the end. ValueError unless it is
    built and compiled.
    """
    if not model.built:
        raise ValueError(f"{model.where}: the model must be built; call build(input_shape), or fit it")
    x, y = random_inputs(model, batch_size), random_targets(model, batch_size)
    with unchanged(model, model.optimizer, model.counted):
        with tiles.noted() as launches:
            model.train_on_batch(x, y)
        yield list({(one.operation, one.dtype, one.plan.product): one for one in launches}.values())


def measure(launched: Launched, device: Device) -> Measured:
    """Time a launch with all tiles; RuntimeError if one gives other bits than the default, which no tile may."""
    able = tiles.candidates(launched.operation, launched.dtype)
    default = next(name for name, tile in able.items() if tile == launched.plan.tile)
    expected = _results(launched, able[default])
    for name, tile in able.items():
        if _results(launched, tile) != expected:
            what = f"{launched.operation} of {launched.plan.product} gives other bits with tile {name!r}"
            raise RuntimeError(f"tune: {what} than with {default!r}: a mistake of gpunet; please report it")
    workspace, clock = Workspace(device), clock_of(device)
    graphs = {name: _graph(launched, tile, workspace, device) for name, tile in able.items()}
    seconds: dict[str, list[float]] = {name: [] for name in graphs}
    for number in range(_ROUNDS[device.kind]):
        for name in list(graphs) if number % 2 else reversed(graphs):
            with workspace.entered():
                begin = clock.mark()
                graphs[name].launch()
                seconds[name].append(clock.seconds(begin, clock.mark()) / _LAUNCHES[device.kind])
    return Measured(launched.operation, launched.dtype, launched.plan.product, default, seconds)


def _results(launched: Launched, tile: Tile) -> list[bytes]:
    """Return what a launch leaves in its arrays but for the factors of the product, which it only reads."""
    factors = {id(array) for array in launched.factors}
    others = [array for array in launched.arrays if id(array) not in factors]
    for array in others:
        fill(array, _NO_RESULT)
    launched.again(tile=tile)
    return [to_host(array).tobytes() for array in others]


def _graph(launched: Launched, tile: Tile, workspace: Workspace, device: Device) -> Graph:
    """Return a graph of some launches, which have run."""

    def work() -> None:
        for _ in range(_LAUNCHES[device.kind]):
            launched.again(tile=tile)

    with workspace.entered(), recording.started(capture=False) as made:
        work()
    return workspace.capture(work, made.log)


def choose(measured: Iterable[Measured], device: Device) -> dict[Key, str | None]:
    """Return the best tile for each class of products, None where it is the default.

    A tile is chosen for a class only if, for all of its products that were measured, it beats the default or is it.
    """
    classes: dict[Key, list[Measured]] = {}
    for one in measured:
        key = Key(one.operation, capability(device), one.product.class_of(one.dtype))
        classes.setdefault(key, []).append(one)
    return {key: _best_of(alike) for key, alike in classes.items()}


def _best_of(alike: list[Measured]) -> str | None:
    able = [
        name
        for name in alike[0].seconds
        if all(name == one.default or one.beats(name) for one in alike) and any(name != one.default for one in alike)
    ]
    return min(able, key=lambda name: sum(one.median(name) for one in alike), default=None)


def merged(table: Table, found: dict[Key, str | None]) -> Table:
    """Return `table` with what was found in place of what it had for the same classes."""
    kept = {key: name for key, name in table.items() if key not in found}
    return kept | {key: name for key, name in found.items() if name is not None}
