"""What callbacks share that watch one of the logs: is it better than it was? And those that act on it alone."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np

from gpunet import arguments
from gpunet.backend.arrays import HostArray, is_array
from gpunet.training.callback import Callback, Logs
from gpunet.training.progress import print_text

_MODES = ("auto", "min", "max")


class Monitor(Callback):
    """A callback that watches `monitor`, one of the logs, and knows the best value so far.

    `mode` says whether less ('min') or more ('max') is better; 'auto' asks the metric of that name, and less is better
    for the loss. A change of less than `min_delta` is none.
    """

    def __init__(self, monitor: str, mode: str, min_delta: float = 0.0, best: float | None = None) -> None:
        where = type(self).__name__
        self.monitor = arguments.text(where, "monitor", monitor, "")
        self.mode = str(arguments.choice(where, "mode", mode, _MODES))
        self.min_delta = abs(arguments.real(where, "min_delta", min_delta))
        self.best = best
        self._sign = 0  # 1 if more is better, -1 if less is; 0 until that is needed
        self._goes_on = False  # whether a checkpoint was restored, after which a training does not begin anew

    def on_train_begin(self, logs: Logs | None = None) -> None:
        if not self._goes_on:
            self.reset()
        self._goes_on = False

    def reset(self) -> None:
        """Forget what a training before has left."""

    def get_state(self) -> dict[str, Any]:
        return {"best": self.best}

    def set_state(self, state: Mapping[str, Any]) -> None:
        where = type(self).__name__
        self.best = None if state["best"] is None else arguments.real(where, "best", state["best"])
        self._goes_on = True

    def value(self, logs: Logs | None) -> float | None:
        """Return what is watched; None, with a warning, if the logs have no such number."""
        found = (logs or {}).get(self.monitor)
        if found is None or np.ndim(found):
            what = "a single number" if found is not None else f"among {', '.join(logs or {}) or 'the logs'}"
            warnings.warn(f"{type(self).__name__}: monitor must be {what}; got {self.monitor!r}", stacklevel=2)
            return None
        return float(found)

    def improves(self, value: float, than: float | None) -> bool:
        """Tell whether `value` is better than `than`, as any finite number is than None."""
        sign = self._direction()
        return math.isfinite(value) and (than is None or sign * value - self.min_delta > sign * than)

    def _direction(self) -> int:
        if self._sign == 0:
            name = self.monitor.removeprefix("val_")
            mode = self.mode if self.mode != "auto" else "min" if name == "loss" else self._asked(name)
            self._sign = {"min": -1, "max": 1}[mode]
        return self._sign

    def _asked(self, name: str) -> str:
        """Return whether the metric called `name`, or the loss of an output, is better where it is less or more."""
        metrics = {metric.name: metric for metric in self.model.metrics}
        found = metrics.get(name) or next((metrics[known] for known in metrics if name.endswith(f"_{known}")), None)
        better = getattr(found, "better", None) or ("min" if name.endswith("_loss") else None)
        if better is None:
            raise ValueError(
                f"{type(self).__name__}: mode must be 'min' or 'max' for {self.monitor}, of which nobody knows what is "
                f"better; got 'auto'"
            )
        return str(better)


class EarlyStopping(Monitor):
    """End `fit` when `monitor` has not improved for `patience` epochs.

    `baseline` is a value to be beaten from the start; before epoch `start_from_epoch`, counted from 0, nothing is
    watched. With `restore_best_weights` the model has the weights of the best epoch when `fit` ends, however it ends:
    by this callback, at the last epoch, or by another one.

    >>> stop = EarlyStopping("val_loss", patience=3, restore_best_weights=True)
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        min_delta: float = 0,
        patience: int = 0,
        verbose: int = 0,
        mode: str = "auto",
        baseline: float | None = None,
        restore_best_weights: bool = False,
        start_from_epoch: int = 0,
    ) -> None:
        super().__init__(monitor, mode, min_delta)
        where = "EarlyStopping"
        self.patience = arguments.integer(where, "patience", patience, minimum=0)
        self.verbose = arguments.choice(where, "verbose", verbose, (0, 1))
        self.baseline = None if baseline is None else arguments.real(where, "baseline", baseline)
        self.restore_best_weights = arguments.boolean(where, "restore_best_weights", restore_best_weights)
        self.start_from_epoch = arguments.integer(where, "start_from_epoch", start_from_epoch, minimum=0)
        self.reset()

    def reset(self) -> None:
        self.best = None
        self.wait = self.best_epoch = self.stopped_epoch = 0
        self.best_weights: list[HostArray] | None = None

    def get_state(self) -> dict[str, Any]:
        counts = {"wait": self.wait, "best_epoch": self.best_epoch, "stopped_epoch": self.stopped_epoch}
        return super().get_state() | counts | {"best_weights": self.best_weights}

    def set_state(self, state: Mapping[str, Any]) -> None:
        super().set_state(state)
        counts = (arguments.integer("EarlyStopping", key, state[key], 0) for key in ("wait", "best_epoch"))
        self.wait, self.best_epoch = counts
        self.stopped_epoch = arguments.integer("EarlyStopping", "stopped_epoch", state["stopped_epoch"], 0)
        weights = state["best_weights"]
        if weights is not None and not all(is_array(weight) for weight in weights):
            raise ValueError(f"EarlyStopping: best_weights must be arrays; got {arguments.shown(weights)}")
        self.best_weights = weights

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        value = self.value(logs)
        if value is None or epoch < self.start_from_epoch:
            return
        improved = self.improves(value, self.best)
        if improved:
            self.best = value
            self.best_epoch = epoch
        if self.restore_best_weights and (improved or self.best_weights is None):
            self.best_weights = self.model.get_weights()
        # The wait begins anew where the baseline is beaten too.
        self.wait = 0 if improved and self.improves(value, self.baseline) else self.wait + 1
        if not improved and self.wait >= self.patience and epoch > 0:
            self.stopped_epoch = epoch
            self.model.stop_training = True

    def on_train_end(self, logs: Logs | None = None) -> None:
        if self.stopped_epoch and self.verbose:
            print_text(f"Epoch {self.stopped_epoch + 1}: {self.monitor} has stopped to improve")
        if self.restore_best_weights and self.best_weights is not None:
            if self.verbose:
                print_text(f"The weights are those of the best epoch, {self.best_epoch + 1}")
            self.model.set_weights(self.best_weights)


class ReduceLROnPlateau(Monitor):
    """learning_rate = max(factor learning_rate, min_lr) when `monitor` has not improved for `patience` epochs.

    After that nothing is counted for `cooldown` epochs. The logs of every epoch get `learning_rate`.

    >>> plateau = ReduceLROnPlateau("val_loss", factor=0.5, patience=5)
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        factor: float = 0.1,
        patience: int = 10,
        verbose: int = 0,
        mode: str = "auto",
        min_delta: float = 1e-4,
        cooldown: int = 0,
        min_lr: float = 0.0,
    ) -> None:
        super().__init__(monitor, mode, min_delta)
        where = "ReduceLROnPlateau"
        self.factor = arguments.real(where, "factor", factor, minimum=0, maximum=float(np.nextafter(1, 0)))
        self.patience = arguments.integer(where, "patience", patience, minimum=0)
        self.verbose = arguments.choice(where, "verbose", verbose, (0, 1))
        self.cooldown = arguments.integer(where, "cooldown", cooldown, minimum=0)
        self.min_lr = arguments.real(where, "min_lr", min_lr, minimum=0)
        self.reset()

    def reset(self) -> None:
        self.best = None
        self.wait = self.cooldown_counter = 0

    def get_state(self) -> dict[str, Any]:
        return super().get_state() | {"wait": self.wait, "cooldown_counter": self.cooldown_counter}

    def set_state(self, state: Mapping[str, Any]) -> None:
        super().set_state(state)
        counts = (arguments.integer("ReduceLROnPlateau", key, state[key], 0) for key in ("wait", "cooldown_counter"))
        self.wait, self.cooldown_counter = counts

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        if logs is not None:
            logs["learning_rate"] = self.model.optimizer.learning_rate
        value = self.value(logs)
        if value is None:
            return
        if self.cooldown_counter:
            self.cooldown_counter -= 1
            self.wait = 0
        if self.improves(value, self.best):
            self.best, self.wait = value, 0
        elif not self.cooldown_counter:
            self.wait += 1
            if self.wait >= self.patience:
                self._reduce(epoch)

    def _reduce(self, epoch: int) -> None:
        optimizer = self.model.optimizer
        rate = optimizer.learning_rate
        if rate <= self.min_lr:
            return
        optimizer.learning_rate = max(rate * self.factor, self.min_lr)
        self.cooldown_counter, self.wait = self.cooldown, 0
        if self.verbose:
            print_text(f"Epoch {epoch + 1}: learning rate {optimizer.learning_rate:g}, as {self.monitor} stands still")


class TerminateOnNaN(Callback):
    """End `fit` after a batch in which the loss is infinite or no number; with `raise_error` by RuntimeError.

    To see that, the host waits for the device after every batch. `compile(nonfinite="raise")` costs less, says where
    the first such number came from, and puts the model back to what it was before.
    """

    def __init__(self, raise_error: bool = False) -> None:
        self.raise_error = arguments.boolean("TerminateOnNaN", "raise_error", raise_error)

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        loss = (logs or {}).get("loss")
        if loss is None or np.isfinite(loss):
            return
        if self.raise_error:
            raise RuntimeError(f"TerminateOnNaN: loss must be finite; got {loss} at batch {batch}")
        print_text(f"Batch {batch}: the loss is {loss}, the training ends")
        self.model.stop_training = True
