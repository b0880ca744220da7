"""What users give for inputs, targets and weights: brought in order, checked, and made into columns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

from gpunet.backend.arrays import CPU, HostArray, Shape, contiguous, device_of, to_host
from gpunet.backend.random import undone_on_error
from gpunet.backend.shortage import charged
from gpunet.layers.base import building
from gpunet.layers.shapes import Dims, fits
from gpunet.losses import Loss
from gpunet.losses.targets import dense_targets, loss_weights, sparse_targets
from gpunet.training import samples as sets
from gpunet.training.compiled import Compiled
from gpunet.training.heads import Head
from gpunet.training.objective import Objective
from gpunet.training.samples import Column, Samples
from gpunet.training.structure import check_names, in_order, only
from gpunet.training.weighing import ClassWeight, weights_of_classes


class Given(NamedTuple):
    """What the user gave for samples: inputs, targets, and how much they count. `y` is None for predictions."""

    x: Any
    y: Any = None
    sample_weight: Any = None
    class_weight: ClassWeight | None = None


class Checking(Compiled):
    """A compiled network that checks samples, and is built for them if it is not yet."""

    def _samples(self, where: str, given: Given, on_host: bool = False) -> Samples:
        """Return samples with targets; with `on_host` all of them are read, and lie there."""
        self.check_compiled(where)
        if given.class_weight is not None and given.sample_weight is not None:
            raise ValueError(f"{where}: class_weight must be None where samples have weights; got both")
        with self._as_it_was_on_error():
            names = self._input_names
            inputs = self._input_columns(where, names, given.x, on_host)
            arrays = dict(zip(_shown("x", names), (column.array for column in inputs), strict=True))
            if not self.built:
                sets.check_lengths(where, arrays | {"y": sets.as_samples(where, "y", only(given.y))})
                self.build_for(inputs[0].row)
            objective = self.objective
            targets = _given_targets(where, objective, given.y, on_host)
            sets.check_lengths(where, arrays | targets)
            columns = [
                self._target_column(where, head, name, y)
                for head, (name, y) in zip(objective.targeted, targets.items(), strict=True)
            ]
            weights = self._weight_columns(where, objective, given, inputs[0], columns)
            return Samples(inputs, tuple(columns), tuple(weights))

    def _unlabelled(self, where: str, x: Any, on_host: bool = False) -> Samples:
        """Return samples without targets; the model is built for them if it is not yet."""
        columns = self._input_columns(where, self._input_names, x, on_host)
        self.build_for(columns[0].row)
        return Samples(columns)

    @property
    def _input_names(self) -> list[str]:
        """The names of the inputs; of a network that is not built, which has one, no name is known."""
        return self.input_names if self.built else ["x"]

    def _input_columns(self, where: str, names: Sequence[str], x: Any, on_host: bool) -> tuple[Column, ...]:
        given = in_order(where, "x", x, names) if len(names) > 1 else [only(x, names[0] if self.built else None)]
        read = sets.as_host if on_host else sets.as_samples
        shown = _shown("x", names)
        arrays = {name: read(where, name, value) for name, value in zip(shown, given, strict=True)}
        sets.check_lengths(where, arrays)
        return tuple(self._input_column(where, name, place, arrays[name]) for place, name in enumerate(shown))

    def _input_column(self, where: str, name: str, number: int, array: Any) -> Column:
        self._check_shape(number, array.shape)
        dtype = np.dtype(self.dtype)
        if sets.is_in_file(array):

            def prepare(values: HostArray, numbers: HostArray) -> HostArray:
                self._check_shape(number, values.shape)
                sets.check_finite(where, name, values, dtype, numbers)
                return values

            return Column(array, array.shape[1:], dtype, prepare)
        host = to_host(array)
        sets.check_finite(where, name, host, dtype)
        return Column(array if device_of(array) == self.device else host, array.shape[1:], dtype)

    def _check_shape(self, number: int, shape: Shape) -> None:
        if not self.built:
            return
        expected = self.input_shapes
        if len(expected) == 1:
            self.check_input_shape(shape)
        elif not fits(shape[1:], expected[number][1:]):
            name = self.input_names[number]
            raise ValueError(f"{self.where}: input {name!r} must have shape {expected[number]}; got {shape}")

    def _target_column(self, where: str, head: Head, name: str, y: Any) -> Column:
        """Return targets as the loss takes them."""
        row = head.shape[1:]

        def prepared(values: HostArray) -> HostArray:
            with _told(f"{where}: {name}", several=name != "y"):
                return _prepared(head.loss, values, (len(values), *row), self.dtype)

        if sets.is_in_file(y):
            first = prepared(y[np.arange(1)])
            return Column(y, first.shape[1:], first.dtype, lambda values, numbers: prepared(values))
        host = to_host(y)
        targets = prepared(host)
        # What the user has on the device stays there, unless the loss made other numbers of it.
        kept = device_of(y) == self.device != CPU
        if kept and np.array_equal(host.reshape(-1).astype(targets.dtype), targets.reshape(-1)):
            return Column(contiguous(y).reshape(targets.shape), targets.shape[1:], targets.dtype)
        return Column(targets, targets.shape[1:], targets.dtype)

    def _weight_columns(
        self, where: str, objective: Objective, given: Given, x: Column, targets: Sequence[Column]
    ) -> list[Column]:
        """Return the weights of all that have targets, or nothing if there are no weights."""
        heads = objective.targeted
        if given.class_weight is not None:
            if len(objective.heads) > 1:
                got = len(objective.heads)
                raise ValueError(f"{where}: class_weight must be None for several outputs; got {got} outputs")
            return [self._class_weights(heads[0], targets[0], given.class_weight)]
        values = [] if given.sample_weight is None else _given_weights(where, objective, given.sample_weight)
        if all(value is None for value in values):
            return []
        columns = []
        for head, name, value in zip(heads, _names(objective, "sample_weight"), values, strict=True):
            host = np.ones(len(x), self.dtype) if value is None else sets.as_host(where, name, value)
            sets.check_lengths(where, {"x": x.array, name: host})
            with _told(f"{where}: {name}", several=len(objective.heads) > 1):
                weights = _prepared_weights(head.loss, host, (len(x), *head.shape[1:]), self.dtype)
            columns.append(Column(weights, weights.shape[1:], weights.dtype))
        return columns

    def _class_weights(self, head: Head, targets: Column, class_weight: ClassWeight) -> Column:
        dtype = np.dtype(self.dtype)
        are_labels = head.loss is not None and head.loss.sparse_targets

        def weights_of(values: HostArray) -> HostArray:
            return weights_of_classes(values, class_weight, are_labels, dtype)

        prepare = targets.prepare
        if prepare is None:
            weights = weights_of(to_host(targets.array))
            return Column(weights, weights.shape[1:], dtype)
        row = targets.row if are_labels else targets.row[:-1]
        return Column(targets.array, row, dtype, lambda values, numbers: weights_of(prepare(values, numbers)))

    @contextmanager
    def _as_it_was_on_error(self) -> Iterator[None]:
        """Forget what was built inside the `with` block, and its random streams, if the block fails."""
        with charged("the data"), undone_on_error():
            if self.built:
                yield
                return
            with building:  # nobody uses what may be forgotten
                was_built = self.built
                try:
                    yield
                except BaseException:
                    if self.built and not was_built:
                        self.forget_build()
                    raise


def _shown(what: str, names: Sequence[str]) -> list[str]:
    """Return what errors call the arrays of several inputs or outputs."""
    return [what] if len(names) == 1 else [f"{what}[{name!r}]" for name in names]


def _names(objective: Objective, what: str) -> list[str]:
    """Return what errors call the arrays of the outputs that have targets."""
    return [what] if len(objective.heads) == 1 else [f"{what}[{head.output!r}]" for head in objective.targeted]


def _given_targets(where: str, objective: Objective, y: Any, on_host: bool) -> dict[str, Any]:
    """Return the targets, as arrays or rows of a file, by what errors call them."""
    heads = objective.heads
    check_names(where, "y", y, [head.output for head in heads])
    given = [only(y, heads[0].output)] if len(heads) == 1 else _per_target(where, objective, "y", y)
    read = sets.as_host if on_host else sets.as_samples
    return {name: read(where, name, value) for name, value in zip(_names(objective, "y"), given, strict=True)}


def _per_target(where: str, objective: Objective, what: str, value: Any) -> list[Any]:
    """Return what `value` has for each output that has a target, of all outputs or of these alone."""
    heads, targeted = objective.heads, objective.targeted
    if isinstance(value, (list, tuple)) and len(value) == len(heads):
        return [one for head, one in zip(heads, value, strict=True) if head.has_target]
    if len(targeted) == 1 and not isinstance(value, Mapping):
        return [only(value)]
    return in_order(where, what, value, [head.output for head in targeted])


def _given_weights(where: str, objective: Objective, value: Any) -> list[Any]:
    """Return the weights for each output that has a target; None for those without."""
    heads = objective.targeted
    check_names(where, "sample_weight", value, [head.output for head in objective.heads])
    if isinstance(value, Mapping):
        return [value.get(head.output) for head in heads]
    if len(objective.heads) == 1:
        return [only(value)]
    is_one = hasattr(value, "shape") or not isinstance(value, (list, tuple))
    if is_one or all(isinstance(one, (int, float)) for one in value):
        return [value] * len(heads)
    return _per_target(where, objective, "sample_weight", value)


def _prepared(loss: Loss | None, values: HostArray, shape: Dims, dtype: str) -> HostArray:
    """Return targets as the loss takes them or, for metrics alone, as labels or in the shape of the outputs."""
    if loss is not None:
        return loss.prepare_targets(values, shape, dtype)
    if values.shape in (shape[:-1], (*shape[:-1], 1)) and shape[-1] != 1:
        return sparse_targets("metrics", values, shape, None)
    return dense_targets("metrics", values, shape, dtype)


def _prepared_weights(loss: Loss | None, values: HostArray, shape: Dims, dtype: str) -> HostArray:
    if loss is not None:
        return loss.prepare_weights(values, shape, dtype)
    return loss_weights("metrics", values, shape[:-1], dtype)


@contextmanager
def _told(place: str, several: bool) -> Iterator[None]:
    """Say in errors which of several targets is meant."""
    try:
        yield
    except (ValueError, TypeError) as error:
        if not several:
            raise
        raise type(error)(f"{place}: {error}") from error
