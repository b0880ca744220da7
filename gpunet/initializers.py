"""Initializers: what weights start from.

Random values are drawn on the host, in float64, from a stream of `backend/random.py`, and then rounded to the dtype
asked for. So one seed gives the same weights on each device, and float32 weights are the rounded float64 ones. (From
machine to machine, uniform values have the same bits; normal ones rest on the C library's logarithm in the tails, and
`Orthogonal` on LAPACK, so that their last bits may differ.)

An own initializer is a subclass of `Initializer`, or a function (shape, dtype) -> host array.

As in Keras, an initializer gives the same values at every call for one shape. One without a seed of its own takes, when
it is made, the next stream of the global seed (`gpunet.set_random_seed`).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from gpunet import arguments, identifiers
from gpunet.backend.arrays import HostArray, Shape
from gpunet.backend.random import Purpose, check_seed, generator, new_stream
from gpunet.default_dtype import floatx

# The standard deviation of a standard normal variable that is kept from -2 to 2.
TRUNCATED_STDDEV = 0.87962566103423978

_MOST_AXES = 64  # of a NumPy array
_MODES = ("fan_in", "fan_out", "fan_avg")
_DISTRIBUTIONS = ("truncated_normal", "untruncated_normal", "uniform")


class Initializer(ABC):
    """What a weight array starts from: a subclass defines `__call__(shape, dtype) -> host array`."""

    @abstractmethod
    def __call__(self, shape: Sequence[int], dtype: npt.DTypeLike | None = None) -> HostArray:
        """Return an array of `shape` on the host; `dtype` None is `floatx()`."""

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments, in JSON's types."""
        return {}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Initializer:
        """Return the initializer that `get_config` described."""
        return cls(**config)

    @property
    def _where(self) -> str:
        return type(self).__name__

    def _check(self, shape: Sequence[int], dtype: npt.DTypeLike | None) -> tuple[Shape, np.dtype[Any]]:
        dtype = floatx() if dtype is None else dtype
        return arguments.integers(self._where, "shape", shape), arguments.floating(self._where, dtype)


class Constant(Initializer):
    """w = value, everywhere."""

    def __init__(self, value: float = 0.0) -> None:
        self.value = arguments.real(self._where, "value", value)

    def __call__(self, shape: Sequence[int], dtype: npt.DTypeLike | None = None) -> HostArray:
        shape, dtype = self._check(shape, dtype)
        return np.full(shape, self.value, dtype)

    def get_config(self) -> dict[str, Any]:
        return {"value": self.value}


class Zeros(Initializer):
    """w = 0."""

    def __call__(self, shape: Sequence[int], dtype: npt.DTypeLike | None = None) -> HostArray:
        return np.zeros(*self._check(shape, dtype))


class Ones(Initializer):
    """w = 1."""

    def __call__(self, shape: Sequence[int], dtype: npt.DTypeLike | None = None) -> HostArray:
        return np.ones(*self._check(shape, dtype))


class Identity(Initializer):
    """w = gain where row and column have one number, else 0; for shapes of two axes."""

    def __init__(self, gain: float = 1.0) -> None:
        self.gain = arguments.real(self._where, "gain", gain)

    def __call__(self, shape: Sequence[int], dtype: npt.DTypeLike | None = None) -> HostArray:
        shape, dtype = self._check(shape, dtype)
        if len(shape) != 2:
            raise ValueError(f"{self._where}: shape must have 2 axes; got {shape}")
        w: HostArray = self.gain * np.eye(*shape)
        return w.astype(dtype, copy=False)

    def get_config(self) -> dict[str, Any]:
        return {"gain": self.gain}


class RandomInitializer(Initializer):
    """An initializer that draws: a subclass defines `_draw(shape, random) -> float64 array`."""

    def __init__(self, seed: int | None = None) -> None:
        self.seed = None if seed is None else check_seed(self._where, seed)
        self._stream = new_stream(Purpose.INITIALIZER, self.seed)

    def __call__(self, shape: Sequence[int], dtype: npt.DTypeLike | None = None) -> HostArray:
        shape, dtype = self._check(shape, dtype)
        random = generator(self._stream.seed, self._stream.purpose, step=0)
        return self._draw(shape, random).astype(dtype, copy=False)

    @abstractmethod
    def _draw(self, shape: Shape, random: np.random.Generator) -> HostArray: ...

    def get_config(self) -> dict[str, Any]:
        return {"seed": self.seed}


class RandomNormal(RandomInitializer):
    """w ~ N(mean, stddev^2)."""

    def __init__(self, mean: float = 0.0, stddev: float = 0.05, seed: int | None = None) -> None:
        self.mean = arguments.real(self._where, "mean", mean)
        self.stddev = arguments.real(self._where, "stddev", stddev, minimum=0)
        super().__init__(seed)

    def _draw(self, shape: Shape, random: np.random.Generator) -> HostArray:
        return self.mean + self.stddev * random.standard_normal(shape)

    def get_config(self) -> dict[str, Any]:
        return {"mean": self.mean, "stddev": self.stddev, "seed": self.seed}


class TruncatedNormal(RandomNormal):
    """w ~ N(mean, stddev^2), drawn anew where it is more than two stddev from the mean.

    So the values' own standard deviation is 0.8796 stddev.
    """

    def _draw(self, shape: Shape, random: np.random.Generator) -> HostArray:
        return self.mean + self.stddev * _truncated_normal(shape, random)


class RandomUniform(RandomInitializer):
    """w ~ U[minval, maxval)."""

    def __init__(self, minval: float = -0.05, maxval: float = 0.05, seed: int | None = None) -> None:
        self.minval = arguments.real(self._where, "minval", minval)
        self.maxval = arguments.real(self._where, "maxval", maxval)
        if self.maxval < self.minval:
            raise ValueError(f"{self._where}: maxval must be at least minval, {minval!r}; got {maxval!r}")
        super().__init__(seed)

    def _draw(self, shape: Shape, random: np.random.Generator) -> HostArray:
        return random.uniform(self.minval, self.maxval, shape)

    def get_config(self) -> dict[str, Any]:
        return {"minval": self.minval, "maxval": self.maxval, "seed": self.seed}


class VarianceScaling(RandomInitializer):
    """w of variance scale / n, where n is fan_in, fan_out or their mean, as `mode` says.

    `distribution` is 'truncated_normal' (also called 'normal'), 'untruncated_normal', or 'uniform', which is
    U(-limit, limit) with limit = sqrt(3 scale / n). The fans of a kernel (..., in, out) are `in` and `out` times the
    size of the leading axes; `input_axes` and `output_axes`, given together, name other axes for them.
    """

    def __init__(
        self,
        scale: float = 1.0,
        mode: str = "fan_in",
        distribution: str = "truncated_normal",
        seed: int | None = None,
        input_axes: Sequence[int] | None = None,
        output_axes: Sequence[int] | None = None,
    ) -> None:
        self.scale = arguments.real(self._where, "scale", scale)
        if self.scale <= 0:
            raise ValueError(f"{self._where}: scale must be above 0; got {scale}")
        self.mode = arguments.choice(self._where, "mode", mode, _MODES)
        given = distribution.lower() if isinstance(distribution, str) else distribution
        given = "truncated_normal" if isinstance(given, str) and given == "normal" else given
        self.distribution = arguments.choice(self._where, "distribution", given, _DISTRIBUTIONS)
        self.input_axes = None if input_axes is None else self._axes("input_axes", input_axes)
        self.output_axes = None if output_axes is None else self._axes("output_axes", output_axes)
        super().__init__(seed)

    def _axes(self, name: str, axes: Sequence[int]) -> list[int]:
        return list(arguments.integers(self._where, name, axes, minimum=-_MOST_AXES))

    def _draw(self, shape: Shape, random: np.random.Generator) -> HostArray:
        fan_in, fan_out = compute_fans(shape, self.input_axes, self.output_axes)
        n = {"fan_in": fan_in, "fan_out": fan_out, "fan_avg": (fan_in + fan_out) / 2}[self.mode]
        variance = self.scale / max(1.0, n)
        if self.distribution == "uniform":
            limit = math.sqrt(3 * variance)
            return random.uniform(-limit, limit, shape)
        if self.distribution == "untruncated_normal":
            return math.sqrt(variance) * random.standard_normal(shape)
        return math.sqrt(variance) / TRUNCATED_STDDEV * _truncated_normal(shape, random)

    def get_config(self) -> dict[str, Any]:
        return {
            "scale": self.scale,
            "mode": self.mode,
            "distribution": self.distribution,
            "seed": self.seed,
            "input_axes": self.input_axes,
            "output_axes": self.output_axes,
        }


class _NamedScaling(VarianceScaling):
    """A VarianceScaling whose scale, mode and distribution have a name."""

    _scale: float
    _mode: str
    _distribution: str

    def __init__(
        self,
        seed: int | None = None,
        input_axes: Sequence[int] | None = None,
        output_axes: Sequence[int] | None = None,
    ) -> None:
        super().__init__(self._scale, self._mode, self._distribution, seed, input_axes, output_axes)

    def get_config(self) -> dict[str, Any]:
        return {"seed": self.seed, "input_axes": self.input_axes, "output_axes": self.output_axes}


class GlorotUniform(_NamedScaling):
    """w ~ U(-limit, limit), limit = sqrt(6 / (fan_in + fan_out)). Glorot and Bengio 2010, equation 16."""

    _scale, _mode, _distribution = 1.0, "fan_avg", "uniform"


class GlorotNormal(_NamedScaling):
    """w ~ truncated normal of variance 2 / (fan_in + fan_out). Glorot and Bengio 2010, equation 12."""

    _scale, _mode, _distribution = 1.0, "fan_avg", "truncated_normal"


class HeUniform(_NamedScaling):
    """w ~ U(-limit, limit), limit = sqrt(6 / fan_in). He et al. 2015, arXiv:1502.01852, equation 10."""

    _scale, _mode, _distribution = 2.0, "fan_in", "uniform"


class HeNormal(_NamedScaling):
    """w ~ truncated normal of variance 2 / fan_in. He et al. 2015, arXiv:1502.01852, equation 10."""

    _scale, _mode, _distribution = 2.0, "fan_in", "truncated_normal"


class LecunUniform(_NamedScaling):
    """w ~ U(-limit, limit), limit = sqrt(3 / fan_in). LeCun et al. 1998, "Efficient BackProp", section 4.6."""

    _scale, _mode, _distribution = 1.0, "fan_in", "uniform"


class LecunNormal(_NamedScaling):
    """w ~ truncated normal of variance 1 / fan_in. LeCun et al. 1998, "Efficient BackProp", section 4.6."""

    _scale, _mode, _distribution = 1.0, "fan_in", "truncated_normal"


class Orthogonal(RandomInitializer):
    """w, seen as a matrix (everything, last axis), is gain times one of orthonormal columns (rows, if fewer).

    Saxe et al. 2014, arXiv:1312.6120: the Q of the QR decomposition of a matrix of normal numbers, the signs chosen so
    that R's diagonal is positive, which makes Q uniform among the orthogonal matrices.
    """

    def __init__(self, gain: float = 1.0, seed: int | None = None) -> None:
        self.gain = arguments.real(self._where, "gain", gain)
        super().__init__(seed)

    def _draw(self, shape: Shape, random: np.random.Generator) -> HostArray:
        if len(shape) < 2:
            raise ValueError(f"{self._where}: shape must have at least 2 axes; got {shape}")
        rows, columns = math.prod(shape[:-1]), shape[-1]
        q, r = np.linalg.qr(random.standard_normal((max(rows, columns), min(rows, columns))))
        q *= np.sign(np.diagonal(r))
        return self.gain * (q if rows >= columns else q.T).reshape(shape)

    def get_config(self) -> dict[str, Any]:
        return {"gain": self.gain, "seed": self.seed}


def compute_fans(
    shape: Sequence[int], input_axes: Sequence[int] | None = None, output_axes: Sequence[int] | None = None
) -> tuple[int, int]:
    """Return (fan_in, fan_out) of a weight array: how many inputs an output sums, how many outputs an input reaches.

    >>> compute_fans((3, 3, 16, 32))
    (144, 288)
    """
    if input_axes is not None and output_axes is not None:
        return math.prod(shape[axis] for axis in input_axes), math.prod(shape[axis] for axis in output_axes)
    if len(shape) < 2:
        return (shape[0], shape[0]) if shape else (1, 1)
    window = math.prod(shape[:-2])
    return window * shape[-2], window * shape[-1]


def _truncated_normal(shape: Shape, random: np.random.Generator) -> HostArray:
    """Return standard normal numbers from -2 to 2: those beyond are drawn anew, all at once, until none is left."""
    z = random.standard_normal(math.prod(shape))
    beyond = np.flatnonzero(np.abs(z) > 2)
    while beyond.size:
        z[beyond] = random.standard_normal(beyond.size)
        beyond = beyond[np.abs(z[beyond]) > 2]
    return z.reshape(shape)


# Keras's other names for them.
constant, zeros, ones, identity, orthogonal = Constant, Zeros, Ones, Identity, Orthogonal
random_normal, random_uniform, truncated_normal = RandomNormal, RandomUniform, TruncatedNormal
variance_scaling = VarianceScaling
glorot_normal, glorot_uniform, he_normal, he_uniform = GlorotNormal, GlorotUniform, HeNormal, HeUniform
lecun_normal, lecun_uniform = LecunNormal, LecunUniform
IdentityInitializer, OrthogonalInitializer = Identity, Orthogonal

_CLASSES: tuple[type[Initializer], ...] = (
    Constant,
    Zeros,
    Ones,
    RandomNormal,
    TruncatedNormal,
    RandomUniform,
    VarianceScaling,
    GlorotUniform,
    GlorotNormal,
    HeUniform,
    HeNormal,
    LecunUniform,
    LecunNormal,
    Orthogonal,
    Identity,
)
_ALIASES = {
    "zero": Zeros,
    "one": Ones,
    "normal": RandomNormal,
    "uniform": RandomUniform,
    "IdentityInitializer": Identity,
    "OrthogonalInitializer": Orthogonal,
}
_CHOICES: dict[str, type[Initializer]] = {identifiers.snake_case(cls.__name__): cls for cls in _CLASSES} | _ALIASES

InitializerFunction: TypeAlias = Callable[..., Any]
InitializerLike: TypeAlias = Initializer | InitializerFunction | str | dict[str, Any]


def get(identifier: InitializerLike | None, where: str = "initializers.get") -> Initializer | InitializerFunction:
    """Return the initializer called `identifier`: 'he_normal', 'HeNormal', HeNormal, HeNormal(seed=1), a configuration.

    None is Keras's default, 'glorot_uniform'; an own function is returned as it is. ValueError lists the valid names
    for an unknown one.
    """
    identifier = "glorot_uniform" if identifier is None else identifier
    if identifiers.is_function(identifier):
        return identifiers.deserialize_function(where, identifier)
    if callable(identifier) and not isinstance(identifier, (type, Initializer)):
        return identifier
    return identifiers.resolve(where, identifier, Initializer, _CHOICES)  # type: ignore[type-abstract]


def serialize(initializer: Initializer | InitializerFunction) -> dict[str, Any] | None:
    """Return the class name and configuration of `initializer`, or an own function's name; `get` reads it back."""
    return identifiers.serialize(initializer)


def deserialize(config: dict[str, Any]) -> Initializer | InitializerFunction:
    """Return the initializer that `serialize` described."""
    return get(config, "initializers.deserialize")
