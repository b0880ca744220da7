"""The ops that move data, for large_cases.py, which has `Case` and the arrays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import checks
import numpy as np

from gpunet.backend.arrays import EMULATED
from gpunet.ops import affine, embedding, rearrangement, resampling


def cases(case: Callable[..., Any], normal: Callable[..., Any]) -> dict[str, Any]:
    """Return the cases by name: `case` makes one, `normal` an array of rows of a shape."""
    rows = len(normal())

    def embedded(x: Any) -> Any:
        return embedding.embedding(x, checks.on(EMULATED, checks.normal(40, 1003)))

    return {
        "pad": case(lambda x: rearrangement.pad(x, [(0, 0), (1, -2), (0, 3)], 0.5), (normal(300, 301),)),
        "repeat_gradient": case(lambda dy: rearrangement.repeat_gradient(dy, (1, 2, 3)), (normal(300, 303),)),
        "resample": case(lambda x: resampling.resample(x, 1, 401, "bicubic"), (normal(301, 3),)),
        "affine": case(
            lambda x, m: affine.affine(x, m, (29, 31), "bilinear", "reflect"), (normal(30, 31, 5), normal(6, seed=1))
        ),
        "embedding": case(embedded, ((np.arange(rows, dtype=np.float32) * 7) % 41,)),
    }


NEVER = {
    "affine.cu:affine_entries": "fewer than 2^31 pixels",
    "augmentation.cu:random_matrices": "six numbers an image",
    "embedding.cu:embedding_keys": "fewer than 2^31 indices",
    "scatter.cu:add_rows": "one row of a table a key; places in table and values are Index",
    "scatter.cu:digit_counts": "fewer than 2^31 keys",
    "scatter.cu:exclusive_scan": "one block",
    "scatter.cu:move_by_digit": "fewer than 2^31 keys",
    "scatter.cu:row_starts": "fewer than 2^31 rows",
}
