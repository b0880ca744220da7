"""Targets on the host: checked once, and brought into the shape and dtype that the kernels take."""

from __future__ import annotations

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


def sparse_targets(where: str, y_true: Any, output_shape: OutputShape, ignored: int | None) -> HostArray:
    """Return labels as int32 with `output_shape` less its last axis, the classes.

    TypeError unless `y_true` holds numbers; ValueError if it has another shape (a last axis of size 1 may be added),
    numbers that are not whole, or labels that are neither `ignored` nor among the classes.
    """
    y = _numbers(where, y_true)
    classes = output_shape[-1]
    assert classes is not None
    if y.ndim == len(output_shape) and y.shape[-1] == 1:
        y = y[..., 0]
    if not _fits(y.shape, output_shape[:-1]):
        hint = "; for one-hot targets use 'categorical_crossentropy'" if _fits(y.shape, output_shape) else ""
        expected = f"{_text(output_shape[:-1])} or {_text((*output_shape[:-1], 1))}"
        outputs = _text(output_shape)
        raise ValueError(f"{where}: y_true must have shape {expected} for outputs of {outputs}; got {y.shape}{hint}")
    if y.dtype.kind == "f":
        check_finite(where, y)
        broken = y != np.floor(y)
        if broken.any():
            raise ValueError(f"{where}: y_true must hold whole numbers; got {_example(y, broken)}")
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


def check_finite(where: str, y: HostArray) -> None:
    """ValueError that says where, unless every number of `y` is finite."""
    if y.dtype.kind == "f":
        broken = ~np.isfinite(y)
        if broken.any():
            raise ValueError(f"{where}: y_true must be finite in {y.dtype}; got {_example(y, broken)}")


def _numbers(where: str, y_true: Any) -> HostArray:
    """Return `y_true`, an array of any device or nested lists, on the host; TypeError unless it holds real numbers."""
    try:
        y = to_host(y_true) if is_array(y_true) else np.asarray(y_true)
    except ValueError as error:  # lists of different lengths
        raise ValueError(f"{where}: y_true must be an array; got {error}") from error
    if y.dtype.kind not in "biuf":
        raise TypeError(f"{where}: y_true must hold real numbers; got an array of {y.dtype}")
    if y.size == 0:
        raise ValueError(f"{where}: y_true must have at least one element; got shape {y.shape}")
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
