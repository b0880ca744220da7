"""What prepares images on the host, once, before training."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from gpunet import arguments
from gpunet.backend.arrays import HostArray


def resize(x: npt.ArrayLike, size: tuple[int, int] | int) -> HostArray:
    """y[n, i, j, c] = sum over h, w of A[i, h] x[n, h, w, c] B[j, w], bilinear weights A and B.

    x (N, H, W, C) becomes y (N, *size, C) in float32. Pixels are squares whose centres lie at half-integers, and
    samples beyond the border take the border's value; there is no smoothing when the size shrinks. This is what
    `cv2.resize` does and `keras.ops.image.resize` with `antialias=False`. ValueError unless x has four axes, none
    of them empty.

    >>> resize(np.array([0.0, 1.0]).reshape(1, 1, 2, 1), (1, 4)).ravel()
    array([0.  , 0.25, 0.75, 1.  ], dtype=float32)
    """
    images = np.asarray(x)
    if images.ndim != 4 or images.size == 0:
        raise ValueError(f"resize: x must have shape (N, H, W, C), no size 0; got {images.shape}")
    height, width = arguments.pair("resize", "size", size)
    rows, columns = _bilinear(images.shape[1], height), _bilinear(images.shape[2], width)
    # Height first: (N, H, W, C) -> (N, I, W, C) -> (N, I, J, C).
    y = np.tensordot(images.astype(np.float32, copy=False), rows, axes=(1, 1))  # (N, W, C, I)
    y = np.tensordot(y, columns, axes=(1, 1))  # (N, C, I, J)
    return np.ascontiguousarray(y.transpose(0, 2, 3, 1))


def _bilinear(old: int, new: int) -> npt.NDArray[Any]:
    """Return the (new, old) matrix that interpolates `old` samples at `new` places."""
    places = np.clip((np.arange(new) + 0.5) * (old / new) - 0.5, 0, old - 1)
    left = np.minimum(places.astype(np.int64), max(old - 2, 0))
    weight = places - left
    matrix = np.zeros((new, old), np.float32)
    matrix[np.arange(new), left] = 1 - weight
    matrix[np.arange(new), np.minimum(left + 1, old - 1)] += weight.astype(np.float32)
    return matrix
