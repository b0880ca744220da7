"""Layers that bring data into a range, by numbers that training leaves alone: Normalization and Rescaling."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Unpack

import numpy as np

from gpunet import arguments
from gpunet.backend.arrays import Array, Device, HostArray, device_of, is_array, to_device, to_host
from gpunet.layers.base import Forward, LayerArguments
from gpunet.layers.normalization.base import Axes, NormalizationLayer, axes_of
from gpunet.layers.shapes import Dims
from gpunet.ops.normalization import standardize
from gpunet.ops.normalization_groups import by_axes
from gpunet.ops.running_moments import RunningMoments
from gpunet.parameters import Parameter

_LEAST_DEVIATION = 1e-7  # Keras's backend.epsilon()
_ROWS = 1024  # of data that are read at a time


def _numbers(where: str, name: str, value: object, minimum: float = -np.inf) -> HostArray:
    """Return `value`, a finite number or an array of some, as float64; TypeError or ValueError else."""
    try:
        array: HostArray = to_host(value) if is_array(value) else np.asarray(value)  # type: ignore[arg-type]
    except Exception:  # whatever NumPy makes of a strange object
        array = np.asarray(None)
    if array.dtype.kind not in "iuf":
        raise TypeError(f"{where}: {name} must be a number or an array of numbers; got {arguments.shown(value)}")
    array = array.astype(np.float64)
    if array.size == 0 or not (np.isfinite(array).all() and (array >= minimum).all()):
        least = "" if minimum == -np.inf else f" of at least {minimum:g}"
        raise ValueError(f"{where}: {name} must have finite numbers{least}; got {arguments.shown(value)}")
    return array


class _Constants:
    """Arrays of the host, and their copies on each device that has asked for them."""

    def __init__(self, *arrays: HostArray) -> None:
        self._arrays = arrays
        self._copies: dict[Device, tuple[Array, ...]] = {}

    def on(self, device: Device) -> tuple[Array, ...]:
        if device not in self._copies:
            self._copies[device] = tuple(to_device(array, device) for array in self._arrays)
        return self._copies[device]


class Normalization(NormalizationLayer):
    """y = (x - mean) / max(sqrt(variance), 1e-7), or with `invert` y = x max(sqrt(variance), 1e-7) + mean.

    There is a mean and a variance for each index of `axis`, one axis, several, or None for one of all elements. They
    are given, both, as numbers or arrays that broadcast to the sizes of these axes; or they are weights that `adapt`
    learns from data, 0 and 1 until then, and that are saved with the model. ValueError if an axis is that of the batch.

    >>> layer = Normalization()
    >>> layer.adapt(np.array([[0.0, 7.0], [2.0, 9.0]]))
    >>> layer([[0.0, 9.0]])
    array([[-1.,  1.]], dtype=float32)
    """

    def __init__(
        self,
        axis: int | Sequence[int] | None = -1,
        mean: Any = None,
        variance: Any = None,
        invert: bool = False,
        **kwargs: Unpack[LayerArguments],
    ) -> None:
        super().__init__(**kwargs)
        where = self.where
        self.axis: Axes = () if axis is None or (isinstance(axis, (list, tuple)) and not axis) else axes_of(where, axis)
        if (mean is None) != (variance is None):
            raise ValueError(
                f"{where}: mean and variance must be given both or not at all; got mean {arguments.shown(mean)} and "
                f"variance {arguments.shown(variance)}"
            )
        self.input_mean = None if mean is None else _numbers(where, "mean", mean)
        self.input_variance = None if variance is None else _numbers(where, "variance", variance, minimum=0)
        self.invert = arguments.boolean(where, "invert", invert)
        self._adapted: tuple[Parameter, Parameter] | None = None
        self._given: _Constants | None = None

    def build(self, input_shape: Dims) -> None:
        shape = self.remember_sizes(input_shape)
        if self.input_mean is None or self.input_variance is None:
            mean = self.add_weight(shape, "zeros", name="mean", trainable=False)
            self._adapted = mean, self.add_weight(shape, "ones", name="variance", trainable=False)
            return
        arrays = []
        for name, given in (("mean", self.input_mean), ("variance", self.input_variance)):
            try:
                whole = np.broadcast_to(given, shape)
            except ValueError:
                raise ValueError(
                    f"{self.where}: {name} must broadcast to {shape}, the sizes of axis {self.axis}; got shape "
                    f"{given.shape}"
                ) from None
            arrays.append(whole.astype(self.dtype).reshape(-1))
        self._given = _Constants(*arrays)

    def forget_build(self) -> None:
        super().forget_build()
        self._adapted = self._given = None

    @property
    def mean(self) -> Array:
        """The mean, in a shape that broadcasts to data, on the layer's device; AttributeError before it is built."""
        return self._shown(0)

    @property
    def variance(self) -> Array:
        """The variance, likewise."""
        return self._shown(1)

    def _shown(self, number: int) -> Array:
        if self._built_for is None:
            raise AttributeError(f"{self.where}: mean and variance must be known first; call adapt, or build")
        rank, kept = self._built_for
        sizes = dict(kept)
        return self._statistics(self.device)[number].reshape([sizes.get(axis, 1) for axis in range(rank)])

    def _statistics(self, device: Device) -> tuple[Array, Array]:
        if self._adapted is not None:
            return self._adapted[0].value.reshape(-1), self._adapted[1].value.reshape(-1)
        assert self._given is not None, "a layer runs once it is built"
        mean, variance = self._given.on(device)
        return mean, variance

    def forward(self, x: Array, training: bool) -> Forward:
        grouping = by_axes(self.where, x.shape, self.axes_in(x.shape))
        mean, variance = self._statistics(device_of(x))
        how: Any = {"variance": variance, "least": _LEAST_DEVIATION, "inverse": self.invert}
        y = standardize(x, grouping, beta=mean, **how) if self.invert else standardize(x, grouping, mean, **how)
        return y, lambda dy: standardize(dy, grouping, **how)

    def adapt(self, data: Any) -> None:
        """Set mean and variance to those of `data`, and build the layer if need be; what it knew before is forgotten.

        `data` is an array (NumPy's, CuPy's, a data set of HDF5, read by slices), or makes batches: an object whose item
        i is batch i (Keras's PyDataset), or any iterable; of a batch that is a tuple the first member counts. They are
        computed on the host in float64. ValueError if there are no data, if their sizes along `axis` are others, or if
        mean and variance were given; TypeError for what is neither.
        """
        where = f"{self.where}: adapt"
        if self.input_mean is not None:
            raise ValueError(f"{where}: must not be called where mean and variance are given; leave these out")
        moments = RunningMoments()
        for batch in _batches(where, data):
            self.check_input(batch)
            self.build_for(batch.shape[1:])
            moments.add(batch, by_axes(self.where, batch.shape, self.axes_in(batch.shape)))
        if moments.count == 0:
            raise ValueError(f"{where}: data must have at least one batch; got none")
        assert self._adapted is not None, "without a given mean the layer was built with weights"
        mean, variance = self._adapted
        mean.assign(moments.mean.reshape(mean.shape))
        variance.assign(moments.variance.reshape(variance.shape))

    def get_config(self) -> dict[str, Any]:
        given = self.input_mean, self.input_variance
        mean, variance = (None if array is None else array.tolist() for array in given)
        axis = None if self.axis == () else self.axis_in_config
        return {**super().get_config(), "axis": axis, "mean": mean, "variance": variance, "invert": self.invert}


def _batches(where: str, data: Any) -> Iterator[HostArray]:
    """Yield the batches of `data`, on the host."""
    batches: Iterable[Any]
    if is_array(data) or (hasattr(data, "shape") and hasattr(data, "dtype")):
        if len(data.shape) == 0:
            raise ValueError(f"{where}: data must have at least one axis, the samples; got shape ()")
        batches = (data[start : start + _ROWS] for start in range(0, data.shape[0], _ROWS))
    elif hasattr(data, "__getitem__") and hasattr(data, "__len__") and not isinstance(data, (list, tuple, str, dict)):
        batches = (data[number] for number in range(len(data)))
    elif isinstance(data, Iterable) and not isinstance(data, (str, bytes, dict)):
        batches = data
    else:
        raise TypeError(f"{where}: data must be an array, or make batches; got {arguments.shown(data)}")
    for given in batches:
        batch = given[0] if isinstance(given, tuple) and given else given
        if not (is_array(batch) or hasattr(batch, "shape")):
            raise TypeError(f"{where}: data must be an array, or batches that are; got {arguments.shown(batch)}")
        array: HostArray = np.asarray(to_host(batch) if is_array(batch) else batch)
        if array.dtype.kind not in "biuf":
            raise TypeError(f"{where}: data must hold real numbers; got dtype {array.dtype}")
        yield array


class Rescaling(NormalizationLayer):
    """y = scale x + offset, each a number or an array that broadcasts to a sample.

    >>> Rescaling(1 / 127.5, offset=-1)([[0.0, 255.0]])
    array([[-1.,  1.]], dtype=float32)
    """

    axis = ()

    def __init__(self, scale: Any, offset: Any = 0.0, **kwargs: Unpack[LayerArguments]) -> None:
        super().__init__(**kwargs)
        self.scale = _numbers(self.where, "scale", scale)
        self.offset = _numbers(self.where, "offset", offset)
        try:
            shape = np.broadcast_shapes(self.scale.shape, self.offset.shape)
        except ValueError:
            raise ValueError(
                f"{self.where}: scale and offset must have shapes that broadcast; got {self.scale.shape} and "
                f"{self.offset.shape}"
            ) from None
        self._shape = shape[next((axis for axis, size in enumerate(shape) if size > 1), len(shape)) :]
        self._placed: dict[tuple[int, ...], _Constants] = {}  # by the sizes of the axes that they are for

    def check_input_shape(self, shape: Dims) -> None:
        super().check_input_shape(shape)
        last = shape[len(shape) - len(self._shape) :]
        if len(self._shape) >= len(shape) or any(
            own not in (1, size) for own, size in zip(self._shape, last, strict=True) if size is not None
        ):
            raise ValueError(f"{self.where}: scale and offset must broadcast to a sample of {shape}; got {self._shape}")

    def forward(self, x: Array, training: bool) -> Forward:
        kept = tuple(range(x.ndim - len(self._shape), x.ndim))
        grouping = by_axes(self.where, x.shape, kept)
        sizes = x.shape[x.ndim - len(self._shape) :]
        if sizes not in self._placed:
            self._placed[sizes] = _Constants(*(self._spread(array, sizes) for array in (self.scale, self.offset)))
        scale, offset = self._placed[sizes].on(device_of(x))
        y = standardize(x, grouping, gamma=scale, beta=offset)
        return y, lambda dy: standardize(dy, grouping, gamma=scale)

    def _spread(self, array: HostArray, sizes: tuple[int, ...]) -> HostArray:
        """Return a number for each element of `sizes`; axes of 1 before them are left out."""
        shape = array.shape[max(array.ndim - len(sizes), 0) :]
        return np.broadcast_to(array.reshape(shape), sizes).astype(self.dtype).reshape(-1)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "scale": self.scale.tolist(), "offset": self.offset.tolist()}
