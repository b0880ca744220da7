"""Binary cross-entropy, averaged over the last axis, from logits or from probabilities."""

from __future__ import annotations

import numpy as np

from gpunet.backend.arrays import Array, Device, HostArray, Kind, contiguous, empty
from gpunet.backend.launch import ceil_div, launch
from gpunet.ops import contract
from gpunet.ops.cross_entropy import clipped, is_clipped
from gpunet.ops.softmax_cross_entropy import smoothed
from gpunet.ops.trace import op

THREADS = 128
ROWS = THREADS // 32  # rows that one block works on: a warp each

_FILE = "binary_cross_entropy.cu"


@op(lambda logits, *_: 8 * logits.size)
def binary_cross_entropy_logits(logits: Array, targets: Array, smoothing: float = 0.0) -> Array:
    """losses[i] = mean_j (max(z, 0) - z t + log(1 + exp(-|z|))), the binary cross-entropy of t and sigmoid(z).

    t = (1 - smoothing) targets + smoothing / 2; `logits` z and `targets` have shape (N, C), the losses (N,).

    >>> binary_cross_entropy_logits(np.array([[0.0]]), np.array([[1.0]]))
    array([0.69314718])
    """
    device = _check("binary_cross_entropy_logits", logits, targets)
    if device.kind is not Kind.CPU:
        return _launch_losses("binary_cross_entropy_logits", logits, targets, smoothing)
    losses = np.abs(logits)
    np.negative(losses, out=losses)
    np.exp(losses, out=losses)
    np.log1p(losses, out=losses)
    losses -= logits * smoothed(targets, smoothing, 2)
    losses += np.maximum(logits, 0)
    return _mean(losses)


@op(lambda logits, *_: 5 * logits.size)
def binary_cross_entropy_logits_gradient(logits: Array, targets: Array, scale: Array, smoothing: float = 0.0) -> Array:
    """dz[i, j] = (sigmoid(z[i, j]) - t[i, j]) scale / C, `scale` of shape (1,) or one a row, (N,)."""
    device = _check("binary_cross_entropy_logits_gradient", logits, targets, scale)
    if device.kind is not Kind.CPU:
        return _launch_gradient("binary_cross_entropy_logits_gradient", logits, targets, scale, smoothing)
    e = np.exp(-np.abs(logits))
    dz = np.where(logits >= 0, logits.dtype.type(1), e)
    e += 1
    dz /= e
    dz -= smoothed(targets, smoothing, 2)
    dz *= (scale / logits.dtype.type(logits.shape[1]))[:, None]
    return dz


@op(lambda probabilities, *_: 10 * probabilities.size)
def binary_cross_entropy(probabilities: Array, targets: Array, smoothing: float = 0.0) -> Array:
    """losses[i] = mean_j (-t log c - (1 - t) log(1 - c)), c = clip(q, 1e-7, 1 - 1e-7).

    t = (1 - smoothing) targets + smoothing / 2; `probabilities` q and `targets` have shape (N, C), the losses (N,).
    """
    device = _check("binary_cross_entropy", probabilities, targets)
    if device.kind is not Kind.CPU:
        return _launch_losses("binary_cross_entropy", probabilities, targets, smoothing)
    t = smoothed(targets, smoothing, 2)
    c = clipped(probabilities)
    losses = np.log(c)
    losses *= t
    losses += (1 - t) * np.log(1 - c)
    return -_mean(losses)


@op(lambda probabilities, *_: 5 * probabilities.size)
def binary_cross_entropy_gradient(probabilities: Array, targets: Array, scale: Array, smoothing: float = 0.0) -> Array:
    """dq[i, j] = (q - t) / (q (1 - q)) scale / C, and 0 where q was clipped; `scale` has shape (1,) or (N,)."""
    device = _check("binary_cross_entropy_gradient", probabilities, targets, scale)
    if device.kind is not Kind.CPU:
        return _launch_gradient("binary_cross_entropy_gradient", probabilities, targets, scale, smoothing)
    dq = np.subtract(probabilities, smoothed(targets, smoothing, 2))
    without_gradient = is_clipped(probabilities)
    np.divide(dq, probabilities * (1 - probabilities), out=dq, where=~without_gradient)
    dq[without_gradient] = 0
    dq *= (scale / dq.dtype.type(dq.shape[1]))[:, None]
    return dq


def _check(where: str, y: Array, targets: Array, scale: Array | None = None) -> Device:
    device = contract.floats(where, y=y, targets=targets, scale=scale)
    contract.has_rank(where, "y", y, 2, "(N, C)")
    contract.has_shape(where, "targets", targets, y.shape)
    if scale is not None:
        contract.is_per_row(where, "scale", scale, len(y))
    return device


def _launch_losses(entry: str, y: Array, targets: Array, smoothing: float) -> Array:
    losses = empty(y.shape[:1], y.dtype, _check(entry, y, targets))
    args = (contiguous(y), contiguous(targets), losses, 1 - float(smoothing), smoothing / 2, *y.shape)
    blocks = ceil_div(y.shape[0], ROWS)
    launch(_FILE, entry, grid=blocks, block=THREADS, args=args, real=y.dtype, defines={"THREADS": THREADS})
    return losses


def _launch_gradient(entry: str, y: Array, targets: Array, scale: Array, smoothing: float) -> Array:
    dy = empty(y.shape, y.dtype, _check(entry, y, targets, scale))
    smooth, per_row = (1 - float(smoothing), smoothing / 2), scale.size > 1
    args = (contiguous(y), contiguous(targets), contiguous(scale), dy, *smooth, per_row, y.shape[1], y.size)
    blocks = ceil_div(y.size, THREADS)
    launch(_FILE, entry, grid=blocks, block=THREADS, args=args, real=y.dtype, defines={"THREADS": THREADS})
    return dy


def _mean(losses: HostArray) -> HostArray:
    mean: HostArray = losses.mean(axis=1)
    return mean
