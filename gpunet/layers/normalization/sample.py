"""Normalization of each sample by itself: over some axes, over groups of channels, or by its length."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Unpack

from gpunet import arguments
from gpunet.backend.arrays import Array
from gpunet.initializers import InitializerLike
from gpunet.layers.base import Forward, LayerArguments
from gpunet.layers.normalization.base import NormalizationLayer, ScaledNormalization, axes_of, one_axis
from gpunet.layers.shapes import Dims
from gpunet.ops.normalization import Statistic
from gpunet.ops.normalization_groups import of_channels, over_axes
from gpunet.parameters import Parameter

_LEAST_NORM = 1e-12  # Keras's, of UnitNormalization


class LayerNormalization(ScaledNormalization):
    """y = (x - mean) / sqrt(variance + epsilon) gamma + beta, mean and variance over `axis`, one axis or several.

    x is (batch, ...); gamma and beta have the sizes of these axes, in the input's order. `rms_scaling` must be False:
    RMSNormalization does what it was meant for. ValueError if an axis is that of the batch, and for inputs with other
    sizes along `axis` than those the layer was built for. Ba et al. 2016, arXiv:1607.06450.

    >>> LayerNormalization(epsilon=0.0)([[1.0, 3.0], [10.0, 30.0]])
    array([[-1.,  1.],
           [-1.,  1.]], dtype=float32)
    """

    def __init__(
        self,
        axis: int | Sequence[int] = -1,
        epsilon: float = 1e-3,
        center: bool = True,
        scale: bool = True,
        beta_initializer: InitializerLike | None = "zeros",
        gamma_initializer: InitializerLike | None = "ones",
        beta_regularizer: Any = None,
        gamma_regularizer: Any = None,
        beta_constraint: Any = None,
        gamma_constraint: Any = None,
        *,
        rms_scaling: bool = False,
        **kwargs: Unpack[LayerArguments],
    ) -> None:
        super().__init__(
            epsilon=epsilon,
            center=center,
            scale=scale,
            beta_initializer=beta_initializer,
            gamma_initializer=gamma_initializer,
            beta_regularizer=beta_regularizer,
            gamma_regularizer=gamma_regularizer,
            beta_constraint=beta_constraint,
            gamma_constraint=gamma_constraint,
            **kwargs,
        )
        self.axis = axes_of(self.where, axis)
        if arguments.boolean(self.where, "rms_scaling", rms_scaling):
            raise ValueError(f"{self.where}: rms_scaling must be False; got True; use RMSNormalization")

    def build(self, input_shape: Dims) -> None:
        self.add_scale_and_center(self.remember_sizes(input_shape))

    def forward(self, x: Array, training: bool) -> Forward:
        grouping = over_axes(self.where, x.shape, self.axes_in(x.shape))
        return self.normalized(x, grouping, Statistic(self.epsilon), self.gamma, self.beta)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "rms_scaling": False}


class GroupNormalization(ScaledNormalization):
    """y = (x - mean) / sqrt(variance + epsilon) gamma + beta, mean and variance over a group of channels of a sample.

    The channels, along `axis`, form `groups` groups of neighbours, -1 is one for each channel; mean and variance are
    over all other axes too, but the batch's. gamma and beta are (channels,). ValueError if the groups do not divide the
    channels. Wu and He 2018, arXiv:1803.08494.

    >>> GroupNormalization(groups=2, epsilon=0.0)([[1.0, 3.0, 10.0, 30.0]])
    array([[-1.,  1., -1.,  1.]], dtype=float32)
    """

    axis: int

    def __init__(
        self,
        groups: int = 32,
        axis: int = -1,
        epsilon: float = 1e-3,
        center: bool = True,
        scale: bool = True,
        beta_initializer: InitializerLike | None = "zeros",
        gamma_initializer: InitializerLike | None = "ones",
        beta_regularizer: Any = None,
        gamma_regularizer: Any = None,
        beta_constraint: Any = None,
        gamma_constraint: Any = None,
        **kwargs: Unpack[LayerArguments],
    ) -> None:
        super().__init__(
            epsilon=epsilon,
            center=center,
            scale=scale,
            beta_initializer=beta_initializer,
            gamma_initializer=gamma_initializer,
            beta_regularizer=beta_regularizer,
            gamma_regularizer=gamma_regularizer,
            beta_constraint=beta_constraint,
            gamma_constraint=gamma_constraint,
            **kwargs,
        )
        self.groups = arguments.integer(self.where, "groups", groups, minimum=-1)
        if self.groups == 0:
            raise ValueError(f"{self.where}: groups must be at least 1, or -1 for one for each channel; got 0")
        self.axis = one_axis(self.where, axis)

    def check_input_shape(self, shape: Dims) -> None:
        super().check_input_shape(shape)
        channels = shape[self.axis]
        if channels is not None and channels % self._count(channels):
            raise ValueError(f"{self.where}: groups must divide the {channels} channels of {shape}; got {self.groups}")

    def _count(self, channels: int) -> int:
        return channels if self.groups == -1 else self.groups

    def build(self, input_shape: Dims) -> None:
        self.add_scale_and_center(self.remember_sizes(input_shape))

    def forward(self, x: Array, training: bool) -> Forward:
        (axis,) = self.axes_in(x.shape)
        grouping = of_channels(x.shape, axis, self._count(x.shape[axis]))
        return self.normalized(x, grouping, Statistic(self.epsilon), self.gamma, self.beta)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "groups": self.groups}


class RMSNormalization(NormalizationLayer):
    """y = x / sqrt(mean of x^2 + epsilon) scale, the mean over `axis`, one axis or several.

    x is (batch, ...); the weight `scale` has the sizes of these axes, in the input's order. The errors are those of
    LayerNormalization. Zhang and Sennrich 2019, arXiv:1910.07467.

    >>> RMSNormalization(epsilon=0.0)([[3.0, -3.0]])
    array([[ 1., -1.]], dtype=float32)
    """

    def __init__(self, axis: int | Sequence[int] = -1, epsilon: float = 1e-6, **kwargs: Unpack[LayerArguments]) -> None:
        super().__init__(**kwargs)
        self.axis = axes_of(self.where, axis)
        self.epsilon = arguments.real(self.where, "epsilon", epsilon, minimum=0)
        self.scale: Parameter | None = None

    def build(self, input_shape: Dims) -> None:
        self.scale = self.add_weight(self.remember_sizes(input_shape), "ones", name="scale")

    def forget_build(self) -> None:
        super().forget_build()
        self.scale = None

    def forward(self, x: Array, training: bool) -> Forward:
        grouping = over_axes(self.where, x.shape, self.axes_in(x.shape))
        return self.normalized(x, grouping, Statistic(self.epsilon, centered=False), self.scale, None)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "axis": self.axis_in_config, "epsilon": self.epsilon}


class UnitNormalization(NormalizationLayer):
    """y = x / max(sqrt(sum of x^2), 1e-12), the sum over `axis`, one axis or several.

    >>> UnitNormalization()([[3.0, 4.0]])
    array([[0.6, 0.8]], dtype=float32)
    """

    takes_batch_axis = True

    def __init__(self, axis: int | Sequence[int] = -1, **kwargs: Unpack[LayerArguments]) -> None:
        super().__init__(**kwargs)
        self.axis = axes_of(self.where, axis)

    def forward(self, x: Array, training: bool) -> Forward:
        grouping = over_axes(self.where, x.shape, self.axes_in(x.shape))
        statistic = Statistic(0.0, centered=False, is_sum=True, most=1 / _LEAST_NORM)
        return self.normalized(x, grouping, statistic, None, None)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "axis": self.axis_in_config}
