"""ReLU with a trained slope for negative elements, and its gradients. He et al. 2015, arXiv:1502.01852."""

from __future__ import annotations

import math

import numpy as np

from gpunet.backend.arrays import Array, Device, HostArray, Kind, contiguous, empty, empty_like
from gpunet.backend.launch import ceil_div, launch
from gpunet.backend.memory import empty_host
from gpunet.ops import contract
from gpunet.ops.arithmetic import choose, keep_where
from gpunet.ops.axes import reduced_and_kept
from gpunet.ops.trace import op
from gpunet.ops.update import PIECE

THREADS = 256
PER_SPLIT = 4096  # elements with one alpha that one block adds up
MOST_GROUPS = 32  # alphas that one block works on

_FILE = "prelu.cu"


@op(lambda x, alpha: x.size)
def prelu(x: Array, alpha: Array) -> Array:
    """y = x where x > 0, else alpha x; `alpha` has x's shape without the batch, or 1 where an axis shares it.

    >>> prelu(np.array([[-2.0, 3.0]]), np.array([0.25, 0.5]))
    array([[-0.5,  3. ]])
    """
    device, sizes = _check("prelu", x=x, alpha=alpha)
    y = empty_like(x)
    if device.kind is Kind.CPU:
        _choose_by_sign(x, x, alpha, y)
        return y
    args = (contiguous(x), contiguous(alpha), y, x.size, *sizes[1:])
    _launch("prelu", ceil_div(x.size, THREADS), x, args)
    return y


@op(lambda dy, *_: dy.size)
def prelu_gradient(dy: Array, x: Array, alpha: Array) -> Array:
    """dx = dy where x > 0, else alpha dy."""
    device, sizes = _check("prelu_gradient", dy=dy, x=x, alpha=alpha)
    contract.has_shape("prelu_gradient", "dy", dy, x.shape)
    dx = empty_like(dy)
    if device.kind is Kind.CPU:
        _choose_by_sign(dy, x, alpha, dx)
        return dx
    args = (contiguous(dy), contiguous(x), contiguous(alpha), dx, dy.size, *sizes[1:])
    _launch("prelu_gradient", ceil_div(dy.size, THREADS), dy, args)
    return dx


@op(lambda dy, *_: 2 * dy.size)
def prelu_alpha_gradient(dy: Array, x: Array, dalpha: Array) -> None:
    """dalpha = sum of dy x over the batch and the axes of size 1 in `dalpha`, where x <= 0; written into `dalpha`.

    The order of the additions depends on the shapes alone.
    """
    device, sizes = _check("prelu_alpha_gradient", dy=dy, x=x, dalpha=dalpha)
    contract.has_shape("prelu_alpha_gradient", "dy", dy, x.shape)
    contract.is_output("prelu_alpha_gradient", dalpha.shape, dalpha=dalpha)
    if device.kind is Kind.CPU:
        _alpha_gradient_host(dy, x, dalpha)
        return
    groups, size = dalpha.size, x.size // dalpha.size
    splits = ceil_div(size, PER_SPLIT)
    partial = dalpha if splits == 1 else empty((splits, groups), x.dtype, device)
    width = min(MOST_GROUPS, 1 << (groups - 1).bit_length())
    args = (contiguous(dy), contiguous(x), partial, PER_SPLIT, *sizes)
    grid = splits * ceil_div(groups, width)
    _launch("prelu_alpha_gradient", grid, x, args, width)
    if splits > 1:
        _launch("prelu_alpha_sum", ceil_div(groups, THREADS), x, (partial, dalpha, splits, groups))


def _alpha_gradient_host(dy: HostArray, x: HostArray, dalpha: HostArray) -> None:
    """Add up over rows of as many elements as have alphas of their own, and then over those that share one."""
    shared = tuple(axis for axis, size in enumerate(dalpha.shape) if size == 1)
    leading = next((axis for axis, size in enumerate(dalpha.shape) if size > 1), dalpha.ndim)
    own = x.shape[1 + leading :]
    width = math.prod(own)
    x, dy = (contiguous(array).reshape(-1, width) for array in (x, dy))
    rows, columns = max(PIECE // width, 1), min(PIECE, width)
    cuts = range(0, len(x), rows)
    sums = empty_host((len(cuts), width), x.dtype)
    for number, first in enumerate(cuts):
        for begin in range(0, width, columns):
            piece = slice(first, first + rows), slice(begin, begin + columns)
            with np.errstate(over="ignore", invalid="ignore"):  # of products that are not taken, too
                terms = dy[piece] * x[piece]
            np.add.reduce(keep_where(~(x[piece] > 0), terms), axis=0, out=sums[number, piece[1]])
    total = sums.sum(axis=0).reshape((1,) * leading + own)
    np.copyto(dalpha, total.sum(axis=shared, keepdims=True))


def _choose_by_sign(values: HostArray, x: HostArray, alpha: HostArray, out: HostArray) -> None:
    """out = values where x > 0, else alpha values; in pieces, and with as many alphas side by side as a piece has."""
    values, x = contiguous(values).reshape(-1), contiguous(x).reshape(-1)
    leading = next((axis for axis, size in enumerate(alpha.shape) if size > 1), alpha.ndim)
    own = out.shape[1 + leading :]
    alphas = np.broadcast_to(alpha.reshape(alpha.shape[leading:]), own).reshape(-1)
    alphas = np.tile(alphas, max(PIECE // alphas.size, 1))
    result = out.reshape(-1)
    for start in range(0, x.size, alphas.size):
        for first in range(start, min(start + alphas.size, x.size), PIECE):
            piece = slice(first, min(first + PIECE, start + alphas.size))
            mine = values[piece]
            slopes = alphas[first - start :][: mine.size]
            with np.errstate(over="ignore", invalid="ignore"):  # of products that are not taken, too
                below = np.multiply(mine, slopes, out=result[piece])
            choose(x[piece] > 0, mine, below, out=below)


def _check(where: str, **arrays: Array) -> tuple[Device, tuple[int, int, int, int, int]]:
    """Return the device and the sizes of x's axes, merged; ValueError unless the last of `arrays` fits x as alpha."""
    device = contract.floats(where, **arrays)
    x, name = arrays["x"], list(arrays)[-1]
    shape = arrays[name].shape
    fits = len(shape) == x.ndim - 1 and all(size in (1, full) for size, full in zip(shape, x.shape[1:], strict=True))
    if not fits:
        raise ValueError(f"{where}: {name} must have the sizes {x.shape[1:]}, or 1; got shape {shape}")
    shared = tuple(axis for axis, size in enumerate((1, *shape)) if size == 1)
    return device, reduced_and_kept(where, x.shape, shared)


def _launch(entry: str, grid: int, like: Array, args: tuple[Array | int, ...], groups: int = MOST_GROUPS) -> None:
    lanes = THREADS // groups
    block = (groups, lanes) if entry == "prelu_alpha_gradient" else THREADS
    defines = {"THREADS": THREADS, "GROUPS": groups, "LANES": lanes}
    launch(_FILE, entry, grid=grid, block=block, args=args, real=like.dtype, defines=defines)
