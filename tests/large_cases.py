"""The ops that test_large_arrays.py runs on arrays of more than 2^32 elements, and on what small ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import checks
import large_cases_convolution
import large_cases_losses
import large_cases_merging
import large_cases_moves as moves
import large_cases_normalization as normalization
import large_cases_optimizers as of_optimizers
import numpy as np
from sparse_arrays import ROWS, WINDOWS

from gpunet.backend.arrays import EMULATED, Array, HostArray
from gpunet.ops import activation as activations
from gpunet.ops import (
    adam,
    arithmetic,
    binary_cross_entropy,
    constraint,
    convolution,
    convolution_pooling,
    cross_entropy,
    dense,
    dropout,
    gather,
    pooling,
    preparation,
    regularization,
    roofline,
    sgd,
    softmax,
    softmax_cross_entropy,
    squared_error,
)
from gpunet.ops.activation import Activation
from gpunet.ops.convolution_sizes import Geometry
from gpunet.ops.flat import Layout

N = WINDOWS * ROWS  # of the small run


class Case(NamedTuple):
    """`run` takes small arrays with rows along the first axis, and returns the arrays that it made or changed.

    Those with as many rows as its first argument must have the bits of the small run, the others, sums over the rows,
    must be close.
    """

    run: Callable[..., Any]
    arrays: tuple[HostArray, ...]
    margin: int = 2


def normal(*row: int, seed: int = 0) -> HostArray:
    return checks.normal(N, *row, seed=seed)


def _labels(classes: int) -> HostArray:
    return (np.arange(N, dtype=np.int32) * 7) % classes


def _probabilities(classes: int, seed: int = 0) -> HostArray:
    p = np.random.default_rng(seed).random((N, classes), np.float32) + 0.1
    return p / p.sum(axis=1, keepdims=True)


def placed(array: Any, dtype: Any = np.float32) -> Array:
    return checks.on(EMULATED, np.array(array, dtype))


SCALE = 0.5
WIDE = 2**17 + 3  # elements of a row where ops go element by element
OTHER = normal(WIDE, seed=1)

CASES: dict[str, Case] = {
    "activate": Case(lambda x: activations.activate(x, Activation.TANH), (normal(WIDE),)),
    "activate_gradient": Case(
        lambda dy, y: activations.activate_gradient(dy, y, Activation.TANH), (normal(WIDE), OTHER)
    ),
    "relu": Case(lambda x: activations.relu(x, 1.0, 0.1), (normal(WIDE),)),
    "relu_gradient": Case(lambda dy, x: activations.relu_gradient(dy, x, 1.0, 0.1), (normal(WIDE), OTHER)),
    "elu": Case(activations.elu, (normal(WIDE),)),
    "elu_gradient": Case(activations.elu_gradient, (normal(WIDE), OTHER)),
    "add_in_place": Case(lambda a, b: (arithmetic.add_in_place(a, b), a)[1], (normal(WIDE), OTHER)),
    "scale": Case(lambda x: arithmetic.scale(x, 0.3), (normal(WIDE),)),
    "scale_in_place": Case(lambda a: (arithmetic.scale_in_place(a, 0.3), a)[1], (normal(WIDE),)),
    "scale_by": Case(lambda x: arithmetic.scale_by(x, placed([0.3])), (normal(WIDE),)),
    "total": Case(arithmetic.total, (normal(WIDE),)),
    "penalty": Case(lambda w: regularization.penalty(w, 0.1, 0.2), (normal(WIDE),)),
    "add_penalty_gradient": Case(
        lambda w, dw: (regularization.add_penalty_gradient(w, dw, 0.1, 0.2), dw)[1],
        (normal(WIDE), OTHER),
    ),
    "non_negative": Case(lambda w: (constraint.non_negative(w), w)[1], (normal(WIDE),)),
    "sgd": Case(lambda w, g: (sgd.sgd(w, g, placed([0.1], np.float64)), w)[1], (normal(WIDE), OTHER)),
    "sgd_momentum": Case(
        lambda w, g, v: (sgd.sgd_momentum(w, g, v, placed([0.1], np.float64), 0.9, True), (w, v))[1],
        (normal(WIDE), normal(WIDE, seed=1), normal(WIDE, seed=2)),
    ),
    "adam": Case(
        lambda w, g, m, v: (adam.adam(w, g, m, v, placed([0.1], np.float64), 0.9, 0.99, 1e-7), (w, m, v))[1],
        (normal(WIDE), normal(WIDE, seed=1), normal(WIDE, seed=2), abs(normal(WIDE, seed=3))),
    ),
    "dropout_gradient": Case(
        lambda dy, mask: dropout.dropout_gradient(dy, mask, 0.3), (normal(WIDE), (normal(WIDE) > 0).astype(np.uint8))
    ),
    "copy": Case(lambda x, y: (roofline.copy(x, y), y)[1], (normal(WIDE), OTHER)),
    "squared_error": Case(squared_error.squared_error, (normal(WIDE), OTHER), margin=1),
    "squared_error_gradient": Case(
        lambda y, t: squared_error.squared_error_gradient(y, t, placed([SCALE])), (normal(WIDE), OTHER)
    ),
    "softmax": Case(softmax.softmax, (normal(1003),)),
    "softmax_gradient": Case(softmax.softmax_gradient, (normal(1003), _probabilities(1003))),
    "softmax_cross_entropy": Case(softmax_cross_entropy.softmax_cross_entropy, (normal(1003), _labels(1003))),
    "softmax_cross_entropy_dense": Case(
        softmax_cross_entropy.softmax_cross_entropy_dense, (normal(1003), _probabilities(1003))
    ),
    "cross_entropy": Case(cross_entropy.cross_entropy, (_probabilities(1003), _labels(1003))),
    "cross_entropy_gradient": Case(
        lambda p, t, s: cross_entropy.cross_entropy_gradient(p, t, s, placed([SCALE])),
        (_probabilities(1003), _labels(1003), 1 + abs(normal())),
    ),
    "cross_entropy_dense": Case(cross_entropy.cross_entropy_dense, (_probabilities(1003), _probabilities(1003, 1))),
    "cross_entropy_dense_gradient": Case(
        lambda p, t, s, w: cross_entropy.cross_entropy_dense_gradient(p, t, s, w, placed([SCALE])),
        (_probabilities(1003), _probabilities(1003, 1), 1 + abs(normal()), normal(seed=2)),
    ),
    "binary_cross_entropy_logits": Case(
        binary_cross_entropy.binary_cross_entropy_logits, (normal(1003), _probabilities(1003))
    ),
    "binary_cross_entropy_logits_gradient": Case(
        lambda z, t: binary_cross_entropy.binary_cross_entropy_logits_gradient(z, t, placed([SCALE])),
        (normal(1003), _probabilities(1003)),
    ),
    "binary_cross_entropy": Case(
        binary_cross_entropy.binary_cross_entropy, (_probabilities(1003), _probabilities(1003, 1))
    ),
    "binary_cross_entropy_gradient": Case(
        lambda q, t: binary_cross_entropy.binary_cross_entropy_gradient(q, t, placed([SCALE])),
        (_probabilities(1003), _probabilities(1003, 1)),
    ),
    "normalize": Case(normalization.forward, (normal(1003),)),
    "normalize_gradient": Case(normalization.back, (normal(1003), normal(1003, seed=1), normal(), 1 + abs(normal()))),
    "standardize": Case(normalization.by_given, (normal(1003), normal())),
    "max_pooling": Case(lambda x: pooling.max_pooling(x, (2, 2), (2, 2), "valid"), (normal(30, 31, 5),)),
    "max_pooling_gradient": Case(
        lambda dy, winner, x: pooling.max_pooling_gradient(dy, winner, (2, 2), (2, 2), "valid", x.shape),
        (normal(15, 15, 5), (np.arange(N * 15 * 15 * 5, dtype=np.int32) % 4).reshape(N, 15, 15, 5), normal(30, 31, 5)),
    ),
    "average_pooling": Case(lambda x: pooling.average_pooling(x, (2, 2), (2, 2), "valid"), (normal(30, 31, 5),)),
    "average_pooling_gradient": Case(
        lambda dy, x: pooling.average_pooling_gradient(dy, (2, 2), (2, 2), "valid", x.shape),
        (normal(15, 15, 5), normal(30, 31, 5)),
    ),
    "global_average_pooling": Case(pooling.global_average_pooling, (normal(30, 31, 5),)),
    "global_average_pooling_gradient": Case(
        lambda dy, x: pooling.global_average_pooling_gradient(dy, x.shape), (normal(5), normal(30, 31, 5))
    ),
}

_OF_LOSSES = large_cases_losses.runs(
    normal(1003), _probabilities(1003), _probabilities(1003, 1), _labels(1003), normal(3)
)
CASES |= {name: Case(*case) for name, case in _OF_LOSSES.items()}


def _rules(w: Array) -> preparation.Rules:
    return preparation.Rules(Layout([(w.size,)]), [(0.1, 0.2)], [0.01], np.float32, EMULATED)


def _prepared(w: Array, g: Array, *, limit: float = 0.0) -> tuple[Array, ...]:
    rules, run = _rules(w), slice(0, 1)
    flat = w.reshape(-1), g.reshape(-1)
    factors = preparation.clip_factors(*flat, rules, [run], limit, False) if limit else None
    preparation.prepare(*flat, rules, run, placed([0.1], np.float64), factors, 0.3)
    return (w, g) if factors is None else (w, g, factors)


def _gathered(order: Array, out: Array) -> Array:
    source = checks.on(EMULATED, normal(40))
    gather.gather(source, order, checks.on(EMULATED, np.zeros(1, np.int64)), out)
    return out


CASES |= {
    "penalties": Case(lambda w: preparation.penalties(w.reshape(-1), _rules(w)), (normal(256),)),
    "prepare": Case(_prepared, (normal(256), normal(256, seed=1))),
    "clip_factors": Case(lambda w, g: _prepared(w, g, limit=0.5), (normal(256), normal(256, seed=1))),
    "limit_norms": Case(lambda w: (constraint.limit_norm(w, (1,), 0.5, 2.0), w)[1], (normal(1003),)),
    "gather": Case(_gathered, (np.arange(N)[::-1].copy(), normal(40))),
}

W = {
    "dense": checks.normal(67, 40),
    "convolution": checks.normal(3, 3, 32, 16),
    "few channels": checks.normal(3, 3, 1, 16),
    "grouped": checks.normal(3, 3, 2, 24),
    "winograd": checks.normal(3, 3, 64, 64),
}
IMAGES = {
    "convolution": ((10, 11, 32), (8, 9, 16), Geometry()),
    "few channels": ((10, 11, 1), (8, 9, 16), Geometry()),
    "grouped": ((10, 11, 8), (8, 9, 24), Geometry(groups=4)),
}
RELU = Activation.RELU


def _convolved(name: str) -> dict[str, Case]:
    """Return the cases of a convolution, of it with its max-pooling, and of their gradients."""
    row, out, geometry = IMAGES[name]
    pooled = (out[0] // 2, out[1] // 2, out[2])
    winner = (np.arange(N * np.prod(pooled)) % 4).astype(np.uint8).reshape(N, *pooled)

    def w() -> Array:
        return checks.on(EMULATED, W[name])

    cases = {
        "": Case(lambda x: convolution.convolution(x, w(), None, RELU, geometry), (normal(*row),)),
        ", images": Case(
            lambda dy, y, x: convolution.convolution_input_gradient(dy, y, w(), RELU, geometry, x.shape),
            (normal(*out), normal(*out, seed=1), normal(*row)),
        ),
    }
    if name != "grouped":
        cases |= {
            ", pooled": Case(
                lambda x: convolution_pooling.convolution_pooling(x, w(), None, RELU, geometry, "valid"),
                (normal(*row),),
            ),
            ", pooled, images": Case(
                lambda dy, y, winner, x: convolution_pooling.convolution_pooling_input_gradient(
                    dy, y, winner, w(), RELU, geometry, "valid", x.shape
                ),
                (normal(*pooled), normal(*pooled, seed=1), winner, normal(*row)),
            ),
        }
    return {f"{name}{kind}": case for kind, case in cases.items()}


CASES |= {
    "dense": Case(lambda x: dense.dense(x, checks.on(EMULATED, W["dense"]), None, RELU), (normal(67),)),
    "dense, inputs": Case(
        lambda dy, y: dense.dense_input_gradient(dy, y, checks.on(EMULATED, W["dense"]), RELU),
        (normal(40), normal(40, seed=1)),
    ),
}
for _name in IMAGES:
    CASES |= _convolved(_name)

# Sums over all pixels of all images: of few pixels, far from each other, so that every block can run.
ALL = 2**40
FAR = {
    "convolution": ((128, 128, 32), (2, 2, 16), Geometry(strides=(125, 125))),
    "few channels": ((512, 512, 1), (2, 2, 16), Geometry(strides=(509, 509))),
    "grouped": ((256, 256, 8), (2, 2, 24), Geometry(strides=(253, 253), groups=4)),
}


def _filters(name: str) -> dict[str, Case]:
    """Return the cases of the gradient of a convolution's filters, without and with its max-pooling."""
    row, out, geometry = FAR[name]
    winner = (np.arange(N * out[2]) % 4).astype(np.uint8).reshape(N, 1, 1, out[2])

    def new() -> tuple[Array, Array]:
        made: tuple[Array, Array] = checks.on(EMULATED, np.zeros_like(W[name]), np.zeros(out[2], np.float32))
        return made

    def plain(x: Array, dy: Array, y: Array) -> tuple[Array, Array]:
        dw, db = new()
        convolution.convolution_kernel_gradient(x, dy, y, RELU, geometry, dw, db)
        return dw, db

    def pooled(x: Array, dy: Array, y: Array, winner: Array) -> tuple[Array, Array]:
        dw, db = new()
        convolution_pooling.convolution_pooling_kernel_gradient(x, dy, y, winner, RELU, geometry, "valid", dw, db)
        return dw, db

    small = normal(1, 1, out[2], seed=1), normal(1, 1, out[2], seed=2), winner
    cases = {f"{name}, filters": Case(plain, (normal(*row), normal(*out, seed=1), normal(*out, seed=2)), ALL)}
    return (
        cases if name == "grouped" else cases | {f"{name}, pooled, filters": Case(pooled, (normal(*row), *small), ALL)}
    )


for _name in FAR:
    CASES |= _filters(_name)
CASES |= {name: Case(*case) for name, case in large_cases_convolution.cases(N).items()}

CASES |= moves.cases(Case, normal)
CASES |= large_cases_merging.cases(Case, normal)
CASES |= {name: Case(*given) for name, given in of_optimizers.runs(normal, placed, WIDE).items()}
