"""Normalization of groups of elements: by their own mean and variance, by their root mean square or norm, or by given
numbers; and the gradients.

What a group is, and to what a gamma and a beta belong, a `Grouping` says (ops/normalization_groups.py): one op serves
batch, layer, group, root-mean-square and unit normalization.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from gpunet.backend.arrays import Array, Device, HostArray, Kind, contiguous, empty
from gpunet.backend.launch import Argument, launch
from gpunet.ops import contract, tiles
from gpunet.ops import normalization_host as host
from gpunet.ops.normalization_groups import Grouping, Parameters, Plan, View, plan_of
from gpunet.ops.trace import op

_FILE, _GRADIENT_FILE = "normalization.cu", "normalization_gradient.cu"


class Statistic(NamedTuple):
    """What a group is divided by: scale = min(1 / sqrt(v + epsilon), most).

    v is the variance, the mean of (x - mean)^2. Not `centered`, it is that of x^2, and with `is_sum` their sum.
    """

    epsilon: float
    centered: bool = True
    is_sum: bool = False
    most: float = math.inf

    def divisor(self, view: View) -> int:
        return 1 if self.is_sum else view.terms


class Moving(NamedTuple):
    """Moving statistics, changed in place: mean = momentum mean + (1 - momentum) (that of the groups)."""

    mean: Array
    variance: Array
    momentum: float


@op(lambda x, *_, **__: 8 * x.size)
def normalize(
    x: Array,
    grouping: Grouping,
    statistic: Statistic,
    gamma: Array | None = None,
    beta: Array | None = None,
    moving: Moving | None = None,
) -> tuple[Array, Array, Array]:
    """y = (x - mean) scale gamma + beta, mean and scale of x's group; returns y, and the mean and scale of each group.

    gamma and beta have one element a parameter; None is 1 and 0. ValueError for other sizes.

    >>> from gpunet.ops.normalization_groups import over_axes
    >>> x = np.array([[1.0, 3.0], [10.0, 30.0]])
    >>> normalize(x, over_axes("doc", x.shape, (1,)), Statistic(epsilon=0.0))[0]
    array([[-1.,  1.],
           [-1.,  1.]])
    """
    device = _check("normalize", grouping, gamma, beta, x=x)
    view = grouping.groups
    statistics = _moving_arrays(moving)
    for name, array in (("moving mean", statistics[0]), ("moving variance", statistics[1])):
        if array is not None:
            contract.floats("normalize", x=x, **{name: array})
            contract.is_output("normalize", (view.groups,), **{name: array})
    y = empty(x.shape, x.dtype, device)
    if device.kind is Kind.CPU:
        mean, scale = _normalize_cpu(x, grouping, statistic, gamma, beta, moving, y)
        return y, mean, scale
    x = contiguous(x)
    mean, scale = (empty((view.groups,), x.dtype, device) for _ in range(2))
    plan, defines = _plan(grouping, view, statistic.centered)
    means = squares = None
    if plan.splits > 1:
        means, squares = (empty((plan.splits, view.groups), x.dtype, device) for _ in range(2))
        _launch(_FILE, "normalization_moments", plan, defines, x, means, squares, *view, plan.chunk)
    momentum = 0.0 if moving is None else moving.momentum
    _launch(
        *(_FILE, "normalization", plan, defines),
        *(x, _flat(gamma), _flat(beta), means, squares, *statistics, mean, scale, y, *view, *grouping.channels),
        *(plan.chunk, plan.splits, statistic.divisor(view)),
        *(statistic.epsilon, float(statistic.most), momentum, 1 - momentum),
    )
    return y, mean, scale


def _normalize_cpu(
    x: HostArray,
    grouping: Grouping,
    statistic: Statistic,
    gamma: HostArray | None,
    beta: HostArray | None,
    moving: Moving | None,
    y: HostArray,
) -> tuple[HostArray, HostArray]:
    view, number = grouping.groups, x.dtype.type
    mean, squares = host.moments(x, view, statistic.centered)
    variance = squares / number(statistic.divisor(view))
    with np.errstate(divide="ignore"):
        scale = np.minimum(1 / np.sqrt(variance + number(statistic.epsilon)), number(statistic.most))
    if moving is not None:
        for kept, found in ((moving.mean, mean), (moving.variance, variance)):
            kept *= number(moving.momentum)
            kept += found.reshape(-1) * number(1 - moving.momentum)
    weights, offset = (
        None if array is None else host.parameters_of_groups(array.reshape(-1), grouping) for array in (gamma, beta)
    )
    # A gamma that belongs to no group makes a factor for each element, as large as x: so two, one after the other.
    by_group = grouping.kind is Parameters.BY_GROUP and weights is not None
    factors = [weights * scale] if weights is not None and by_group else [scale, weights]
    host.standardized(x, view, mean if statistic.centered else None, factors, offset, y)
    return mean.reshape(-1), scale.reshape(-1)


@op(lambda dy, *_, **__: 12 * dy.size)
def normalize_gradient(
    dy: Array,
    x: Array,
    mean: Array,
    scale: Array,
    grouping: Grouping,
    statistic: Statistic,
    gamma: Array | None = None,
    dgamma: Array | None = None,
    dbeta: Array | None = None,
) -> Array:
    """dx = scale (g - (sum of g + xhat (sum of g xhat)) / n), g = dy gamma, xhat = (x - mean) scale, sums over a group.

    `mean` and `scale` are those that `normalize` returned. dgamma and dbeta, if given, are written.
    """
    device = _check("normalize_gradient", grouping, gamma, None, dy=dy, x=x)
    contract.has_shape("normalize_gradient", "dy", dy, x.shape)
    dy, x = contiguous(dy), contiguous(x)
    dx = empty(x.shape, x.dtype, device)
    fused = grouping.kind is Parameters.BY_GROUP
    at_once = device.kind is Kind.CPU and grouping.kind is Parameters.BY_ELEMENT and grouping.groups.r0 == 1
    if not (fused or at_once) and (dgamma is not None or dbeta is not None):
        parameter_gradients(dy, x, mean, scale, grouping, dgamma, dbeta)
    if device.kind is Kind.CPU:
        gradients = (dgamma, dbeta) if fused or at_once else (None, None)
        _gradient_cpu(dy, x, mean, scale, grouping, statistic, gamma, gradients, dx)
        return dx
    view = grouping.groups
    plan, defines = _plan(grouping, view, statistic.centered)
    first, second, row = None, None, 0
    if plan.splits > 1:
        flat, row = empty((plan.splits * 2 * view.groups,), x.dtype, device), 2 * view.groups
        first, second = flat, flat[view.groups :]
        args = (dy, x, _flat(gamma), mean, scale, first, second, *view, *grouping.channels, plan.chunk, 1, row)
        _launch(_GRADIENT_FILE, "normalization_sums", plan, defines, *args)
    outputs = (_flat(dgamma), _flat(dbeta)) if fused else (None, None)
    _launch(
        *(_GRADIENT_FILE, "normalization_gradient", plan, defines),
        *(dy, x, _flat(gamma), mean, scale, first, second, *outputs, dx, *view, *grouping.channels),
        *(plan.chunk, plan.splits, row, statistic.divisor(view), float(statistic.most)),
    )
    return dx


def _gradient_cpu(
    dy: HostArray,
    x: HostArray,
    mean: HostArray,
    scale: HostArray,
    grouping: Grouping,
    statistic: Statistic,
    gamma: HostArray | None,
    gradients: tuple[HostArray | None, HostArray | None],
    dx: HostArray,
) -> None:
    view = grouping.groups
    middle = mean.reshape(view.kept_shape) if statistic.centered else None
    unit = scale.reshape(view.kept_shape)
    weights = None if gamma is None else host.parameters_of_groups(gamma.reshape(-1), grouping)
    by_group = grouping.kind is Parameters.BY_GROUP
    within = None if by_group else weights  # a factor of each g, or of the whole sum
    at_once = grouping.kind is Parameters.BY_ELEMENT and view.r0 == 1
    if at_once:
        how = statistic.divisor(view), statistic.most
        first, second = host.sample_gradients(dy, x, view, middle, unit, within, *how, dx)
    else:
        first, second = host.sums(dy, x, view, middle, unit, within)
    for gradient, found in zip(gradients, (second, first), strict=True):
        if gradient is not None:
            gradient[...] = found.reshape(gradient.shape)
    if at_once:
        return
    n = x.dtype.type(statistic.divisor(view))
    slope = np.where(unit >= x.dtype.type(statistic.most), x.dtype.type(0), second / n)
    factor = unit if weights is None or not by_group else unit * weights
    constant = first / n if statistic.centered else None
    host.input_gradient(dy, x, view, middle, unit, within, constant, slope, factor, dx)


@op(lambda dy, *_, **__: 5 * dy.size, changes=("dgamma", "dbeta"))
def parameter_gradients(
    dy: Array,
    x: Array,
    mean: Array | None,
    scale: Array,
    grouping: Grouping,
    dgamma: Array | None,
    dbeta: Array | None,
) -> None:
    """dgamma = sum of dy (x - mean) scale, dbeta = sum of dy, over the elements of each parameter; None is not wanted.

    `mean` None is 0.
    """
    device = _check("parameter_gradients", grouping, dgamma, dbeta, dy=dy, x=x)
    contract.has_shape("parameter_gradients", "dy", dy, x.shape)
    view = grouping.parameters
    if device.kind is Kind.CPU:
        spread = [None if a is None else host.statistics_of_parameters(a, grouping) for a in (mean, scale)]
        assert spread[1] is not None
        first, second = host.sums(dy, x, view, spread[0], spread[1], None)
        for gradient, found in ((dgamma, second), (dbeta, first)):
            if gradient is not None:
                gradient[...] = found.reshape(gradient.shape)
        return
    gamma_sums, beta_sums = (
        empty((view.groups,), x.dtype, device) if gradient is None else gradient.reshape(-1)
        for gradient in (dgamma, dbeta)
    )
    plan, defines = _plan(grouping, view, centered=True)
    first, second, row, flat = beta_sums, gamma_sums, 0, None
    if plan.splits > 1:
        flat, row = empty((plan.splits * 2 * view.groups,), x.dtype, device), 2 * view.groups
        second, first = flat, flat[view.groups :]
    args = (contiguous(dy), contiguous(x), None, mean, scale, first, second)
    _launch(
        *(_GRADIENT_FILE, "normalization_sums", plan, defines),
        *(*args, *view, *grouping.channels, plan.chunk, 0, row),
    )
    if flat is not None:
        tiles.finish(flat.reshape(plan.splits, row), gamma_sums, tail=beta_sums)


@op(lambda x, *_, **__: 3 * x.size)
def standardize(
    x: Array,
    grouping: Grouping,
    mean: Array | None = None,
    variance: Array | None = None,
    gamma: Array | None = None,
    beta: Array | None = None,
    epsilon: float = 0.0,
    least: float = 0.0,
    inverse: bool = False,
) -> Array:
    """y = (x - mean) factor + beta, factor = gamma / max(sqrt(variance + epsilon), least), with numbers of each group.

    None is a mean and a beta of 0 and a gamma of 1; without `variance` the factor is gamma. With `inverse` the root is
    multiplied by, not divided by. The same bits on every device.
    """
    given = {"mean": mean, "variance": variance, "gamma": gamma, "beta": beta}
    device = contract.floats("standardize", x=x, **given)
    view = grouping.groups
    for name, array in given.items():
        if array is not None:
            contract.has_shape("standardize", name, array, (view.groups,))
    y = empty(x.shape, x.dtype, device)
    if device.kind is not Kind.CPU:
        plan, defines = _plan(grouping, view, centered=True)
        args = (contiguous(x), mean, variance, gamma, beta, y, *view, plan.chunk, inverse, epsilon, least)
        _launch(_FILE, "standardize", plan, defines, *args)
        return y
    factor = gamma
    if variance is not None:
        root = np.maximum(np.sqrt(variance + x.dtype.type(epsilon)), x.dtype.type(least))
        with np.errstate(divide="ignore"):
            factor = root if inverse else 1 / root
        factor = factor if gamma is None else gamma * factor
    middle, factor, offset = (
        None if array is None else array.reshape(view.kept_shape) for array in (mean, factor, beta)
    )
    host.standardized(x, view, middle, [factor], offset, y)
    return y


def _check(where: str, grouping: Grouping, one: Array | None, other: Array | None, **arrays: Array) -> Device:
    """Return the device of `arrays` and of what has one element a parameter."""
    device = contract.floats(where, **arrays, gamma=one, beta=other)
    for name, array in (("gamma", one), ("beta", other)):
        if array is not None and array.size != grouping.parameters.groups:
            raise ValueError(
                f"{where}: {name} must have {grouping.parameters.groups} elements; got shape {array.shape}"
            )
    return device


def _moving_arrays(moving: Moving | None) -> tuple[Array | None, Array | None]:
    return (None, None) if moving is None else (moving.mean, moving.variance)


def _flat(array: Array | None) -> Array | None:
    return None if array is None else contiguous(array)


def _plan(grouping: Grouping, view: View, centered: bool) -> tuple[Plan, dict[str, int]]:
    plan = plan_of(view)
    return plan, {**plan.defines, "PARAMETERS": int(grouping.kind), "CENTERED": int(centered)}


def _launch(file: str, entry: str, plan: Plan, defines: dict[str, int], *args: Argument) -> None:
    """Launch a kernel; its first argument has the element type."""
    first = args[0]
    assert first is not None and not isinstance(first, (int, float))
    block = plan.groups * plan.lanes
    launch(file, entry, grid=plan.grid, block=block, args=args, real=first.dtype, defines=defines)
