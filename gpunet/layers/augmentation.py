"""Layers that change images at random in training: flipped, cropped, moved, turned, zoomed.

Each draws numbers for every image from a stream of its own (ops/augmentation.py says which), the same on every device,
and looks at the image through the matrix that follows (ops/affine.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias, Unpack

from gpunet import arguments
from gpunet.backend.arrays import CPU, Array, device_of
from gpunet.backend.random import Purpose, check_seed, new_stream
from gpunet.layers import shapes
from gpunet.layers.base import Forward, Layer, LayerArguments
from gpunet.layers.resizing import largest_window
from gpunet.layers.shapes import Dims, dims
from gpunet.ops.affine import FILL_MODES, INTERPOLATIONS, affine, affine_gradient
from gpunet.ops.augmentation import Augmentation, Ranges, random_matrices
from gpunet.ops.optimizer_step import advance

Factor: TypeAlias = float | Sequence[float]

_MODES = ("horizontal_and_vertical", "horizontal", "vertical")


class _RandomLayer(Layer):
    """A layer that sees images through random matrices in training, and otherwise leaves them as they are.

    x is (batch, H, W, C), and so is y.
    """

    interpolation = "nearest"
    fill_mode = "nearest"
    fill_value = 0.0

    def __init__(self, seed: int | None, data_format: str | None, **kwargs: Unpack[LayerArguments]) -> None:
        super().__init__(**kwargs)
        self.seed = None if seed is None else check_seed(self.where, seed)
        self.data_format = shapes.channels_last(self.where, data_format)
        self.stream = new_stream(Purpose.AUGMENTATION, self.seed)

    def check_input_shape(self, shape: Dims) -> None:
        shapes.images(self.where, shape)

    def compute_output_shape(self, input_shape: Any) -> Dims:
        shape = dims(self.where, "input_shape", input_shape)
        self.check_input_shape(shape)
        return shape

    def _ranges(self, height: int, width: int) -> Ranges:
        """Return what is drawn for images of this size."""
        raise NotImplementedError

    def forward(self, x: Array, training: bool) -> Forward:
        if not training:
            return x, lambda dy: dy
        return self._transformed(x, (x.shape[1], x.shape[2]))

    def _transformed(self, x: Array, size: tuple[int, int]) -> Forward:
        """Return x through its random matrices, of `size`, and the backward."""
        matrices, shape = self._draw(x), x.shape
        y = affine(x, matrices, size, self.interpolation, self.fill_mode, self.fill_value)

        def backward(dy: Array) -> Array | None:
            if not self.needs_input_gradient:
                return None
            return affine_gradient(dy, matrices, shape, self.interpolation, self.fill_mode)

        return y, backward

    def _draw(self, x: Array) -> Array:
        n, height, width, _ = x.shape
        device, ranges = device_of(x), self._ranges(height, width)
        if device == CPU:
            return random_matrices(n, (height, width), ranges, self.stream.next_key(), x.dtype.name, device)
        step = self.stream.counter_on(device)
        key = (self.stream.seed, self.stream.purpose, step)
        matrices = random_matrices(n, (height, width), ranges, key, x.dtype.name, device)
        advance(step)
        return matrices

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "seed": self.seed, "data_format": self.data_format}


class RandomFlip(_RandomLayer):
    """Each image is mirrored with probability 1/2: left and right, top and bottom, or as `mode` says both at once.

    `mode` is 'horizontal_and_vertical', where an image is mirrored along both axes or along none, 'horizontal' or
    'vertical'. Only in training.
    """

    def __init__(
        self,
        mode: str = "horizontal_and_vertical",
        seed: int | None = None,
        data_format: str | None = None,
        **kwargs: Unpack[LayerArguments],
    ) -> None:
        super().__init__(seed, data_format, **kwargs)
        self.mode = arguments.choice(self.where, "mode", mode, _MODES)

    def _ranges(self, height: int, width: int) -> Ranges:
        rows, columns = (-1.0 if axis in self.mode else 1.0 for axis in ("vertical", "horizontal"))
        return Ranges(Augmentation.FLIP, (rows, rows), (columns, columns))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "mode": self.mode}


class RandomCrop(_RandomLayer):
    """y is a window of x, (height, width), at a random place, the same for all images of a batch.

    In inference, and where x is smaller than the window, y is the largest window in the middle of x that has its shape,
    resized by bilinear interpolation.

    >>> RandomCrop(24, 24).compute_output_shape((None, 32, 32, 3))
    (None, 24, 24, 3)
    """

    def __init__(
        self,
        height: int,
        width: int,
        seed: int | None = None,
        data_format: str | None = None,
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(seed, data_format, name=name, **kwargs)
        self.height = arguments.integer(self.where, "height", height)
        self.width = arguments.integer(self.where, "width", width)

    def compute_output_shape(self, input_shape: Any) -> Dims:
        shape = super().compute_output_shape(input_shape)
        return (shape[0], self.height, self.width, shape[3])

    def _ranges(self, height: int, width: int) -> Ranges:
        return Ranges(Augmentation.CROP, (0.0, float(height - self.height + 1)), (0.0, float(width - self.width + 1)))

    def forward(self, x: Array, training: bool) -> Forward:
        if not training or x.shape[1] < self.height or x.shape[2] < self.width:
            return largest_window(x, self.height, self.width)
        return self._transformed(x, (self.height, self.width))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "height": self.height, "width": self.width}


class _RandomTransform(_RandomLayer):
    """A layer that interpolates, and fills in what lies outside of an image."""

    def __init__(
        self,
        fill_mode: str,
        interpolation: str,
        seed: int | None,
        fill_value: float,
        data_format: str | None,
        **kwargs: Unpack[LayerArguments],
    ) -> None:
        super().__init__(seed, data_format, **kwargs)
        self.fill_mode = arguments.choice(self.where, "fill_mode", fill_mode, FILL_MODES)
        self.interpolation = arguments.choice(self.where, "interpolation", interpolation, INTERPOLATIONS)
        self.fill_value = arguments.real(self.where, "fill_value", fill_value)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "fill_mode": self.fill_mode,
            "interpolation": self.interpolation,
            "fill_value": self.fill_value,
        }


class RandomTranslation(_RandomTransform):
    """Each image is moved down by a share of its height and to the right by a share of its width.

    `height_factor` and `width_factor` are (low, high), from -1 to 1, or one number f for (-f, f). `fill_mode` says what
    comes in at the edge: 'reflect' (c b a | a b c | c b a), 'wrap' (a b c | a b c), 'nearest' (a a a | a b c) or
    'constant', which is `fill_value`; `interpolation` is 'bilinear' or 'nearest'. Only in training.
    """

    def __init__(
        self,
        height_factor: Factor,
        width_factor: Factor,
        fill_mode: str = "reflect",
        interpolation: str = "bilinear",
        seed: int | None = None,
        fill_value: float = 0.0,
        data_format: str | None = None,
        **kwargs: Unpack[LayerArguments],
    ) -> None:
        super().__init__(fill_mode, interpolation, seed, fill_value, data_format, **kwargs)
        self.height_factor, self._rows = _factor(self.where, "height_factor", height_factor)
        self.width_factor, self._columns = _factor(self.where, "width_factor", width_factor)

    def _ranges(self, height: int, width: int) -> Ranges:
        return Ranges(Augmentation.TRANSLATION, self._rows, self._columns)

    def get_config(self) -> dict[str, Any]:
        factors = {"height_factor": self.height_factor, "width_factor": self.width_factor}
        return {**super().get_config(), **factors}


class RandomRotation(_RandomTransform):
    """Each image is turned around its middle, by a share of a whole turn.

    `factor` is (low, high), from -1 to 1, positive counterclockwise, or one number f for (-f, f): 0.1 is up to 36
    degrees either way. The other arguments are those of `RandomTranslation`. Only in training.
    """

    def __init__(
        self,
        factor: Factor,
        fill_mode: str = "reflect",
        interpolation: str = "bilinear",
        seed: int | None = None,
        fill_value: float = 0.0,
        data_format: str | None = None,
        **kwargs: Unpack[LayerArguments],
    ) -> None:
        super().__init__(fill_mode, interpolation, seed, fill_value, data_format, **kwargs)
        _, self.factor = _factor(self.where, "factor", factor)

    def _ranges(self, height: int, width: int) -> Ranges:
        return Ranges(Augmentation.ROTATION, self.factor)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "factor": list(self.factor)}


class RandomZoom(_RandomTransform):
    """Each image is zoomed around its middle: out by a positive share, in by a negative one.

    `height_factor` and `width_factor` are (low, high), above -1 and up to 1, or one number f for (-f, f): (0.2, 0.3)
    shows 20 to 30% more rows. `width_factor` None keeps the ratio of height and width. The other arguments are those
    of `RandomTranslation`. Only in training.
    """

    def __init__(
        self,
        height_factor: Factor,
        width_factor: Factor | None = None,
        fill_mode: str = "reflect",
        interpolation: str = "bilinear",
        seed: int | None = None,
        fill_value: float = 0.0,
        data_format: str | None = None,
        **kwargs: Unpack[LayerArguments],
    ) -> None:
        super().__init__(fill_mode, interpolation, seed, fill_value, data_format, **kwargs)
        self.height_factor, self._rows = _zoom(self.where, "height_factor", height_factor)
        self.width_factor: float | list[float] | None = None
        self._columns = self._rows
        if width_factor is not None:
            self.width_factor, self._columns = _zoom(self.where, "width_factor", width_factor)

    def _ranges(self, height: int, width: int) -> Ranges:
        return Ranges(Augmentation.ZOOM, self._rows, self._columns, together=self.width_factor is None)

    def get_config(self) -> dict[str, Any]:
        factors = {"height_factor": self.height_factor, "width_factor": self.width_factor}
        return {**super().get_config(), **factors}


def _factor(where: str, name: str, value: Factor) -> tuple[float | list[float], tuple[float, float]]:
    """Return `value` as it is configured, and the (low, high) that it stands for; both from -1 to 1."""
    if isinstance(value, Sequence) and not isinstance(value, (str, bytes)):
        if len(value) != 2:
            raise ValueError(f"{where}: {name} must be one number or two; got {arguments.shown(value)}")
        low, high = sorted(arguments.real(where, name, bound, -1, 1) for bound in value)
        return [low, high], (low, high)
    number = arguments.real(where, name, value, -1, 1)
    return number, (-abs(number), abs(number))


def _zoom(where: str, name: str, value: Factor) -> tuple[float | list[float], tuple[float, float]]:
    """Return likewise what scales the distance from the middle; ValueError for -1, which would leave one pixel."""
    given, (low, high) = _factor(where, name, value)
    if -1 in (given if isinstance(given, list) else [given]):
        raise ValueError(f"{where}: {name} must be above -1, which zooms in without end; got {arguments.shown(value)}")
    return given, (1 + low, 1 + high)
