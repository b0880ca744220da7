"""SwapEMAWeights: evaluate and predict with averages of the weights, train on with the weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gpunet import arguments
from gpunet.training.callback import Callback, Logs


class SwapEMAWeights(Callback):
    """Exchange the weights and their averages while the model is evaluated or predicts.

    The optimizer must keep averages (`use_ema=True`). With `swap_on_epoch` they are in the model between epochs too,
    so that callbacks after this one, such as ModelCheckpoint, find them; after `fit` the weights are the averages,
    as always with `use_ema`.

    >>> from gpunet.optimizers import Adam
    >>> optimizer, callbacks = Adam(use_ema=True), [SwapEMAWeights()]
    """

    def __init__(self, swap_on_epoch: bool = False) -> None:
        self.swap_on_epoch = arguments.boolean("SwapEMAWeights", "swap_on_epoch", swap_on_epoch)

    def get_state(self) -> dict[str, Any]:
        return {"averages_in_use": self.model.optimizer.averages_in_use}

    def set_state(self, state: Mapping[str, Any]) -> None:
        in_use = arguments.boolean("SwapEMAWeights", "averages_in_use", state["averages_in_use"])
        self.model.optimizer.averages_in_use = in_use

    def _put(self, averages: bool) -> None:
        """Let the model have the averages, or the weights themselves."""
        if averages != self.model.optimizer.averages_in_use:
            self.model.optimizer.swap_averages()

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        self._put(averages=False)

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        if self.swap_on_epoch:
            self._put(averages=True)

    def on_test_begin(self, logs: Logs | None = None) -> None:
        self._put(averages=True)

    def on_test_end(self, logs: Logs | None = None) -> None:
        self._put(averages=False)

    def on_predict_begin(self, logs: Logs | None = None) -> None:
        self._put(averages=True)

    def on_predict_end(self, logs: Logs | None = None) -> None:
        self._put(averages=False)
