"""Constraints: what weights are made to fulfil after every step of the optimizer. Keras's names and arguments.

    Dense(10, kernel_constraint="non_neg")
    Conv2D(16, 3, kernel_constraint=constraints.MaxNorm(2, axis=[0, 1, 2]))

An own constraint is a subclass of `Constraint` with `apply` and, if it has arguments, `get_config`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np

from gpunet import arguments, identifiers
from gpunet.backend.arrays import Array, Shape, assign, empty_like, is_array
from gpunet.default_dtype import floatx
from gpunet.ops import constraint
from gpunet.ops.constraint import NormLimit


class Constraint(ABC):
    """A projection of weights."""

    @abstractmethod
    def apply(self, w: Array) -> None:
        """Change `w`, an array of any device, so that it fulfils the constraint."""

    def __call__(self, w: Any) -> Array:
        """Return a copy of `w`, an array of any device or a list, that fulfils the constraint.

        >>> NonNeg()([-1.0, 2.0])
        array([0., 2.], dtype=float32)
        """
        array: Array = w if is_array(w) else np.asarray(w, floatx())
        copy = empty_like(array)
        assign(copy, array)
        self.apply(copy)
        return copy

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments, in JSON's types."""
        return {}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Constraint:
        """Return the constraint that `get_config` described."""
        return cls(**config)


class NonNeg(Constraint):
    """w = max(w, 0)."""

    def apply(self, w: Array) -> None:
        constraint.non_negative(w)


class NormConstraint(Constraint):
    """w *= d / (1e-7 + n), n = sqrt(sum of w^2 over `axis`), d = rate clip(n, minimum, maximum) + (1 - rate) n.

    `axis` is an axis or several: 0 for a Dense kernel (in, out), [0, 1, 2] for convolution filters (R, S, C, F), so
    that each output has weights with a norm of their own.
    """

    def __init__(self, axis: int | Sequence[int], minimum: float, maximum: float, rate: float = 1.0) -> None:
        where = type(self).__name__
        several = isinstance(axis, Sequence) and not isinstance(axis, (str, bytes))
        self._axes = arguments.integers(where, "axis", axis if several else (axis,), minimum=-(2**31))
        self.axis = list(self._axes) if several else self._axes[0]
        self._limits = (minimum, maximum, rate)

    def apply(self, w: Array) -> None:
        """Rescale `w` in place; ValueError if it has no such axis."""
        limit = self.limit(w.shape)
        constraint.limit_norm(w, *limit[1:])

    def limit(self, shape: Shape) -> NormLimit:
        """Return what is done to weights of `shape`; ValueError if they have no such axis."""
        for axis in self._axes:
            if not -len(shape) <= axis < len(shape):
                raise ValueError(
                    f"{type(self).__name__}: axis must be from {-len(shape)} to {len(shape) - 1} for weights of shape "
                    f"{shape}; got {self.axis}"
                )
        axes = tuple(sorted({axis % len(shape) for axis in self._axes}))
        return NormLimit(shape, axes, *self._limits)


class MaxNorm(NormConstraint):
    """w *= min(n, max_value) / (1e-7 + n), n = sqrt(sum of w^2 over `axis`): norms of at most `max_value`."""

    def __init__(self, max_value: float = 2, axis: int | Sequence[int] = 0) -> None:
        self.max_value = arguments.real(type(self).__name__, "max_value", max_value, minimum=0)
        super().__init__(axis, 0.0, self.max_value)

    def get_config(self) -> dict[str, Any]:
        return {"max_value": self.max_value, "axis": self.axis}


class UnitNorm(NormConstraint):
    """w /= 1e-7 + n, n = sqrt(sum of w^2 over `axis`): norms of 1."""

    def __init__(self, axis: int | Sequence[int] = 0) -> None:
        super().__init__(axis, 1.0, 1.0)

    def get_config(self) -> dict[str, Any]:
        return {"axis": self.axis}


class MinMaxNorm(NormConstraint):
    """w *= (rate clip(n, min_value, max_value) + (1 - rate) n) / (1e-7 + n), n = sqrt(sum of w^2 over `axis`).

    With rate 1 norms lie from `min_value` to `max_value` after every step, with less they approach these bounds.
    """

    def __init__(
        self, min_value: float = 0.0, max_value: float = 1.0, rate: float = 1.0, axis: int | Sequence[int] = 0
    ) -> None:
        self.min_value = arguments.real("MinMaxNorm", "min_value", min_value, minimum=0)
        self.max_value = arguments.real("MinMaxNorm", "max_value", max_value, minimum=0)
        if self.max_value < self.min_value:
            raise ValueError(f"MinMaxNorm: max_value must be at least min_value, {min_value!r}; got {max_value!r}")
        self.rate = arguments.real("MinMaxNorm", "rate", rate, minimum=0, maximum=1)
        super().__init__(axis, self.min_value, self.max_value, self.rate)

    def get_config(self) -> dict[str, Any]:
        return {"min_value": self.min_value, "max_value": self.max_value, "rate": self.rate, "axis": self.axis}


max_norm, non_neg, unit_norm, min_max_norm = MaxNorm, NonNeg, UnitNorm, MinMaxNorm

_CHOICES: dict[str, type[Constraint]] = {
    "max_norm": MaxNorm,
    "non_neg": NonNeg,
    "unit_norm": UnitNorm,
    "min_max_norm": MinMaxNorm,
}


def get(identifier: Any, where: str = "constraint") -> Constraint | None:
    """Return the constraint called `identifier`: 'max_norm', 'non_neg', a class, a configuration; None for None."""
    if identifier is None:
        return None
    return identifiers.resolve(where, identifier, Constraint, _CHOICES)  # type: ignore[type-abstract]


def serialize(constraint: Constraint | None) -> dict[str, Any] | None:
    """Return the class name and configuration of `constraint`; None for None."""
    return identifiers.serialize(constraint)


def deserialize(config: Any) -> Constraint | None:
    """Return what `serialize` was given."""
    return get(config)
