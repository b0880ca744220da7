"""Convolution with 3 x 3 windows by Winograd's products, where the policy wants it (kernels/winograd.cu).

Each 2 x 2 pixels of the output are an inverse transform of 16 sums over channels, of products of a transformed 4 x 4
window and transformed filters: 16 products a channel instead of 36 (Lavin and Gray 2015, arXiv 1509.09308). All tiles
of a slab of the output are 16 matrix products, which run as one launch. The gradient of the images is such a
convolution too, of dz with the filters turned by half a turn; the gradient of the filters stays exact, and so does a
convolution with its pooling as one op, whose sums are shorter than those that are taken here.

How exact: the root of the mean squared error against float64, over that of the results, of 64 filters for normal
numbers, 12 x 12 pixels, in 1e-7 (`emulated` runs the kernels of `cuda`):

    channels                       64   128   256   512
    emulated, exact               2.9   3.0   3.0   3.0
    emulated, winograd            2.7   3.6   5.0   7.1
    cpu, exact                    3.1   3.5   3.5   3.6
    cpu, winograd                 2.7   3.6   5.0   5.6

For positive images it is up to 2.8 times that of exact sums, the largest error up to 3.1 times theirs.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from gpunet.backend.arrays import Array, Kind, Shape, contiguous, device_of, empty
from gpunet.backend.launch import Argument, ceil_div, launch
from gpunet.ops import convolution_policy, tiles
from gpunet.ops.activation import Activation
from gpunet.ops.choices import Product
from gpunet.ops.convolution_sizes import Sizes
from gpunet.ops.dropping import KernelArguments, kernel_arguments
from gpunet.ops.tiles import Plan, Run

PLACES = 16  # of a tile's window, 4 x 4
WINDOW = 3  # along each axis
TILE = 2  # pixels of the output, along each axis

# Channels, and filters: a transform's work grows with one of them, the products that it saves with both. In NumPy, on
# two threads, 64 took as long as exact sums or longer, 128 less. On a GPU nothing was measured.
_FEWEST_CHANNELS = {Kind.CPU: 128, Kind.CUDA: 64, Kind.EMULATED: 64}
_PACK = 4  # which divides channels and filters: products that move single elements would spill registers
_MOST_PADDING = WINDOW - 1  # with more, some windows see nothing but padding
_WORKSPACE = 2**26  # bytes of transformed windows and sums at a time, or those of one row of tiles if these are more

_THREADS = 128


def serves(sizes: Sizes, kind: Kind) -> bool:
    """Return whether a convolution on a device of `kind`, and its gradient of the images, is to be computed here.

    But for the policy that goes by the shape alone.
    """
    if convolution_policy.current_convolution() != convolution_policy.WINOGRAD:
        return False
    geometry, ends = sizes.geometry, sizes.w[2:]
    is_plain = geometry.strides == geometry.dilation == (1, 1) and geometry.groups == 1
    is_padded_little = max(map(max, geometry.pads)) <= _MOST_PADDING
    is_deep = min(ends) >= _FEWEST_CHANNELS[kind] and not any(size % _PACK for size in ends)
    # For a single row 16 products would stand against 18.
    saves = min(*sizes.y[1:3], *sizes.x[1:3]) >= TILE
    return sizes.w[:2] == (WINDOW, WINDOW) and is_plain and is_padded_little and is_deep and saves


def forward(
    x: Array,
    w: Array,
    b: Array | None,
    y: Array,
    z: Array | None,
    activation: Activation,
    sizes: Sizes,
    dropped: KernelArguments,
    drops: bool,
) -> None:
    """Fill y, and z if it is wanted, as `convolution` in ops/convolution.py, on a device."""
    (top, _), (left, _) = sizes.geometry.pads
    images = _Source((contiguous(x), None), (top, left), Activation.LINEAR)
    b = None if b is None else contiguous(b)
    _convolve(images, w, False, y, _Finish(b, z, activation, dropped, drops))


def input_gradient(
    dy: Array, saved: Array, w: Array, dx: Array, activation: Activation, sizes: Sizes, scale: float
) -> None:
    """Fill dx as `convolution_input_gradient` in ops/convolution.py, on a device."""
    (top, _), (left, _) = sizes.geometry.pads
    pads = WINDOW - 1 - top, WINDOW - 1 - left
    dz = _Source((contiguous(dy), contiguous(saved)), pads, activation, scale)
    nothing = kernel_arguments("convolution_input_gradient", None, Activation.LINEAR, device_of(dx))
    _convolve(dz, w, True, dx, _Finish(None, None, Activation.LINEAR, nothing, False))


class _Source(NamedTuple):
    """What is convolved: images, or dy and the saved array of a layer with `activation`, padded at top and left."""

    arrays: tuple[Array, Array | None]
    pads: tuple[int, int]
    activation: Activation
    scale: float = 1.0


class _Finish(NamedTuple):
    """What becomes of a finished sum."""

    b: Array | None
    z: Array | None
    activation: Activation
    dropped: KernelArguments
    drops: bool


class Slab(NamedTuple):
    """Tiles that are computed together: whole rows, from tile number `first` on, of images of `grid` tiles each.

    Of the output they are the rows of pixels `rows`, of all images' behind each other.
    """

    first: int
    tiles: int
    grid: tuple[int, int]
    rows: slice


def slabs(shape: Shape, channels: int, itemsize: int) -> Iterator[Slab]:
    """Yield the slabs of an output of `shape` from images of so many `channels`, of about the same size."""
    images, height, width, filters = shape
    down, across = grid = ceil_div(height, TILE), ceil_div(width, TILE)
    most = max(_WORKSPACE // (across * PLACES * (channels + filters) * itemsize), 1)
    share = ceil_div(images * down, ceil_div(images * down, most))
    for first in range(0, images * down, share):
        end = min(first + share, images * down)
        start, stop = (line // down * height + line % down * TILE for line in (first, end))
        yield Slab(first * across, (end - first) * across, grid, slice(start, stop))


def _convolve(source: _Source, w: Array, turned: bool, y: Array, finish: _Finish) -> None:
    """Fill y, (N, P, Q, F), with the convolution of the source, (N, H, W, C)."""
    u = _transformed_filters(contiguous(w), turned)
    for slab in slabs(y.shape, u.shape[1], y.itemsize):
        _convolve_slab(source, u, y, finish, slab)


def _convolve_slab(source: _Source, u: Array, y: Array, finish: _Finish, slab: Slab) -> None:
    """Fill the slab's part of y; u are the transformed filters. What this takes is free again at the end."""
    _, channels, filters = u.shape
    v = empty((PLACES, slab.tiles, channels), y.dtype, device_of(y))
    _transform_input(source, v, slab)
    m = empty((PLACES, slab.tiles, filters), y.dtype, device_of(y))
    # Sums are never split: there are at least 16 blocks, and mostly many more.
    product = Product(slab.tiles, filters, channels, PLACES)
    plan = Plan(product, tiles.choose_tile(slab.tiles, filters, y.dtype), splits=1)
    runs = Run(channels, (v,)), Run(filters, (u,))
    args = (v, u, m, *product[:3])
    tiles.run("winograd_products.cu", "winograd_products", plan, args, y.dtype, Activation.LINEAR, runs)
    _transform_output(m, y, finish, slab)


def _transformed_filters(w: Array, turned: bool) -> Array:
    """Return u, (16, C, F); turned, (16, F, C)."""
    channels, filters = w.shape[2:]
    ends = (filters, channels) if turned else (channels, filters)
    u = empty((PLACES, *ends), w.dtype, device_of(w))
    _launch("winograd_filters", w.size // WINDOW**2, (w, u, channels, filters, int(turned)), Run(filters, (w, u)))
    return u


def _transform_input(source: _Source, v: Array, slab: Slab) -> None:
    """Fill v, (16, tiles, C)."""
    x, saved = source.arrays
    args = (x, saved, v, slab.first, slab.tiles, *slab.grid, *x.shape[1:], *source.pads, source.scale)
    run = Run(x.shape[3], tuple(array for array in (x, saved, v) if array is not None))
    _launch("winograd_input", v.size // PLACES, args, run, source.activation, source.scale != 1)


def _transform_output(m: Array, y: Array, finish: _Finish, slab: Slab) -> None:
    """Fill the slab's part of y, and of z if it is wanted."""
    b, z, (height, *row) = finish.b, finish.z, y.shape[1:]
    outputs = [None if array is None else array.reshape(-1, *row)[slab.rows] for array in (y, z)]
    args = (m, b, *outputs, slab.first, slab.rows.start, slab.tiles, *slab.grid, height, *row, *finish.dropped)
    run = Run(y.shape[3], tuple(array for array in (m, b, *outputs) if array is not None))
    _launch("winograd_output", m.size // PLACES, args, run, finish.activation, finish.drops)


def _launch(
    entry: str,
    elements: int,
    args: tuple[Argument, ...],
    run: Run,
    activation: Activation = Activation.LINEAR,
    drops: bool = False,
) -> None:
    """Launch a transform of so many `elements`, of which a thread takes as many as move at once in `run`."""
    launch(
        "winograd.cu",
        entry,
        grid=ceil_div(elements // run.width, _THREADS),
        block=_THREADS,
        args=args,
        real=run.arrays[0].dtype,
        defines={"THREADS": _THREADS, "WIDTH": run.width, "ACTIVATION": activation.code, "DROPS": int(drops)},
    )
