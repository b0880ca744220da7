"""Targets on the host: checked once, and brought into the shape and dtype that the kernels take."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import numpy.typing as npt

from gpunet.backend.arrays import HostArray, Shape, is_array, to_host

# The shape of outputs; the first size, the number of samples, may be None.
OutputShape = tuple[int | None, ...]


def dense_targets(where: str, y_true: Any, output_shape: OutputShape, dtype: npt.DTypeLike) -> HostArray:
    """Return `y_true` in `dtype` and with `output_shape`; a last axis of size 1 may be missing or be one too many.

    TypeError unless it holds numbers; ValueError if it has another shape, or a number that is not finite in `dtype`.
    """
    y = _numbers(where, y_true)
    if not _fits(y.shape, output_shape):
        if output_shape[-1] == 1 and _fits(y.shape, output_shape[:-1]):
            y = y[..., None]
        elif y.ndim > 1 and y.shape[-1] == 1 and _fits(y.shape[:-1], output_shape):
            y = y[..., 0]
        else:
            hint = ""
            if y.dtype.kind in "iu" and _fits(y.shape, output_shape[:-1]):
                hint = "; for integer labels use 'sparse_categorical_crossentropy'"
            raise ValueError(f"{where}: y_true must have shape {_text(output_shape)}; got {y.shape}{hint}")
    with np.errstate(over="ignore"):
        y = y.astype(dtype, copy=False)
    check_finite(where, y)
    return y


def sparse_targets(
    where: str, y_true: Any, output_shape: OutputShape, ignored: int | None, axis: int | None = None
) -> HostArray:
    """Return labels as int32 with `output_shape` less `axis`, that of the classes: the last one, unless it is given.

    TypeError unless `y_true` holds numbers; ValueError if it has another shape (the axis may have size 1), numbers that
    are not whole, or labels that are neither `ignored` nor among the classes.
    """
    y = _numbers(where, y_true)
    axis = len(output_shape) - 1 if axis is None else axis
    classes = output_shape[axis]
    assert classes is not None
    if y.ndim == len(output_shape) and y.shape[axis] == 1:
        y = y.squeeze(axis)
    before, after = output_shape[:axis], output_shape[axis + 1 :]
    if not _fits(y.shape, before + after):
        hint = "; for one-hot targets use 'categorical_crossentropy'" if _fits(y.shape, output_shape) else ""
        expected = f"{_text(before + after)} or {_text((*before, 1, *after))}"
        outputs = _text(output_shape)
        raise ValueError(f"{where}: y_true must have shape {expected} for outputs of {outputs}; got {y.shape}{hint}")
    _check_whole(where, y)
    wrong = (y < 0) | (y >= classes)
    if ignored is not None:
        wrong &= y != ignored
    if wrong.any():
        count = int(np.count_nonzero(wrong))
        also = "" if ignored is None else f", or {ignored}, which is ignored"
        noun = "label" if count == 1 else "labels"
        raise ValueError(
            f"{where}: y_true must hold labels from 0 to {classes - 1}{also}; got {count} other {noun}, such as "
            f"{_example(y, wrong)}"
        )
    return y.astype(np.int32, copy=False)


def integer_labels(where: str, y_true: Any, shape: OutputShape) -> HostArray:
    """Return labels as int32 with `shape`, which may have an axis of size 1 behind; any whole numbers will do.

    TypeError unless `y_true` holds numbers; ValueError for other shapes, and for numbers that are no int32.
    """
    y = _numbers(where, y_true)
    if y.ndim == len(shape) + 1 and y.shape[-1] == 1:
        y = y[..., 0]
    if not _fits(y.shape, shape):
        raise ValueError(f"{where}: y_true must have shape {_text(shape)} or {_text((*shape, 1))}; got {y.shape}")
    _check_whole(where, y)
    wrong = (y < -(2**31)) | (y >= 2**31)
    if wrong.any():
        raise ValueError(f"{where}: y_true must be from -2**31 to 2**31 - 1; got {_example(y, wrong)}")
    return y.astype(np.int32, copy=False)


def _check_whole(where: str, y: HostArray) -> None:
    """ValueError that says where, unless every number of `y` is a whole one."""
    if y.dtype.kind == "f":
        check_finite(where, y)
        broken = y != np.floor(y)
        if broken.any():
            raise ValueError(f"{where}: y_true must hold whole numbers; got {_example(y, broken)}")


def warn_of_one_class(where: str) -> None:
    """Warn of outputs of one class, whose probability no training changes."""
    warnings.warn(
        f"{where}: outputs of one class learn nothing, their probability is always 1; use 'binary_crossentropy' for "
        f"two classes",
        SyntaxWarning,
        stacklevel=3,
    )


def loss_weights(where: str, sample_weight: Any, loss_shape: OutputShape, dtype: npt.DTypeLike) -> HostArray:
    """Return weights in `dtype` for losses of `loss_shape`, of which they may lack the last axes.

    Last axes of size 1 are dropped where the losses have more or none there. A loss that is one number for the whole
    batch takes weights of any shape. TypeError unless they are numbers; ValueError if they do not fit or are not finite
    in `dtype`.
    """
    w = _numbers(where, sample_weight, "sample_weight")
    given = w.shape
    while loss_shape and w.ndim and w.shape[-1] == 1 and not _fits(w.shape, loss_shape[: w.ndim]):
        w = w[..., 0]
    if loss_shape and not _fits(w.shape, loss_shape[: w.ndim]):
        raise ValueError(
            f"{where}: sample_weight must have the shape of the losses, {_text(loss_shape)}, or lack some of its last "
            f"axes; got {given}"
        )
    with np.errstate(over="ignore"):
        w = w.astype(dtype, copy=False)
    check_finite(where, w, "sample_weight")
    return w


def check_finite(where: str, y: HostArray, name: str = "y_true") -> None:
    """ValueError that says where, unless every number of `y` is finite."""
    if y.dtype.kind == "f":
        broken = ~np.isfinite(y)
        if broken.any():
            raise ValueError(f"{where}: {name} must be finite in {y.dtype}; got {_example(y, broken)}")


def _numbers(where: str, given: Any, name: str = "y_true") -> HostArray:
    """Return `given`, an array of any device or nested lists, on the host; TypeError unless it holds real numbers."""
    try:
        y = to_host(given) if is_array(given) else np.asarray(given)
    except ValueError as error:  # lists of different lengths
        raise ValueError(f"{where}: {name} must be an array; got {error}") from error
    if y.dtype.kind not in "biuf":
        raise TypeError(f"{where}: {name} must hold real numbers; got an array of {y.dtype}")
    if y.size == 0:
        raise ValueError(f"{where}: {name} must have at least one element; got shape {y.shape}")
    return y


def _fits(shape: Shape, expected: OutputShape) -> bool:
    return len(shape) == len(expected) and all(b in (None, a) for a, b in zip(shape, expected, strict=True))


def _text(shape: OutputShape) -> str:
    """Return `shape` with N for an unknown number of samples: (N, 10)."""
    sizes = ", ".join("N" if size is None else str(size) for size in shape)
    return f"({sizes},)" if len(shape) == 1 else f"({sizes})"


def _example(y: HostArray, wrong: HostArray) -> str:
    """Return the first of the `wrong` elements and its place: '12 at index (3,)'."""
    index = tuple(int(i) for i in np.unravel_index(int(np.argmax(wrong)), y.shape))
    return f"{y[index]} at index {index}"
