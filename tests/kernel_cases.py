"""Random valid calls of every op that launches kernels, for test_kernel_fuzz.py: each a function of a `Draw`.

Those of products and convolutions are in kernel_cases_products.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import kernel_cases_convolution
import kernel_cases_losses as losses
import kernel_cases_merging as merging
import kernel_cases_metrics as of_metrics
import kernel_cases_moves as moves
import kernel_cases_normalization as normalization
import kernel_cases_optimizers as of_optimizers
import kernel_cases_pointwise as pointwise_cases
import kernel_cases_products as products
import numpy as np
from draws import Draw, present

from gpunet.backend.arrays import EMULATED, Array, zeros_like
from gpunet.backend.launch import launch
from gpunet.ops import (
    accumulation,
    accuracy,
    activation,
    arithmetic,
    binary_cross_entropy,
    constraint,
    cross_entropy,
    dropout_noise,
    gather,
    loss_reduction,
    nonfinite,
    optimizer_step,
    pooling,
    position,
    preparation,
    regularization,
    roofline,
    softmax,
    softmax_cross_entropy,
    squared_error,
)
from gpunet.ops import dropout as dropout_op
from gpunet.ops.adam import adam
from gpunet.ops.flat import Layout
from gpunet.ops.preparation import Rules
from gpunet.ops.sgd import sgd, sgd_momentum

# Element by element.


def activate(d: Draw) -> Sequence[Array]:
    x, f = d.array(d.size(1, 2000)), d.activation()
    return activation.activate(x, f), activation.activate_gradient(d.array(*x.shape), x, f)


def relu(d: Draw) -> Sequence[Array]:
    x, shape = d.array(d.size(1, 2000)), (d.one_of(None, 0.5, 6.0), d.one_of(0.0, 0.2), d.one_of(0.0, 0.3))
    return activation.relu(x, *shape), activation.relu_gradient(d.array(*x.shape), x, *shape)


def elu(d: Draw) -> Sequence[Array]:
    x, alpha = d.array(d.size(1, 2000)), d.real()
    return activation.elu(x, alpha), activation.elu_gradient(d.array(*x.shape), x, alpha)


def arithmetics(d: Draw) -> Sequence[Array]:
    a, b = (d.array(n) for n in [d.size(1, 9000)] * 2)
    arithmetic.add_in_place(a, b)
    arithmetic.scale_in_place(b, d.real())
    return a, arithmetic.scale(a, d.real()), arithmetic.scale_by(a, d.scalar()), arithmetic.total(b), b


def dropping(d: Draw) -> Sequence[Array]:
    x, rate = d.array(d.size(1, 5000)), d.real(0, 0.99)
    y, mask = dropout_op.dropout(x, rate, (d.size(0, 9), 3, d.one_of(0, 7, d.on(np.array([5])))))
    return y, mask, dropout_op.dropout_gradient(d.array(*x.shape), mask, rate)


def noise(d: Draw) -> Sequence[Array]:
    shape = tuple(d.size(1, 9) for _ in range(d.size(1, 4)))
    kept = tuple(d.one_of(1, size) for size in shape)
    return (dropout_noise.noise_mask(shape, kept, d.real(0, 0.9), (1, 3, d.size(0, 9)), EMULATED),)


def measured(d: Draw) -> Sequence[Array]:
    x = d.array(d.size(1, 3000))
    copied, added, probed = d.output(*x.shape), d.output(*x.shape), d.on(np.zeros(d.size(1, 1000), np.float32))
    roofline.copy(x, copied)
    roofline.multiply_adds(x, added, d.size(1, 40))
    blocks = -(-probed.size // 256)
    launch("probe.cu", "probe", grid=blocks, block=256, args=(probed, probed.size), real=np.float32)
    return copied, added, probed


# Pooling, losses, metrics, optimizers and data.


def pools(d: Draw) -> Sequence[Array]:
    size, strides, padding = (d.size(1, 4), d.size(1, 4)), (d.size(1, 4), d.size(1, 4)), d.one_of("valid", "same")
    x = d.array(d.size(1, 3), d.size(size[0], 12), d.size(size[1], 12), d.size(1, 40))
    how = (size, strides, padding)
    y, winner = pooling.max_pooling(x, *how)
    means, dy = pooling.average_pooling(x, *how), d.array(*y.shape)
    grown = pooling.max_pooling_gradient(dy, winner, *how, x.shape)
    return y, winner, means, grown, pooling.average_pooling_gradient(dy, *how, x.shape)


def softmaxes(d: Draw) -> Sequence[Array]:
    shape = tuple(d.size(1, 40) for _ in range(d.size(1, 3)))
    x, axis = d.array(*shape), d.size(0, len(shape) - 1)
    y = softmax.softmax(x, axis)
    return y, softmax.softmax_gradient(d.array(*shape), y, axis)


def cross_entropy_of_logits(d: Draw) -> Sequence[Array]:
    n, classes = d.one_of((d.size(1, 40), d.size(1, 300)), (d.size(1, 2000), d.size(1, 10)))
    z, labels, t = d.array(n, classes), d.labels(n, classes), d.probabilities(n, classes)
    weights = d.one_of(None, d.probabilities(n))
    how = softmax_cross_entropy.Recorded(
        d.one_of(True, False), d.one_of(None, d.state()), n, weights, d.one_of(True, False)
    )
    return (
        *softmax_cross_entropy.softmax_cross_entropy(z, labels, d.real(), d.one_of(None, 0), weights),
        *softmax_cross_entropy.softmax_cross_entropy_dense(z, t, d.real(), d.one_of(0.0, 0.1)),
        *softmax_cross_entropy.softmax_cross_entropy_value(z, labels, d.real(), how),
        *softmax_cross_entropy.softmax_cross_entropy_dense_value(z, t, d.real(), d.one_of(0.0, 0.1), how),
        *present(how.record),
    )


def cross_entropy_of_probabilities(d: Draw) -> Sequence[Array]:
    n, classes = d.size(1, 200), d.size(1, 70)
    q, t = d.probabilities(n, classes), d.probabilities(n, classes)
    labels, ignored = d.labels(n, classes), d.one_of(None, 0)
    losses, totals = cross_entropy.cross_entropy(q, labels, ignored)
    soft, sums, weights = cross_entropy.cross_entropy_dense(q, t, 0.1)
    dq = cross_entropy.cross_entropy_gradient(q, labels, totals, d.scalar(), ignored)
    return losses, soft, dq, cross_entropy.cross_entropy_dense_gradient(q, t, sums, weights, d.scalar(), 0.1)


def binary(d: Draw) -> Sequence[Array]:
    shape, smoothing = (d.size(1, 200), d.size(1, 70)), d.one_of(0.0, 0.2)
    z, q, t = d.array(*shape), d.probabilities(*shape), d.probabilities(*shape)
    return (
        binary_cross_entropy.binary_cross_entropy_logits(z, t, smoothing),
        binary_cross_entropy.binary_cross_entropy_logits_gradient(z, t, d.scalar(), smoothing),
        binary_cross_entropy.binary_cross_entropy(q, t, smoothing),
        binary_cross_entropy.binary_cross_entropy_gradient(q, t, d.scalar(), smoothing),
    )


def squares(d: Draw) -> Sequence[Array]:
    y, t = (d.array(*shape) for shape in [(d.size(1, 200), d.size(1, 70))] * 2)
    return squared_error.squared_error(y, t), squared_error.squared_error_gradient(y, t, d.scalar())


def reduction(d: Draw) -> Sequence[Array]:
    n, record, labels = d.size(1, 3000), d.state(), None
    if d.rng.integers(2):
        labels = d.labels(n, 3)
    how: Any = {"mean": d.one_of(True, False), "labels": labels, "ignored": None if labels is None else 0}
    mean = d.state()
    accumulation.accumulate_mean(mean, d.scalar(), d.size(1, 9), d.size(0, 9))
    return *present(*loss_reduction.reduce_losses(d.array(n), **how, record=record, samples=n)), record, mean


def matches(d: Draw) -> Sequence[Array]:
    n, classes = d.size(1, 700), d.size(1, 70)
    y, states = d.array(n, classes), [d.state(accuracy.BLOCKS) for _ in range(4)]
    accuracy.sparse_matches(y, d.labels(n, classes), states[0], d.one_of(1, 3))
    accuracy.dense_matches(y, d.array(n, classes), states[1])
    accuracy.binary_matches(y, d.on(d.rng.integers(0, 2, y.shape).astype(d.dtype)), 0.5, states[2])
    accuracy.equal_matches(y, y, states[3])
    return states


def updates(d: Draw) -> Sequence[Array]:
    n = d.size(1, 3000)
    ws, g, slots, rate = [d.array(n) for _ in range(3)], d.array(n), [d.probabilities(n) for _ in range(3)], d.on([0.1])
    step, count, size = d.on(np.array([d.size(0, 99)])), d.on(np.array([3])), d.on(np.zeros(1))
    optimizer_step.advance(count)
    optimizer_step.advance_adam(step, rate, size, 0.9, 0.999)
    sgd(ws[0], g, rate)
    sgd_momentum(ws[1], g, slots[0], rate, 0.9, d.one_of(True, False))
    adam(ws[2], g, *slots[1:], size, 0.9, 0.999, 1e-7)
    return *ws, *slots, step, count, size


def prepared(d: Draw) -> Sequence[Array]:
    shapes = [(d.size(1, 600),) for _ in range(d.size(1, 5))]
    layout, count = Layout(shapes), len(shapes)
    rules = Rules(layout, [(d.real(), d.real())] * count, [d.one_of(0.0, 0.1)] * count, d.dtype, EMULATED)
    w, g = d.array(layout.size), d.array(layout.size)
    first = d.size(0, count - 1)
    run = slice(first, d.size(first + 1, count))
    together = d.one_of(True, False)
    factors = preparation.clip_factors(w, g, rules, [run], d.real(), together)
    total = preparation.penalties(w, rules)
    preparation.prepare(w, g, rules, run, d.on([0.1]), factors, d.one_of(math.inf, 0.5))
    return factors[run] if not together else factors, total, w, g


def watched(d: Draw) -> Sequence[Array]:
    shapes = [(d.size(1, 900),) for _ in range(d.size(1, 4))]
    layout, count = Layout(shapes), len(shapes)
    rules = Rules(layout, [(d.one_of(0.0, d.real()), 0.1)] * count, [0.0] * count, d.dtype, EMULATED)
    w, g, loss = d.array(layout.size), d.array(layout.size), d.on(np.array([[d.one_of(1.0, math.nan), 1.0]]))
    notes, iterations = nonfinite.new_notes(EMULATED), d.on(np.array([d.size(1, 9)]))
    copies = [zeros_like(w), zeros_like(g)]
    nonfinite.note_nonfinite(w, g, rules, slice(0, count), loss, iterations, notes, d.size(1, 3))
    nonfinite.keep_if_noted(notes, d.one_of(None, iterations), [(w, copies[0]), (g, copies[1])])
    return notes, *copies


def constrained(d: Draw) -> Sequence[Array]:
    shape = tuple(d.size(1, 12) for _ in range(d.size(1, 4)))
    axes = tuple(axis for axis in range(len(shape)) if d.rng.integers(2))
    w, positive = d.array(*shape), d.array(*shape)
    constraint.limit_norm(w, axes, 0.1, 1.0, d.real())
    constraint.non_negative(positive)
    l1, l2, dw = d.real(), d.real(), d.array(*shape)
    regularization.add_penalty_gradient(w, dw, l1, l2)
    return w, positive, dw, regularization.penalty(w, l1, l2)


def gathered(d: Draw) -> Sequence[Array]:
    n, row = d.size(1, 50), tuple(d.size(1, 12) for _ in range(d.size(0, 3)))
    rows, kept = d.size(1, n), np.dtype(d.one_of(*gather.STORED))
    source = d.on(d.rng.integers(0, 2 if kept == np.bool_ else 100, (n, *row)).astype(kept))
    place, out = d.on(np.array([d.size(0, n - rows)])), d.on(np.zeros((rows, *row), d.one_of(*gather.TARGETS)))
    gather.gather(source, d.on(d.rng.permutation(n)), place, out, move=d.one_of(True, False))
    moved = d.on(np.array([3]))
    position.move_on(moved, d.size(1, 99))
    return out, place, moved


Case: TypeAlias = Callable[[Draw], Sequence[Array]]

# Compiled anew for nearly every draw, which takes seconds the first time.
PRODUCTS: dict[str, Case] = {
    case.__name__: case
    for case in (
        products.dense,
        products.dense_of_long_sums,
        products.convolution,
        products.convolution_of_few_channels,
        products.convolution_of_small_groups,
        products.winograd,
        products.convolution_and_pooling,
        products.convolution_of_few_channels_and_pooling,
    )
}
OTHERS: dict[str, Case] = {
    case.__name__: case
    for case in (
        *(activate, relu, elu, arithmetics, dropping, noise, measured, pools, softmaxes, cross_entropy_of_logits),
        *(cross_entropy_of_probabilities, binary, squares, reduction, matches, updates, prepared, watched),
        *moves.CASES,
        *pointwise_cases.CASES,
        *merging.CASES,
        *of_optimizers.CASES,
        *(normalization.normalized, normalization.normalized_by_several_blocks, normalization.standardized),
        *(
            constrained,
            gathered,
            losses.pairs,
            losses.similarities,
            losses.class_losses,
            losses.circles,
            losses.weighted_reduction,
        ),
        *(losses.pairs, losses.similarities, losses.class_losses, losses.circles, losses.weighted_reduction),
        *of_metrics.CASES,
        *(normalization.normalized, normalization.standardized),
    )
}
PRODUCTS |= kernel_cases_convolution.PRODUCTS
OTHERS |= kernel_cases_convolution.OTHERS
