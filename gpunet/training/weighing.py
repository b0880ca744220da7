"""How much samples count by their classes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from gpunet import arguments
from gpunet.backend.arrays import HostArray

ClassWeight: TypeAlias = Mapping[int, float]


def check_class_weight(where: str, class_weight: Any) -> ClassWeight | None:
    """Return weights by class; TypeError or ValueError unless they are a dict from integers to numbers."""
    if class_weight is None:
        return None
    if not isinstance(class_weight, Mapping):
        raise TypeError(
            f"{where}: class_weight must be a dict from class to weight; got {arguments.shown(class_weight)}"
        )
    return {
        arguments.integer(where, "class_weight", label, 0): arguments.real(where, "class_weight", weight)
        for label, weight in class_weight.items()
    }


def weights_of_classes(
    targets: HostArray, class_weight: ClassWeight, are_labels: bool, dtype: npt.DTypeLike
) -> HostArray:
    """Return the weight of each target's class, 1 where it has none.

    Targets are labels or, along their last axis, numbers of the classes, of which the largest counts, or one label.
    """
    if not are_labels:
        targets = targets[..., 0].round() if targets.shape[-1] == 1 else targets.argmax(axis=-1)
    classes, places = np.unique(targets, return_inverse=True)
    weights = np.array([class_weight.get(int(label), 1.0) for label in classes], dtype)
    return weights[places].reshape(targets.shape)
