"""Random valid calls of the ops that move data, for kernel_cases.py."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from draws import Draw

from gpunet.backend.arrays import EMULATED, Array
from gpunet.ops import affine, augmentation, embedding, rearrangement, resampling, resampling_weights, scatter


def rearranged(d: Draw) -> Sequence[Array]:
    rank = d.size(1, 6)
    shape = tuple(d.size(1, 6) for _ in range(rank))
    x = d.array(*shape)
    pads = [(d.size(0, 3) - (size > 1), d.size(0, 3)) for size in shape]
    repeats = [1] * rank
    for _ in range(2):
        repeats[d.size(0, rank - 1)] = d.size(1, 4)
    repeated = rearrangement.repeat(x.reshape(*shape), repeats) if rank <= 4 else x
    summed = rearrangement.repeat_gradient(d.array(*(a * b for a, b in zip(shape, repeats, strict=True))), repeats)
    order = [int(axis) for axis in d.rng.permutation(rank)]
    return rearrangement.pad(x, pads, d.real()), rearrangement.permute(x, order), repeated, summed


def resampled(d: Draw) -> Sequence[Array]:
    shape = (d.size(1, 3), d.size(1, 40), d.size(1, 9))
    how = d.size(1, 40), d.one_of(*resampling_weights.INTERPOLATIONS), d.one_of(True, False)
    y = resampling.resample(d.array(*shape), 1, *how)
    return y, resampling.resample_gradient(d.array(*y.shape), 1, shape[1], *how[1:])


def scattered(d: Draw) -> Sequence[Array]:
    rows, width, per = d.size(1, 5000), d.size(1, 5), d.one_of(1, 4)
    values = d.array(d.size(1, 900), width)
    m = values.shape[0] * per
    out = d.array(rows, width)
    keys = d.on(d.rng.integers(0, d.one_of(2, rows + 1), m).astype(np.int32))
    scatter.scatter_add(out, keys, values, d.maybe(d.array(m)))
    return (out,)


def transformed(d: Draw) -> Sequence[Array]:
    shape = (d.size(1, 3), d.size(1, 12), d.size(1, 12), d.size(1, 5))
    size = (d.size(1, 12), d.size(1, 12))
    matrices = d.on(d.rng.standard_normal((shape[0], 6)).astype(d.dtype))
    how = d.one_of(*affine.INTERPOLATIONS), d.one_of(*affine.FILL_MODES)
    y = affine.affine(d.array(*shape), matrices, size, *how, d.real())
    return y, affine.affine_gradient(d.array(*y.shape), matrices, shape, *how)


def drawn(d: Draw) -> Sequence[Array]:
    ranges = augmentation.Ranges(
        d.one_of(*augmentation.Augmentation),
        (d.real(-1, 0), d.real(0, 3)),
        (d.real(-1, 0), d.real(0, 3)),
        d.one_of(0, 1),
    )
    key = (d.size(0, 9), 5, d.one_of(0, 7, d.on(np.array([5]))))
    size = d.size(1, 99), d.size(1, 99)
    return (augmentation.random_matrices(d.size(1, 300), size, ranges, key, d.dtype.name, EMULATED),)


def embedded(d: Draw) -> Sequence[Array]:
    rows, width, shape = d.size(1, 900), d.size(1, 40), (d.size(1, 40), d.size(1, 20))
    x = d.on((d.rng.integers(-1, rows + 1, shape)).astype(d.dtype))
    dtable = d.output(rows, width)
    embedding.embedding_gradient(d.array(*shape, width), x, dtable)
    return embedding.embedding(x, d.array(rows, width)), dtable


CASES = (rearranged, resampled, scattered, transformed, drawn, embedded)
