"""Trainer: Keras's fit, evaluate and predict, for any network."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from typing import Any, TypeAlias

from gpunet import arguments
from gpunet.backend.arrays import CPU, Array, device_of, is_array, to_device, to_host
from gpunet.networks.turns import evaluates, trains
from gpunet.training import loops
from gpunet.training.backup import BackupAndRestore
from gpunet.training.callback import Callback, CallbackList, Logs, check_callbacks
from gpunet.training.checking import Given
from gpunet.training.feeding import ready, whole
from gpunet.training.fitting import Fitting
from gpunet.training.history import History
from gpunet.training.intake import Batching, Intake
from gpunet.training.memory import tells_shortages
from gpunet.training.progress import ProgressBar, print_text
from gpunet.training.step import predict
from gpunet.training.weighing import check_class_weight

Callbacks: TypeAlias = Callback | Iterable[Callback] | None
Verbose: TypeAlias = int | str


class Trainer(Intake):
    """A compiled network with fit, evaluate and predict; the public model classes derive from it."""

    stop_training = False  # a callback sets it to end `fit` after the running batch
    history: History | None = None  # of the last `fit`

    @tells_shortages
    @trains
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
        class_weight: Any = None,
        sample_weight: Any = None,
        initial_epoch: int = 0,
        steps_per_epoch: int | None = None,
        validation_steps: int | None = None,
        validation_batch_size: int | None = None,
        validation_freq: int | Sequence[int] = 1,
    ) -> History:
        """Train for `epochs` passes over samples x with targets y, and return the History.

        x and y are arrays of the host or of a device, lists, memory-mapped arrays, or data sets of HDF5 and the like,
        which are read by slices. `batch_size` is 32 if None; the last batch of a pass may be smaller, and means weigh
        it so. `shuffle` takes the samples in the order of a new permutation in each pass. With `steps_per_epoch` an
        epoch has so many batches, and the next goes on where it stopped.

        For several inputs or outputs x and y are lists in their order, or dicts by their names.

        The loss counts each sample, or each place in a sample, `sample_weight` times, as `weighted_metrics` do; for
        several outputs that is one array for all of them, or a list or dict with one for each. `class_weight` is a dict
        from class to weight instead, for a network of one output, and counts in training alone.

        Or x makes the batches, (x, y) or (x, y, sample_weight), and y, `sample_weight` and `batch_size` are None: a
        generator, which needs `steps_per_epoch` if it does not end and can be used up only once; an object with len()
        and items, item i being batch i (a `gpunet.utils.PyDataset`, or Keras's; its `on_epoch_end` is called, `shuffle`
        takes its batches in another order); or any iterable. An epoch ends where they do, with a warning if that is
        before `steps_per_epoch`.

        `validation_split` sets the last samples aside, before any shuffling; `validation_data`, (x, y) or (x, y,
        sample_weight) or what makes batches, stands above it. Either is evaluated, the first `validation_steps` batches
        or all, after the epochs that `validation_freq` names: every so many, or a list of numbers from 1. `verbose` is
        0 (silent), 1 (a bar on a terminal, else lines), 2 (a line an epoch) or 'auto' (1).

        All arguments and all data in memory are checked before anything changes, files and made batches as they come.
        Ctrl-C lets the running step and the callbacks end and raises KeyboardInterrupt; the model is usable, and
        `model.history` has the epochs that were finished.
        """
        where = f"{self.where}.fit"
        batch_size = _optional(where, "batch_size", batch_size)
        epochs = arguments.integer(where, "epochs", epochs, minimum=0)
        initial_epoch = arguments.integer(where, "initial_epoch", initial_epoch, minimum=0)
        steps = _optional(where, "steps_per_epoch", steps_per_epoch)
        shuffle = arguments.boolean(where, "shuffle", shuffle)
        validated = _validated_epochs(where, validation_freq)
        given = check_callbacks(where, callbacks)
        if sum(isinstance(callback, BackupAndRestore) for callback in given) > 1:
            raise ValueError(f"{where}: callbacks must have one BackupAndRestore at most; got more")
        size = _optional(where, "validation_batch_size", validation_batch_size)
        validating = Batching(size, _optional(where, "validation_steps", validation_steps), default=batch_size)
        verbose = _check_verbose(where, verbose)
        batching = Batching(batch_size, steps, shuffle)
        data = Given(x, y, sample_weight, check_class_weight(where, class_weight))
        feed, validation = self._training_feeds(where, data, batching, validation_split, validation_data, validating)
        self.stop_training = False
        self.history = History()
        backups = [callback for callback in given if isinstance(callback, BackupAndRestore)]
        others = [callback for callback in given if callback not in backups]
        with ProgressBar(feed, verbose) as progress:
            listed = CallbackList(
                [*others, self.history, progress, *backups],  # these last: they keep what the others remember
                self,
                verbose=verbose,
                epochs=epochs,
                steps=feed.steps,
                initial_epoch=initial_epoch,
                do_validation=validation is not None,
            )
            epochs_left = range(initial_epoch, epochs)
            fitting = Fitting(self, self._new_step(), feed, validation, epochs_left, validated, listed)
            with ExitStack() as running:
                for backup in backups:
                    running.enter_context(backup.running(fitting))
                fitting.run()
        return self.history

    @tells_shortages
    @evaluates
    def evaluate(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        verbose: Verbose = "auto",
        sample_weight: Any = None,
        steps: int | None = None,
        callbacks: Callbacks = None,
        return_dict: bool = False,
    ) -> Any:
        """Return the mean loss over the samples, or, with metrics or several outputs, a list as `metrics_names` says.

        x, y and `sample_weight` are what `fit` takes; `steps` is the number of batches, None for all. With
        `return_dict` it is a dict by name.
        """
        where = f"{self.where}.evaluate"
        batching = Batching(_optional(where, "batch_size", batch_size), _optional(where, "steps", steps))
        given, verbose = check_callbacks(where, callbacks), _check_verbose(where, verbose)
        return_dict = arguments.boolean(where, "return_dict", return_dict)
        feed = self._feed(where, x, y, batching, sample_weight)
        with ProgressBar(feed, verbose) as progress:
            listed = CallbackList([*given, progress], self, verbose=verbose, epochs=1, steps=feed.steps)
            logs = loops.evaluate(self._new_step(), feed, listed)
        return self._returned(logs, return_dict)

    @tells_shortages
    def predict(
        self,
        x: Any,
        batch_size: int | None = None,
        verbose: Verbose = "auto",
        steps: int | None = None,
        callbacks: Callbacks = None,
    ) -> Any:
        """Return the outputs for the samples of x, in the kind of array that x is (NumPy's if it is none).

        Of several outputs that is a list, or the dict that the network was made with.

        x is what `fit` takes, but for batches it may make x or (x,) as well as pairs, whose targets are not looked at.
        `steps` is the number of batches, None for all.
        """
        where = f"{self.where}.predict"
        batching = Batching(_optional(where, "batch_size", batch_size), _optional(where, "steps", steps))
        given, verbose = check_callbacks(where, callbacks), _check_verbose(where, verbose)
        feed = self._feed(where, x, None, batching, labelled=False)
        with ProgressBar(feed, verbose) as progress:
            listed = CallbackList([*given, progress], self, verbose=verbose, epochs=1, steps=feed.steps)
            return self._as_given(x, loops.predict(self, feed, listed, on_device=self._has(x)))

    @tells_shortages
    @trains
    def train_on_batch(
        self, x: Any, y: Any = None, sample_weight: Any = None, class_weight: Any = None, return_dict: bool = False
    ) -> Any:
        """Train one step on all samples as one batch; return its loss (and metrics) from before the step.

        Like `evaluate`, it returns the loss alone, a list or a dict.
        """
        where = f"{self.where}.train_on_batch"
        return_dict = arguments.boolean(where, "return_dict", return_dict)
        given = Given(x, y, sample_weight, check_class_weight(where, class_weight))
        batch = whole(self._samples(where, given), self.device)
        step = self._step_on_batches()
        step.reset()
        step.train(ready(batch))
        return self._returned(step.results(), return_dict)

    @tells_shortages
    @evaluates
    def test_on_batch(self, x: Any, y: Any = None, sample_weight: Any = None, return_dict: bool = False) -> Any:
        """Return the loss (and metrics) of all samples as one batch, in the form that `evaluate` has."""
        where = f"{self.where}.test_on_batch"
        return_dict = arguments.boolean(where, "return_dict", return_dict)
        batch = whole(self._samples(where, Given(x, y, sample_weight)), self.device)
        step = self._step_on_batches()
        step.reset()
        step.test(ready(batch))
        return self._returned(step.results(), return_dict)

    @tells_shortages
    def predict_on_batch(self, x: Any) -> Any:
        """Return the outputs for all samples of x as one batch, in the kind of array that x is."""
        batch = whole(self._unlabelled(f"{self.where}.predict_on_batch", x), self.device)
        outputs = predict(self, *batch)
        return self._as_given(x, outputs if self._has(x) else list(map(to_host, outputs)))

    def _has(self, x: Any) -> bool:
        """Tell whether x, or all of several inputs, lies on the model's device, which is not the host."""
        arrays = list(x.values()) if isinstance(x, dict) else x if isinstance(x, (list, tuple)) else [x]
        return self.device != CPU and all(is_array(one) and device_of(one) == self.device for one in arrays)

    def _as_given(self, x: Any, outputs: list[Array]) -> Any:
        """Return the output, or several in the form that the network gives them, on the device of x."""
        given = [to_device(y, device_of(x)) for y in outputs] if is_array(x) else outputs
        return self.pack_outputs(given if len(given) > 1 else given[0])

    def _returned(self, logs: Logs, return_dict: bool) -> Any:
        """Return logs as Keras does: by name, or in a list, or the loss alone."""
        if return_dict:
            return logs
        values = [logs[name] for name in self.metrics_names]
        return values[0] if len(values) == 1 else values

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


def _optional(where: str, name: str, value: int | None) -> int | None:
    """Return `value`, an integer of at least 1 or None."""
    return None if value is None else arguments.integer(where, name, value)


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
