"""What happens to the gradients of all parameters before an optimizer uses them, in flat arrays (ops/flat.py)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from gpunet.backend.arrays import Array, Device, HostArray, Kind, device_of, empty, to_device, zeros
from gpunet.backend.launch import Argument, launch
from gpunet.ops import contract
from gpunet.ops.arithmetic import total
from gpunet.ops.flat import BLOCK, Layout
from gpunet.ops.trace import op

_FILE = "preparation.cu"


class Rules:
    """What holds for each of the parameters in `layout`: penalties l1 |w| + l2 w^2, and how fast it decays.

    The tables that kernels read lie on `device`, in `dtype`; `l1` and `l2` are None if there are no penalties, `decays`
    if nothing decays.
    """

    def __init__(
        self,
        layout: Layout,
        penalties: Sequence[tuple[float, float]],
        decays: Sequence[float],
        dtype: npt.DTypeLike,
        device: Device,
    ) -> None:
        self.layout = layout
        self.owners = to_device(layout.owners(), device)
        self.first_blocks = to_device(np.array(layout.first_blocks, np.int64), device)
        self.ends = to_device(np.array([0, layout.first_blocks[-1]], np.int64), device)
        self.sizes = to_device(np.array(layout.sizes, np.int64), device)

        def table(values: Sequence[float]) -> Array:
            return to_device(np.array(values, dtype), device)

        penalized = any(l1 or l2 for l1, l2 in penalties)
        self.l1 = table([l1 for l1, _ in penalties]) if penalized else None
        self.l2 = table([l2 for _, l2 in penalties]) if penalized else None
        self.decays = table(decays) if any(decays) else None

    def spans(self, first: int, end: int) -> Iterator[tuple[int, slice]]:
        """Yield the number of each parameter from `first` to `end` - 1, and where it lies."""
        for number in range(first, end):
            start = self.layout.starts[number]
            yield number, slice(start, start + self.layout.sizes[number])

    def blocks(self, run: slice) -> slice:
        """Return which blocks of the flat arrays belong to the parameters in `run`."""
        return slice(self.layout.first_blocks[run.start], self.layout.first_blocks[run.stop])


@op(lambda w, rules: 4 * w.size)
def penalties(w: Array, rules: Rules) -> Array:
    """y[0] = sum over parameters p of l1[p] sum |w| + l2[p] sum w^2, shape (1,); `w` is flat."""
    device = _check("penalties", rules, w=w)
    assert rules.l1 is not None and rules.l2 is not None
    if device.kind is Kind.CPU:
        y = np.zeros(1, w.dtype)
        for number, span in rules.spans(0, len(rules.layout.starts)):
            y += rules.l1[number] * np.abs(w[span]).sum() + rules.l2[number] * np.square(w[span]).sum()
        return y
    partial = empty((len(rules.owners),), w.dtype, device)
    _launch("penalties", len(rules.owners), (w, rules.owners, rules.l1, rules.l2, partial), w)
    return total(partial)


def _in_runs(rules: Rules, runs: Sequence[slice]) -> int:
    """Return the number of weights of the parameters in `runs`."""
    return sum(sum(rules.layout.sizes[run]) for run in runs)


def _read_by_clip_factors(w: Array, gradient: Array, rules: Rules, runs: Sequence[slice], *_: object) -> int:
    return (1 if rules.l1 is None else 2) * w.itemsize * _in_runs(rules, runs)


def _flops_of_clip_factors(w: Array, gradient: Array, rules: Rules, runs: Sequence[slice], *_: object) -> int:
    return (2 if rules.l1 is None else 6) * _in_runs(rules, runs)


@op(_flops_of_clip_factors, traffic=_read_by_clip_factors)
def clip_factors(w: Array, gradient: Array, rules: Rules, runs: Sequence[slice], limit: float, together: bool) -> Array:
    """factors[p] = min(1, limit / norm of the gradient of parameter p), its penalty's included, shape (parameters,).

    With `together` it is one factor, shape (1,), from the norm over all parameters. Only the parameters in `runs`,
    slices of their numbers, count.
    """
    device = _check("clip_factors", rules, w=w, gradient=gradient)
    count = 1 if together else len(rules.layout.starts)
    if device.kind is Kind.CPU:
        return _clip_factors_host(w, gradient, rules, runs, limit, together)
    all_there = [slice(0, len(rules.layout.starts))] == list(runs)
    partial = (empty if all_there else zeros)((len(rules.owners),), np.float64, device)
    for run in runs:
        span, blocks = rules.layout.span(run.start, run.stop), rules.blocks(run)
        args = (w[span], gradient[span], rules.owners[blocks], rules.l1, rules.l2, partial[blocks])
        _launch("gradient_squares", blocks.stop - blocks.start, args, w)
    factors = empty((count,), w.dtype, device)
    groups = rules.ends if together else rules.first_blocks
    _launch("clip_factors", count, (partial, groups, factors, float(limit), int(together)), w)
    return factors


def _clip_factors_host(
    w: HostArray, gradient: HostArray, rules: Rules, runs: Sequence[slice], limit: float, together: bool
) -> HostArray:
    squares = np.zeros(len(rules.layout.starts))
    for run in runs:
        for number, span in rules.spans(run.start, run.stop):
            h = penalized(gradient[span], w[span], rules, number)
            squares[number] = np.square(h, dtype=np.float64).sum()
    real = w.dtype.type
    norms = np.sqrt(squares.sum(keepdims=True) if together else squares).astype(real)
    with np.errstate(divide="ignore", invalid="ignore"):
        factors: HostArray = np.where(norms <= real(limit), real(1), real(limit) / norms)
        return factors + (norms - norms) if together else factors


def _flops_of_prepare(
    w: Array,
    gradient: Array,
    rules: Rules,
    run: slice,
    learning_rate: Array,
    factors: Array | None,
    bound: float,
) -> int:
    penalty, factor, bounds = 4 * (rules.l1 is not None), factors is not None, 2 * (bound < math.inf)
    return (penalty + factor + bounds + 3 * (rules.decays is not None)) * _in_runs(rules, [run])


def _moved_by_prepare(w: Array, gradient: Array, rules: Rules, run: slice, *_: object) -> int:
    reads_w, changes_w = rules.l1 is not None or rules.decays is not None, rules.decays is not None
    return (2 + reads_w + changes_w) * w.itemsize * _in_runs(rules, [run])


@op(_flops_of_prepare, traffic=_moved_by_prepare)
def prepare(
    w: Array,
    gradient: Array,
    rules: Rules,
    run: slice,
    learning_rate: Array,
    factors: Array | None = None,
    bound: float = math.inf,
) -> None:
    """g = clip((g + l1[p] sign(w) + 2 l2[p] w) factors[p], -bound, bound) and w -= w decays[p] rate, in place.

    `w` and `gradient` g are flat; this is done for the parameters p in `run`, a slice of their numbers. `factors` are
    those of `clip_factors`, one for each parameter or one for all; `learning_rate` is float64 (1,).
    """
    device = _check("prepare", rules, w=w, gradient=gradient)
    together = factors is not None and len(factors) < len(rules.layout.starts)
    if device.kind is not Kind.CPU:
        span, blocks = rules.layout.span(run.start, run.stop), rules.blocks(run)
        args = (w[span], gradient[span], rules.owners[blocks], rules.l1, rules.l2, factors, int(together), float(bound))
        _launch("prepare", blocks.stop - blocks.start, (*args, rules.decays, learning_rate), w)
        return
    real = w.dtype.type
    for number, span in rules.spans(run.start, run.stop):
        h = penalized(gradient[span], w[span], rules, number)
        if factors is not None:
            h = h * factors[0 if together else number]
        np.clip(h, real(-bound), real(bound), out=gradient[span])
        if rules.decays is not None:
            w[span] -= w[span] * rules.decays[number] * real(learning_rate[0])


def penalized(gradient: HostArray, w: HostArray, rules: Rules, number: int) -> HostArray:
    """Return the gradient of parameter `number` with that of its penalty."""
    if rules.l1 is None or rules.l2 is None:
        return gradient
    h: HostArray = gradient + (rules.l1[number] * np.sign(w) + 2 * rules.l2[number] * w)
    return h


def _check(where: str, rules: Rules, **arrays: Array) -> Device:
    device = contract.floats(where, **arrays)
    for name, array in arrays.items():
        contract.is_output(where, (rules.layout.size,), **{name: array})
    assert device_of(rules.owners) == device
    return device


def _launch(entry: str, blocks: int, args: tuple[Argument, ...], w: Array) -> None:
    launch(_FILE, entry, grid=blocks, block=BLOCK, args=args, real=w.dtype, defines={"THREADS": BLOCK})
