"""What test_large_arrays.py runs of transposed convolutions and of global max-pooling; see large_cases.py."""

from __future__ import annotations

from typing import Any

import checks
import numpy as np

from gpunet.backend.arrays import EMULATED, Array
from gpunet.ops import bias_gradient, convolution_transposed, global_max_pooling
from gpunet.ops.activation import Activation
from gpunet.ops.convolution_sizes import Geometry

_W, _GEOMETRY = checks.normal(3, 3, 16, 8), Geometry((2, 2), pads=((1, 0), (0, 1)))


def _transposed(x: Array, y: Array) -> Array:
    w = checks.on(EMULATED, _W)
    return convolution_transposed.convolution_transposed(x, w, None, Activation.RELU, _GEOMETRY, y.shape)[0]


def cases(n: int) -> dict[str, tuple[Any, ...]]:
    """Return, by name, what is run on arrays of `n` rows, these, and, if it is another, the margin."""
    images = checks.normal(n, 30, 31, 5)
    y, count = global_max_pooling.global_max_pooling(images)
    dy = checks.normal(n, 5, seed=1)
    return {
        # Four phases follow each other in the grid, for the same rows.
        "transposed": (_transposed, (checks.normal(n, 5, 5, 8), checks.normal(n, 10, 10, 16)), 12),
        "bias_gradient": (
            lambda dy, y: bias_gradient.bias_gradient(dy, y, Activation.RELU, None),
            (checks.normal(n, 31), checks.normal(n, 31, seed=1)),
        ),
        "global_max_pooling": (global_max_pooling.global_max_pooling, (images,)),
        "global_max_pooling_gradient": (
            lambda dy, y, count, x: global_max_pooling.global_max_pooling_gradient(dy, x, y, count),
            (dy, y, np.asarray(count), images),
        ),
    }
