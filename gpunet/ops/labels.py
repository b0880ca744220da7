"""Integer labels as the kernels take them: int32, one a row, checked by the host before they got here."""

from __future__ import annotations

import numpy as np

from gpunet.backend.arrays import Array, HostArray, common_device
from gpunet.ops import contract

# What the kernels get for `ignored` where no label is left out: no int32 label can be equal to it.
_NO_LABEL = 2**62


def check_labels(where: str, name: str, rows: Array, labels: Array) -> None:
    """Check that `rows`, which the message calls `name`, is (N, C) and `labels` int32 (N,) on the same device."""
    contract.has_rank(where, name, rows, 2, "(N, C)")
    common_device(where, **{name: rows, "labels": labels})
    contract.has_dtype(where, "labels", labels, np.int32)
    contract.has_shape(where, "labels", labels, rows.shape[:1])


def ignored_argument(ignored: int | None) -> int:
    """Return the argument `ignored` of a kernel."""
    return _NO_LABEL if ignored is None else ignored


def known_labels(labels: HostArray, ignored: int | None) -> HostArray:
    """Return `labels` with 0 in place of `ignored`, so that all of them can be used as indices."""
    return labels if ignored is None else np.where(labels == ignored, 0, labels)
