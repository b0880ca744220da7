"""Random valid calls of the ops of activations, noise and orthogonality, for kernel_cases.py."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from draws import Draw

from gpunet.backend.arrays import Array
from gpunet.ops import alpha_dropout, glu, log_softmax, noise, orthogonality, sparsemax
from gpunet.ops import pointwise as pointwise_op
from gpunet.ops import prelu as prelu_op


def pointwise(d: Draw) -> Sequence[Array]:
    x, f = d.array(d.size(1, 2000)), d.one_of(*pointwise_op.Pointwise)
    a, b = d.real(0.1), d.real()
    return pointwise_op.pointwise(x, f, a, b), pointwise_op.pointwise_gradient(d.array(*x.shape), x, f, a)


def rows(d: Draw) -> Sequence[Array]:
    shape = tuple(d.size(1, 40) for _ in range(d.size(1, 3)))
    x, axis = d.array(*shape), d.size(0, len(shape) - 1)
    logs, sparse = log_softmax.log_softmax(x, axis), sparsemax.sparsemax(x, axis)
    dy = d.array(*shape)
    return (
        *(logs, log_softmax.log_softmax_gradient(dy, logs, axis)),
        *(sparse, sparsemax.sparsemax_gradient(dy, sparse, axis)),
    )


def gated(d: Draw) -> Sequence[Array]:
    shape = [d.size(1, 40) for _ in range(d.size(1, 3))]
    axis = d.size(0, len(shape) - 1)
    shape[axis] *= 2
    x = d.array(*shape)
    y = glu.glu(x, axis)
    return y, glu.glu_gradient(d.array(*y.shape), x, axis)


def prelu(d: Draw) -> Sequence[Array]:
    shape = (d.one_of(d.size(1, 9), d.size(4097, 9000)), *(d.size(1, 9) for _ in range(d.size(0, 3))))
    x, dy = d.array(*shape), d.array(*shape)
    alpha = d.array(*(d.one_of(1, size) for size in shape[1:])) if len(shape) > 1 else d.on(d.dtype.type(0.3))
    dalpha = d.output(*alpha.shape)
    prelu_op.prelu_alpha_gradient(dy, x, dalpha)
    return prelu_op.prelu(x, alpha), prelu_op.prelu_gradient(dy, x, alpha), dalpha


def noises(d: Draw) -> Sequence[Array]:
    x, key = d.array(d.size(1, 5000)), (d.size(0, 9), 3, d.one_of(0, 7, d.on(np.array([5]))))
    y, factor = noise.gaussian_dropout(x, d.real(), key)
    return noise.gaussian_noise(x, d.real(), key), y, factor, noise.gaussian_dropout_gradient(x, factor)


def alpha_dropping(d: Draw) -> Sequence[Array]:
    x, rate = d.array(d.size(1, 5000)), d.real(0, 0.9)
    mask = d.on((d.rng.random(x.shape) >= rate).astype(np.uint8))
    return alpha_dropout.alpha_dropout(x, mask, rate), alpha_dropout.alpha_dropout_gradient(x, mask, rate)


def orthogonal_penalty(d: Draw) -> Sequence[Array]:
    w, columns = d.array(d.size(1, 12), d.size(1, 300)), d.one_of(False, True)
    w = d.array(*w.shape[::-1]) if columns else w
    dw = d.output(*w.shape)
    orthogonality.add_orthogonality_gradient(w, dw, d.real(), columns)
    return orthogonality.orthogonality(w, columns), dw


CASES = (pointwise, rows, gated, prelu, noises, alpha_dropping, orthogonal_penalty)
