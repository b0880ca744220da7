"""Layers that give images another size: by interpolation, by repetition, or by cutting out the middle."""

from __future__ import annotations

from typing import Any, TypeAlias, Unpack

from gpunet import arguments
from gpunet.backend.arrays import Array
from gpunet.layers import shapes
from gpunet.layers.base import Forward, Layer, LayerArguments
from gpunet.layers.shapes import Dims, dims
from gpunet.ops.rearrangement import pad, repeat, repeat_gradient
from gpunet.ops.resampling import resample, resample_gradient
from gpunet.ops.resampling_weights import INTERPOLATIONS

Pads: TypeAlias = list[tuple[int, int]]


class UpSampling2D(Layer):
    """y is x with `size` times as many rows and columns; x is (batch, H, W, C).

    'nearest' repeats them; 'bilinear', 'bicubic', 'lanczos3', 'lanczos5' and 'area' interpolate as `Resizing`.

    >>> UpSampling2D((1, 2))([[[[1.0], [3.0]]]]).ravel()
    array([1., 1., 3., 3.], dtype=float32)
    """

    def __init__(
        self,
        size: int | tuple[int, int] = (2, 2),
        data_format: str | None = None,
        interpolation: str = "nearest",
        **kwargs: Unpack[LayerArguments],
    ) -> None:
        super().__init__(**kwargs)
        self.size = arguments.pair(self.where, "size", size)
        self.data_format = shapes.channels_last(self.where, data_format)
        self.interpolation = _interpolation(self.where, interpolation)

    def check_input_shape(self, shape: Dims) -> None:
        shapes.images(self.where, shape)

    def compute_output_shape(self, input_shape: Any) -> Dims:
        shape = dims(self.where, "input_shape", input_shape)
        self.check_input_shape(shape)
        height, width = (
            None if length is None else length * times for length, times in zip(shape[1:3], self.size, strict=True)
        )
        return (shape[0], height, width, shape[3])

    def forward(self, x: Array, training: bool) -> Forward:
        if self.interpolation != "nearest":
            height, width = (length * times for length, times in zip(x.shape[1:3], self.size, strict=True))
            return resized(x, height, width, self.interpolation)
        repeats = (1, *self.size, 1)
        return repeat(x, repeats), lambda dy: repeat_gradient(dy, repeats)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "size": list(self.size),
            "data_format": self.data_format,
            "interpolation": self.interpolation,
        }


class _ToSize(Layer):
    """A layer whose output has images of `height` by `width`."""

    def __init__(
        self, height: int, width: int, data_format: str | None = None, **kwargs: Unpack[LayerArguments]
    ) -> None:
        super().__init__(**kwargs)
        self.height = arguments.integer(self.where, "height", height)
        self.width = arguments.integer(self.where, "width", width)
        self.data_format = shapes.channels_last(self.where, data_format)

    def check_input_shape(self, shape: Dims) -> None:
        shapes.images(self.where, shape)

    def compute_output_shape(self, input_shape: Any) -> Dims:
        shape = dims(self.where, "input_shape", input_shape)
        self.check_input_shape(shape)
        return (shape[0], self.height, self.width, shape[3])

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "height": self.height,
            "width": self.width,
            "data_format": self.data_format,
        }


class Resizing(_ToSize):
    """y is x resized to (height, width); x is (batch, H, W, C).

    `interpolation` is 'bilinear', 'nearest', 'bicubic', 'lanczos3', 'lanczos5' or 'area', computed as by JAX and
    TensorFlow (ops/resampling_weights.py); `antialias` widens it where images shrink. `crop_to_aspect_ratio` takes the
    largest window in the middle that has the shape of the result; `pad_to_aspect_ratio` puts `fill_value` around the
    image instead. The layer does the same in training and inference. ValueError if both are asked for, or if
    `fill_mode` is not 'constant'.

    >>> Resizing(32, 48).compute_output_shape((None, 100, 90, 3))
    (None, 32, 48, 3)
    """

    def __init__(
        self,
        height: int,
        width: int,
        interpolation: str = "bilinear",
        crop_to_aspect_ratio: bool = False,
        pad_to_aspect_ratio: bool = False,
        fill_mode: str = "constant",
        fill_value: float = 0.0,
        antialias: bool = False,
        data_format: str | None = None,
        **kwargs: Unpack[LayerArguments],
    ) -> None:
        super().__init__(height, width, data_format, **kwargs)
        where = self.where
        self.interpolation = _interpolation(where, interpolation)
        self.crop_to_aspect_ratio = arguments.boolean(where, "crop_to_aspect_ratio", crop_to_aspect_ratio)
        self.pad_to_aspect_ratio = arguments.boolean(where, "pad_to_aspect_ratio", pad_to_aspect_ratio)
        if self.crop_to_aspect_ratio and self.pad_to_aspect_ratio:
            raise ValueError(f"{where}: pad_to_aspect_ratio must be False with crop_to_aspect_ratio; got True for both")
        self.fill_mode = arguments.choice(where, "fill_mode", fill_mode, ("constant",))
        self.fill_value = arguments.real(where, "fill_value", fill_value)
        self.antialias = arguments.boolean(where, "antialias", antialias)

    def forward(self, x: Array, training: bool) -> Forward:
        pads: Pads = [(0, 0)] * 4
        if self.crop_to_aspect_ratio:
            pads = window_pads(x.shape[1], x.shape[2], self.height, self.width)
        elif self.pad_to_aspect_ratio:
            pads = _frame(x.shape[1], x.shape[2], self.height, self.width)
        return _padded_and_resized(
            x, pads, self.height, self.width, self.interpolation, self.antialias, self.fill_value
        )

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "interpolation": self.interpolation,
            "crop_to_aspect_ratio": self.crop_to_aspect_ratio,
            "pad_to_aspect_ratio": self.pad_to_aspect_ratio,
            "fill_mode": self.fill_mode,
            "fill_value": self.fill_value,
            "antialias": self.antialias,
        }


class CenterCrop(_ToSize):
    """y is the middle of x, (height, width); x is (batch, H, W, C).

    Where x is smaller than that, the largest window in its middle that has the shape of the result is resized, by
    bilinear interpolation.

    >>> CenterCrop(1, 2)([[[[1.0], [2.0], [3.0], [4.0]]]]).ravel()
    array([2., 3.], dtype=float32)
    """

    def forward(self, x: Array, training: bool) -> Forward:
        return center_crop(x, self.height, self.width)


def center_crop(x: Array, height: int, width: int) -> Forward:
    """Return the middle of images as `CenterCrop` does, and the backward of it."""
    spare = x.shape[1] - height, x.shape[2] - width
    if min(spare) < 0:
        return largest_window(x, height, width)
    top, left = spare[0] // 2, spare[1] // 2
    pads = [(0, 0), (-top, top - spare[0]), (-left, left - spare[1]), (0, 0)]
    return _padded_and_resized(x, pads, height, width)


def largest_window(x: Array, height: int, width: int) -> Forward:
    """Return the largest window in the middle of x with the ratio height : width, resized to that, and the backward."""
    return _padded_and_resized(x, window_pads(x.shape[1], x.shape[2], height, width), height, width)


def resized(x: Array, height: int, width: int, interpolation: str, antialias: bool = False) -> Forward:
    """Return images resized along both axes, first along the one that leaves less to do, and the backward."""
    steps = [(axis, x.shape[axis], size) for axis, size in ((1, height), (2, width)) if x.shape[axis] != size]
    steps.sort(key=lambda step: step[2] / step[1])
    y = x
    for axis, _, size in steps:
        y = resample(y, axis, size, interpolation, antialias)

    def backward(dy: Array) -> Array:
        for axis, length, _ in reversed(steps):
            dy = resample_gradient(dy, axis, length, interpolation, antialias)
        return dy

    return y, backward


def _padded_and_resized(
    x: Array,
    pads: Pads,
    height: int,
    width: int,
    interpolation: str = "bilinear",
    antialias: bool = False,
    fill: float = 0.0,
) -> Forward:
    if not any(map(any, pads)):
        return resized(x, height, width, interpolation, antialias)
    y, resized_backward = resized(pad(x, pads, fill), height, width, interpolation, antialias)
    opposite = [(-before, -after) for before, after in pads]

    def backward(dy: Array) -> Array:
        inner = resized_backward(dy)
        assert inner is not None
        return pad(inner, opposite)

    return y, backward


def window_pads(height: int, width: int, target_height: int, target_width: int) -> Pads:
    """Return pads that cut out of images the largest window in the middle with the ratio of the target's sizes."""
    pads: Pads = [(0, 0)]
    for length, other, target, target_other in (
        (height, width, target_height, target_width),
        (width, height, target_width, target_height),
    ):
        kept = max(min(length, int(other * target / target_other)), 1)
        before = (length - kept) // 2
        pads.append((-before, before + kept - length))
    return [*pads, (0, 0)]


def _frame(height: int, width: int, target_height: int, target_width: int) -> Pads:
    """Return pads, alike on both sides, that give images the ratio of the target's sizes, or nearly so."""
    top = (max(height, int(width * target_height / target_width)) - height) // 2
    left = (max(width, int(height * target_width / target_height)) - width) // 2
    return [(0, 0), (top, top), (left, left), (0, 0)]


def _interpolation(where: str, value: str) -> str:
    """Return the name of an interpolation, in small letters; ValueError else."""
    given = value.lower() if isinstance(value, str) else value
    return arguments.choice(where, "interpolation", given, INTERPOLATIONS)
