"""Lamb, in place, for parameters that lie side by side in flat arrays (ops/flat.py)."""

from __future__ import annotations

import numpy as np

from gpunet.backend.arrays import Array, HostArray, Kind, empty, empty_like
from gpunet.backend.launch import Argument, launch
from gpunet.ops import contract
from gpunet.ops.flat import BLOCK
from gpunet.ops.preparation import Rules
from gpunet.ops.trace import op
from gpunet.ops.update import check_update, each_piece

_FILE = "lamb.cu"


@op(lambda w, *_: 19 * w.size, changes=("w", "gradient", "momentum", "velocity"))
def lamb(
    w: Array,
    gradient: Array,
    momentum: Array,
    velocity: Array,
    rules: Rules,
    run: slice,
    learning_rate: Array,
    corrections: Array,
    beta_1: float,
    beta_2: float,
    epsilon: float,
) -> None:
    """m, v as `adam`, s = (m / c_1) / (sqrt(v / c_2) + epsilon), w -= learning_rate (|w| / |s|) s, in place.

    |w| and |s| are norms of each parameter; where one of them is 0, the quotient is 1. The arrays are the spans of
    the parameters in `run`, a slice of their numbers, in flat arrays that `rules` describe; s is left in `gradient`.
    `learning_rate` is float64 (1,), `corrections` (c_1, c_2) float64 (2,) (`optimizer_step.advance_lamb`). You et al.
    2020, "Large batch optimization for deep learning: training BERT in 76 minutes".
    """
    slots = {"momentum": momentum, "velocity": velocity}
    device = check_update("lamb", w, gradient, "corrections", corrections, 2, **slots)
    span = rules.layout.span(run.start, run.stop)
    contract.is_output("lamb", (span.stop - span.start,), w=w, gradient=gradient)
    rates = 1 - float(beta_1), 1 - float(beta_2)
    if device.kind is not Kind.CPU:
        blocks = rules.blocks(run)
        owners, count, first = rules.owners[blocks], blocks.stop - blocks.start, blocks.start
        squares = empty((count, 2), np.float64, device)
        factors = empty((run.stop - run.start,), w.dtype, device)
        places = (owners, rules.first_blocks, rules.sizes, corrections, squares)
        _launch("lamb_step", count, w, (w, momentum, velocity, gradient, *places, *rates, float(epsilon), first))
        _launch(
            "lamb_factors", factors.size, w, (squares, rules.first_blocks, learning_rate, factors, run.start, first)
        )
        _launch("lamb", count, w, (w, gradient, owners, factors, run.start))
        return
    real = w.dtype.type
    rate_1, rate_2, smallest = real(rates[0]), real(rates[1]), real(epsilon)
    c_1, c_2 = (real(correction) for correction in corrections)

    def work(m: HostArray, v: HostArray, g: HostArray) -> None:
        m += (g - m) * rate_1
        v += (np.square(g) - v) * rate_2
        g[...] = m / c_1 / (np.sqrt(v / c_2) + smallest)

    for _, place in rules.spans(run.start, run.stop):
        of = slice(place.start - span.start, place.stop - span.start)
        each_piece(work, momentum[of], velocity[of], gradient[of])
        norm_w, norm_s = (real(np.sqrt(np.square(a[of], dtype=np.float64).sum())) for a in (w, gradient))
        ratio = norm_w / norm_s if norm_w > 0 and norm_s > 0 else real(1)
        w[of] -= np.multiply(gradient[of], ratio * real(learning_rate[0]), out=empty_like(w[of]))


def _launch(entry: str, blocks: int, w: Array, args: tuple[Argument, ...]) -> None:
    launch(_FILE, entry, grid=blocks, block=BLOCK, args=args, real=w.dtype, defines={"THREADS": BLOCK})
