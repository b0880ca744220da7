"""Layers of several inputs: Add, Subtract, Multiply, Average, Maximum, Minimum, Concatenate, Dot."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Unpack

from gpunet import arguments
from gpunet.backend.arrays import Array
from gpunet.layers.base import Backward, Forward, Layer, LayerArguments
from gpunet.layers.shapes import Dims, nested
from gpunet.ops import merging
from gpunet.ops.arithmetic import scale
from gpunet.ops.batch_dot import batch_dot, batch_dot_gradient, normalize, normalize_gradient
from gpunet.ops.merging import Merge

_MOST_AXES = 64  # of a NumPy array


class _Merging(Layer):
    """A layer that takes a list of inputs of one batch."""

    takes_list = True
    exactly: int | None = None  # how many inputs it takes, None for any number

    def check_input_shape(self, shape: Any) -> None:
        if not isinstance(shape, list) or (self.exactly or len(shape)) != len(shape):
            number = "a list of arrays or tensors" if self.exactly is None else f"a list of {self.exactly}"
            got = f"{len(shape)} of them" if isinstance(shape, list) else f"one of shape {shape}"
            raise ValueError(f"{self.where}: inputs must be {number}; got {got}")
        super().check_input_shape(shape)
        if len({one[0] for one in shape} - {None}) > 1:
            raise ValueError(f"{self.where}: inputs must have one batch size; got shapes {shape}")

    def _shapes(self, input_shape: Any) -> list[Dims]:
        shapes: list[Dims] = nested(self.where, "input_shape", input_shape)
        self.check_input_shape(shapes)
        return shapes


class ElementWiseMerging(_Merging):
    """A layer whose inputs have one shape, once they are repeated where a size is 1.

    An input of fewer axes gets axes of size 1 after the batch.
    """

    def check_input_shape(self, shape: Any) -> None:
        super().check_input_shape(shape)
        for sizes in zip(*_of_one_rank(shape), strict=True):
            if len(set(sizes) - {1, None}) > 1:
                raise ValueError(f"{self.where}: inputs must have the same sizes, or 1; got shapes {shape}")

    def compute_output_shape(self, input_shape: Any) -> Dims:
        shapes = self._shapes(input_shape)
        batch, *sizes = zip(*_of_one_rank(shapes), strict=True)
        known = next((size for size in batch if size is not None), None)
        return (known, *map(_common_size, sizes))

    def forward(self, xs: list[Array], training: bool) -> Forward:
        if len(xs) == 1:
            return xs[0], lambda dy: [dy]
        shapes = _of_one_rank([x.shape for x in xs])
        target = tuple(max(sizes) for sizes in zip(*shapes, strict=True))
        spread = [merging.spread(x.reshape(shape), target) for x, shape in zip(xs, shapes, strict=True)]
        y, merged_backward = self.merge(spread)

        def backward(dy: Array) -> list[Array] | None:
            if not self.needs_input_gradient:
                return None
            dxs = zip(xs, shapes, merged_backward(dy), strict=True)
            return [dx.reshape(x.shape) if shape == target else _narrowed(dx, shape, x) for x, shape, dx in dxs]

        return y, backward

    def merge(self, xs: list[Array]) -> tuple[Array, Backward]:
        """Return y for two inputs or more of one shape, and what returns their gradients."""
        raise NotImplementedError


def _of_one_rank(shapes: Sequence[Dims]) -> list[Any]:
    rank = max(map(len, shapes))
    return [(shape[0], *(1,) * (rank - len(shape)), *shape[1:]) for shape in shapes]


def _common_size(sizes: Sequence[int | None]) -> int | None:
    """Return the size that is not 1; None, as in Keras, where one is not known."""
    return None if None in sizes else max(size for size in sizes if size is not None)


def _narrowed(dx: Array, shape: Any, x: Array) -> Array:
    return merging.spread_gradient(dx, shape).reshape(x.shape)


class Add(ElementWiseMerging):
    """y = x_1 + x_2 + …

    >>> Add()([[[1.0, 2.0]], [[10.0, 20.0]]])
    array([[11., 22.]], dtype=float32)
    """

    def merge(self, xs: list[Array]) -> tuple[Array, Backward]:
        return merging.add(xs), lambda dy: [dy] * len(xs)


class Subtract(ElementWiseMerging):
    """y = x_1 - x_2."""

    exactly = 2

    def merge(self, xs: list[Array]) -> tuple[Array, Backward]:
        return merging.merge(xs, Merge.DIFFERENCE), lambda dy: [dy, scale(dy, -1)]


class Multiply(ElementWiseMerging):
    """y = x_1 x_2 …, element by element."""

    def merge(self, xs: list[Array]) -> tuple[Array, Backward]:
        def backward(dy: Array) -> list[Array]:
            return [merging.merge([dy, *xs[:i], *xs[i + 1 :]], Merge.PRODUCT) for i in range(len(xs))]

        return merging.merge(xs, Merge.PRODUCT), backward


class Average(ElementWiseMerging):
    """y = (x_1 + x_2 + …) / n."""

    def merge(self, xs: list[Array]) -> tuple[Array, Backward]:
        share = 1 / len(xs)
        return scale(merging.add(xs), share), lambda dy: [scale(dy, share)] * len(xs)


class _Choice(ElementWiseMerging):
    how: Merge

    def merge(self, xs: list[Array]) -> tuple[Array, Backward]:
        chosen = [xs[0]]  # of the first, of the first two, …
        for x in xs[1:]:
            chosen.append(merging.merge([chosen[-1], x], self.how))

        def backward(dy: Array) -> list[Array]:
            dxs: list[Array] = []
            for before, x in zip(reversed(chosen[:-1]), reversed(xs[1:]), strict=True):
                dy, dx = merging.choice_gradient(dy, before, x, self.how)
                dxs.append(dx)
            return [dy, *reversed(dxs)]

        return chosen[-1], backward


class Maximum(_Choice):
    """y = max(x_1, x_2, …), element by element; the gradient goes to the first that has it."""

    how = Merge.MAXIMUM


class Minimum(_Choice):
    """y = min(x_1, x_2, …), element by element; the gradient goes to the first that has it."""

    how = Merge.MINIMUM


class Concatenate(_Merging):
    """y = the inputs one after another along `axis`, which counts the batch and cannot be it; other sizes are equal.

    >>> Concatenate()([[[1.0, 2.0]], [[3.0]]])
    array([[1., 2., 3.]], dtype=float32)
    """

    def __init__(self, axis: int = -1, **kwargs: Unpack[LayerArguments]) -> None:
        super().__init__(**kwargs)
        self.axis = arguments.integer(self.where, "axis", axis, minimum=-_MOST_AXES)

    def check_input_shape(self, shape: Any) -> None:
        super().check_input_shape(shape)
        rank = len(shape[0])
        if any(len(one) != rank for one in shape):
            raise ValueError(f"{self.where}: inputs must have one number of axes; got shapes {shape}")
        if not -rank < self.axis < rank or self.axis == 0:
            raise ValueError(
                f"{self.where}: axis must be from 1 to {rank - 1}, or from {1 - rank} to -1; got {self.axis}"
            )
        for axis, sizes in enumerate(zip(*shape, strict=True)):
            if axis != self.axis % rank and len(set(sizes) - {None}) > 1:
                raise ValueError(f"{self.where}: inputs must have equal sizes but along axis {self.axis}; got {shape}")

    def compute_output_shape(self, input_shape: Any) -> Dims:
        shapes = self._shapes(input_shape)
        axis = self.axis % len(shapes[0])
        known = [next((size for size in sizes if size is not None), None) for sizes in zip(*shapes, strict=True)]
        sizes = [shape[axis] for shape in shapes]
        known[axis] = None if None in sizes else sum(size for size in sizes if size is not None)
        return tuple(known)

    def forward(self, xs: list[Array], training: bool) -> Forward:
        if len(xs) == 1:
            return xs[0], lambda dy: [dy]
        axis = self.axis % xs[0].ndim
        sizes = [x.shape[axis] for x in xs]

        def backward(dy: Array) -> list[Array] | None:
            return merging.split(dy, sizes, axis) if self.needs_input_gradient else None

        return merging.concatenate(xs, axis), backward

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "axis": self.axis}


class Dot(_Merging):
    """y[b, …] = sum_k of both inputs along `axes`, one for both or one for each, which count the batch, and are not it.

    The other axes of the first input come before those of the second; if there are none y is (batch, 1). `normalize`
    scales both to length 1 along that axis first, so that y is the cosine of the angle between them.

    >>> Dot(axes=1, normalize=True)([[[3.0, 4.0]], [[6.0, 8.0]]])
    array([[1.]], dtype=float32)
    """

    exactly = 2

    def __init__(self, axes: int | Sequence[int], normalize: bool = False, **kwargs: Unpack[LayerArguments]) -> None:
        super().__init__(**kwargs)
        self.axes: int | tuple[int, ...]
        if isinstance(axes, (list, tuple)):
            self.axes = arguments.integers(self.where, "axes", axes, minimum=-_MOST_AXES)
            if len(self.axes) != 2:
                raise ValueError(f"{self.where}: axes must be one integer or two; got {arguments.shown(axes)}")
        else:
            self.axes = arguments.integer(self.where, "axes", axes, minimum=-_MOST_AXES)
        self.normalize = arguments.boolean(self.where, "normalize", normalize)

    def _positive_axes(self, shapes: Sequence[Any]) -> tuple[int, int]:
        """Return the axes, counted from 0."""
        axes = self.axes if isinstance(self.axes, tuple) else (self.axes, self.axes)
        found = []
        for axis, shape in zip(axes, shapes, strict=True):
            if not -len(shape) < axis < len(shape) or axis == 0:
                raise ValueError(f"{self.where}: axes must be axes of the inputs, not the batch; got {axis} of {shape}")
            found.append(axis % len(shape))
        return found[0], found[1]

    def check_input_shape(self, shape: Any) -> None:
        super().check_input_shape(shape)
        axes = self._positive_axes(shape)
        sizes = [one[axis] for one, axis in zip(shape, axes, strict=True)]
        if len(set(sizes) - {None}) > 1:
            raise ValueError(f"{self.where}: inputs must have equal sizes along axes {axes}; got shapes {shape}")

    def compute_output_shape(self, input_shape: Any) -> Dims:
        first, second = self._shapes(input_shape)
        axes = self._positive_axes((first, second))
        rest = (*first[1 : axes[0]], *first[axes[0] + 1 :], *second[1 : axes[1]], *second[axes[1] + 1 :])
        return (first[0] if first[0] is not None else second[0], *(rest or (1,)))

    def forward(self, xs: list[Array], training: bool) -> Forward:
        axes = self._positive_axes([x.shape for x in xs])
        used = [normalize(x, axis) for x, axis in zip(xs, axes, strict=True)] if self.normalize else xs
        product = batch_dot(used[0], used[1], axes)

        def backward(dy: Array) -> list[Array] | None:
            if not self.needs_input_gradient:
                return None
            dxs = batch_dot_gradient(dy.reshape(product.shape), used[0], used[1], axes)
            if not self.normalize:
                return list(dxs)
            return [normalize_gradient(dx, x, axis) for dx, x, axis in zip(dxs, xs, axes, strict=True)]

        return product if product.ndim > 1 else product.reshape(-1, 1), backward

    def get_config(self) -> dict[str, Any]:
        axes = list(self.axes) if isinstance(self.axes, tuple) else self.axes
        return {**super().get_config(), "axes": axes, "normalize": self.normalize}


def add(inputs: Sequence[Any], **kwargs: Any) -> Any:
    """Return Add(**kwargs)(inputs)."""
    return Add(**kwargs)(inputs)


def subtract(inputs: Sequence[Any], **kwargs: Any) -> Any:
    """Return Subtract(**kwargs)(inputs)."""
    return Subtract(**kwargs)(inputs)


def multiply(inputs: Sequence[Any], **kwargs: Any) -> Any:
    """Return Multiply(**kwargs)(inputs)."""
    return Multiply(**kwargs)(inputs)


def average(inputs: Sequence[Any], **kwargs: Any) -> Any:
    """Return Average(**kwargs)(inputs)."""
    return Average(**kwargs)(inputs)


def maximum(inputs: Sequence[Any], **kwargs: Any) -> Any:
    """Return Maximum(**kwargs)(inputs)."""
    return Maximum(**kwargs)(inputs)


def minimum(inputs: Sequence[Any], **kwargs: Any) -> Any:
    """Return Minimum(**kwargs)(inputs)."""
    return Minimum(**kwargs)(inputs)


def concatenate(inputs: Sequence[Any], axis: int = -1, **kwargs: Any) -> Any:
    """Return Concatenate(axis, **kwargs)(inputs)."""
    return Concatenate(axis=axis, **kwargs)(inputs)


def dot(inputs: Sequence[Any], axes: int | Sequence[int] = -1, **kwargs: Any) -> Any:
    """Return Dot(axes, **kwargs)(inputs)."""
    return Dot(axes=axes, **kwargs)(inputs)
