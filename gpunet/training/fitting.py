"""A running `fit`: its loop over epochs and batches, and where it stands."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from gpunet import arguments
from gpunet.backend.random import random_state, set_random_state
from gpunet.layers.state import LayerState
from gpunet.saving.model_file import ModelFile
from gpunet.training import checkpoint
from gpunet.training.callback import CallbackList, Logs
from gpunet.training.feeding import Batch, Feed
from gpunet.training.interrupt import Interruption
from gpunet.training.loops import batches_of, evaluate
from gpunet.training.step import Step

if TYPE_CHECKING:
    from gpunet.training.trainer import Trainer


class Fitting:
    """The training of `model` up to `epochs`, evaluated on `validation` after epochs for which `validated` is true.

    `epoch` and `batch` are the next ones to be trained. `content` is all that it takes to go on from there, in another
    process too: `restore` it into a new Fitting of the same model, data and callbacks, before `run`.
    """

    def __init__(
        self,
        model: Trainer,
        step: Step,
        feed: Feed,
        validation: Feed | None,
        epochs: range,
        validated: Callable[[int], bool],
        callbacks: CallbackList,
    ) -> None:
        self.model = model
        self.epoch, self.batch = epochs.start, 0
        self._step = step
        self._feed = feed
        self._validation = validation
        self._end = epochs.stop
        self._validated = validated
        self._callbacks = callbacks
        self._logs: Logs = {}  # of the last epoch
        self._stops = False  # whether a callback has ended the training before the checkpoint that was restored

    def run(self) -> None:
        """Train. However it ends, `on_train_end` is called, so that callbacks can close what they opened."""
        try:
            self._callbacks.call("on_train_begin", {})
            with Interruption() as interruption:
                while self.epoch < self._end and not (self._stops and self.batch == 0):
                    with batches_of(self._feed, interruption) as batches:
                        if batches is None:
                            break
                        self._logs = self._train_epoch(batches, interruption)
                    self._end_epoch(interruption)
                    if self.model.stop_training:
                        break
            assert self.model.optimizer is not None
            self.model.optimizer.finalize_variable_values(self.model.trainable_parameters)
        finally:
            self._callbacks.call("on_train_end", self._logs)

    def _train_epoch(self, batches: Iterator[Batch], interruption: Interruption) -> Logs:
        """Train what is left of the epoch."""
        if self.batch == 0:
            self._step.reset(0)
            self._callbacks.call("on_epoch_begin", self.epoch, {})
        for batch in () if self._stops else batches:
            number = self.batch
            self._callbacks.call("on_train_batch_begin", number, {})
            self._step.train(batch)
            self.batch += 1
            logs = self._step.results() if self._callbacks.wants_logs("on_train_batch_end") else {}
            self._callbacks.call("on_train_batch_end", number, logs)
            interruption.check()
            if self.model.stop_training:
                break
        return self._step.results()

    def _end_epoch(self, interruption: Interruption) -> None:
        epoch = self.epoch
        if self._validation is not None and self._validated(epoch):
            values = evaluate(self._step, self._validation, self._callbacks, interruption)
            self._logs = dict(sorted((self._logs | {f"val_{name}": value for name, value in values.items()}).items()))
        self.epoch, self.batch = epoch + 1, 0
        self._callbacks.call("on_epoch_end", epoch, self._logs)
        interruption.check()

    def content(self) -> ModelFile:
        """Return a checkpoint: the model, and where its training stands."""
        model = self.model
        training = {
            "epoch": self.epoch,
            "batch": self.batch,
            "stopped": model.stop_training,
            "logs": self._logs,
            "means": self._step.state(),
            "data": self._feed.position(),
            "validation": None if self._validation is None else self._validation.position(),
            "trainable": {path: layer.trainable for path, layer in self._layers().items()},
            "frozen": [path for path, parameter in model.parameters_by_path.items() if not parameter.trainable],
            "callbacks": [[name, callback.get_state()] for name, callback in self._callbacks.named()],
            "random": random_state(),
        }
        return checkpoint.content_of(model, training)

    def restore(self, where: str, content: ModelFile) -> None:
        """Go on from `content`; `where` opens the errors.

        ValueError, before the model changes, if it is of another model, of batches made in another way, or of other
        callbacks.
        """
        if content.training is None:
            raise ValueError(f"{where}: must be a checkpoint of a training; got a model")
        checkpoint.check_same(where, self.model, content)
        checkpoint.check_weights(where, self.model, content.weights)
        try:
            self._restore(content.training)
            self._freeze(content.training)
            checkpoint.restore(where, self.model, content)
            self._step.restore(content.training["means"], self.batch)
            set_random_state(content.training["random"])
        except ValueError as error:
            raise error if str(error).startswith(where) else ValueError(f"{where}: {error}") from error
        except (KeyError, TypeError, AttributeError, IndexError) as error:
            raise ValueError(f"{where}: the file does not describe a training ({error!r})") from error

    def _restore(self, training: Mapping[str, Any]) -> None:
        self._callbacks.set_states(training["callbacks"])
        if (self._validation is None) != (training["validation"] is None):
            had, has = ("no", "some") if training["validation"] is None else ("some", "no")
            raise ValueError(f"validation data must be given as where the training began; got {has}, not {had}")
        self._feed.restore(training["data"])
        if self._validation is not None:
            self._validation.restore(training["validation"])
        self.epoch = arguments.integer("training", "epoch", training["epoch"], 0)
        self.batch = arguments.integer("training", "batch", training["batch"], 0)
        self._stops = self.model.stop_training = arguments.boolean("training", "stopped", training["stopped"])
        self._logs = dict(training["logs"])

    def _freeze(self, training: Mapping[str, Any]) -> None:
        """Let what was frozen be frozen, and nothing else."""
        layers, trainable = self._layers(), training["trainable"]
        if set(layers) != set(trainable):
            differing = ", ".join(sorted(set(layers) ^ set(trainable)))
            raise ValueError(f"the layers must be those with which the training began; {differing} differ")
        for path, layer in layers.items():
            if layer.trainable != trainable[path]:
                layer.trainable = trainable[path]
        for path, parameter in self.model.parameters_by_path.items():
            parameter.trainable = path not in training["frozen"]

    def _layers(self) -> dict[str, LayerState]:
        """Return the model, and the layers in it at any depth, by their paths."""
        return {"": self.model, **dict(self.model.named_layers())}
