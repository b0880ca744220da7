"""Transposed convolution: the data gradient of a convolution as a layer of its own (kernels/convolution_transposed.cu).

The convolution that is transposed goes from images y to x: geometry and sizes are its own. The gradients are those of
any linear map and its transpose, once dz is known (ops/bias_gradient.py): dx is that convolution of dz, and dw is its
filters' gradient with dz for the images and x for dz.
"""

from __future__ import annotations

import math

from gpunet.backend.arrays import Array, Kind, Shape, contiguous, empty
from gpunet.ops import contract, tiles
from gpunet.ops.activation import Activation
from gpunet.ops.convolution_host import input_gradient_host
from gpunet.ops.convolution_sizes import Geometry, sizes_of
from gpunet.ops.dense import add_bias_and_activate
from gpunet.ops.dropping import Dropping, drop_host, kernel_arguments
from gpunet.ops.tiles import Run
from gpunet.ops.trace import op


def _flops(
    x: Array, w: Array, b: Array | None, activation: Activation, geometry: Geometry, output_shape: Shape, *_: object
) -> int:
    return x.size * 2 * math.prod(w.shape[:3]) + math.prod(output_shape) * ((b is not None) + activation.flops)


@op(_flops)
def convolution_transposed(
    x: Array,
    w: Array,
    b: Array | None,
    activation: Activation,
    geometry: Geometry,
    output_shape: Shape,
    dropping: Dropping | None = None,
) -> tuple[Array, Array]:
    """y[n,h,w,c] = f(b[c] + sum of x[n,p,q,f] w[r,s,c,f] over the windows (p, q) and taps (r, s) that see the pixel).

    x (N, P, Q, F), w (R, S, C, F), b (C,) or None; returns (y, saved), both of `output_shape`, (N, H, W, C). `saved`
    and `dropping` are those of `convolution`. ValueError unless a convolution of images of `output_shape` with w makes
    an output of x's shape, in one group.

    >>> x, w = np.ones((1, 2, 2, 1)), np.ones((2, 2, 1, 1))
    >>> y, _ = convolution_transposed(x, w, None, Activation.LINEAR, Geometry(), (1, 3, 3, 1))
    >>> y[0, :, :, 0]
    array([[1., 2., 1.],
           [2., 4., 2.],
           [1., 2., 1.]])
    """
    where = "convolution_transposed"
    device = contract.floats(where, x=x, w=w, b=b)
    if geometry.groups != 1:
        raise ValueError(f"{where}: groups must be 1; got {geometry.groups}")
    sizes = sizes_of(where, output_shape, w.shape, geometry)
    contract.has_shape(where, "x", x, sizes.y)
    if b is not None:
        contract.has_shape(where, "b", b, output_shape[3:])
    dropped = kernel_arguments(where, dropping, activation, device)
    if device.kind is Kind.CPU:
        x = contiguous(x)
        y, saved = add_bias_and_activate(input_gradient_host(lambda block: x[block], w, sizes), b, activation)
        drop_host(y, dropping)
        return y, saved
    y = empty(output_shape, x.dtype, device)
    z = empty(output_shape, x.dtype, device) if activation.saves_input else None
    plan = sizes.input_gradient_plan(x.dtype)
    partial = plan.workspace(y.size, x.dtype, device)
    x, w, b = contiguous(x), contiguous(w), None if b is None else contiguous(b)
    outputs = (y, z, None) if partial is None else (None, None, partial)
    args = (x, w, b, *outputs, *sizes.kernel_arguments(), *dropped)
    runs = Run(sizes.group_filters, (x,)), Run(sizes.group_filters, (w,))
    tiles.run(f"{where}.cu", where, plan, args, x.dtype, activation, runs, dropping is not None, sizes.defines)
    if partial is not None:
        tiles.finish(partial, y, b, z, activation, dropping=dropping)
    return y, y if z is None else z
