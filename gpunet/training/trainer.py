"""Trainer: Keras's fit, evaluate and predict, for any network."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeAlias

import numpy as np

from gpunet import arguments
from gpunet.backend.arrays import Array, HostArray, device_of, is_array, to_device, to_host
from gpunet.training import batches, loops
from gpunet.training.batches import Samples, Schedule
from gpunet.training.callback import Callback, CallbackList, Logs, check_callbacks
from gpunet.training.compiled import Compiled
from gpunet.training.history import History
from gpunet.training.loops import Data
from gpunet.training.progress import ProgressBar, print_text
from gpunet.training.step import predict

Callbacks: TypeAlias = Callback | Iterable[Callback] | None
Verbose: TypeAlias = int | str


class Trainer(Compiled):
    """A compiled network with fit, evaluate and predict; the public model classes derive from it."""

    stop_training = False  # a callback sets it to end `fit` after the running batch
    history: History | None = None  # of the last `fit`

    def fit(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        epochs: int = 1,
        verbose: Verbose = "auto",
        callbacks: Callbacks = None,
        validation_split: float = 0.0,
        validation_data: Any = None,
        shuffle: bool = True,
        *,
        initial_epoch: int = 0,
        steps_per_epoch: int | None = None,
        validation_batch_size: int | None = None,
        validation_freq: int | Sequence[int] = 1,
    ) -> History:
        """Train on samples x with targets y for `epochs` passes, and return the History.

        `batch_size` is 32 if None; the last batch of a pass may be smaller, and means weigh it so. `validation_split`
        sets the last samples aside, before any shuffling; `validation_data`, a pair (x, y), stands above it. Either is
        evaluated after the epochs that `validation_freq` names: every so many, or a list of numbers from 1. `shuffle`
        takes the samples in the order of a new permutation in each pass. With `steps_per_epoch` an epoch has so many
        batches, and the next goes on where it stopped. `verbose` is 0 (silent), 1 (a bar on a terminal, else lines),
        2 (a line an epoch) or 'auto' (1).

        All data and arguments are checked before anything changes. Ctrl-C lets the running step and the callbacks end
        and raises KeyboardInterrupt; the model is usable, and `model.history` has the epochs that were finished.
        """
        where = f"{self.where}.fit"
        batch_size = batches.check_batch_size(where, "batch_size", batch_size)
        epochs = arguments.integer(where, "epochs", epochs, minimum=0)
        initial_epoch = arguments.integer(where, "initial_epoch", initial_epoch, minimum=0)
        if steps_per_epoch is not None:
            steps_per_epoch = arguments.integer(where, "steps_per_epoch", steps_per_epoch)
        shuffle = arguments.boolean(where, "shuffle", shuffle)
        validated = _validated_epochs(where, validation_freq)
        given = check_callbacks(where, callbacks)
        size = batches.check_batch_size(where, "validation_batch_size", validation_batch_size, batch_size)
        verbose = _check_verbose(where, verbose)
        samples, held_out = self._training_samples(where, x, y, validation_split, validation_data)
        validation = None if held_out is None else Data(held_out, Schedule(len(held_out), size))
        data = Data(samples, Schedule(len(samples), batch_size, shuffle, steps_per_epoch))
        self.stop_training = False
        self.history = History()
        with self._progress(data, verbose) as progress:
            listed = CallbackList(
                [*given, self.history, progress],
                self,
                verbose=verbose,
                epochs=epochs,
                steps=data.schedule.steps,
                initial_epoch=initial_epoch,
                do_validation=validation is not None,
            )
            loops.train(self, self._new_step(), data, validation, range(initial_epoch, epochs), validated, listed)
        return self.history

    def evaluate(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        verbose: Verbose = "auto",
        *,
        callbacks: Callbacks = None,
        return_dict: bool = False,
    ) -> Any:
        """Return the mean loss over the samples, or, with metrics, a list: the loss and each metric.

        With `return_dict` it is a dict by name.
        """
        where = f"{self.where}.evaluate"
        size = batches.check_batch_size(where, "batch_size", batch_size)
        given, verbose = check_callbacks(where, callbacks), _check_verbose(where, verbose)
        samples = self._samples(where, x, y)
        data = Data(samples, Schedule(len(samples), size))
        with self._progress(data, verbose) as progress:
            listed = CallbackList([*given, progress], self, verbose=verbose, epochs=1, steps=data.schedule.steps)
            logs = loops.evaluate(self, self._new_step(), data, listed)
        return _results(logs, return_dict)

    def predict(
        self, x: Any, batch_size: int | None = None, verbose: Verbose = "auto", *, callbacks: Callbacks = None
    ) -> Array:
        """Return the outputs for all samples of x, in the kind of array that x is (a list gives a NumPy array)."""
        where = f"{self.where}.predict"
        size = batches.check_batch_size(where, "batch_size", batch_size)
        given, verbose = check_callbacks(where, callbacks), _check_verbose(where, verbose)
        samples = self._inputs(where, x)
        self._build_for(samples.x)
        data = Data(samples, Schedule(len(samples), size))
        with self._progress(data, verbose) as progress:
            listed = CallbackList([*given, progress], self, verbose=verbose, epochs=1, steps=data.schedule.steps)
            return _as_given(x, loops.predict(self, data, listed))

    def train_on_batch(self, x: Any, y: Any = None, *, return_dict: bool = False) -> Any:
        """Train one step on all samples as one batch; return its loss (and metrics) from before the step.

        Like `evaluate`, it returns the loss alone, a list or a dict.
        """
        samples = self._samples(f"{self.where}.train_on_batch", x, y)
        step = self._new_step()
        step.reset()
        step.train(*samples.labelled_batch(np.arange(len(samples)), self.dtype, self.device))
        return _results(step.results(), return_dict)

    def test_on_batch(self, x: Any, y: Any = None, *, return_dict: bool = False) -> Any:
        """Return the loss (and metrics) of all samples as one batch, in the form that `evaluate` has."""
        samples = self._samples(f"{self.where}.test_on_batch", x, y)
        step = self._new_step()
        step.reset()
        step.test(*samples.labelled_batch(np.arange(len(samples)), self.dtype, self.device))
        return _results(step.results(), return_dict)

    def predict_on_batch(self, x: Any) -> Array:
        """Return the outputs for all samples of x as one batch, in the kind of array that x is."""
        samples = self._inputs(f"{self.where}.predict_on_batch", x)
        self._build_for(samples.x)
        batch = samples.batch(np.arange(len(samples)), self.dtype, self.device)
        return _as_given(x, to_host(predict(self, batch)))

    def summary(
        self,
        line_length: int | None = None,
        positions: Sequence[float] | None = None,
        print_fn: Callable[[str], object] | None = None,
        expand_nested: bool = False,
        show_trainable: bool = False,
        layer_range: Sequence[str] | None = None,
    ) -> None:
        """Print the table of layers, output shapes and parameters, or hand it to `print_fn`."""
        arrays = list(self.optimizer.variables.values()) if self.optimizer is not None and self.optimizer.built else []
        text = self.summary_text(line_length, positions, expand_nested, show_trainable, layer_range, arrays)
        (print_text if print_fn is None else print_fn)(text)

    def _training_samples(
        self, where: str, x: Any, y: Any, validation_split: float, validation_data: Any
    ) -> tuple[Samples, Samples | None]:
        """Return what to train and what to validate with."""
        fraction = arguments.real(where, "validation_split", validation_split, 0, 1)
        with self._as_it_was_on_error():
            samples = self._samples(where, x, y)
            if validation_data is None:
                return samples.split(where, fraction) if fraction else (samples, None)
            if not isinstance(validation_data, (tuple, list)) or len(validation_data) != 2:
                got = f"{len(validation_data)} of them" if isinstance(validation_data, (tuple, list)) else "one object"
                raise ValueError(f"{where}: validation_data must be a pair (x, y); got {got}")
            return samples, self._samples(f"{where}: validation_data", *validation_data)

    def _samples(self, where: str, x: Any, y: Any) -> Samples:
        """Return checked samples and targets; the model is built for them if it is not yet."""
        loss = self.check_compiled(where)
        x = self._inputs(where, x).x
        y = batches.as_host(where, "y", y)
        batches.check_lengths(where, x, y)
        with self._as_it_was_on_error():
            self._build_for(x)
            return Samples(x, loss.prepare_targets(y, (len(x), *self.output_shape[1:]), self.dtype))

    @contextmanager
    def _as_it_was_on_error(self) -> Iterator[None]:
        """Forget what was built inside the `with` block if the block fails."""
        was_built = self.built
        try:
            yield
        except BaseException:
            if self.built and not was_built:
                self.forget_build()
            raise

    def _inputs(self, where: str, x: Any) -> Samples:
        """Return checked samples without targets."""
        host = batches.as_host(where, "x", x)
        if self.built:
            self.check_input_shape(host.shape)
        batches.check_finite(where, "x", host, np.dtype(self.dtype))
        return Samples(host, None)

    def _build_for(self, x: HostArray) -> None:
        if not self.built:
            self.build((None, *x.shape[1:]))

    def _progress(self, data: Data, verbose: int) -> ProgressBar:
        unit = "images" if data.samples.x.ndim == 4 else "samples"
        return ProgressBar(data.epoch_size, data.schedule.batch_size, unit, verbose)


def _check_verbose(where: str, verbose: Verbose) -> int:
    chosen = arguments.choice(where, "verbose", verbose, ("auto", 0, 1, 2))
    return 1 if chosen == "auto" else int(chosen)


def _validated_epochs(where: str, frequency: int | Sequence[int]) -> Callable[[int], bool]:
    """Return what tells, for an epoch counted from 0, whether to evaluate the validation data after it."""
    if isinstance(frequency, Sequence) and not isinstance(frequency, str):
        wanted = {arguments.integer(where, "validation_freq", epoch) for epoch in frequency}
        return lambda epoch: epoch + 1 in wanted
    every = arguments.integer(where, "validation_freq", frequency)
    return lambda epoch: (epoch + 1) % every == 0


def _results(logs: Logs, return_dict: bool) -> Any:
    """Return logs as Keras does: by name, or in a list, or the loss alone."""
    if return_dict:
        return logs
    values = list(logs.values())
    return values[0] if len(values) == 1 else values


def _as_given(x: Any, y: Array) -> Array:
    """Return `y` on the device of `x`."""
    return to_device(y, device_of(x)) if is_array(x) else y
