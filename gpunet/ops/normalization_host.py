"""The CPU version of normalization: parts of an array that fit the cache, in any thread, put together in order.

Arrays are seen with the five axes of a `View`, and statistics as (1, k0, 1, k1, 1). A part is a slice of r0, whose sums
are added to those of other parts, or, where r0 is 1, of k0, which is complete in itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from gpunet.backend.arrays import HostArray
from gpunet.backend.memory import empty_host
from gpunet.backend.threads import Part, run
from gpunet.ops.normalization_groups import Grouping, Parameters, View

_CACHED_BYTES = 2**20  # of a part, which is read more than once; calls of NumPy on less cost more than they win
_ROWS = 256  # that one product with ones adds up
_WIDE_SUM = 512  # elements: columns of shorter rows are added up by several rows at once
_WIDE = 8192  # elements: shorter rows are taken several at once, or NumPy's loop over rows takes longer than they do
_LONG_ROW = 1024  # elements: sums of shorter rows are as exact without NumPy's pairs, and faster


def moments(x: HostArray, view: View, centered: bool) -> tuple[HostArray, HostArray]:
    """Return the mean of each group and its sum of (x - mean)^2; without `centered` 0 and the sum of x^2."""
    x = x.reshape(view)
    parts = _parts(view, x.itemsize)
    means, squares = (_partial(view, parts, x.dtype) for _ in range(2))

    def work(number: int) -> None:
        part = x[parts[number]]
        mean, square = _moments_of(part, centered)
        means[number if view.r0 > 1 else 0][_kept(view, parts[number])] = mean
        squares[number if view.r0 > 1 else 0][_kept(view, parts[number])] = square

    _share(work, len(parts))
    if len(means) == 1:
        return means[0], squares[0]
    counts = [float(part[0].stop - part[0].start) * view.r1 * view.r2 for part in parts]
    weights = np.array(counts, x.dtype).reshape(-1, 1, 1, 1, 1, 1)
    total = x.dtype.type(view.terms)
    mean = means[0] + ((means - means[0]) * weights).sum(axis=0) / total
    return mean, (squares + np.square(means - mean) * weights).sum(axis=0)


def _moments_of(x: HostArray, centered: bool) -> tuple[HostArray, HostArray]:
    rest = empty_host(x.shape, x.dtype)
    if not centered:
        squares = _product_sum(x, x, rest)
        return np.zeros_like(squares), squares
    n = x.dtype.type(x.shape[0] * x.shape[2] * x.shape[4])
    mean = _sum(x) / n
    _wide(np.subtract, x, mean, rest)
    left = _sum(rest) / n
    return mean + left, _product_sum(rest, rest, rest) - left * left * n


def standardized(
    x: HostArray,
    view: View,
    mean: HostArray | None,
    factors: Sequence[HostArray | None],
    offset: HostArray | None,
    y: HostArray,
) -> None:
    """y = (x - mean) factor ... + offset, each of which broadcasts to `view`; None is 0, 1 and 0."""
    x, y = x.reshape(view), y.reshape(view)
    parts = _parts(view, x.itemsize)
    steps = [(np.subtract, mean), *((np.multiply, factor) for factor in factors), (np.add, offset)]
    known = [(step, operand) for step, operand in steps if operand is not None]

    def work(number: int) -> None:
        part = parts[number]
        source, target = x[part], y[part]
        for step, operand in known:
            _wide(step, source, _of_part(operand, part), target)
            source = target
        if source is not target:
            target[...] = source

    _share(work, len(parts))


def sums(
    dy: HostArray, x: HostArray, view: View, mean: HostArray | None, scale: HostArray, gamma: HostArray | None
) -> tuple[HostArray, HostArray]:
    """Return the sums over each group of `view` of g = dy gamma and of g (x - mean) scale."""
    by_group = scale.shape == view.kept_shape  # so that the sum is to be scaled, not each term
    dy, x = dy.reshape(view), x.reshape(view)
    parts = _parts(view, x.itemsize)
    first, second = (_partial(view, parts, x.dtype) for _ in range(2))

    def work(number: int) -> None:
        part = parts[number]
        row = number if view.r0 > 1 else 0
        g = _weighted(dy[part], gamma, part)
        xhat = _xhat(x[part], mean, None if by_group else scale, part)
        first[row][_kept(view, part)] = _sum(g)
        second[row][_kept(view, part)] = _product_sum(g, xhat, empty_host(g.shape, g.dtype))

    _share(work, len(parts))
    total = second.sum(axis=0)
    return first.sum(axis=0), total * scale if by_group else total


def input_gradient(
    dy: HostArray,
    x: HostArray,
    view: View,
    mean: HostArray | None,
    scale: HostArray,
    gamma: HostArray | None,
    constant: HostArray | None,
    slope: HostArray,
    factor: HostArray,
    dx: HostArray,
) -> None:
    """dx = (g - constant - (x - mean) scale slope) factor, g = dy gamma; all but gamma are one a group."""
    dy, x, dx = (array.reshape(view) for array in (dy, x, dx))
    parts, steep = _parts(view, x.itemsize), scale * slope

    def work(number: int) -> None:
        part = parts[number]
        target = dx[part]
        rest = _xhat(x[part], mean, steep, part)
        g = _weighted(dy[part], gamma, part)
        if constant is not None:
            g = _wide(np.subtract, g, _of_part(constant, part), target)
        np.subtract(g, rest, out=target)
        _wide(np.multiply, target, _of_part(factor, part), target)

    _share(work, len(parts))


def sample_gradients(
    dy: HostArray,
    x: HostArray,
    view: View,
    mean: HostArray | None,
    scale: HostArray,
    gamma: HostArray | None,
    divisor: int,
    most: float,
    dx: HostArray,
) -> tuple[HostArray, HostArray]:
    """Write dx, and return the sums of dy and of dy xhat over all groups, where each part has whole groups.

    A part is then read once, and what is known of it serves all sums.
    """
    dy, x, dx = (array.reshape(view) for array in (dy, x, dx))
    parts, real = _parts(view, x.itemsize), x.dtype.type
    of_dy, of_products = (empty_host((len(parts), *view.reduced_shape), x.dtype) for _ in range(2))

    def work(number: int) -> None:
        part = parts[number]
        mine, target, unit = dy[part], dx[part], _of_part(scale, part)
        xhat = _xhat(x[part], mean, scale, part)
        g = _weighted(mine, gamma, part)
        constant = None if mean is None else _sum(g) / real(divisor)
        slope = np.where(unit >= real(most), real(0), _product_sum(g, xhat, target) / real(divisor))
        of_dy[number], of_products[number] = _sums_over_groups(mine, xhat, target)
        if constant is not None:
            g = _wide(np.subtract, g, constant, target)
        np.subtract(g, _wide(np.multiply, xhat, slope, xhat), out=target)
        _wide(np.multiply, target, unit, target)

    _share(work, len(parts))
    return of_dy.sum(axis=0), of_products.sum(axis=0)


def _sums_over_groups(dy: HostArray, xhat: HostArray, scratch: HostArray) -> tuple[HostArray, HostArray]:
    """Return the sums over k0 and k1 of dy and of dy xhat."""
    if dy.shape[0] == dy.shape[2] == dy.shape[3] == 1:
        columns = (dy.shape[1], dy.shape[4], 1, 1, 1)
        dy, xhat, scratch = (array.reshape(columns) for array in (dy, xhat, scratch))
        return _sum(dy).reshape(1, 1, 1, 1, -1), _product_sum(dy, xhat, scratch).reshape(1, 1, 1, 1, -1)
    product = np.multiply(dy, xhat, out=scratch)
    first, second = (np.add.reduce(array, axis=(1, 3), keepdims=True) for array in (dy, product))
    return np.asarray(first), np.asarray(second)


def _weighted(dy: HostArray, gamma: HostArray | None, part: tuple[slice, ...]) -> HostArray:
    if gamma is None:
        return dy
    return _wide(np.multiply, dy, _of_part(gamma, part), empty_host(dy.shape, dy.dtype))


def _xhat(x: HostArray, mean: HostArray | None, scale: HostArray | None, part: tuple[slice, ...]) -> HostArray:
    """Return (x - mean) scale: x itself if both are None."""
    target = empty_host(x.shape, x.dtype)
    if mean is not None:
        x = _wide(np.subtract, x, _of_part(mean, part), target)
    return x if scale is None else _wide(np.multiply, x, _of_part(scale, part), target)


def parameters_of_groups(values: HostArray, grouping: Grouping) -> HostArray:
    """Return parameters, one dimension, so that they broadcast to the view of groups."""
    view = grouping.groups
    if grouping.kind is Parameters.BY_GROUP:
        return values.reshape(view.kept_shape)
    if grouping.kind is Parameters.BY_ELEMENT:
        return values.reshape(view.reduced_shape)
    channels = grouping.channels
    return np.repeat(values, channels.after).reshape(1, 1, 1, channels.groups, channels.per_group * channels.after)


def statistics_of_parameters(values: HostArray, grouping: Grouping) -> HostArray:
    """Return statistics, one a group, so that they broadcast to the view of parameters."""
    view = grouping.parameters
    if grouping.kind is Parameters.BY_GROUP:
        return values.reshape(view.kept_shape)
    if grouping.kind is Parameters.BY_ELEMENT:
        return values.reshape(view.reduced_shape)
    channels, samples = grouping.channels, grouping.groups.k0
    spread = np.repeat(values.reshape(samples, 1, channels.groups), channels.per_group, axis=2)
    whole = np.broadcast_to(spread, (samples, channels.before, view.k0))
    return whole.reshape(view.r0, view.k0, 1, 1, 1)


def _sum(x: HostArray) -> HostArray:
    """Return the sums over r0, r1 and r2: products with ones where rows are short, which NumPy takes one by one."""
    if _has_short_rows(x):
        return (x.reshape(x.shape[1], -1) @ np.ones(x.shape[4], x.dtype)).reshape(1, -1, 1, 1, 1)
    if not _has_columns(x):
        return np.asarray(np.add.reduce(x, axis=(0, 2, 4), keepdims=True))

    def add_up(rows: HostArray) -> HostArray:
        whole = len(rows) // _ROWS * _ROWS
        total = np.ones(len(rows) - whole, x.dtype) @ rows[whole:]
        if whole:
            ones = np.ones((1, _ROWS), x.dtype)
            total += np.matmul(ones, rows[:whole].reshape(-1, _ROWS, rows.shape[1])).sum(axis=(0, 1))
        return np.asarray(total)

    return _column_sums(add_up, x)


def _product_sum(a: HostArray, b: HostArray, scratch: HostArray) -> HostArray:
    """Return the sums of a b over r0, r1 and r2; `scratch`, which may be one of them, is written to."""
    if _has_short_rows(a):
        rows = (one.reshape(one.shape[1], -1) for one in (a, b))
        return np.asarray(np.einsum("ij,ij->i", *rows)).reshape(1, -1, 1, 1, 1)
    if not _has_columns(a):
        return _sum(np.multiply(a, b, out=scratch))
    return _column_sums(lambda one, other: np.asarray(np.einsum("ij,ij->j", one, other)), a, b)


def _column_sums(add_up: Callable[..., HostArray], *arrays: HostArray) -> HostArray:
    """Return what `add_up` makes of the columns of `arrays`, several rows of which make one row."""
    rows, columns = arrays[0].shape[:2]
    many = max(_WIDE_SUM // columns, 1)
    whole = rows // many * many
    flat = [array.reshape(rows, columns) for array in arrays]
    total = add_up(*(array[whole:] for array in flat)) if whole < rows else np.zeros(columns, arrays[0].dtype)
    if whole:
        total += add_up(*(array[:whole].reshape(-1, many * columns) for array in flat)).reshape(many, -1).sum(axis=0)
    return total.reshape(1, columns, 1, 1, 1)


def _has_columns(x: HostArray) -> bool:
    """Return whether groups are the columns of x, and more than one row long."""
    return x.shape[0] > 1 and x.shape[2:] == (1, 1, 1)


def _has_short_rows(x: HostArray) -> bool:
    """Return whether groups are the rows of x, and short."""
    return (x.shape[0], *x.shape[2:4]) == (1, 1, 1) and bool(x.shape[4] < _LONG_ROW)


def _wide(step: np.ufunc, a: HostArray, b: HostArray, out: HostArray) -> HostArray:
    """out = step(a, b) for b that broadcasts to a; several short rows of a are taken at once."""
    rows, columns, *others = a.shape
    many = min(_WIDE // columns, rows)
    if others != [1, 1, 1] or b.shape[0] != 1 or many < 2:
        step(a, b, out=out)
        return out
    whole = rows // many * many
    flat = (-1, many * columns)
    tiled = np.broadcast_to(b.reshape(1, -1), (many, columns)).reshape(-1)
    step(a[:whole].reshape(flat), tiled, out=out[:whole].reshape(flat))
    step(a[whole:], b, out=out[whole:])
    return out


def _parts(view: View, itemsize: int) -> list[tuple[slice, ...]]:
    """Return where each part of an array lies."""
    axis = 0 if view.r0 > 1 else 1
    length = view[axis]
    step = max(_CACHED_BYTES * length // (view.groups * view.terms * itemsize), 1)
    slices = [slice(start, min(start + step, length)) for start in range(0, length, step)]
    return [(one,) if axis == 0 else (slice(None), one) for one in slices]


def _partial(view: View, parts: Sequence[tuple[slice, ...]], dtype: np.dtype[np.generic]) -> HostArray:
    """Return memory for a number of each group of each part, or of all parts together if each has groups of its own."""
    return empty_host((len(parts) if view.r0 > 1 else 1, *view.kept_shape), dtype)


def _kept(view: View, part: tuple[slice, ...]) -> tuple[slice, ...]:
    """Return where the groups of a part lie among all."""
    return () if view.r0 > 1 else part


def _of_part(operand: HostArray, part: tuple[slice, ...]) -> HostArray:
    """Return what of `operand`, which broadcasts to the whole array, broadcasts to a part of it."""
    return operand[tuple(one if operand.shape[axis] > 1 else slice(None) for axis, one in enumerate(part))]


def _share(work: Callable[[int], None], count: int) -> None:
    def part(number: int) -> Part:
        yield lambda: work(number)

    run(part(number) for number in range(count))
