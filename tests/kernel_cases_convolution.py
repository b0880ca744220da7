"""Random valid calls of the ops of transposed convolutions and of global max-pooling: see kernel_cases.py."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

from draws import Draw, present
from kernel_cases_products import _geometry, _image

from gpunet.backend.arrays import Array
from gpunet.ops import bias_gradient as bias
from gpunet.ops import convolution_transposed as transposed
from gpunet.ops import global_max_pooling as global_pooling
from gpunet.ops.activation import Activation
from gpunet.ops.convolution_sizes import sizes_of

Case: TypeAlias = Callable[[Draw], Sequence[Array]]


def convolution_transposed(d: Draw) -> Sequence[Array]:
    window, channels, filters = (d.size(1, 4), d.size(1, 4)), d.size(1, 24), d.one_of(d.size(1, 20), d.size(500, 600))
    geometry = _geometry(d, window)
    shape = (d.size(1, 3), *_image(d, window, geometry), channels)
    w, b = d.array(*window, channels, filters), d.maybe(d.array(channels))
    x = d.array(*sizes_of("case", shape, w.shape, geometry).y)
    drop = d.one_of(None, None, d.dropping())
    f = Activation.RELU if drop is not None else d.activation()
    return transposed.convolution_transposed(x, w, b, f, geometry, shape, drop)


def bias_gradient(d: Draw) -> Sequence[Array]:
    rows, columns = d.one_of((d.size(1, 40), d.size(1, 300)), (d.size(1, 6000), d.size(1, 9)))
    scale = d.one_of(1.0, 1.5)
    f = Activation.RELU if scale != 1 else d.activation()
    db = d.maybe(d.output(columns))
    return present(bias.bias_gradient(d.array(rows, columns), d.array(rows, columns), f, db, scale), db)


def global_max_pooling(d: Draw) -> Sequence[Array]:
    x = d.array(d.size(1, 4), d.size(1, 300), d.size(1, 40))
    y, count = global_pooling.global_max_pooling(x)
    return y, count, global_pooling.global_max_pooling_gradient(d.array(*y.shape), x, y, count)


PRODUCTS: dict[str, Case] = {"convolution_transposed": convolution_transposed}
OTHERS: dict[str, Case] = {case.__name__: case for case in (bias_gradient, global_max_pooling)}
