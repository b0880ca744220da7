"""Callback: a visitor that fit, evaluate and predict call at every begin and end; and the list of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeAlias

from gpunet import arguments

Logs: TypeAlias = dict[str, Any]


class Callback:
    """The base of all callbacks: override the hooks you need, as with Keras.

    A callback whose hooks remember something also defines `get_state` and `set_state`, so that a training that goes on
    from a checkpoint is one that was never cut off: `set_state` comes first, then `on_train_begin`, then the hooks that
    had not been called yet, in the middle of an epoch perhaps.

    `self.model` is the model; setting `self.model.stop_training = True` ends `fit` after the running batch.
    `self.params` holds `verbose`, `epochs`, `steps` (batches an epoch) and `do_validation`. `logs` holds the means of
    the loss and the metrics over the epoch so far; at the end of an epoch those of the validation too, as `val_…`.

    >>> class Patience(Callback):
    ...     def on_epoch_end(self, epoch, logs=None):
    ...         self.model.stop_training = logs["loss"] < 0.1
    """

    params: Mapping[str, Any] = {}
    _model: Any = None

    @property
    def model(self) -> Any:
        return self._model

    def set_model(self, model: Any) -> None:
        self._model = model

    def set_params(self, params: Mapping[str, Any]) -> None:
        self.params = params

    def wants_logs(self, hook: str) -> bool:
        """Tell whether `hook`, 'on_train_batch_end' or 'on_test_batch_end', needs logs after the running batch.

        To read them, the host has to wait for the device; where no callback wants them, the hook gets empty logs. By
        default a callback that overrides the hook wants them after every batch.
        """
        names = (hook, "on_batch_end") if hook == "on_train_batch_end" else (hook,)
        return any(getattr(getattr(self, name), "__func__", None) is not getattr(Callback, name) for name in names)

    def get_state(self) -> dict[str, Any] | None:
        """Return what a checkpoint must keep of this callback, of JSON's types and arrays; None if there is nothing."""
        return None

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Go on from what `get_state` returned when the checkpoint was made."""

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Called by `fit` before the first epoch, or where it goes on from a checkpoint."""

    def on_train_end(self, logs: Logs | None = None) -> None:
        """Called by `fit` once training ends, an interruption or an error included; `logs` are the last epoch's."""

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Called before epoch number `epoch`, counted from 0."""

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Called after an epoch and its validation."""

    def on_train_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """Called before batch number `batch` of the epoch, counted from 0."""
        self.on_batch_begin(batch, logs=logs)

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Called after a batch was trained."""
        self.on_batch_end(batch, logs=logs)

    def on_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """An older name of `on_train_batch_begin`."""

    def on_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """An older name of `on_train_batch_end`."""

    def on_test_begin(self, logs: Logs | None = None) -> None:
        """Called before an evaluation, that of `fit`'s validation data included."""

    def on_test_end(self, logs: Logs | None = None) -> None:
        """Called after an evaluation."""

    def on_test_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """Called before a batch is evaluated."""

    def on_test_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Called after a batch was evaluated."""

    def on_predict_begin(self, logs: Logs | None = None) -> None:
        """Called before a prediction."""

    def on_predict_end(self, logs: Logs | None = None) -> None:
        """Called after a prediction."""

    def on_predict_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """Called before a batch is predicted."""

    def on_predict_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Called after a batch was predicted; `logs["outputs"]` is the batch's output."""


class CallbackList:
    """Callbacks that are called one after another, in the order given."""

    def __init__(self, callbacks: Iterable[Callback], model: Any, **params: Any) -> None:
        self.callbacks = list(callbacks)
        for callback in self.callbacks:
            callback.set_params(params)
            callback.set_model(model)

    def wants_logs(self, hook: str) -> bool:
        return any(callback.wants_logs(hook) for callback in self.callbacks)

    def call(self, hook: str, *args: Any) -> None:
        """Call `hook` of every callback with `args`."""
        for callback in self.callbacks:
            getattr(callback, hook)(*args)

    def named(self) -> Iterator[tuple[str, Callback]]:
        """Yield the callbacks that a checkpoint keeps something of, with the names of their classes."""
        for callback in self.callbacks:
            if type(callback).get_state is not Callback.get_state:
                yield type(callback).__name__, callback

    def set_states(self, states: Iterable[tuple[str, Any]]) -> None:
        """Let the callbacks go on from what `get_state` returned of each; ValueError unless they are the same ones."""
        saved, present = list(states), list(self.named())
        before, now = ([name for name, _ in pairs] for pairs in (saved, present))
        if before != now:
            raise ValueError(f"callbacks with a state must be {before}, as where the training began; got {now}")
        for (_, state), (_, callback) in zip(saved, present, strict=True):
            if state is not None:
                callback.set_state(state)


def check_callbacks(where: str, callbacks: Callback | Iterable[Callback] | None) -> list[Callback]:
    """Return one callback or several as a list; TypeError for anything that is not a Callback."""
    if callbacks is None:
        return []
    if isinstance(callbacks, Callback):
        return [callbacks]
    given = arguments.members(where, "callbacks", callbacks, "a Callback or a list of them")
    for callback in given:
        if not isinstance(callback, Callback):
            raise TypeError(
                f"{where}: callbacks must be instances of gpunet.callbacks.Callback; got {arguments.shown(callback)}"
            )
    return list(given)
