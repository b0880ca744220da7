"""Callbacks made of functions: LambdaCallback and LearningRateScheduler."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

from gpunet import arguments
from gpunet.training.callback import Callback, Logs
from gpunet.training.progress import print_text

_HOOKS = tuple(name for name in vars(Callback) if name.startswith("on_"))


class LambdaCallback(Callback):
    """A callback made of functions, one for each hook named: `LambdaCallback(on_epoch_end=lambda epoch, logs: …)`.

    TypeError for a name that is no hook of `Callback`.
    """

    def __init__(self, **functions: Callable[..., Any] | None) -> None:
        for hook, function in functions.items():
            if hook not in _HOOKS:
                raise TypeError(f"LambdaCallback: a hook must be one of {', '.join(_HOOKS)}; got {hook!r}")
            if function is not None and not callable(function):
                raise TypeError(f"LambdaCallback: {hook} must be a function; got {arguments.shown(function)}")
            if function is not None:
                setattr(self, hook, function)


class LearningRateScheduler(Callback):
    """learning_rate = schedule(epoch, learning_rate), or schedule(epoch), before every epoch, counted from 0.

    The logs of an epoch get `learning_rate`; with `verbose` 1 it is printed. A schedule of
    `gpunet.optimizers.schedules`, given to the optimizer, changes the rate at every step instead, on the device.

    >>> halving = LearningRateScheduler(lambda epoch, rate: rate / 2)
    """

    def __init__(self, schedule: Callable[..., float], verbose: int = 0) -> None:
        where = "LearningRateScheduler"
        if not callable(schedule):
            raise TypeError(f"{where}: schedule must be a function; got {arguments.shown(schedule)}")
        self.schedule = schedule
        self.verbose = arguments.choice(where, "verbose", verbose, (0, 1))

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        optimizer = self.model.optimizer
        rate = self.schedule(*(epoch, optimizer.learning_rate)[: self._count()])
        if isinstance(rate, bool) or not isinstance(rate, (int, float, np.floating)):
            raise TypeError(f"LearningRateScheduler: schedule must return a number; got {arguments.shown(rate)}")
        optimizer.learning_rate = float(rate)
        if self.verbose:
            print_text(f"Epoch {epoch + 1}: learning rate {optimizer.learning_rate:g}")

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        if logs is not None:
            logs["learning_rate"] = self.model.optimizer.learning_rate

    def _count(self) -> int:
        """Return how many arguments the schedule takes; 2 if that cannot be found out."""
        try:
            signature = inspect.signature(self.schedule)
        except (TypeError, ValueError):
            return 2
        try:
            signature.bind(0, 0.0)
        except TypeError:
            return 1
        return 2
