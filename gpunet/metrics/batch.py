"""What metrics make of a batch: float outputs, targets beside them, and weights, on one device."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np

from gpunet.backend.arrays import CPU, Array, Device, HostArray, Shape, device_of, is_array, to_device
from gpunet.default_dtype import floatx


def outputs_of(where: str, y_pred: Any) -> Array:
    """Return `y_pred`, an array or lists, in a float dtype; ValueError unless it has an axis and an element."""
    array: Array = y_pred if is_array(y_pred) else np.asarray(y_pred, floatx())
    if array.ndim == 0 or array.size == 0:
        raise ValueError(f"{where}: y_pred must have an axis and an element; got shape {array.shape}")
    return array if array.dtype.kind == "f" else array.astype(floatx())


def targets_of(where: str, y_true: Any) -> Array:
    """Return `y_true`, an array or lists; TypeError unless it holds real numbers."""
    return _numbers(where, "y_true", y_true)


def aligned(where: str, targets: Array, outputs: Array) -> Array:
    """Return `targets` in the shape of `outputs`, from which a last axis of size 1 may be missing or left over."""
    if outputs.shape not in (targets.shape, (*targets.shape, 1)) and targets.shape != (*outputs.shape, 1):
        raise mismatch(where, str(outputs.shape), targets, outputs)
    return targets.reshape(outputs.shape)


def mismatch(where: str, expected: str, targets: Array, outputs: Array) -> ValueError:
    """Return the error of targets that do not have the `expected` shape."""
    return ValueError(
        f"{where}: y_true must have shape {expected} for outputs of shape {outputs.shape}; got {targets.shape}"
    )


def with_rank_of(targets: Array, outputs: Array) -> Array:
    """Return `outputs` with a last axis of size 1 dropped or added, if that gives them the rank of `targets`."""
    if outputs.ndim == targets.ndim + 1 > 2 and outputs.shape[-1] == 1:
        return outputs.reshape(outputs.shape[:-1])
    if outputs.ndim == targets.ndim - 1 == 1 and targets.shape[-1] == 1:
        return outputs.reshape(-1, 1)
    return outputs


def beside(targets: Array, outputs: Array) -> Array:
    """Return `targets` on the device and in the dtype of `outputs`."""
    if device_of(targets) == CPU:
        targets = targets.astype(outputs.dtype, copy=False)
    targets = to_device(targets, device_of(outputs))
    return targets if targets.dtype == outputs.dtype else targets.astype(outputs.dtype)


def weights_for(where: str, sample_weight: Any, shape: Shape, outputs: Array) -> Array | None:
    """Return weights for values of `shape` as ops take them: flat, each for as many neighbouring values as any other.

    They have the shape, lack some of its last axes, or can be broadcast to what they have of it.
    """
    if sample_weight is None:
        return None
    w = _numbers(where, "sample_weight", sample_weight)
    given = w.shape
    while w.ndim > len(shape) and w.shape[-1] == 1:
        w = w[..., 0]
    beginning = shape[: w.ndim]
    rest = beginning
    while rest and w.shape[: len(rest)] != rest:
        rest = rest[:-1]
    if w.size != math.prod(rest):  # not only last axes are of size 1
        fits = w.ndim <= len(shape) and all(a in (1, b) for a, b in zip(w.shape, beginning, strict=True))
        if not fits or device_of(w) != CPU:
            raise ValueError(
                f"{where}: sample_weight must have shape {shape} or lack some of its last axes; got {given}"
            )
        w = np.broadcast_to(w, beginning)
    return beside(w, outputs).reshape(-1)


def positions_of(sample_weight: Any, shape: Shape) -> int:
    """Return how many values of `shape` are one sample: all of them under a single weight without axes."""
    return math.prod(shape) if sample_weight is not None and np.ndim(sample_weight) == 0 else math.prod(shape[1:])


@lru_cache(maxsize=64)
def placed_numbers(numbers: tuple[float, ...], dtype: np.dtype[Any], device: Device) -> Array:
    """Return `numbers` on `device`, where they stay: a captured step must find them there."""
    return to_device(np.array(numbers, dtype), device)


def whole_numbers(where: str, y_true: HostArray) -> HostArray:
    """Return `y_true` as int32; ValueError unless it holds whole numbers of 32 bits."""
    with np.errstate(invalid="ignore"):
        labels = y_true.astype(np.int32, copy=False)
    if not np.array_equal(labels, y_true):
        raise ValueError(f"{where}: y_true must hold whole numbers below 2**31; got {y_true.dtype} with others")
    return labels


def _numbers(where: str, name: str, given: Any) -> Array:
    array: Array = given if is_array(given) else np.asarray(given)
    if array.dtype.kind not in "biuf":
        raise TypeError(f"{where}: {name} must hold real numbers; got an array of {array.dtype}")
    return array
