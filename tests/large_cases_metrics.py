"""Which kernels of metrics are not launched on a large array, and why, for test_large_arrays.py."""

from __future__ import annotations

_FEW = "few blocks, each of which would take seconds here; indices are Index"
_EACH = "every element looks at its row; indices are Index"

NEVER_LARGE = {
    "accumulation.cu:accumulate_values": _FEW,
    "accuracy.cu:sorted_matches": _FEW,
    "confusion.cu:confusion_counts": _FEW,
    "confusion.cu:confusion_matrix": _FEW,
    "prediction.cu:argmax_classes": "rows and places as accuracy.cu:sparse_matches has them",
    "prediction.cu:threshold_classes": "places as activation.cu has them: one a thread",
    "prediction.cu:keep_largest": _EACH,
    "prediction.cu:mark_maxima": _EACH,
    "residuals.cu:residual_sums": _FEW,
}
