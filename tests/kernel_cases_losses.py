"""Random valid calls of the ops of losses, for kernel_cases.py."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from draws import Draw, present

from gpunet.backend.arrays import Array
from gpunet.ops import class_loss, loss_reduction, similarity_loss
from gpunet.ops.circle_loss import circle_loss
from gpunet.ops.elementwise_loss import Pair, Terms, elementwise_loss, elementwise_loss_gradient, hinge_shift


def _scale(d: Draw, rows: int) -> Array:
    return d.one_of(d.scalar(), d.array(rows))


def pairs(d: Draw) -> Sequence[Array]:
    shape = d.size(1, 100), d.size(1, 70)
    y, t = d.one_of(d.array(*shape), d.probabilities(*shape)), d.probabilities(*shape)
    shift = hinge_shift(d.on(d.rng.integers(0, d.one_of(2, 3), shape).astype(d.dtype)))
    terms = Terms(d.one_of(*Pair), d.real(0, 3), d.real(), d.real(), d.one_of(0.0, 0.2), d.one_of(None, shift))
    return elementwise_loss(y, t, terms), elementwise_loss_gradient(y, t, _scale(d, shape[0]), terms), shift


def similarities(d: Draw) -> Sequence[Array]:
    shape = d.size(1, 40), d.one_of(d.size(1, 70), d.size(1, 1100))
    y, t = d.array(*shape), d.probabilities(*shape)
    overlap = d.one_of(None, similarity_loss.Overlap(d.real(), d.real(), d.real()))
    losses, lines = similarity_loss.similarity_loss(y, t, overlap)
    return losses, lines, similarity_loss.similarity_loss_gradient(y, t, lines, _scale(d, shape[0]))


def class_losses(d: Draw) -> Sequence[Array]:
    rows, classes = d.size(1, 150), d.size(1, 70)
    y, p, t, labels = d.array(rows, classes), *(d.probabilities(rows, classes) for _ in "pt"), d.labels(rows, classes)
    from_logits, scale = d.one_of(True, False), _scale(d, rows)
    alpha = d.one_of(d.scalar(), d.probabilities(classes))
    focal = class_loss.Focal(alpha, d.one_of(0.0, 2.0, d.real(0, 3)), from_logits, d.one_of(0.0, 0.1))
    outputs = y if from_logits else p
    return (
        class_loss.focal_loss(outputs, t, focal),
        class_loss.focal_loss_gradient(outputs, t, scale, focal),
        class_loss.categorical_hinge(y, t),
        class_loss.categorical_hinge_gradient(y, t, scale),
        class_loss.generalized_cross_entropy(p, labels, 0.7),
        class_loss.generalized_cross_entropy_gradient(p, labels, scale, 0.7),
    )


def circles(d: Draw) -> Sequence[Array]:
    n = d.size(1, 140)
    return circle_loss(d.array(n, n), d.labels(n, d.size(1, 5)), d.real(0, 80), d.real(), d.one_of(True, False))


def weighted_reduction(d: Draw) -> Sequence[Array]:
    rows, repeats = d.size(1, 1000), d.size(1, 4)
    n = rows * repeats
    labels = d.one_of(None, d.labels(n, 3))
    how: Any = {
        "nonzero": d.one_of(True, False),
        "mean": d.one_of(True, False),
        "labels": labels,
        "ignored": None if labels is None else 0,
    }
    losses, weights = d.one_of(d.array(n), d.scalar()) if repeats == 1 else d.array(n), d.probabilities(rows)
    return present(*loss_reduction.reduce_losses(losses, **how, weights=weights, divide=d.one_of(True, False)))
