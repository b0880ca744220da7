"""The ops of losses that test_large_arrays.py runs on large arrays, for large_cases.py."""

from __future__ import annotations

from typing import Any

import checks
import numpy as np

from gpunet.backend.arrays import EMULATED, HostArray
from gpunet.ops import class_loss, similarity_loss
from gpunet.ops.elementwise_loss import Pair, Terms, elementwise_loss, elementwise_loss_gradient


def _one(number: float) -> Any:
    return checks.on(EMULATED, np.float32([number]))


def runs(y: HostArray, p: HostArray, t: HostArray, labels: HostArray, lines: HostArray) -> dict[str, tuple[Any, ...]]:
    """Return what to run on which arrays: outputs, probabilities, distributions, labels, three numbers a row."""

    def focal() -> class_loss.Focal:
        return class_loss.Focal(_one(0.3), 2.0)

    terms = Terms(Pair.HUBER, 0.7)
    return {
        "elementwise_loss": (lambda y, t: elementwise_loss(y, t, terms), (y, t)),
        "elementwise_loss_gradient": (lambda y, t: elementwise_loss_gradient(y, t, _one(0.5), terms), (y, t)),
        "similarity_loss": (similarity_loss.similarity_loss, (y, t)),
        "similarity_loss_gradient": (
            lambda y, t, lines: similarity_loss.similarity_loss_gradient(y, t, lines, _one(0.5)),
            (y, t, lines),
        ),
        "focal_loss": (lambda p, t: class_loss.focal_loss(p, t, focal()), (p, t)),
        "focal_loss_gradient": (lambda p, t: class_loss.focal_loss_gradient(p, t, _one(0.5), focal()), (p, t)),
        "categorical_hinge": (class_loss.categorical_hinge, (y, t)),
        "categorical_hinge_gradient": (
            lambda y, t: class_loss.categorical_hinge_gradient(y, t, _one(0.5)),
            (y, t),
        ),
        "generalized_cross_entropy": (lambda p, i: class_loss.generalized_cross_entropy(p, i, 0.7), (p, labels)),
        "generalized_cross_entropy_gradient": (
            lambda p, i: class_loss.generalized_cross_entropy_gradient(p, i, _one(0.5), 0.7),
            (p, labels),
        ),
    }
