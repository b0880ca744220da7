"""Dropout: in training, a random share of the elements becomes 0."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Unpack

from gpunet import arguments
from gpunet.backend.arrays import Array, Device, device_of, zeros
from gpunet.backend.random import Purpose, check_seed, new_stream
from gpunet.layers.base import Forward, Layer, LayerArguments
from gpunet.layers.drawing import next_draw
from gpunet.layers.shapes import Dims, dims, fits
from gpunet.ops.dropout import dropout, dropout_gradient
from gpunet.ops.dropout_noise import noise_mask
from gpunet.ops.dropping import Dropping


class Dropout(Layer):
    """y = mask x / (1 - rate) in training, each element of the mask 0 with probability `rate`, else 1; y = x otherwise.

    `noise_shape` is the mask's shape, batch first: where it is 1, one draw holds for the whole axis; None is the size
    of the input. The masks come from a stream of their own (`backend/random.py`): number i in C order of the k-th draw
    is `generator(stream.seed, stream.purpose, k).random(size, dtype=float32)[i] >= rate`, on every device. Srivastava
    et al. 2014, "Dropout: a simple way to prevent neural networks from overfitting".

    >>> sorted({float(y) for y in Dropout(0.5)([1.0] * 100, training=True)})
    [0.0, 2.0]
    """

    def __init__(
        self,
        rate: float,
        noise_shape: Sequence[int | None] | None = None,
        seed: int | None = None,
        **kwargs: Unpack[LayerArguments],
    ) -> None:
        super().__init__(**kwargs)
        self.rate = arguments.real(self.where, "rate", rate, minimum=0, maximum=1)
        self.noise_shape = None if noise_shape is None else dims(self.where, "noise_shape", noise_shape)
        self.seed = None if seed is None else check_seed(self.where, seed)
        self.stream = new_stream(Purpose.DROPOUT, self.seed)

    def check_input_shape(self, shape: Dims) -> None:
        super().check_input_shape(shape)
        noise = self.noise_shape
        if noise is not None and not fits(tuple(None if size == 1 else size for size in noise), shape):
            raise ValueError(f"{self.where}: noise_shape must be 1, None or the input's size, {shape}; got {noise}")

    def compute_output_shape(self, input_shape: Any) -> Dims:
        shape = dims(self.where, "input_shape", input_shape)
        self.check_input_shape(shape)
        return shape

    def forward(self, x: Array, training: bool) -> Forward:
        if not training or self.rate == 0:
            return x, lambda dy: dy
        if self.rate == 1:
            nothing = zeros(x.shape, x.dtype, device_of(x))
            return nothing, lambda dy: nothing
        y, mask = self._drop(x)
        return y, lambda dy: dropout_gradient(dy, mask, self.rate)

    def _drop(self, x: Array) -> tuple[Array, Array]:
        with self.drawing(device_of(x)) as (rate, key):
            if self.noise_shape is None:
                return dropout(x, rate, key)
            mask = noise_mask(x.shape, self.noise_shape, rate, key, device_of(x))
            return dropout_gradient(x, mask, rate), mask

    @contextmanager
    def drawing(self, device: Device) -> Iterator[Dropping]:
        """Give the next draw to whoever drops on `device` inside the `with` block."""
        with next_draw(self.stream, device) as key:
            yield Dropping(self.rate, key)

    def get_config(self) -> dict[str, Any]:
        noise_shape = None if self.noise_shape is None else list(self.noise_shape)
        return {**super().get_config(), "rate": self.rate, "noise_shape": noise_shape, "seed": self.seed}
