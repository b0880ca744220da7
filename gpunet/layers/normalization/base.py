"""What normalization layers share: axes that are counted from either end, and gamma and beta with their arguments."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias, Unpack

from gpunet import arguments, constraints, identifiers, initializers, regularizers
from gpunet.backend.arrays import Array
from gpunet.initializers import InitializerLike
from gpunet.layers.base import Backward, Forward, Layer, LayerArguments
from gpunet.layers.shapes import Dims, dims
from gpunet.ops.normalization import Statistic, normalize, normalize_gradient, parameter_gradients
from gpunet.ops.normalization_groups import Grouping
from gpunet.parameters import Parameter

Axes: TypeAlias = int | tuple[int, ...]

_MOST_AXES = 64  # of a NumPy array


def one_axis(where: str, value: object) -> int:
    """Return `value`, the number of an axis, from the end if negative; TypeError or ValueError else."""
    return arguments.integer(where, "axis", value, minimum=-_MOST_AXES, maximum=_MOST_AXES - 1)


def axes_of(where: str, value: int | Sequence[int]) -> Axes:
    """Return `value`, an axis or several different ones, the latter as a tuple; TypeError or ValueError else."""
    if not isinstance(value, (list, tuple)):
        return one_axis(where, value)
    if not value:
        raise ValueError(f"{where}: axis must be an integer or some; got {arguments.shown(value)}")
    return tuple(one_axis(where, axis) for axis in value)


class NormalizationLayer(Layer):
    """A layer whose output has its input's shape, and whose `axis` must be there.

    `own_sizes` are those of axes that have weights: they may not change, nor may the number of axes.
    """

    axis: Axes
    takes_batch_axis = False

    def __init__(self, **kwargs: Unpack[LayerArguments]) -> None:
        super().__init__(**kwargs)
        self._built_for: tuple[int, tuple[tuple[int, int], ...]] | None = None  # axes of the input, (axis, size)

    def axes_in(self, shape: Dims) -> tuple[int, ...]:
        """Return the numbers of `axis` in inputs of `shape`, counted from 0, in order; ValueError if one is missing."""
        given = self.axis if isinstance(self.axis, tuple) else (self.axis,)
        rank = len(shape)
        if not all(-rank <= axis < rank for axis in given):
            raise ValueError(f"{self.where}: axis must be among the input's {rank} axes; got {self.axis}")
        found = sorted({axis % rank for axis in given})
        if len(found) < len(given):
            raise ValueError(f"{self.where}: axis must not name an axis of {shape} twice; got {self.axis}")
        if found and found[0] == 0 and not self.takes_batch_axis:
            raise ValueError(f"{self.where}: axis must not be that of the batch, 0; got {self.axis} of {rank} axes")
        return tuple(found)

    def check_input_shape(self, shape: Dims) -> None:
        super().check_input_shape(shape)
        self.axes_in(shape)
        if self._built_for is None:
            return
        rank, sizes = self._built_for
        if len(shape) != rank or any(shape[axis] not in (size, None) for axis, size in sizes):
            wanted = ", ".join(f"{size} along axis {axis}" for axis, size in sizes)
            raise ValueError(f"{self.where}: input must have {rank} axes, and {wanted}; got shape {shape}")

    def remember_sizes(self, input_shape: Dims) -> tuple[int, ...]:
        """Return the sizes of the axes in `axis`, which are those of all inputs from now on."""
        axes = self.axes_in(input_shape)
        sizes = [input_shape[axis] for axis in axes]
        known = tuple(size for size in sizes if size is not None)
        if len(known) < len(sizes):
            raise ValueError(f"{self.where}: input must have known sizes along axis {self.axis}; got {input_shape}")
        self._built_for = len(input_shape), tuple(zip(axes, known, strict=True))
        return known

    def forget_build(self) -> None:
        super().forget_build()
        self._built_for = None

    def compute_output_shape(self, input_shape: Any) -> Dims:
        shape = dims(self.where, "input_shape", input_shape)
        self.check_input_shape(shape)
        return shape

    @property
    def axis_in_config(self) -> int | list[int]:
        """`axis`, in JSON's types."""
        return list(self.axis) if isinstance(self.axis, tuple) else self.axis

    def normalized(
        self, x: Array, grouping: Grouping, statistic: Statistic, gamma: Parameter | None, beta: Parameter | None
    ) -> Forward:
        """Return y by the statistics of x, and the way back."""
        y, mean, scale = normalize(x, grouping, statistic, _value(gamma), _value(beta))
        return y, self.way_back(x, mean, scale, grouping, statistic, gamma, beta)

    def way_back(
        self,
        x: Array,
        mean: Array,
        scale: Array,
        grouping: Grouping,
        statistic: Statistic,
        gamma: Parameter | None,
        beta: Parameter | None,
    ) -> Backward:
        """Return backward(dy) for what `normalize` made of x."""

        def backward(dy: Array) -> Array | None:
            targets = [None if one is None or not one.trainable else one.gradient_target() for one in (gamma, beta)]
            dx: Array | None = None
            if self.needs_input_gradient:
                dx = normalize_gradient(dy, x, mean, scale, grouping, statistic, _value(gamma), *targets)
            elif any(target is not None for target in targets):
                parameter_gradients(dy, x, mean, scale, grouping, *targets)
            add_gradients((gamma, beta), targets)
            return dx

        return backward


def _value(parameter: Parameter | None) -> Array | None:
    return None if parameter is None else parameter.value


def add_gradients(parameters: Sequence[Parameter | None], gradients: Sequence[Array | None]) -> None:
    """Give the parameters the gradients that there are."""
    for parameter, gradient in zip(parameters, gradients, strict=True):
        if parameter is not None and gradient is not None:
            parameter.add_gradient(gradient)


class ScaledNormalization(NormalizationLayer):
    """y = xhat gamma + beta, with `scale` and `center`; a subclass says what xhat is."""

    def __init__(
        self,
        *,
        epsilon: float,
        center: bool,
        scale: bool,
        beta_initializer: InitializerLike | None,
        gamma_initializer: InitializerLike | None,
        beta_regularizer: Any,
        gamma_regularizer: Any,
        beta_constraint: Any,
        gamma_constraint: Any,
        **kwargs: Unpack[LayerArguments],
    ) -> None:
        super().__init__(**kwargs)
        where = self.where
        self.epsilon = arguments.real(where, "epsilon", epsilon, minimum=0)
        self.center = arguments.boolean(where, "center", center)
        self.scale = arguments.boolean(where, "scale", scale)
        self.beta_initializer = initializers.get(beta_initializer, f"{where}: beta_initializer")
        self.gamma_initializer = initializers.get(gamma_initializer, f"{where}: gamma_initializer")
        self.beta_regularizer = regularizers.get(beta_regularizer, f"{where}: beta_regularizer")
        self.gamma_regularizer = regularizers.get(gamma_regularizer, f"{where}: gamma_regularizer")
        self.beta_constraint = constraints.get(beta_constraint, f"{where}: beta_constraint")
        self.gamma_constraint = constraints.get(gamma_constraint, f"{where}: gamma_constraint")
        self.gamma: Parameter | None = None
        self.beta: Parameter | None = None

    def add_scale_and_center(self, shape: tuple[int, ...]) -> None:
        """Make gamma and beta of `shape`, those that are wanted."""
        if self.scale:
            self.gamma = self.add_weight(
                shape,
                self.gamma_initializer,
                name="gamma",
                regularizer=self.gamma_regularizer,
                constraint=self.gamma_constraint,
            )
        if self.center:
            self.beta = self.add_weight(
                shape,
                self.beta_initializer,
                name="beta",
                regularizer=self.beta_regularizer,
                constraint=self.beta_constraint,
            )

    def forget_build(self) -> None:
        super().forget_build()
        self.gamma = self.beta = None

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "axis": self.axis_in_config,
            "epsilon": self.epsilon,
            "center": self.center,
            "scale": self.scale,
            "beta_initializer": identifiers.serialize(self.beta_initializer),
            "gamma_initializer": identifiers.serialize(self.gamma_initializer),
            "beta_regularizer": identifiers.serialize(self.beta_regularizer),
            "gamma_regularizer": identifiers.serialize(self.gamma_regularizer),
            "beta_constraint": identifiers.serialize(self.beta_constraint),
            "gamma_constraint": identifiers.serialize(self.gamma_constraint),
        }
