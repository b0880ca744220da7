"""What fit, evaluate and predict are given: checked, and made into batches."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from typing import Any

from gpunet import arguments
from gpunet.backend.streaming import Layout
from gpunet.training.checking import Checking, Given
from gpunet.training.feeding import Feed, new_feed
from gpunet.training.samples import Samples
from gpunet.training.schedule import Schedule
from gpunet.training.sequences import Checked, Sequences, makes_batches
from gpunet.training.structure import described
from gpunet.training.weighing import ClassWeight

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


class Intake(Checking):
    """A compiled network that takes arrays of any device, files, generators and data sets."""

    def _feed(
        self, where: str, x: Any, y: Any, batching: Batching, sample_weight: Any = None, labelled: bool = True
    ) -> Feed:
        """Return batches to evaluate or, unless `labelled`, to predict; a set begins anew at every epoch."""
        given = Given(x, y, sample_weight)
        with self._as_it_was_on_error():
            if makes_batches(x):
                return self._sequence(where, given, batching, labelled, restart=True)
            samples = self._samples(where, given) if labelled else self._unlabelled(where, x)
            return self._evaluated(where, samples, batching)

    def _training_feeds(
        self,
        where: str,
        given: Given,
        batching: Batching,
        validation_split: float,
        validation_data: Any,
        validating: Batching,
    ) -> tuple[Feed, Feed | None]:
        """Return batches to train with, and to validate with; all data is checked before any is copied."""
        fraction = arguments.real(where, "validation_split", validation_split, 0, 1)
        held_out: Samples | Sequences | None = None
        with self._as_it_was_on_error():
            if makes_batches(given.x):
                if fraction and validation_data is None:
                    raise ValueError(f"{where}: validation_split must be 0 where x makes the batches; got {fraction}")
                training: Samples | Sequences = self._sequence(where, given, batching)
            else:
                training = self._samples(where, given)
                if fraction and validation_data is None:
                    training, held_out = training.split(where, fraction)
                    if given.class_weight is not None:  # which weighs what is learnt from alone
                        held_out = replace(held_out, weights=())
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
            return self._sequence(where, Given(data), batching, restart=True)
        if not isinstance(data, (tuple, list)) or len(data) not in (2, 3):
            got = f"{len(data)} of them" if isinstance(data, (tuple, list)) else "one object"
            raise ValueError(f"{where} must be a pair (x, y), or (x, y, sample_weight); got {got}")
        try:
            return self._samples(where, Given(*data))
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
        self, where: str, given: Given, batching: Batching, labelled: bool = True, restart: bool = False
    ) -> Sequences:
        """Return the batches that `given.x` makes; the model is built for them if it is not yet."""
        for name, value in (("y", given.y), ("sample_weight", given.sample_weight)):
            if value is not None:
                rule = "must be None where x makes the batches, pairs (x, y) or (x, y, sample_weight)"
                raise ValueError(f"{where}: {name} {rule}; got {described(value)}")
        if batching.batch_size is not None:
            got = batching.batch_size
            raise ValueError(f"{where}: batch_size must be None where x makes the batches; got {got}")
        if labelled:
            self.check_compiled(where)
        return Sequences(
            where,
            given.x,
            lambda what, batch: self._checked_batch(what, batch, labelled, given.class_weight),
            self.device,
            steps=batching.steps,
            shuffle=batching.shuffle,
            restart=restart,
        )

    def _checked_batch(self, where: str, batch: Any, labelled: bool, class_weight: ClassWeight | None) -> Checked:
        """Return the arrays of a batch that the user made, with those of targets and weights if it is `labelled`."""
        parts = tuple(batch) if isinstance(batch, (tuple, list)) else (batch,)
        if not labelled:
            samples = self._unlabelled(where, parts[0] if parts else None, on_host=True)
        elif len(parts) not in (2, 3):
            raise ValueError(f"{where} must be a pair (x, y), or (x, y, sample_weight); got {len(parts)} of them")
        else:
            try:
                given = Given(*parts)._replace(class_weight=class_weight)
                samples = self._samples(where, given, on_host=True)
            except (ValueError, TypeError) as error:
                raise error if self.where in str(error) else type(error)(f"{where}: {error}") from error
        arrays = [column.array for column in samples.columns]
        return arrays, [
            Layout(array.shape, column.dtype) for array, column in zip(arrays, samples.columns, strict=True)
        ]
