"""BatchNormalization: each channel gets the mean 0 and the variance 1 of its batch, or of those seen in training."""

from __future__ import annotations

from typing import Any, Unpack

from gpunet import arguments, identifiers, initializers
from gpunet.backend.arrays import Array, device_of, empty, fill
from gpunet.initializers import InitializerLike
from gpunet.layers.base import Forward, LayerArguments
from gpunet.layers.normalization.base import ScaledNormalization, add_gradients, one_axis
from gpunet.layers.shapes import Dims
from gpunet.ops.normalization import Moving, Statistic, normalize, parameter_gradients, standardize
from gpunet.ops.normalization_groups import Grouping, by_axes
from gpunet.parameters import Parameter

_NO_RENORM = 0.99  # Keras's default of renorm_momentum, which is of use to renorm alone


class BatchNormalization(ScaledNormalization):
    """y = (x - mean) / sqrt(variance + epsilon) gamma + beta, with numbers for each index of `axis`, the channels.

    In training mean and variance are those of the batch, over all other axes, and
    moving = momentum moving + (1 - momentum) (the batch's), with the variance a mean over all elements, as in Keras.
    Else they are the moving ones. x is (batch, ...); gamma, beta, moving_mean and moving_variance (channels,).

    With `trainable` False nothing changes, statistics neither, and the moving ones are used in training too. Under
    `compile(batch_parts=...)` each part is normalized by statistics of its own, and moves the moving ones: it is a
    batch to this layer. A step of training that ends in a MemoryError may have moved them. `renorm` and `synchronized`
    must be False. ValueError for inputs with another number of channels than the layer was built for. Ioffe and Szegedy
    2015, arXiv:1502.03167.

    >>> BatchNormalization(epsilon=0.0)([[1.0], [3.0]], training=True)
    array([[-1.],
           [ 1.]], dtype=float32)
    """

    axis: int

    def __init__(
        self,
        axis: int = -1,
        momentum: float = 0.99,
        epsilon: float = 1e-3,
        center: bool = True,
        scale: bool = True,
        beta_initializer: InitializerLike | None = "zeros",
        gamma_initializer: InitializerLike | None = "ones",
        moving_mean_initializer: InitializerLike | None = "zeros",
        moving_variance_initializer: InitializerLike | None = "ones",
        beta_regularizer: Any = None,
        gamma_regularizer: Any = None,
        beta_constraint: Any = None,
        gamma_constraint: Any = None,
        renorm: bool = False,
        renorm_clipping: None = None,
        renorm_momentum: float = _NO_RENORM,
        synchronized: bool = False,
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
        where = self.where
        self.axis = one_axis(where, axis)
        self.momentum = arguments.real(where, "momentum", momentum, minimum=0, maximum=1)
        self.moving_mean_initializer = initializers.get(moving_mean_initializer, f"{where}: moving_mean_initializer")
        self.moving_variance_initializer = initializers.get(
            moving_variance_initializer, f"{where}: moving_variance_initializer"
        )
        for name, value in (("renorm", renorm), ("synchronized", synchronized)):
            if arguments.boolean(where, name, value):
                raise ValueError(f"{where}: {name} must be False; got True; statistics are those of one batch")
        if renorm_clipping is not None:
            given = arguments.shown(renorm_clipping)
            raise ValueError(f"{where}: renorm_clipping must be None, as there is no renorm; got {given}")
        self.renorm_momentum = arguments.real(where, "renorm_momentum", renorm_momentum)
        self._moving: tuple[Parameter, Parameter] | None = None

    @property
    def moving_mean(self) -> Parameter:
        """The moving mean, (channels,); ValueError before the layer is built."""
        return self._statistics[0]

    @property
    def moving_variance(self) -> Parameter:
        """The moving variance, (channels,); ValueError before the layer is built."""
        return self._statistics[1]

    @property
    def _statistics(self) -> tuple[Parameter, Parameter]:
        if self._moving is None:
            raise ValueError(f"{self.where}: must be built before its statistics are used; call build(input_shape)")
        return self._moving

    def build(self, input_shape: Dims) -> None:
        shape = self.remember_sizes(input_shape)
        self.add_scale_and_center(shape)
        mean = self.add_weight(shape, self.moving_mean_initializer, name="moving_mean", trainable=False)
        variance = self.add_weight(shape, self.moving_variance_initializer, name="moving_variance", trainable=False)
        self._moving = mean, variance

    def forget_build(self) -> None:
        super().forget_build()
        self._moving = None

    def forward(self, x: Array, training: bool) -> Forward:
        grouping = by_axes(self.where, x.shape, self.axes_in(x.shape))
        if not (training and self.trainable):
            return self._forward_by_moving_statistics(x, grouping)
        statistic = Statistic(self.epsilon)
        moving = Moving(self.moving_mean.value, self.moving_variance.value, self.momentum)
        gamma, beta = (None if one is None else one.value for one in (self.gamma, self.beta))
        y, mean, scale = normalize(x, grouping, statistic, gamma, beta, moving)
        return y, self.way_back(x, mean, scale, grouping, statistic, self.gamma, self.beta)

    def _forward_by_moving_statistics(self, x: Array, grouping: Grouping) -> Forward:
        mean, variance = self.moving_mean.value, self.moving_variance.value
        gamma, beta = (None if one is None else one.value for one in (self.gamma, self.beta))
        y = standardize(x, grouping, mean, variance, gamma, beta, self.epsilon)

        def backward(dy: Array) -> Array | None:
            parameters = self.gamma, self.beta
            targets = [
                None if one is None or not one.trainable else one.gradient_target() for one in parameters
            ]  # of none while the layer is frozen
            if any(target is not None for target in targets):
                ones = empty(variance.shape, variance.dtype, device_of(variance))
                fill(ones, 1)
                each = by_axes(self.where, variance.shape, (0,))
                scale = standardize(ones, each, variance=variance, epsilon=self.epsilon)
                parameter_gradients(dy, x, mean, scale, grouping, *targets)
                add_gradients(parameters, targets)
            if not self.needs_input_gradient:
                return None
            return standardize(dy, grouping, variance=variance, gamma=gamma, epsilon=self.epsilon)

        return y, backward

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "momentum": self.momentum,
            "moving_mean_initializer": identifiers.serialize(self.moving_mean_initializer),
            "moving_variance_initializer": identifiers.serialize(self.moving_variance_initializer),
            "renorm": False,
            "renorm_clipping": None,
            "renorm_momentum": self.renorm_momentum,
            "synchronized": False,
        }
