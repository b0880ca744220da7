"""Losses of classes that are no plain cross-entropy: the focal one, the hinge, and the generalized one of labels."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from gpunet.backend.arrays import Array, Device, HostArray, Kind, contiguous, empty
from gpunet.backend.launch import Argument, ceil_div, launch
from gpunet.ops import contract
from gpunet.ops.cross_entropy import clipped, is_clipped
from gpunet.ops.labels import check_labels
from gpunet.ops.softmax_cross_entropy import smoothed
from gpunet.ops.trace import op

THREADS = 128
ROWS = THREADS // 32  # rows that one block works on: a warp each

_FILE = "class_loss.cu"


class Focal(NamedTuple):
    """The focal loss: -sum_j alpha[j] t[j] (1 - c[j])^gamma log c[j], c = clip(q).

    q are the outputs divided by their sum, or their softmax where they are logits; t = (1 - smoothing) targets +
    smoothing / classes; `alpha` has shape (classes,) or (1,).
    """

    alpha: Array
    gamma: float
    from_logits: bool = False
    smoothing: float = 0.0


@op(lambda y, *_: 10 * y.size)
def focal_loss(y: Array, targets: Array, focal: Focal) -> Array:
    """losses[i] = the focal loss of row i; `y` and `targets` have shape (N, C), the losses (N,).

    >>> focal_loss(np.array([[1.0, 1.0]]), np.array([[1.0, 0.0]]), Focal(np.array([4.0]), 2.0))
    array([0.69314718])
    """
    device = _check("focal_loss", y, targets, focal)
    if device.kind is Kind.CPU:
        c = clipped(_shares(y, focal)[0])
        return _sum(_weights(targets, focal) * (1 - c) ** y.dtype.type(focal.gamma) * -np.log(c))
    losses = empty(y.shape[:1], y.dtype, device)
    _launch("focal_loss", y, (contiguous(y), contiguous(targets), losses, *_arguments(focal, y), *y.shape))
    return losses


@op(lambda y, *_: 15 * y.size)
def focal_loss_gradient(y: Array, targets: Array, scale: Array, focal: Focal) -> Array:
    """dy[i, j] = scale times the derivative of losses[i]; `scale` has shape (1,) or (N,)."""
    where = "focal_loss_gradient"
    device = _check(where, y, targets, focal, scale)
    per_row = contract.is_per_row(where, "scale", scale, len(y))
    if device.kind is not Kind.CPU:
        dy = empty(y.shape, y.dtype, device)
        args = (contiguous(y), contiguous(targets), contiguous(scale), dy, *_arguments(focal, y), per_row)
        _launch(where, y, (*args, *y.shape))
        return dy
    q, totals = _shares(y, focal)
    c, gamma = clipped(q), y.dtype.type(focal.gamma)
    slopes = -((1 - c) ** gamma) / c
    if gamma:
        slopes += gamma * (1 - c) ** (gamma - 1) * np.log(c)
    slopes *= _weights(targets, focal)
    slopes[is_clipped(q)] = 0
    result: HostArray = slopes - _sum(slopes * q)[:, None]
    result *= q if focal.from_logits else 1 / totals
    result *= scale[:, None]
    return result


@op(lambda y, *_: 4 * y.size)
def categorical_hinge(y: Array, targets: Array) -> Array:
    """losses[i] = max(max_j (1 - t[i, j]) y[i, j] - sum_j t[i, j] y[i, j] + 1, 0); all as in `focal_loss`.

    >>> categorical_hinge(np.array([[0.5, 0.25]]), np.array([[1.0, 0.0]]))
    array([0.75])
    """
    device = _check("categorical_hinge", y, targets)
    if device.kind is Kind.CPU:
        losses: HostArray = np.maximum(_margins(y, targets), 0)
        return losses
    losses = empty(y.shape[:1], y.dtype, device)
    _launch("categorical_hinge", y, (contiguous(y), contiguous(targets), losses, *y.shape))
    return losses


@op(lambda y, *_: 5 * y.size)
def categorical_hinge_gradient(y: Array, targets: Array, scale: Array) -> Array:
    """dy = scale ((1 - t) / m - t) for the m elements of a row with the largest (1 - t) y, -scale t for the others.

    Rows whose loss is 0 have gradient 0.
    """
    where = "categorical_hinge_gradient"
    device = _check(where, y, targets, scale=scale)
    per_row = contract.is_per_row(where, "scale", scale, len(y))
    if device.kind is not Kind.CPU:
        dy = empty(y.shape, y.dtype, device)
        args = (contiguous(y), contiguous(targets), contiguous(scale), dy, per_row)
        _launch(where, y, (*args, *y.shape))
        return dy
    others = (1 - targets) * y
    largest = others == others.max(axis=1, keepdims=True)
    counts = np.count_nonzero(largest, axis=1)[:, None].astype(y.dtype)
    result: HostArray = np.where(largest, (1 - targets) / counts, y.dtype.type(0)) - targets
    result *= np.where(_margins(y, targets) > 0, scale, y.dtype.type(0))[:, None]
    return result


@op(lambda probabilities, *_: 3 * len(probabilities))
def generalized_cross_entropy(probabilities: Array, labels: Array, q: float) -> Array:
    """losses[i] = (1 - p[i, labels[i]]^q) / q; `probabilities` p have shape (N, C), int32 `labels` and the losses (N,).

    >>> generalized_cross_entropy(np.array([[0.25, 0.75]]), np.int32([0]), 0.5)
    array([1.])
    """
    where = "generalized_cross_entropy"
    device = contract.floats(where, probabilities=probabilities)
    check_labels(where, "probabilities", probabilities, labels)
    if device.kind is Kind.CPU:
        real = probabilities.dtype.type
        chosen = probabilities[np.arange(len(labels)), labels]
        result: HostArray = (1 - chosen ** real(q)) / real(q)
        return result
    losses = empty(labels.shape, probabilities.dtype, device)
    args = (contiguous(probabilities), contiguous(labels), losses, float(q), *probabilities.shape)
    _launch(where, probabilities, args, warps=False)
    return losses


@op(lambda probabilities, *_: 3 * len(probabilities))
def generalized_cross_entropy_gradient(probabilities: Array, labels: Array, scale: Array, q: float) -> Array:
    """dp[i, j] = -[j = labels[i]] scale p[i, j]^(q - 1), `scale` of shape (1,) or (N,)."""
    where = "generalized_cross_entropy_gradient"
    device = contract.floats(where, probabilities=probabilities, scale=scale)
    check_labels(where, "probabilities", probabilities, labels)
    per_row = contract.is_per_row(where, "scale", scale, len(labels))
    if device.kind is Kind.CPU:
        dp, places = np.zeros_like(probabilities, order="C"), (np.arange(len(labels)), labels)
        dp[places] = -scale * probabilities[places] ** probabilities.dtype.type(q - 1)
        return dp
    dp = empty(probabilities.shape, probabilities.dtype, device)
    args = (contiguous(probabilities), contiguous(labels), contiguous(scale), dp, float(q), per_row)
    _launch(where, probabilities, (*args, *probabilities.shape))
    return dp


def _check(where: str, y: Array, targets: Array, focal: Focal | None = None, scale: Array | None = None) -> Device:
    alpha = None if focal is None else focal.alpha
    device = contract.floats(where, y=y, targets=targets, alpha=alpha, scale=scale)
    contract.has_rank(where, "y", y, 2, "(N, C)")
    contract.has_shape(where, "targets", targets, y.shape)
    if alpha is not None:
        contract.is_per_row(where, "alpha", alpha, y.shape[1])
    return device


def _arguments(focal: Focal, y: Array) -> tuple[Argument, ...]:
    smooth = 1 - float(focal.smoothing), focal.smoothing / y.shape[1]
    return contiguous(focal.alpha), focal.alpha.size > 1, float(focal.gamma), focal.from_logits, *smooth


def _launch(entry: str, y: Array, args: tuple[Argument, ...], warps: bool = True) -> None:
    """Launch a kernel that takes a row by a warp, or by a thread."""
    blocks = ceil_div(len(y), ROWS if warps else THREADS)
    launch(_FILE, entry, grid=blocks, block=THREADS, args=args, real=y.dtype, defines={"THREADS": THREADS})


def _shares(y: HostArray, focal: Focal) -> tuple[HostArray, HostArray]:
    """Return q, and what the outputs were divided by."""
    values = np.exp(y - y.max(axis=1, keepdims=True)) if focal.from_logits else y
    totals = values.sum(axis=1, keepdims=True)
    return values / totals, totals


def _weights(targets: HostArray, focal: Focal) -> HostArray:
    weights: HostArray = focal.alpha * smoothed(targets, focal.smoothing, targets.shape[1])
    return weights


def _margins(y: HostArray, t: HostArray) -> HostArray:
    margins: HostArray = ((1 - t) * y).max(axis=1) - _sum(t * y) + 1
    return margins


def _sum(values: HostArray) -> HostArray:
    total: HostArray = values.sum(axis=1)
    return total
