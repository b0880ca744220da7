"""How much memory a step takes by the size of its batch, and what to say when there is not enough.

What a step takes at most at once, its batch included, is b0 + b1 n bytes for n samples. On a CPU, where ops work on a
few megabytes at a time, and threads on several of these, that holds beyond: below, it is a bit more than the line says.
Two sizes are rehearsed, and the line goes through both.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from traceback import clear_frames
from typing import Concatenate, NamedTuple, ParamSpec, Protocol, TypeVar

from gpunet.backend import memory, shortage
from gpunet.backend.arrays import Array, Device, Kind, free_and_total_memory, zeros
from gpunet.backend.gauge import measured
from gpunet.backend.streaming import Layout
from gpunet.layers.state import LayerState

# Of the memory that is free, what an advised batch may take: blocks are up to an eighth larger than arrays, and NumPy's
# own temporaries are not counted.
_USABLE_SHARE = 0.8

# What is rehearsed: so many samples or, if that is more of them, those that take so many bytes.
_SAMPLES = 1024
_BYTES = 2**27

# Runs a step but for its update on the arrays of a batch, and leaves nothing behind.
Rehearsal = Callable[..., None]

P = ParamSpec("P")
R = TypeVar("R")


class Line(NamedTuple):
    """What a step takes: `fixed` + `per_sample` n bytes."""

    fixed: float
    per_sample: float

    def bytes(self, n: int) -> int:
        return round(self.fixed + self.per_sample * n)

    def largest(self, free: float) -> int:
        """Return the largest number of samples whose step takes at most `free` bytes."""
        return max(0, int((free - self.fixed) / self.per_sample))


def line_of(bytes_of: Callable[[int], int], n: int) -> Line:
    """Return the line through the bytes of two sizes of at most `n`, smaller ones where these do not fit.

    It goes through `n` itself if that is small enough to be rehearsed. MemoryError if not even one sample fits.
    """
    larger = min(n, _SAMPLES)
    while True:
        try:
            most = bytes_of(larger)
            if most < _BYTES and larger < n:
                larger = min(2 * larger, n)
                continue
            smaller = larger // 2
            slope = max((most - (bytes_of(smaller) if smaller else 0)) / (larger - smaller), 1.0)
            return Line(most - slope * larger, slope)
        except MemoryError:
            if larger == 1:
                raise
            n = larger = larger // 2


def bytes_of_step(layer: LayerState, device: Device, rehearse: Rehearsal, layouts: Sequence[Layout], n: int) -> int:
    """Return the bytes that a step on `n` samples takes at most at once; `layouts` are those of any batch.

    The random streams of `layer` are put back, and so are the weights that a forward pass changes.
    """
    steps = [(stream, stream.step) for _, stream in layer.named_streams()]
    fixed = [(weight, weight.numpy()) for weight in layer.fixed_weights]
    try:
        with measured() as gauge:
            rehearse(*(zeros((n, *shape[1:]), dtype, device) for shape, dtype in layouts))
        return gauge.peak
    finally:
        for stream, step in steps:
            stream.step = step
        for weight, value in fixed:
            weight.assign(value)


class Rehearsed:
    """What is to be known of a step for which there is no memory: its network, how to rehearse it, in how many parts.

    `parts` is 0 if there can be none.
    """

    def __init__(self, layer: LayerState, device: Device, rehearse: Rehearsal, parts: int = 0) -> None:
        self._layer, self._device, self._rehearse, self._parts = layer, device, rehearse, parts

    @contextmanager
    def watching(self, layouts: list[Layout]) -> Iterator[None]:
        """Note on a MemoryError that leaves the block what batch it was, and how large a part of it would fit.

        The block fills `layouts` as soon as the batch is known.
        """
        try:
            yield
        except MemoryError as error:
            shortage.blame(error, "the batch itself")
            clear_frames(error.__traceback__)  # which hold the arrays of the step that failed
            known = shortage.of(error)
            if layouts and not known.is_told:
                known.batch, known.parts = layouts[0].shape[0], self._parts
                known.fits = self._largest(layouts)
            raise

    def _largest(self, layouts: Sequence[Layout]) -> tuple[int, int] | None:
        """Return how large a batch and how large a part would fit; None if that cannot be found out."""
        if self._device.kind is not Kind.CUDA:
            memory.pool().release()  # to be had in blocks of other sizes too
        free, _ = free_and_total_memory(self._device)
        batch, parts = layouts[0].shape[0], max(self._parts, 1)
        part = -(-batch // parts)
        try:
            bytes_of = functools.partial(bytes_of_step, self._layer, self._device, self._rehearse, layouts)
            line = line_of(bytes_of, max(part // 2, 1))
        except MemoryError:
            return 0, 0
        except Exception:  # of a layer of the user's own: its error would hide the one that is being told
            return None
        if free is None:
            return None
        # From the second part on, the gradient of a weight is added to that of the parts before.
        gradient = max((weight.nbytes for weight in self._layer.weights), default=0) if self._parts else 0
        usable = _USABLE_SHARE * free - gradient
        # The batch, which takes memory now, gives way to a smaller one; parts are cut out of it, where rehearsed ones
        # lay beside it.
        sample = sum(math.prod(shape) * dtype.itemsize for shape, dtype in layouts) / batch
        whole = Line(line.fixed, (line.per_sample - sample) / parts + sample).largest(usable + sample * batch)
        cut = Line(line.fixed, max(line.per_sample - sample, 1.0)).largest(usable)
        return min(whole, batch - 1), min(cut, part - 1)


def layout_of(array: Array) -> Layout:
    """Return shape and dtype of `array`."""
    return Layout(array.shape, array.dtype)


class _Named(Protocol):
    @property
    def where(self) -> str: ...


M = TypeVar("M", bound=_Named)


def tells_shortages(method: Callable[Concatenate[M, P], R]) -> Callable[Concatenate[M, P], R]:
    """Let a method of a model say, where there is no memory, for what, and what to do; all of it is free again then."""

    @functools.wraps(method)
    def telling(self: M, /, *args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return method(self, *args, **kwargs)
        except MemoryError as error:
            known = shortage.of(error)
            if not known.place and str(error).endswith(memory.USE_LESS):
                known.place = "the data"
            if known.is_told or not known.place:
                raise
            text = _text(f"{self.where}.{method.__name__}", str(error), known)
        raise shortage.told(text)  # outside of the handler: what the error held is not kept

    return telling


def _text(where: str, reason: str, known: shortage.Shortage) -> str:
    reason = reason.removesuffix(f"; {memory.USE_LESS}")
    if not known.batch:
        return (
            f"{where}: {known.place} must fit in memory; got no room: {reason}; use smaller batches, or a smaller model"
        )
    rule = f"a batch of {known.batch} samples must fit in memory"
    if known.parts > 1:
        rule += f", {known.parts} parts one after the other"
    return f"{where}: {rule}; got no room in {known.place}: {reason}; {_advice(known)}"


def _advice(known: shortage.Shortage) -> str:
    if known.fits is None:
        return "use smaller batches" + (", or compile(..., batch_parts=…)" if known.parts else "")
    size, part = known.fits
    parts = f"compile(..., batch_parts={-(-known.batch // part)})" if known.parts and part else ""
    if size == 0:
        return f"use {parts}" if parts else "not even one sample would fit: use a smaller model"
    return f"{size} sample{'s' * (size > 1)} would fit: use batches of {size}" + (f", or {parts}" if parts else "")
