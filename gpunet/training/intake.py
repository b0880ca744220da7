"""What fit, evaluate and predict are given: checked, and made into batches."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from gpunet import arguments
from gpunet.backend.arrays import CPU, HostArray, Shape, contiguous, device_of, is_array, to_host
from gpunet.backend.random import undone_on_error
from gpunet.backend.shortage import charged
from gpunet.backend.streaming import Layout
from gpunet.layers.base import building
from gpunet.losses import Loss
from gpunet.training import samples as sets
from gpunet.training.compiled import Compiled
from gpunet.training.feeding import Feed, new_feed
from gpunet.training.samples import Column, Samples
from gpunet.training.schedule import Schedule
from gpunet.training.sequences import Checked, Sequences, makes_batches

BATCH_SIZE = 32  # Keras's default


@dataclass(frozen=True)
class Batching:
    """How the user wants batches: None leaves the size at `default`, the steps of an epoch at all that there are."""

    batch_size: int | None
    steps: int | None
    shuffle: bool = False
    default: int | None = None

    @property
    def size(self) -> int:
        return self.batch_size or self.default or BATCH_SIZE


class Intake(Compiled):
    """A compiled network that takes arrays of any device, files, generators and data sets."""

    def _feed(self, where: str, x: Any, y: Any, batching: Batching, labelled: bool = True) -> Feed:
        """Return batches to evaluate or, unless `labelled`, to predict; a set begins anew at every epoch."""
        with self._as_it_was_on_error():
            if makes_batches(x):
                return self._sequence(where, x, y, batching, labelled, restart=True)
            samples = self._samples(where, x, y) if labelled else self._inputs(where, x)
            return self._evaluated(where, samples, batching)

    def _training_feeds(
        self,
        where: str,
        data: tuple[Any, Any],
        batching: Batching,
        validation_split: float,
        validation_data: Any,
        validating: Batching,
    ) -> tuple[Feed, Feed | None]:
        """Return batches to train with, and to validate with; all data is checked before any is copied."""
        fraction = arguments.real(where, "validation_split", validation_split, 0, 1)
        held_out: Samples | Sequences | None = None
        with self._as_it_was_on_error():
            if makes_batches(data[0]):
                if fraction and validation_data is None:
                    raise ValueError(f"{where}: validation_split must be 0 where x makes the batches; got {fraction}")
                training: Samples | Sequences = self._sequence(where, *data, batching)
            else:
                training = self._samples(where, *data)
                if fraction and validation_data is None:
                    training, held_out = training.split(where, fraction)
            if validation_data is not None:
                held_out = self._held_out(f"{where}: validation_data", validation_data, validating)
            if isinstance(training, Samples):
                schedule = Schedule(len(training), batching.size, batching.shuffle, batching.steps)
                feed = new_feed(training, schedule, self.device)
            else:
                feed = training
            if isinstance(held_out, Samples):
                return feed, self._evaluated(f"{where}: validation_data", held_out, validating)
            return feed, held_out

    def _held_out(self, where: str, data: Any, batching: Batching) -> Samples | Sequences:
        if makes_batches(data):
            return self._sequence(where, data, None, batching, restart=True)
        if not isinstance(data, (tuple, list)) or len(data) != 2:
            got = f"{len(data)} of them" if isinstance(data, (tuple, list)) else "one object"
            raise ValueError(f"{where} must be a pair (x, y); got {got}")
        try:
            return self._samples(where, *data)
        except ValueError as error:
            if str(error).startswith(where):
                raise
            raise ValueError(f"{where}: {error}") from error  # a layer's complaint about its input

    def _evaluated(self, where: str, samples: Samples, batching: Batching) -> Feed:
        """Return the first batches of `samples`, in order."""
        schedule = Schedule(len(samples), batching.size, steps=batching.steps, restart=True)
        most = Schedule(len(samples), batching.size).steps
        if schedule.steps > most:
            warnings.warn(f"{where}: steps must be at most {most}, all there are; got {batching.steps}", stacklevel=4)
            schedule.steps = most
        return new_feed(samples, schedule, self.device)

    def _sequence(
        self, where: str, data: Any, y: Any, batching: Batching, labelled: bool = True, restart: bool = False
    ) -> Sequences:
        """Return the batches that `data` makes; the model is built for them if it is not yet."""
        if y is not None:
            raise ValueError(f"{where}: y must be None where x makes the batches, pairs (x, y); got {_kind(y)}")
        if batching.batch_size is not None:
            got = batching.batch_size
            raise ValueError(f"{where}: batch_size must be None where x makes the batches; got {got}")
        loss = self.check_compiled(where) if labelled else None
        return Sequences(
            where,
            data,
            lambda what, batch: self._checked_batch(what, batch, loss),
            self.device,
            steps=batching.steps,
            shuffle=batching.shuffle,
            restart=restart,
        )

    def _checked_batch(self, where: str, batch: Any, loss: Loss | None) -> Checked:
        """Return the arrays of a batch that the user made, with y if there is a loss for it."""
        parts = tuple(batch) if isinstance(batch, (tuple, list)) else (batch,)
        if loss is None:
            x = self._checked_inputs(where, sets.as_host(where, "x", parts[0] if parts else None))
            self.build_for(x.shape[1:])
            return [x], [Layout(x.shape, np.dtype(self.dtype))]
        if len(parts) != 2:
            hint = "; sample weights are not supported yet" if len(parts) == 3 else ""
            raise ValueError(f"{where} must be a pair (x, y); got {len(parts)} of them{hint}")
        x = self._checked_inputs(where, sets.as_host(where, "x", parts[0]))
        y = sets.as_host(where, "y", parts[1])
        sets.check_lengths(where, x, y)
        self.build_for(x.shape[1:])
        try:
            targets = loss.prepare_targets(y, (len(x), *self.output_shape[1:]), self.dtype)
        except (ValueError, TypeError) as error:
            raise type(error)(f"{where}: {error}") from error
        return [x, targets], [Layout(x.shape, np.dtype(self.dtype)), Layout(targets.shape, targets.dtype)]

    def _samples(self, where: str, x: Any, y: Any) -> Samples:
        """Return samples with targets; the model is built for them if it is not yet."""
        loss = self.check_compiled(where)
        with self._as_it_was_on_error():
            inputs = self._inputs(where, x, build=False).x
            targets = sets.as_samples(where, "y", y)
            sets.check_lengths(where, inputs.array, targets)
            self.build_for(inputs.row)
            return Samples(inputs, self._targets(loss, targets))

    def _inputs(self, where: str, x: Any, build: bool = True) -> Samples:
        """Return samples without targets; with `build` the model is built for them if it is not yet."""
        array = sets.as_samples(where, "x", x)
        dtype = np.dtype(self.dtype)
        if sets.is_in_file(array):
            self._check_shape(array.shape)
            column = Column(
                array, array.shape[1:], dtype, lambda values, numbers: self._checked_inputs(where, values, numbers)
            )
        else:
            host = self._checked_inputs(where, to_host(array))
            column = Column(array if device_of(array) == self.device else host, array.shape[1:], dtype)
        if build:
            self.build_for(column.row)
        return Samples(column)

    def _checked_inputs(self, where: str, x: HostArray, numbers: HostArray | None = None) -> HostArray:
        self._check_shape(x.shape)
        sets.check_finite(where, "x", x, np.dtype(self.dtype), numbers)
        return x

    def _targets(self, loss: Loss, y: Any) -> Column:
        row = self.output_shape[1:]
        if sets.is_in_file(y):
            first = loss.prepare_targets(y[np.arange(1)], (1, *row), self.dtype)

            def prepare(values: HostArray, numbers: HostArray) -> HostArray:
                return loss.prepare_targets(values, (len(values), *row), self.dtype)

            return Column(y, first.shape[1:], first.dtype, prepare)
        host = to_host(y)
        targets = loss.prepare_targets(host, (len(host), *row), self.dtype)
        # What the user has on the device stays there, unless the loss made other numbers of it.
        kept = device_of(y) == self.device != CPU
        if kept and np.array_equal(host.reshape(-1).astype(targets.dtype), targets.reshape(-1)):
            return Column(contiguous(y).reshape(targets.shape), targets.shape[1:], targets.dtype)
        return Column(targets, targets.shape[1:], targets.dtype)

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

    def _check_shape(self, shape: Shape) -> None:
        if self.built:
            self.check_input_shape(shape)


def _kind(value: Any) -> str:
    return f"an array of shape {value.shape}" if is_array(value) else f"a {type(value).__name__}"
