"""Regularizers: penalties on the size of weights or activations, which join the loss. Keras's names and arguments.

    Dense(10, kernel_regularizer="l2")
    Dense(10, kernel_regularizer=regularizers.L1L2(l1=1e-5, l2=1e-4))

An own regularizer is a subclass of `Regularizer` with `value`, `add_gradient` and `get_config`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np

from gpunet import arguments, identifiers
from gpunet.backend.arrays import Array, is_array, to_host
from gpunet.default_dtype import floatx
from gpunet.ops import arithmetic, orthogonality, regularization


class Regularizer(ABC):
    """A penalty r(w) and its gradient."""

    @abstractmethod
    def value(self, w: Array) -> Array:
        """Return r(w), shape (1,), in w's dtype and on its device."""

    @abstractmethod
    def add_gradient(self, w: Array, dw: Array) -> None:
        """dw += dr / dw, in place."""

    @property
    def factors(self) -> tuple[float, float] | None:
        """(l1, l2) of a penalty l1 sum |w| + l2 sum w^2, that one kernel adds for all weights; None of any other."""
        return None

    def __call__(self, x: Any) -> float:
        """Return r(x) as a number, `x` an array of any device or a list.

        >>> L2(0.5)([[1.0, 2.0]])
        2.5
        """
        array: Array = x if is_array(x) else np.asarray(x, floatx())
        return float(to_host(self.value(array))[0])

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments, in JSON's types."""
        raise NotImplementedError(f"{type(self).__name__}: get_config must be defined")

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Regularizer:
        """Return the regularizer that `get_config` described."""
        return cls(**config)


class L1L2(Regularizer):
    """r(w) = l1 sum |w| + l2 sum w^2; its gradient is l1 sign(w) + 2 l2 w, with sign(0) = 0.

    ValueError unless l1 and l2 are finite and at least 0.
    """

    def __init__(self, l1: float = 0.0, l2: float = 0.0) -> None:
        self.l1 = arguments.real(type(self).__name__, "l1", 0.0 if l1 is None else l1, minimum=0)
        self.l2 = arguments.real(type(self).__name__, "l2", 0.0 if l2 is None else l2, minimum=0)

    @property
    def factors(self) -> tuple[float, float] | None:
        cls = type(self)
        is_plain = cls.value is L1L2.value and cls.add_gradient is L1L2.add_gradient
        return (self.l1, self.l2) if is_plain else None  # a subclass with a penalty of its own

    def value(self, w: Array) -> Array:
        return regularization.penalty(w, self.l1, self.l2)

    def add_gradient(self, w: Array, dw: Array) -> None:
        regularization.add_penalty_gradient(w, dw, self.l1, self.l2)

    def get_config(self) -> dict[str, Any]:
        return {"l1": self.l1, "l2": self.l2}


class L1(L1L2):
    """r(w) = l1 sum |w|; ValueError unless l1 is finite and at least 0."""

    def __init__(self, l1: float = 0.01) -> None:
        super().__init__(l1=0.01 if l1 is None else l1)

    def get_config(self) -> dict[str, Any]:
        return {"l1": self.l1}


class L2(L1L2):
    """r(w) = l2 sum w^2; ValueError unless l2 is finite and at least 0."""

    def __init__(self, l2: float = 0.01) -> None:
        super().__init__(l2=0.01 if l2 is None else l2)

    def get_config(self) -> dict[str, Any]:
        return {"l2": self.l2}


class OrthogonalRegularizer(Regularizer):
    """r(w) = factor times the mean of |cosine| over all pairs of rows of the matrix w, or of columns, as `mode` says.

    `mode` is 'rows' or 'columns'; ValueError for another one, or unless factor is finite and at least 0.

    >>> OrthogonalRegularizer(2.0)([[3.0, 0.0], [0.0, 1.0]])
    0.0
    """

    def __init__(self, factor: float = 0.01, mode: str = "rows") -> None:
        self.factor = arguments.real("OrthogonalRegularizer", "factor", factor, minimum=0)
        self.mode = arguments.choice("OrthogonalRegularizer", "mode", mode, ("rows", "columns"))

    def value(self, w: Array) -> Array:
        return arithmetic.scale(orthogonality.orthogonality(w, self.mode == "columns"), self.factor)

    def add_gradient(self, w: Array, dw: Array) -> None:
        orthogonality.add_orthogonality_gradient(w, dw, self.factor, self.mode == "columns")

    def get_config(self) -> dict[str, Any]:
        return {"factor": self.factor, "mode": self.mode}


l1, l2, l1_l2, orthogonal_regularizer = L1, L2, L1L2, OrthogonalRegularizer

_CHOICES: dict[str, type[Regularizer]] = {
    "l1": L1,
    "l2": L2,
    "l1_l2": L1L2,
    "l1l2": L1L2,
    "orthogonal_regularizer": OrthogonalRegularizer,
}


def get(identifier: Any, where: str = "regularizer") -> Regularizer | None:
    """Return the regularizer called `identifier`: 'l1', 'l2', 'l1_l2', a class, a configuration; None for None.

    The string 'l1_l2' is L1L2(0.01, 0.01), as Keras documents it; the class L1L2 itself has defaults of 0.
    """
    if identifier is None:
        return None
    if isinstance(identifier, str) and identifier == "l1_l2":
        return L1L2(l1=0.01, l2=0.01)
    return identifiers.resolve(where, identifier, Regularizer, _CHOICES)  # type: ignore[type-abstract]


def serialize(regularizer: Regularizer | None) -> dict[str, Any] | None:
    """Return the class name and configuration of `regularizer`; None for None."""
    return identifiers.serialize(regularizer)


def deserialize(config: Any) -> Regularizer | None:
    """Return what `serialize` was given."""
    return get(config)
