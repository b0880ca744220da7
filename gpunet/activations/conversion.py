"""What activations compute with: float arrays made of whatever a user has."""

from __future__ import annotations

from typing import Any

import numpy as np

from gpunet.backend.arrays import Array, is_array
from gpunet.default_dtype import floatx


def as_floats(where: str, x: Any, dtype: Any = None) -> Array:
    """Return `x` as an array of `dtype`; None keeps float32 and float64, and makes integers and bools `floatx()`.

    An array stays on its device; anything else becomes a NumPy array. TypeError for complex numbers, text and objects.
    """
    array: Array = x if is_array(x) else np.asarray(x)
    if array.dtype.kind not in "biuf":
        raise TypeError(f"{where}: x must hold real numbers; got dtype {array.dtype} (from {type(x).__name__})")
    if dtype is None:
        dtype = array.dtype if array.dtype.name in ("float32", "float64") and is_array(x) else floatx()
    return array.astype(dtype, copy=False)
