"""Random valid calls of dense layers' and convolutions' ops: see kernel_cases.py."""

from __future__ import annotations

from collections.abc import Sequence

from draws import Draw, present

import gpunet
from gpunet.backend.arrays import Array
from gpunet.ops import convolution as conv
from gpunet.ops import convolution_pooling as pooled
from gpunet.ops import dense as dense_op
from gpunet.ops.activation import Activation
from gpunet.ops.convolution_sizes import Geometry


def dense(d: Draw) -> Sequence[Array]:
    return _multiplied(d, *(d.size(1, 140) for _ in range(3)))


def dense_of_long_sums(d: Draw) -> Sequence[Array]:
    """Sums that are split, and added up by a kernel of their own."""
    long, short = d.size(1500, 4000), (d.size(1, 5), d.size(1, 5))
    return _multiplied(d, *d.one_of((long, *short), (short[0], long, short[1])))


def _multiplied(d: Draw, m: int, k: int, n: int) -> Sequence[Array]:
    x, w, b = d.array(m, k), d.array(k, n), d.maybe(d.array(n))
    drop = d.one_of(None, d.dropping())
    f = Activation.RELU if drop is not None else d.activation()
    scale = 1.0 if drop is None else drop.scale
    y, saved = dense_op.dense(x, w, b, f, drop)
    dy, dw, db = d.array(m, n), d.output(k, n), d.maybe(d.output(n))
    dense_op.dense_kernel_gradient(x, dy, saved, f, dw, db, scale)
    return present(y, saved, dense_op.dense_input_gradient(dy, saved, w, f, scale), dw, db)


def _geometry(d: Draw, window: tuple[int, int], groups: int = 1, plain: bool = False) -> Geometry:
    if plain:
        return Geometry(groups=groups, pads=((d.size(0, 2), d.size(0, 2)), (d.size(0, 2), d.size(0, 2))))
    pads = tuple((d.size(0, size), d.size(0, size)) for size in window)
    pair = (d.size(1, 3), d.size(1, 3)), (d.size(1, 2), d.size(1, 2))
    return Geometry(*pair, pads, groups)  # type: ignore[arg-type]


def _image(d: Draw, window: tuple[int, int], geometry: Geometry, least: int = 1) -> tuple[int, int]:
    """Return height and width, at least `least`, that a window fits in, with its padding, so often."""
    spans = [
        (size - 1) * rate + 1 + (least - 1) * stride - sum(pads)
        for size, rate, stride, pads in zip(window, geometry.dilation, geometry.strides, geometry.pads, strict=True)
    ]
    low = [max(least, span) for span in spans]
    return d.size(low[0], low[0] + 9), d.size(low[1], low[1] + 9)


def _convolved(
    d: Draw, channels: int, filters: int, window: tuple[int, int], geometry: Geometry, least: int = 1
) -> Sequence[Array]:
    """Run a convolution and all its gradients; `channels` and `filters` are those of one group."""
    groups = geometry.groups
    height, width = _image(d, window, geometry, least)
    x = d.array(d.size(1, 3), height, width, channels * groups)
    w, b = d.array(*window, channels, filters * groups), d.maybe(d.array(filters * groups))
    drop = d.one_of(None, None, d.dropping())
    f = Activation.RELU if drop is not None else d.activation()
    scale = 1.0 if drop is None else drop.scale
    y, saved = conv.convolution(x, w, b, f, geometry, drop)
    dy = d.array(*y.shape)
    dw, db, both, too = (d.output(*shape) for shape in (w.shape, w.shape[3:]) * 2)
    dx = conv.convolution_input_gradient(dy, saved, w, f, geometry, x.shape, scale)
    conv.convolution_kernel_gradient(x, dy, saved, f, geometry, dw, d.maybe(db), scale)
    again = conv.convolution_gradients(x, dy, saved, w, f, geometry, both, too, scale)
    return y, saved, dx, dw, db, again, both, too


def convolution(d: Draw) -> Sequence[Array]:
    window = d.size(1, 4), d.size(1, 4)
    return _convolved(d, d.size(5, 20), d.size(1, 24), window, _geometry(d, window, d.one_of(1, 1, 2)))


def convolution_of_few_channels(d: Draw) -> Sequence[Array]:
    window = d.size(2, 3), d.size(1, 3)
    return _convolved(d, d.size(1, 4), d.size(1, 40), window, _geometry(d, window))


def convolution_of_small_groups(d: Draw) -> Sequence[Array]:
    window = d.size(1, 3), d.size(1, 3)
    return _convolved(d, d.size(1, 8), d.size(1, 8), window, _geometry(d, window, d.size(2, 9)))


def winograd(d: Draw) -> Sequence[Array]:
    with gpunet.convolution("winograd"):
        return _convolved(d, d.one_of(64, 68), d.one_of(64, 72), (3, 3), _geometry(d, (3, 3), plain=True), least=2)


def _pooled(d: Draw, channels: int) -> Sequence[Array]:
    window, padding = (d.size(1, 3), d.size(1, 3)), d.one_of("valid", "same")
    geometry = _geometry(d, window, plain=True)
    height, width = _image(d, window, geometry, least=2)
    x, filters = d.array(d.size(1, 3), height, width, channels), d.size(1, 24)
    w, b, f = d.array(*window, channels, filters), d.maybe(d.array(filters)), d.activation()
    y, saved, winner = pooled.convolution_pooling(x, w, b, f, geometry, padding)
    value = pooled.convolution_pooling_value(x, w, b, f, geometry, padding)
    dy = d.array(*y.shape)
    how = (saved, winner)
    dx = pooled.convolution_pooling_input_gradient(dy, *how, w, f, geometry, padding, x.shape)
    dw, db, both, too = (d.output(*shape) for shape in (w.shape, w.shape[3:]) * 2)
    pooled.convolution_pooling_kernel_gradient(x, dy, *how, f, geometry, padding, dw, db)
    again = pooled.convolution_pooling_gradients(x, dy, *how, w, f, geometry, padding, both, too)
    return y, saved, winner, value, dx, dw, db, again, both, too


def convolution_and_pooling(d: Draw) -> Sequence[Array]:
    return _pooled(d, d.size(5, 20))


def convolution_of_few_channels_and_pooling(d: Draw) -> Sequence[Array]:
    return _pooled(d, d.size(1, 4))
