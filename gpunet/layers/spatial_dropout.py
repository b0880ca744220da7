"""Dropout of whole channels. Tompson et al. 2015, arXiv:1411.4280."""

from __future__ import annotations

from typing import Any, ClassVar, Unpack

from gpunet.layers import shapes
from gpunet.layers.base import LayerArguments
from gpunet.layers.dropout import Dropout
from gpunet.layers.shapes import Dims


class _SpatialDropout(Dropout):
    """A Dropout with one draw for each channel of each sample."""

    _axes: ClassVar[tuple[str, ...]]  # the names of the axes between batch and channels

    def __init__(self, rate: float, seed: int | None = None, **kwargs: Unpack[LayerArguments]) -> None:
        super().__init__(rate, (None, *(1 for _ in self._axes), None), seed, **kwargs)

    def check_input_shape(self, shape: Dims) -> None:
        if len(shape) != len(self._axes) + 2:
            wanted = ", ".join(("batch", *self._axes, "channels"))
            raise ValueError(f"{self.where}: input must have shape ({wanted}); got {shape}")
        super().check_input_shape(shape)

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        del config["noise_shape"]
        return config


class SpatialDropout1D(_SpatialDropout):
    """In training each channel of each sample (batch, steps, channels) is 0 with probability `rate`.

    y = x mask / (1 - rate), the mask with one draw for each sample and channel; y = x otherwise.
    """

    _axes = ("steps",)


class _SpatialDropoutOfImages(_SpatialDropout):
    def __init__(
        self,
        rate: float,
        data_format: str | None = None,
        seed: int | None = None,
        **kwargs: Unpack[LayerArguments],
    ) -> None:
        super().__init__(rate, seed, **kwargs)
        self.data_format = shapes.channels_last(self.where, data_format)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "data_format": self.data_format}


class SpatialDropout2D(_SpatialDropoutOfImages):
    """In training each channel of each image (batch, height, width, channels) is 0 with probability `rate`.

    y = x mask / (1 - rate), the mask with one draw for each image and channel; y = x otherwise.
    """

    _axes = ("height", "width")


class SpatialDropout3D(_SpatialDropoutOfImages):
    """In training each channel of each volume (batch, depth, height, width, channels) is 0 with probability `rate`.

    y = x mask / (1 - rate), the mask with one draw for each volume and channel; y = x otherwise.
    """

    _axes = ("depth", "height", "width")
