"""Global max-pooling: the maximum of each channel of an image; the gradient is shared by all elements that have it.

That is Keras's gradient, on each of its backends: PyTorch's `amax`, TensorFlow's `reduce_max` and JAX's `max` divide
dy by the number of equal maxima. (Max-pooling by windows gives all of it to the first one, there and here.)
"""

from __future__ import annotations

import math

import numpy as np

from gpunet.backend.arrays import Array, HostArray, Kind, Shape, common_device, contiguous, empty
from gpunet.backend.launch import Argument, ceil_div, launch
from gpunet.ops import contract
from gpunet.ops.pooling import THREADS, share_images
from gpunet.ops.trace import op

_FILE = "global_max_pooling.cu"
_LINE = 32  # neighbouring channels of a block: 128 bytes of float32
_LIMIT = 2**30  # elements of an image, whose places kernels hold in 32 bits


@op(lambda x: x.size)
def global_max_pooling(x: Array) -> tuple[Array, Array]:
    """y[n, c] = max over all pixels of x[n, ..., c]; returns y and how many elements of x are that maximum, int32.

    x is (N, ..., C), y and the counts are (N, C). A NaN is greater than any number. ValueError if x has fewer than two
    axes or an image 2**30 elements.

    >>> global_max_pooling(np.array([[[1.0], [3.0], [3.0]]]))
    (array([[3.]]), array([[2]], dtype=int32))
    """
    device = contract.floats("global_max_pooling", x=x)
    images, pixels, channels = _sizes("global_max_pooling", x.shape)
    y, count = empty((images, channels), x.dtype, device), empty((images, channels), np.int32, device)
    if device.kind is Kind.CPU:
        flat = x.reshape(images, pixels, channels)
        share_images(x, lambda part: _maxima(flat[part], y[part], count[part]))
        return y, count
    lanes = min(1 << (channels - 1).bit_length(), _LINE)
    _launch(
        "global_max_pooling", images * ceil_div(channels, lanes), (contiguous(x), y, count, pixels, channels, lanes)
    )
    return y, count


def _maxima(x: HostArray, y: HostArray, count: HostArray) -> None:
    np.max(x, axis=1, out=y)
    np.sum(_are_maxima(x, y), axis=1, out=count)
    y += 0  # of zeros with both signs the maximum is +0, on every device


def _are_maxima(x: HostArray, y: HostArray) -> HostArray:
    """Return where x (N, P, C) is the maximum of its channel, y (N, C)."""
    found: HostArray = x == y[:, np.newaxis]
    if np.isnan(y).any():
        found |= np.isnan(x)
    return found


@op(lambda dy, x, *_: x.size)
def global_max_pooling_gradient(dy: Array, x: Array, y: Array, count: Array) -> Array:
    """dx[n, ..., c] = dy[n, c] / count[n, c] where x[n, ..., c] = y[n, c], else 0; dy is (N, C), dx has x's shape.

    y and count are what `global_max_pooling` returned for x.
    """
    where = "global_max_pooling_gradient"
    device = contract.floats(where, dy=dy, x=x, y=y)
    common_device(where, dy=dy, count=count)
    images, pixels, channels = _sizes(where, x.shape)
    for name, array in (("dy", dy), ("y", y), ("count", count)):
        contract.has_shape(where, name, array, (images, channels))
    contract.has_dtype(where, "count", count, np.int32)
    dx = empty(x.shape, x.dtype, device)
    if device.kind is Kind.CPU:
        shares = dy / count.astype(dy.dtype)
        flat, target = x.reshape(images, pixels, channels), dx.reshape(images, pixels, channels)

        def fill(part: slice) -> None:
            target[part] = np.where(_are_maxima(flat[part], y[part]), shares[part, np.newaxis], x.dtype.type(0))

        share_images(x, fill)
        return dx
    blocks = ceil_div(pixels * channels, THREADS)
    arrays = (contiguous(x), contiguous(y), contiguous(dy), contiguous(count), dx)
    _launch(where, images * blocks, (*arrays, pixels, channels, blocks))
    return dx


def _sizes(where: str, shape: Shape) -> tuple[int, int, int]:
    """Return the numbers of images, of pixels and of channels; ValueError if they cannot be."""
    if len(shape) < 2:
        raise ValueError(f"{where}: x must have at least 2 axes, (N, ..., C); got shape {shape}")
    if math.prod(shape[1:]) >= _LIMIT:
        raise ValueError(f"{where}: an image must be below {_LIMIT} elements; got images {shape[1:]}")
    return shape[0], math.prod(shape[1:-1]), shape[-1]


def _launch(entry: str, grid: int, args: tuple[Argument, ...]) -> None:
    """Launch kernel `entry`; its first argument is x."""
    x = args[0]
    assert x is not None and not isinstance(x, (int, float))
    launch(_FILE, entry, grid=grid, block=THREADS, args=args, real=x.dtype, defines={"THREADS": THREADS})
