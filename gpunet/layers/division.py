"""Layers that divide, which symbolic tensors ask for: Divide by a tensor, Ratio to a number."""

from __future__ import annotations

from typing import Any, Unpack

from gpunet import arguments
from gpunet.backend.arrays import Array, device_of, empty, fill
from gpunet.layers.base import Backward, Forward, LayerArguments
from gpunet.layers.element_wise import ElementWise
from gpunet.layers.merging import ElementWiseMerging
from gpunet.ops import merging
from gpunet.ops.arithmetic import scale
from gpunet.ops.merging import Merge


def _gradient_of_divisor(dx: Array, y: Array) -> Array:
    """Return the gradient of x_2 in y = x_1 / x_2, from that of x_1: -dx y."""
    return scale(merging.merge([dx, y], Merge.PRODUCT), -1)


class Divide(ElementWiseMerging):
    """y = x_1 / x_2: what `x_1 / x_2` makes of symbolic tensors.

    >>> Divide()([[[1.0, 9.0]], [[2.0, 3.0]]])
    array([[0.5, 3. ]], dtype=float32)
    """

    exactly = 2

    def merge(self, xs: list[Array]) -> tuple[Array, Backward]:
        y = merging.merge(xs, Merge.QUOTIENT)

        def backward(dy: Array) -> list[Array]:
            dx = merging.merge([dy, xs[1]], Merge.QUOTIENT)
            return [dx, _gradient_of_divisor(dx, y)]

        return y, backward


class Ratio(ElementWise):
    """y = x / number, or with `inverse` y = number / x: what `x / number` and `number / x` make of a symbolic tensor.

    ValueError for a number 0 to divide by.

    >>> Ratio(3.0, inverse=True)([[1.5, 6.0]])
    array([[2. , 0.5]], dtype=float32)
    """

    def __init__(self, number: float, inverse: bool = False, **kwargs: Unpack[LayerArguments]) -> None:
        super().__init__(**kwargs)
        self.number = arguments.real(self.where, "number", number)
        self.inverse = arguments.boolean(self.where, "inverse", inverse)
        if self.number == 0 and not self.inverse:
            raise ValueError(f"{self.where}: number must not be 0, because it is divided by; got {number!r}")

    def forward(self, x: Array, training: bool) -> Forward:
        constant = empty(x.shape, x.dtype, device_of(x))
        fill(constant, self.number)
        if not self.inverse:
            y = merging.merge([x, constant], Merge.QUOTIENT)
            return y, lambda dy: merging.merge([dy, constant], Merge.QUOTIENT)
        y = merging.merge([constant, x], Merge.QUOTIENT)
        return y, lambda dy: _gradient_of_divisor(merging.merge([dy, x], Merge.QUOTIENT), y)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "number": self.number, "inverse": self.inverse}
