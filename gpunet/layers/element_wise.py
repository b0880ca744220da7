"""Layers that keep the shape of what they are given."""

from __future__ import annotations

from typing import Any

from gpunet.layers.base import Layer
from gpunet.layers.shapes import Dims, dims


class ElementWise(Layer):
    """A layer whose output has its input's shape."""

    def compute_output_shape(self, input_shape: Any) -> Dims:
        shape = dims(self.where, "input_shape", input_shape)
        self.check_input_shape(shape)
        return shape
