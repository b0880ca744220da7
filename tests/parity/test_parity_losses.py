"""Every loss against Keras 3: random shapes, arguments, weights and reductions; values, gradients, configurations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import checks
import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st
from keras_side import assert_close, host, tensor

from gpunet import losses
from gpunet.backend.arrays import CPU, EMULATED, HostArray
from gpunet.losses import Loss

pytestmark = pytest.mark.usefixtures("in_double")

Drawn = dict[str, Any]
Random = np.random.Generator


def _axis(rng: Random, rank: int) -> Drawn:
    return {"axis": int(rng.choice([-1, rank - 1, 0, -rank]))}


def _entropy(rng: Random, rank: int) -> Drawn:
    drawn = {"from_logits": bool(rng.integers(2)), **_axis(rng, rank)}
    # With smoothing Keras counts the classes along the last axis, whichever holds them.
    return drawn | ({} if drawn["axis"] in (0, -rank) else {"label_smoothing": float(rng.choice([0, 0.2]))})


def _focal(rng: Random, rank: int) -> Drawn:
    return {**_entropy(rng, rank), "gamma": float(rng.choice([0, 1, 2.5])), "alpha": float(rng.random())}


def _overlap(rng: Random, rank: int) -> Drawn:
    axes: list[Any] = [None, -1, 0, tuple(range(1, rank)), (0, rank - 1)]
    return {"axis": axes[rng.integers(len(axes))]}


# What is drawn for the arguments of a loss, and the kinds of its targets and outputs.
CASES: dict[str, tuple[Callable[[Random, int], Drawn], str, str]] = {
    "MeanSquaredError": (lambda rng, rank: {}, "normal", "normal"),
    "MeanAbsoluteError": (lambda rng, rank: {}, "normal", "normal"),
    "MeanAbsolutePercentageError": (lambda rng, rank: {}, "normal", "normal"),
    "MeanSquaredLogarithmicError": (lambda rng, rank: {}, "positive", "normal"),
    "Huber": (lambda rng, rank: {"delta": float(rng.choice([0.3, 1, 2]))}, "normal", "normal"),
    "LogCosh": (lambda rng, rank: {}, "normal", "normal"),
    "Poisson": (lambda rng, rank: {}, "positive", "positive"),
    "KLDivergence": (lambda rng, rank: {}, "probabilities", "probabilities"),
    "Hinge": (lambda rng, rank: {}, "binary", "normal"),
    "SquaredHinge": (lambda rng, rank: {}, "binary", "normal"),
    "CategoricalHinge": (lambda rng, rank: {}, "probabilities", "normal"),
    "CosineSimilarity": (_axis, "positive", "positive"),  # float32 in Keras: cosines of both signs would cancel
    "Dice": (_overlap, "binary", "probabilities"),
    "Tversky": (
        lambda rng, rank: {**_overlap(rng, rank), "alpha": float(rng.random()), "beta": float(rng.random())},
        "probabilities",
        "probabilities",
    ),
    "BinaryCrossentropy": (_entropy, "binary", "probabilities"),
    "BinaryFocalCrossentropy": (
        lambda rng, rank: {**_focal(rng, rank), "apply_class_balancing": bool(rng.integers(2))},
        "probabilities",
        "probabilities",
    ),
    "CategoricalCrossentropy": (_entropy, "probabilities", "probabilities"),
    "CategoricalFocalCrossentropy": (_focal, "probabilities", "probabilities"),
    "SparseCategoricalCrossentropy": (
        lambda rng, rank: {
            **_axis(rng, rank),
            "from_logits": bool(rng.integers(2)),
            "ignore_class": None if rng.integers(2) else 1,
        },
        "labels",
        "probabilities",
    ),
    "CategoricalGeneralizedCrossEntropy": (
        lambda rng, rank: {"q": float(rng.choice([0.2, 0.7]))},
        "labels",
        "probabilities",
    ),
}
REDUCTIONS = ["sum_over_batch_size", "mean", "mean_with_sample_weight", "sum", "none", None]


def _numbers(rng: Random, kind: str, shape: tuple[int, ...]) -> HostArray:
    if kind == "normal":
        return 2 * rng.standard_normal(shape)
    if kind == "positive":
        return 0.01 + 3 * rng.random(shape)
    if kind == "binary":
        return rng.integers(0, 2, shape).astype(np.float64)
    return 0.02 + 0.96 * rng.random(shape)


def _targets(rng: Random, kind: str, shape: tuple[int, ...], axis: int) -> HostArray:
    if kind != "labels":
        return _numbers(rng, kind, shape)
    return rng.integers(0, shape[axis], np.delete(shape, axis))


def _weights(rng: Random, shape: tuple[int, ...], samples: int) -> HostArray | None:
    """Return weights of the losses' shape or of its first axes, or none; a loss of the whole batch has one a sample."""
    if rng.integers(3) == 0:
        return None
    if not shape:
        return rng.random(samples)
    kept = int(rng.integers(1, len(shape) + 1))
    return rng.random(shape[:kept] + (1,) * (len(shape) - kept)) * (rng.integers(9) > 0)


@pytest.mark.parametrize("name", CASES)
@hypothesis.settings(max_examples=300 if checks.LONG else 12, deadline=None, derandomize=True, database=None)
@hypothesis.given(seed=st.integers(0, 2**32), reduction=st.sampled_from(REDUCTIONS))
def test_losses(name: str, seed: int, reduction: str | None) -> None:
    rng = np.random.default_rng(seed)
    draw, targets, outputs = CASES[name]
    rank = int(rng.integers(2, 4))
    arguments = draw(rng, rank)
    shape = tuple(int(size) for size in rng.integers(2, 5, rank))
    axis = arguments.get("axis", -1)
    y_true = _targets(rng, targets, shape, axis if isinstance(axis, int) else -1)
    y_pred = _numbers(rng, "normal" if arguments.get("from_logits") else outputs, shape)
    loss = getattr(losses, name)(reduction=reduction, **arguments)
    weights = _weights(rng, loss.loss_shape(shape), shape[0])
    if arguments.get("ignore_class") is not None and weights is not None:
        # Keras multiplies the mask by the weights in place, which takes no broadcasting.
        weights = np.broadcast_to(weights, loss.loss_shape(shape)).copy()

    _compare(loss, arguments, y_true, y_pred, weights)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("remove_diagonal", [True, False])
def test_circle(reduction: str | None, remove_diagonal: bool) -> None:
    """Of embeddings each of which has one with its label: without, Keras's gradient is NaN."""
    rng = np.random.default_rng(0)
    arguments = {"gamma": 5.0, "margin": 0.3, "remove_diagonal": remove_diagonal}
    labels, e, weights = rng.permutation(np.arange(8) // 2), rng.standard_normal((8, 3)), rng.random(8)
    e /= np.linalg.norm(e, axis=1, keepdims=True)
    for w in (None, weights):
        _compare(losses.Circle(reduction=reduction, **arguments), arguments, labels, 0.9 * e, w)


def _compare(loss: Loss, arguments: Drawn, y_true: HostArray, y_pred: HostArray, weights: HostArray | None) -> None:
    """Check the value and the gradient on the CPU and on the emulated device against Keras's."""
    import keras

    reduction, shape = loss.reduction, y_pred.shape
    like = getattr(keras.losses, type(loss).__name__)(reduction=reduction, dtype="float64", **arguments)
    prediction = tensor(y_pred, gradient=True)
    given = None if weights is None else tensor(weights)
    expected = like(tensor(y_true), prediction, sample_weight=given)
    expected.sum().backward()
    for device in (CPU, EMULATED):
        what = f"{arguments} {reduction} on {device}"
        value = loss(y_true, checks.on(device, y_pred), weights)
        assert_close(np.asarray(checks.host(value) if reduction in ("none", None) else value), host(expected), what)
        if reduction in ("none", None):
            continue
        prepared = checks.on(device, loss.prepare_targets(y_true, shape, np.float64))
        placed = None if weights is None else checks.on(device, loss.prepare_weights(weights, shape, np.float64))
        total, backward = loss.forward(prepared, checks.on(device, y_pred), None, placed)
        assert_close(checks.host(total), np.atleast_1d(host(expected)), what)
        assert_close(checks.host(backward()), host(prediction.grad), what)
