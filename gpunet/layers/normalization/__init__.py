"""Normalization layers, with Keras's names, arguments and defaults."""

from gpunet.layers.normalization.batch import BatchNormalization
from gpunet.layers.normalization.data import Normalization, Rescaling
from gpunet.layers.normalization.sample import (
    GroupNormalization,
    LayerNormalization,
    RMSNormalization,
    UnitNormalization,
)

__all__ = [
    "BatchNormalization",
    "GroupNormalization",
    "LayerNormalization",
    "Normalization",
    "RMSNormalization",
    "Rescaling",
    "UnitNormalization",
]
