"""Layers that are noise in training, and nothing otherwise: GaussianNoise, GaussianDropout, AlphaDropout.

The numbers come from a stream of the layer's own (`backend/random.py`), with the same bits on every device.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Unpack

from gpunet import arguments
from gpunet.backend.arrays import Array, device_of
from gpunet.backend.random import Purpose, check_seed, new_stream
from gpunet.layers.base import Forward, LayerArguments
from gpunet.layers.drawing import next_draw
from gpunet.layers.element_wise import ElementWise
from gpunet.layers.shapes import Dims, dims, fits
from gpunet.ops.alpha_dropout import alpha_dropout, alpha_dropout_gradient
from gpunet.ops.dropout import check_rate
from gpunet.ops.dropout_noise import noise_mask
from gpunet.ops.noise import gaussian_dropout, gaussian_dropout_gradient, gaussian_noise


class _Noise(ElementWise):
    """A layer with a stream of random numbers."""

    def __init__(self, seed: int | None, **kwargs: Unpack[LayerArguments]) -> None:
        super().__init__(**kwargs)
        self.seed = None if seed is None else check_seed(self.where, seed)
        self.stream = new_stream(Purpose.DROPOUT, self.seed)


class GaussianNoise(_Noise):
    """y = x + stddev z in training, z standard normal; y = x otherwise. ValueError unless stddev is from 0 to 1.

    The z of the k-th draw are those of `gpunet.ops.noise.gaussian_noise` for (stream.seed, stream.purpose, k).

    >>> GaussianNoise(0.1)([[1.0, 2.0]])
    array([[1., 2.]], dtype=float32)
    """

    def __init__(self, stddev: float, seed: int | None = None, **kwargs: Unpack[LayerArguments]) -> None:
        super().__init__(seed, **kwargs)
        self.stddev = arguments.real(self.where, "stddev", stddev, minimum=0, maximum=1)

    def forward(self, x: Array, training: bool) -> Forward:
        if not training or self.stddev == 0:
            return x, lambda dy: dy
        with next_draw(self.stream, device_of(x)) as key:
            return gaussian_noise(x, self.stddev, key), lambda dy: dy

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "stddev": self.stddev, "seed": self.seed}


class GaussianDropout(_Noise):
    """y = (1 + s z) x in training, z standard normal and s = sqrt(rate / (1 - rate)); y = x otherwise.

    ValueError unless rate is at least 0 and below 1. The z are those of `GaussianNoise`. Srivastava et al. 2014,
    "Dropout: a simple way to prevent neural networks from overfitting", section 10.
    """

    def __init__(self, rate: float, seed: int | None = None, **kwargs: Unpack[LayerArguments]) -> None:
        super().__init__(seed, **kwargs)
        self.rate = check_rate(self.where, rate)

    def forward(self, x: Array, training: bool) -> Forward:
        if not training or self.rate == 0:
            return x, lambda dy: dy
        with next_draw(self.stream, device_of(x)) as key:
            y, factor = gaussian_dropout(x, math.sqrt(self.rate / (1 - self.rate)), key)
        return y, lambda dy: gaussian_dropout_gradient(dy, factor)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "rate": self.rate, "seed": self.seed}


class AlphaDropout(_Noise):
    """In training a share of about `rate` becomes the value to which SELU saturates, and all are moved and scaled.

    y = a x + b where kept, else -1.7581 a + b, with a and b that keep mean 0 and variance 1; y = x otherwise.
    ValueError unless rate is at least 0 and below 1. `noise_shape` is as that of `Dropout`, and so are the draws.
    Klambauer et al. 2017, arXiv:1706.02515.
    """

    def __init__(
        self,
        rate: float,
        noise_shape: Sequence[int | None] | None = None,
        seed: int | None = None,
        **kwargs: Unpack[LayerArguments],
    ) -> None:
        super().__init__(seed, **kwargs)
        self.rate = check_rate(self.where, rate)
        self.noise_shape = None if noise_shape is None else dims(self.where, "noise_shape", noise_shape)

    def check_input_shape(self, shape: Dims) -> None:
        super().check_input_shape(shape)
        noise = self.noise_shape
        if noise is not None and not fits(tuple(None if size == 1 else size for size in noise), shape):
            raise ValueError(f"{self.where}: noise_shape must be 1, None or the input's size, {shape}; got {noise}")

    def forward(self, x: Array, training: bool) -> Forward:
        if not training or self.rate == 0:
            return x, lambda dy: dy
        device = device_of(x)
        with next_draw(self.stream, device) as key:
            mask = noise_mask(x.shape, self.noise_shape or (None,) * x.ndim, self.rate, key, device)
        return alpha_dropout(x, mask, self.rate), lambda dy: alpha_dropout_gradient(dy, mask, self.rate)

    def get_config(self) -> dict[str, Any]:
        noise_shape = None if self.noise_shape is None else list(self.noise_shape)
        return {**super().get_config(), "rate": self.rate, "noise_shape": noise_shape, "seed": self.seed}
