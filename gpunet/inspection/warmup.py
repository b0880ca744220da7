"""Compile, before anybody waits for it, what a model's training, evaluation and prediction launch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from gpunet.backend.arrays import Kind
from gpunet.backend.compiles import Compile, noted
from gpunet.inspection.profile import duration
from gpunet.inspection.samples import random_inputs, random_targets
from gpunet.inspection.table import table
from gpunet.training.intake import Batching
from gpunet.training.trainer import Trainer
from gpunet.training.unchanged import unchanged

_COLUMNS = ("kernel", "ready by", "time", "options")


@dataclass(frozen=True)
class WarmUp:
    """What `model.warmup()` made ready: kernel files with their options, each from the cache or compiled.

    Kernels that this process had used before are not among them. `str()` of it is a table.
    """

    device: str
    kernels: tuple[Compile, ...]

    @property
    def compiled(self) -> list[Compile]:
        """Those that the compiler had to make."""
        return [kernel for kernel in self.kernels if not kernel.from_cache]

    @property
    def cached(self) -> list[Compile]:
        """Those that lay in the cache of compiled kernels."""
        return [kernel for kernel in self.kernels if kernel.from_cache]

    def __str__(self) -> str:
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        if self.device == Kind.CPU.value:
            yield "cpu: NumPy needs no kernels; there is nothing to compile"
            return
        if self.kernels:
            yield from table(_COLUMNS, [_cells(kernel) for kernel in self.kernels], numbers=(2,))
        compiled, cached = (sum(one.seconds for one in kernels) for kernels in (self.compiled, self.cached))
        yield (
            f"{self.device}: {len(self.compiled)} compiled in {duration(compiled)}, "
            f"{len(self.cached)} from the cache in {duration(cached)}"
        )


def _cells(kernel: Compile) -> tuple[str, ...]:
    options = " ".join(option.removeprefix("-D") for option in kernel.options)
    how = "cache" if kernel.from_cache else "compiler"
    return Path(kernel.file).name, how, duration(kernel.seconds), options


def warm_up(model: Trainer, batch_sizes: tuple[int, ...]) -> WarmUp:
    """Run what the model can do on random batches of these sizes, which leaves it as it was."""
    with noted() as compiles, unchanged(model, model.optimizer, model.counted):
        for size in batch_sizes:
            _run(model, size)
    return WarmUp(str(model.device), tuple(compiles.found))


def _run(model: Trainer, size: int) -> None:
    x = random_inputs(model, size)
    model.predict(x, size, verbose=0)
    if model.has_loss:
        y = random_targets(model, size)
        step = model._new_step()
        feed = model._feed(model.where, x, y, Batching(size, steps=None))
        for use in (step.train, step.test):
            for batch in feed.epoch() or ():
                use(batch)
        step.results()
