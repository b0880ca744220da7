"""Embedding: a vector for each index."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from gpunet import activations, arguments, constraints, identifiers, initializers, regularizers
from gpunet.backend.arrays import Array, HostArray, to_host, zeros_like
from gpunet.initializers import InitializerLike
from gpunet.layers.base import Forward, Layer
from gpunet.layers.shapes import Dims, dims
from gpunet.ops.embedding import embedding, embedding_gradient
from gpunet.parameters import Parameter

# Up to where floats count without gaps, and up to where kernels count keys.
_MOST_INDICES = {"float32": 2**24, "float64": 2**31 - 1}


class Embedding(Layer):
    """y[..., c] = embeddings[x[...], c]; x is (batch, ...) of whole numbers below `input_dim`, as floats.

    y is (batch, ..., output_dim), `embeddings` (input_dim, output_dim). Fractions are cut off. An index out of range
    is a ValueError on the CPU; on a device its vector is NaN. `weights` are the first embeddings, an array or a list of
    one. x has no gradient: what `backward` returns is 0. ValueError for more indices than the layer's dtype can tell
    apart, 2**24 in float32, and for `mask_zero`, because layers take no masks.

    >>> Embedding(3, 2, weights=[[1, 2], [3, 4], [5, 6]])([[2, 0]])
    array([[[5., 6.],
            [1., 2.]]], dtype=float32)
    """

    def __init__(
        self,
        input_dim: int,
        output_dim: int,
        embeddings_initializer: InitializerLike | None = "uniform",
        embeddings_regularizer: Any = None,
        embeddings_constraint: Any = None,
        mask_zero: bool = False,
        weights: Any = None,
        lora_rank: None = None,
        lora_alpha: None = None,
        quantization_config: None = None,
        **kwargs: Any,
    ) -> None:
        input_length = kwargs.pop("input_length", None)
        super().__init__(**kwargs)
        where = self.where
        if input_length is not None:
            warnings.warn(f"{where}: input_length is ignored: the layer takes inputs of any length", stacklevel=2)
        self.input_dim = arguments.integer(where, "input_dim", input_dim, 1, _MOST_INDICES[self.dtype])
        self.output_dim = arguments.integer(where, "output_dim", output_dim)
        self.embeddings_initializer = initializers.get(embeddings_initializer, f"{where}: embeddings_initializer")
        self.embeddings_regularizer = regularizers.get(embeddings_regularizer, f"{where}: embeddings_regularizer")
        self.embeddings_constraint = constraints.get(embeddings_constraint, f"{where}: embeddings_constraint")
        self.mask_zero = arguments.boolean(where, "mask_zero", mask_zero)
        if self.mask_zero:
            raise ValueError(f"{where}: mask_zero must be False, because layers take no masks; got True")
        unknown = {"lora_rank": lora_rank, "lora_alpha": lora_alpha, "quantization_config": quantization_config}
        for name, value in unknown.items():
            if value is not None:
                raise ValueError(f"{where}: {name} must be None; got {arguments.shown(value)}")
        self._first = None if weights is None else self._checked(weights)
        self._embeddings: Parameter | None = None

    def _checked(self, weights: Any) -> HostArray:
        """Return `weights`, the first embeddings or a list of these, as an array of the layer's dtype."""
        shape = self.input_dim, self.output_dim
        table = weights[0] if isinstance(weights, (list, tuple)) and len(weights) == 1 else weights
        try:
            array = to_host(activations.as_floats(f"{self.where}: weights", table, np.dtype(self.dtype)))
        except ValueError as error:  # of NumPy, for lists of other lengths
            raise ValueError(f"{self.where}: weights must have shape {shape}; got a list of lists: {error}") from None
        if array.ndim == 1 and shape[0] == 1:  # a list of the one row, which is no list of one array
            array = array[None]
        if array.shape != shape:
            raise ValueError(f"{self.where}: weights must have shape {shape}; got {array.shape}")
        return np.array(array)

    def build(self, input_shape: Dims) -> None:
        first = self._first
        self._embeddings = self.add_weight(
            (self.input_dim, self.output_dim),
            self.embeddings_initializer if first is None else lambda shape, dtype=None: first,
            name="embeddings",
            regularizer=self.embeddings_regularizer,
            constraint=self.embeddings_constraint,
        )

    def forget_build(self) -> None:
        super().forget_build()
        self._embeddings = None

    @property
    def embeddings(self) -> Parameter:
        """The table; AttributeError before the layer is built."""
        if self._embeddings is None:
            raise AttributeError(f"{self.where}: must be built before its embeddings are used; call build(input_shape)")
        return self._embeddings

    def compute_output_shape(self, input_shape: Any) -> Dims:
        shape = dims(self.where, "input_shape", input_shape)
        self.check_input_shape(shape)
        return (*shape, self.output_dim)

    def forward(self, x: Array, training: bool) -> Forward:
        y = embedding(x, self.embeddings.value)

        def backward(dy: Array) -> Array | None:
            if self.embeddings.trainable:
                target = self.embeddings.gradient_target()
                embedding_gradient(dy, x, target)
                self.embeddings.add_gradient(target)
            return zeros_like(x) if self.needs_input_gradient else None

        return y, backward

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "input_dim": self.input_dim,
            "output_dim": self.output_dim,
            "embeddings_initializer": identifiers.serialize(self.embeddings_initializer),
            "embeddings_regularizer": identifiers.serialize(self.embeddings_regularizer),
            "embeddings_constraint": identifiers.serialize(self.embeddings_constraint),
            "mask_zero": self.mask_zero,
        }
